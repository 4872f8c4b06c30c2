"""A figure of the layers of a network in training."""

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
    read_layers,
)

# More layers than that have no legend: the colors of the names tell.
_MOST_IN_LEGEND = 6


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
    # Room for names that are turned.
    height = 5.0 + 0.04 * max(0, max(map(len, map(str, readings))) - 12)
    figure = Figure(figsize=(10.0, height), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.15, 1.0))[0]
    over_epochs, rates = left.subplots(2, sharex=True)
    over_depth = right.subplots()
    if title:
        figure.suptitle(title, fontsize=12)
    top = draw_ceiling(over_epochs, epochs, ceiling, "H(labels)")
    colors = colormaps["plasma"](np.linspace(0.05, 0.8, len(readings)))
    for (layer, values), color in zip(readings.items(), colors, strict=True):
        style = {"color": color, **marker_of(epochs)}
        over_epochs.plot(epochs, values, label=layer, **style)
        rates.plot(
            epochs, layers["learning_rate"][layer], drawstyle="steps-post", **style
        )
    label_rates(rates)
    label_epochs(rates, epochs)
    if len(readings) <= _MOST_IN_LEGEND:
        # Learning rates only fall: the lower left is free.
        lines = over_epochs.lines[-len(readings) :]
        rates.legend(handles=lines, frameon=False, fontsize=8, loc="lower left")
    _draw_depth(over_depth, readings, ceiling)
    for name, color in zip(over_depth.get_xticklabels(), colors, strict=True):
        name.set_color(color)
    top = 1.12 * max(top, *(np.nanmax(row, initial=0.0) for row in readings.values()))
    for panel in (over_epochs, over_depth):
        panel.set_ylim(0, top or 1.0)
        panel.set_ylabel("usable information (nats)")
    for panel in (over_epochs, rates, over_depth):
        panel.spines[["top", "right"]].set_visible(False)
    left.align_ylabels()
    return figure


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
    names = [str(layer) for layer in mi]
    axes.set_xticks(places, names)
    if sum(map(len, names)) > 40:
        axes.tick_params("x", labelsize=8)
        for name in axes.get_xticklabels():
            name.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.3, len(mi) - 0.7)
    axes.set_xlabel("layer, from the input to the output")
    if count > 1:
        ticks = MaxNLocator(integer=True)
        bar = {"aspect": 40, "pad": 0.02, "ticks": ticks}
        axes.figure.colorbar(scale, ax=axes, label="epoch", **bar)
