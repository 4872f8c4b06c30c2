"""What the figures share: colors, checks, names of lines, scales of learning rates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)

# The colors of Okabe and Ito, which color-blind readers tell apart. Their yellow is
# left out: on white it cannot be seen.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
FAINT, QUIET = "#9a9a9a", "#666666"
MI_COLOR, LR_COLOR = BLUE, VERMILLION


def read_curves(curves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every curve as float64 [E]; raises unless all have as many values, and some.

    A gap may be nan, and what is named "entropy" infinite.
    """
    rows = {}
    for name, values in curves.items():
        try:
            rows[name] = np.asarray(values, float)
        except (TypeError, ValueError):
            rows[name] = np.array(math.nan)
        if rows[name].ndim != 1:
            raise TypeError(
                f"{name} must be a sequence of numbers, one per epoch, got "
                f"{values!r:.60}."
            )
        if name != "entropy" and np.isinf(rows[name]).any():
            raise ValueError(f"{name} must be finite, got {values!r:.60}.")
    lengths = {name: len(row) for name, row in rows.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"All curves need one value per epoch, got lengths {lengths}.")
    return rows


def read_layers(
    layers: Mapping[str, Any], **curves: Any
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """From each name in `layers` to its curves by layer, and the other curves.

    Raises unless all of `layers` are mappings of the same keys, and all fit.
    """
    for name, curves_of in layers.items():
        if not isinstance(curves_of, Mapping) or not curves_of:
            raise TypeError(
                f"{name} must be a mapping from each layer to its values, got "
                f"{curves_of!r:.60}."
            )
    (first, order), *others = layers.items()
    for name, curves_of in others:
        if set(curves_of) != set(order):
            raise ValueError(
                f"{first} and {name} must have the same layers, got {list(order)} and "
                f"{list(curves_of)}."
            )
    flat = {
        f"{name}[{layer!r}]": layers[name][layer] for name in layers for layer in order
    }
    rows = read_curves({**curves, **flat})
    nested = {
        name: {layer: rows[f"{name}[{layer!r}]"] for layer in order} for name in layers
    }
    return nested, {name: rows[name] for name in curves}


def draw_ceiling(axes: Axes, epochs: range, entropy: np.ndarray, label: str) -> float:
    """The entropy of the labels, and its largest value; of real labels nothing, 0."""
    if not math.isfinite(top := np.nanmax(entropy, initial=0.0)):
        return 0.0
    dash = "_" if len(epochs) == 1 else ""
    axes.plot(epochs, entropy, f"{dash}--", color=FAINT, linewidth=1.2, markersize=12)
    axes.annotate(
        label,
        (epochs[-1], entropy[-1]),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=QUIET,
    )
    return float(top)


def name_lines(axes: Axes, fontsize: float = 8) -> None:
    """Writes each line's label to the right of the axes, in the line's color.

    Labels that would overlap move apart, and a thin line leads to the end of each. Call
    this last: limits, scale and height of the axes must be final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []
    for line in axes.lines:
        points = to_axes.transform(line.get_xydata())
        points = points[np.isfinite(points).all(1)]
        if len(points) and not str(line.get_label()).startswith("_"):
            ends.append((line, points[-1].clip(0, 1)))
    ends.sort(key=lambda end: end[1][1])
    height = 72 * axes.get_window_extent().height / figure.dpi
    places = spread_out([y for _, (_, y) in ends], 1.25 * fontsize / height)
    for (line, end), y in zip(ends, places, strict=True):
        color = line.get_color()
        axes.annotate(
            str(line.get_label()),
            end,
            xycoords="axes fraction",
            xytext=(1.06, y),
            textcoords="axes fraction",
            fontsize=fontsize,
            color=color,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.6,
                "relpos": (0, 0.5),
            },
        )


def spread_out(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Places at least `gap` apart, as near as can be to those wanted, which rise.

    They stay between 0 and 1 where there is room.
    """
    steps = gap * np.arange(len(wanted))
    if not len(steps):
        return steps
    lowest = gap / 2
    highest = max(lowest, 1 - gap / 2 - steps[-1])
    # Slow to import, and needed only where lines are named.
    from scipy.optimize import isotonic_regression

    # With the gaps taken out of them, places rise.
    level = isotonic_regression(np.asarray(wanted) - steps).x
    return level.clip(lowest, highest) + steps


def marker_of(epochs: range) -> dict[str, Any]:
    """A dot an epoch, unless there are so many that they hide the line."""
    return {"marker": "o" if len(epochs) <= 60 else "", "markersize": 3}


def label_epochs(axes: Axes, epochs: range) -> None:
    """Whole numbers below the axes, also below a single epoch."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(epochs) == 1:
        axes.set_xticks(epochs)


def label_rates(axes: Axes) -> None:
    """A log scale of learning rates, whose labels are apart and are at least two.

    Where some are 0, the scale is linear from there to the lowest other.
    """
    axes.set_ylabel("learning rate")
    low, high = axes.dataLim.intervaly
    if high == 0:
        axes.set_ylim(-0.05, 1)
        axes.set_yticks([0], ["0"])
        return
    if low == 0:
        _label_rates_from_zero(axes, axes.dataLim.minposy, high)
        return
    axes.set_yscale("log")
    if low == high:
        axes.set_ylim(low / 2, 2 * low)
    low, high = axes.get_ylim()
    if high >= 100 * low:
        return
    # Matplotlib writes no label between powers of ten, or one at each of 1 to 9.
    axes.yaxis.set_major_locator(
        MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
        if high < 5 * low
        else LogLocator(subs=(1, 2, 5))
    )
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _label_rates_from_zero(axes: Axes, low: float, high: float) -> None:
    """Labels 0, and the learning rates from `low` to `high` on a log scale above it."""
    axes.set_yscale("symlog", linthresh=low, linscale=0.5)
    subs = (1.0,) if high >= 100 * low else (1.0, 2.0, 5.0)
    ticks = LogLocator(subs=subs).tick_values(low, high)
    ticks = [tick for tick in ticks if low <= tick <= high] or [high]
    axes.set_yticks([0, *ticks], [f"{tick:g}" for tick in (0, *ticks)])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.2 * low, 1.2 * high)
