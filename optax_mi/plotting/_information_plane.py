"""The information plane: what layers know about the input, and about the labels."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import FuncNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from optax_mi._checks import check_number
from optax_mi.plotting._shared import FAINT, QUIET, read_layers

_MARKERS = "osD^vPX<>*hp"
# More names would overlap, so they go into a legend.
_MOST_NAMED = 6
# Without yellow, which is invisible on white.
_COLORS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, 256)))


def plot_information_plane(
    *,
    input_mi: Mapping[str, Sequence[float]],
    label_mi: Mapping[str, Sequence[float]],
    epochs: Sequence[float],
    label_entropy: float,
    input_entropy: float | None = None,
    width: float = 3.4,
    title: str | None = None,
) -> Figure:
    r"""Draws the path of each layer through the information plane.

    Each point is an epoch, with :math:`I(X; T)` on the horizontal and :math:`I(T; Y)`
    on the vertical axis, in nats; X is the input, T the layer and Y the label. Each
    layer has a path and a marker. The color shows the epoch, on a scale of
    log(1 + epoch). The end of a path is outlined and named; from seven layers on, a
    legend shows the markers instead. No layer can reach the gray area, because
    :math:`I(T; Y) \le \min(I(X; T), H(Y))`.

    If a layer is a deterministic function of a continuous input, :math:`I(X; T)` is
    infinite; if it tells all M inputs of a data set apart, it is ln M, whatever the
    layer has learned. So let T be the layer with added noise, or a layer that is itself
    noisy. `width=3.4` fits a column of a paper; `figure.savefig("plane.pdf")` writes
    vector graphics.

    Args:
      input_mi: from each layer, in the order of the network, to its I(X; T) at each of
        the epochs, nats.
      label_mi: from each layer to its I(T; Y) at each of the epochs, nats.
      epochs: the measured epochs, in increasing order; 0 is the untrained network.
      label_entropy: H(Y), nats.
      input_entropy: H(X), nats; None if it is infinite or unknown.
      width: width of the figure, inches, at least 2.
      title: title of the figure, or None.

    Returns:
      A `matplotlib.figure.Figure`, not tied to pyplot.

    Raises:
      TypeError, ValueError: `input_mi` or `label_mi` is not a mapping or has no layers,
        or their layers differ; values are not one finite number per epoch, or exceed
        the entropy or fall below 0 by more than a tenth of the entropy; `epochs` do not
        increase from 0 or more; or an entropy or the width is out of range.

    Example:
      >>> from optax_mi.plotting import plot_information_plane
      >>> figure = plot_information_plane(
      ...     input_mi={"hidden": [4.4, 3.0, 3.2], "logits": [3.6, 2.4, 2.9]},
      ...     label_mi={"hidden": [1.6, 1.5, 2.0], "logits": [1.2, 1.4, 1.9]},
      ...     epochs=[0, 2, 16],
      ...     label_entropy=2.3,
      ... )
      >>> figure.axes[0].get_xlabel()
      'I(X; T) (nats)'

    References:
      Shwartz-Ziv and Tishby, *Opening the black box of deep neural networks via
      information*, arXiv:1703.00810. Saxe et al., *On the information bottleneck theory
      of deep learning*, ICLR 2018, and Goldfeld et al., *Estimating information flow in
      deep neural networks*, ICML 2019, for the noise.
    """
    check_number("width", width, lambda w: w >= 2, "at least 2 inches")
    layers, curves = read_layers(
        {"input_mi": input_mi, "label_mi": label_mi}, epochs=epochs
    )
    times = curves["epochs"]
    if not (np.diff(times, prepend=-1e-9) > 0).all():
        raise ValueError(f"epochs must rise from 0 or more, got {epochs!r:.60}.")
    _check_bound("label_mi", layers["label_mi"], "label_entropy", label_entropy)
    if input_entropy is not None:
        _check_bound("input_mi", layers["input_mi"], "input_entropy", input_entropy)
    paths = {
        layer: np.stack([x, layers["label_mi"][layer]], 1)
        for layer, x in layers["input_mi"].items()
    }

    size = 8 if width < 5 else 10
    height = (0.8 if width < 5 else 0.6) * width
    columns = max(
        1, int(width / (0.35 + 0.007 * size * max(map(len, map(str, paths)))))
    )
    named = len(paths) <= _MOST_NAMED
    height += 0 if named else 0.02 * size * math.ceil(len(paths) / columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=size - 1)
    axes.set_xlabel("I(X; T) (nats)", fontsize=size)
    axes.set_ylabel("I(T; Y) (nats)", fontsize=size)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, fontsize=size)
    norm = FuncNorm((np.log1p, np.expm1), times[0], max(times[-1], times[0] + 1))
    scale = ScalarMappable(norm, _COLORS)
    markers = dict(zip(paths, itertools.cycle(_MARKERS), strict=False))
    for layer, path in paths.items():
        _draw_path(axes, path, times, scale, markers[layer], size)
    points = np.concatenate([*paths.values()])
    most = math.inf if input_entropy is None else float(input_entropy)
    _draw_bounds(axes, points, float(label_entropy), most, size)
    if len(times) > 1:
        bar = figure.colorbar(scale, ax=axes, ticks=_ticks(times), aspect=30, pad=0.02)
        bar.minorticks_off()
        bar.ax.set_yticklabels([f"{tick:g}" for tick in bar.get_ticks()])
        bar.ax.tick_params(labelsize=size - 1)
        bar.set_label("epoch", fontsize=size)
        if bar.solids is not None:
            # As vectors, without the seams that viewers show between its parts.
            bar.solids.set(rasterized=False, edgecolor="face")
    if named:
        # Overlaps depend on the layout.
        figure.draw_without_rendering()
        _name_ends(axes, paths, size)
    else:
        gray = {"color": QUIET, "linestyle": "", "markersize": 0.6 * size}
        figure.legend(
            [Line2D([], [], marker=marker, **gray) for marker in markers.values()],
            [str(layer) for layer in markers],
            loc="outside lower center",
            ncols=columns,
            fontsize=size - 1,
            frameon=False,
            handletextpad=0.1,
        )
    return figure


def _check_bound(
    name: str, layers: Mapping[str, np.ndarray], entropy_name: str, entropy: Any
) -> None:
    """Raises unless the entropy is positive, and values are at most 10 % outside."""
    check_number(entropy_name, entropy, lambda h: h > 0, "positive and in nats")
    most = float(entropy)
    for layer, values in layers.items():
        if np.isnan(values).any():
            raise ValueError(
                f"{name}[{layer!r}] must not have nan: leave the epoch out."
            )
        if values.min() < -0.1 * most:
            raise ValueError(
                f"{name}[{layer!r}] must not be negative, got {values.min():.4g}: "
                "information in nats is at least 0."
            )
        if values.max() > 1.1 * most:
            raise ValueError(
                f"{name}[{layer!r}] must not exceed {entropy_name}={most:.4g}, got "
                f"{values.max():.4g}: are both in nats, and not swapped?"
            )


def _draw_path(
    axes: Axes,
    path: np.ndarray,
    times: np.ndarray,
    scale: ScalarMappable,
    marker: str,
    size: float,
) -> None:
    """Draws lines between epochs, with markers, and a larger marker at the last."""
    colors = np.asarray(scale.to_rgba(times))
    steps = np.stack([path[:-1], path[1:]], 1)
    lines = LineCollection(
        list(steps), colors=colors[1:], linewidths=0.14 * size, zorder=2
    )
    axes.add_collection(lines)
    # Counted from the end, with at most 25 markers, so that they do not overlap.
    some = slice(None, None, -math.ceil(len(path) / 25))
    axes.scatter(
        *path[some].T,
        s=1.2 * size,
        c=colors[some],
        marker=marker,
        linewidths=0,
        zorder=3,
    )
    last = {"c": colors[-1:], "edgecolors": "black", "linewidths": 0.8}
    axes.scatter(*path[-1:].T, s=4 * size, marker=marker, zorder=3, **last)


def _draw_bounds(
    axes: Axes,
    points: np.ndarray,
    label_entropy: float,
    input_entropy: float,
    size: float,
) -> None:
    """Shades what no layer can reach, and marks H(X) or the direction to it."""
    (left, bottom), (right, top) = points.min(0), points.max(0)
    top = max(top, label_entropy)
    beside, above = 0.08 * max(right - left, 0.1), 0.08 * max(top - bottom, 0.1)
    near = input_entropy <= right + 4 * beside
    left, right = left - beside, max(right + beside, input_entropy if near else 0.0)
    bottom, top = bottom - above, top + above
    x = np.array([left, min(max(label_entropy, left), right), right])
    bound = np.minimum(x, label_entropy)
    axes.fill_between(x, bound, top, color=FAINT, alpha=0.2, linewidth=0, zorder=0)
    line = {"color": FAINT, "linestyle": "--", "linewidth": 1.0, "zorder": 1}
    axes.plot(x, bound, **line)
    text = {"ha": "right", "fontsize": size - 1, "color": QUIET}
    text |= {"xytext": (-3, 3), "textcoords": "offset points"}
    axes.annotate(f"H(Y) = {label_entropy:.3g}", (right, label_entropy), **text)
    if near:
        axes.axvline(input_entropy, **line)
    if math.isfinite(input_entropy):
        where = "" if near else " \N{RIGHTWARDS ARROW}"
        named = f"H(X) = {input_entropy:.3g}{where}"
        place = min(input_entropy, right), 0
        axes.annotate(named, place, xycoords=("data", "axes fraction"), **text)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _ticks(times: np.ndarray) -> list[float]:
    """1, 2 and 5 times powers of ten among the epochs, or else the first and last."""
    first, last = times[0], times[-1]
    powers = range(math.ceil(math.log10(last + 1)) + 1)
    ticks = [0.0, *(m * 10.0**power for power in powers for m in (1, 2, 5))]
    within = [tick for tick in ticks if first <= tick <= last]
    return within if len(within) > 2 else [first, last]


def _name_ends(axes: Axes, paths: Mapping[str, np.ndarray], size: float) -> None:
    """Writes each layer's name near the end of its path, over as little as possible."""
    to_pixels = axes.transData.transform
    point = axes.figure.dpi / 72
    low, high = axes.get_window_extent().get_points()
    along, grid = np.linspace(0, 1, 20)[:, None, None], np.linspace(-1, 1, 9)
    box = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    taken = [
        to_pixels(((1 - along) * path[:-1] + along * path[1:]).reshape(-1, 2))
        for path in paths.values()
    ]
    taken += [to_pixels(p[-1]) + 0.4 * size * point * box for p in paths.values()]
    for text in axes.texts:
        ends = text.get_window_extent().get_points()
        taken.append(ends.mean(0) + np.diff(ends, axis=0) / 2 * box)
    angles = np.arange(0, 2 * np.pi, np.pi / 8)
    turns = np.stack([np.cos(angles), np.sin(angles)], 1)
    turns /= np.abs(turns).max(1, keepdims=True)
    for layer, path in paths.items():
        end = to_pixels(path[-1])
        text = axes.annotate(
            str(layer),
            path[-1],
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size - 1,
            zorder=4,
        )
        text.set_in_layout(False)
        half = np.diff(text.get_window_extent().get_points(), axis=0)[0] / 2
        everything = np.concatenate(taken)
        best, cost = end, math.inf
        for far in (0.5, 1.0, 2.0):
            for turn in turns:
                middle = end + turn * (half + far * size * point)
                outside = np.maximum(low - middle + half, middle + half - high).max()
                hidden = (np.abs(everything - middle) < half + point).all(1).sum()
                if (now := hidden + 8 * far + 50 * max(0.0, outside)) < cost:
                    best, cost = middle, now
        text.set_position(tuple((best - end) / point))
        # Later names avoid this one.
        taken.append(best + half * box)
