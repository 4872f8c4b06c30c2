"""A figure of the layers of a network in training."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from optax_mi.plotting._shared import (
    FAINT,
    draw_ceiling,
    label_epochs,
    label_rates,
    marker_of,
    name_lines,
    read_layers,
)

# More layers, or longer names, are named below their depth alone, in their colors.
_MOST_NAMED, _LONGEST_NAMED = 6, 16
_SIZE = 8  # points


def plot_layers(
    *,
    mi: Mapping[str, Sequence[float]],
    entropy: Sequence[float],
    learning_rate: Mapping[str, Sequence[float]],
    title: str | None = None,
) -> Figure:
    r"""Draws each layer's usable information and learning rate, by epoch and depth.

    On the left the information of each layer under the entropy of the labels, and each
    learning rate on a log scale; on the right the information along the layers, one
    line an epoch, above names in the colors of the lines on the left.

    What the readings of :func:`optax_mi.mi_diagnostics` are depends on the estimator.
    With `gaussian(noise=0.25)` they are *usable information under a Gaussian with
    noise*, :math:`I_G(T + \varepsilon; Y)`: the closed form for Gaussian classes of the
    layer's average over space, projected to 32 columns, under noise of a quarter of its
    spread. That is neither the layer's mutual information with the labels nor subject
    to the data-processing inequality. It rises along the layers though the true one
    cannot: an early layer holds the information in a form that the average and the
    Gaussian cannot read, and later layers bring it out. Computation may make
    information usable (Xu et al., 2020).

    Args:
      mi: from each layer, in the order of the network, to its reading of each epoch,
        nats; nan leaves a gap.
      entropy: H(labels) of each epoch, nats; for real labels infinite, and not drawn.
      learning_rate: from each layer to its learning rate after each epoch.
      title: title of the figure, or None.

    Returns:
      A `matplotlib.figure.Figure`, not tied to pyplot: `figure.savefig("layers.png")`.

    Raises:
      TypeError, ValueError: the sequences differ in length, are empty, or hold what is
        no number or infinite; `mi` or `learning_rate` is no mapping or has no layers;
        they have other layers.

    Example:
      >>> from optax_mi.plotting import plot_layers
      >>> figure = plot_layers(
      ...     mi={"conv": [0.4, 0.6], "dense": [0.9, 1.9]},
      ...     entropy=[2.3, 2.3],
      ...     learning_rate={"conv": [0.3, 0.3], "dense": [0.3, 0.16]},
      ... )
      >>> len(figure.axes)  # the last is the scale of the epochs
      4

    References:
      Xu, Zhao, Song, Stewart and Ermon, *A theory of usable information under
      computational constraints*, ICLR 2020, arXiv:2002.10689.
    """
    layers, curves = read_layers(
        {"mi": mi, "learning_rate": learning_rate}, entropy=entropy
    )
    readings, ceiling = layers["mi"], curves["entropy"]
    epochs = range(1, len(ceiling) + 1)
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.15, 1.0))[0]
    over_epochs, rates = left.subplots(2, sharex=True)
    over_depth = right.subplots()
    if title:
        figure.suptitle(title, fontsize=10)
    top = draw_ceiling(over_epochs, epochs, ceiling, "H(labels)")
    colors = colormaps["plasma"](np.linspace(0.05, 0.8, len(readings)))
    for (layer, values), color in zip(readings.items(), colors, strict=True):
        style = {"color": color, "label": str(layer), **marker_of(epochs)}
        over_epochs.plot(epochs, values, **style)
        rates.plot(
            epochs, layers["learning_rate"][layer], drawstyle="steps-post", **style
        )
    label_rates(rates)
    label_epochs(rates, epochs)
    _draw_depth(over_depth, readings, ceiling)
    for name, color in zip(over_depth.get_xticklabels(), colors, strict=True):
        name.set_color(color)
    top = 1.12 * max(top, *(np.nanmax(row, initial=0.0) for row in readings.values()))
    for panel in (over_epochs, over_depth):
        panel.set_ylim(0, top or 1.0)
        panel.set_ylabel("usable information (nats)")
    for panel in (over_epochs, rates, over_depth):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=_SIZE)
        panel.xaxis.label.set_size(_SIZE + 1)
        panel.yaxis.label.set_size(_SIZE + 1)
    left.align_ylabels()
    names = [str(layer) for layer in readings]
    # Turned names of great length need room.
    figure.set_figheight(4.6 + 0.04 * max(0, max(map(len, names)) - 12))
    if len(names) <= _MOST_NAMED and max(map(len, names)) <= _LONGEST_NAMED:
        name_lines(over_epochs, _SIZE)
        name_lines(rates, _SIZE)
    _turn_names(over_depth)
    return figure


def _turn_names(axes: Axes) -> None:
    """Turns the names below the axes until they are apart, and leaves out some."""
    figure, count = axes.get_figure(root=True), len(axes.get_xticks())
    assert figure is not None
    names = axes.get_xticklabels()
    for angle in (0, 45, 90):
        if angle:
            turned = {"rotation": angle, "rotation_mode": "anchor", "ha": "right"}
            turned["va"] = "top" if angle < 90 else "center"
            for name in names:
                name.set(**turned)
        figure.draw_without_rendering()
        room = axes.get_window_extent().width / (count - 0.4)
        height = 1.2 * _SIZE * figure.dpi / 72
        widest = max(name.get_window_extent().width for name in names) + height
        if room >= (widest if not angle else height / math.sin(math.radians(angle))):
            return
    for place, name in enumerate(names):
        name.set_visible(place % math.ceil(height / room) == 0)


def _draw_depth(axes: Axes, mi: Mapping[str, np.ndarray], entropy: np.ndarray) -> None:
    """A line an epoch through the readings of all layers, dark for early epochs."""
    places = range(len(mi))
    count = len(entropy)
    scale = ScalarMappable(Normalize(1, max(2, count)), "viridis")
    colors = scale.to_rgba(np.arange(1, count + 1))
    style = {"linewidth": 1.0, **marker_of(range(count))}
    for values, color in zip(zip(*mi.values(), strict=True), colors, strict=True):
        axes.plot(places, values, color=color, **style)
    if np.isfinite(entropy[-1]):
        axes.axhline(entropy[-1], color=FAINT, linestyle="--", linewidth=1.2)
    axes.set_xticks(places, [str(layer) for layer in mi])
    axes.set_xlim(-0.3, len(mi) - 0.7)
    axes.set_xlabel("layer, from the input to the output")
    if count > 1:
        ticks = MaxNLocator(integer=True)
        bar = axes.figure.colorbar(scale, ax=axes, aspect=40, pad=0.02, ticks=ticks)
        bar.ax.tick_params(labelsize=_SIZE)
        bar.set_label("epoch", fontsize=_SIZE + 1)
