"""A figure of the runs of `auto`."""

import math
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from optax_mi.plotting._shared import FAINT, LR_COLOR, MI_COLOR


def plot_auto(result: Any) -> Figure:
    """Draws the runs of :func:`optax_mi.auto`, and how it chose among them.

    The left panel shows the held-out loss of the averaged weights over the updates,
    with one line per learning rate, up to the loss before training. The right panel
    shows `lr_max`, and the gain of averaging at each learning rate that ran long
    enough.

    Args:
      result: an :class:`optax_mi.AutoResult`.

    Returns:
      A `matplotlib.figure.Figure`, not tied to pyplot: `figure.savefig("auto.png")`.
    """
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    rates = [run.learning_rate for run in result.runs]
    shade = colormaps["viridis"].resampled(len(rates) + 1)
    for i, run in enumerate(result.runs):
        long = len(run.updates) > 1
        left.plot(
            [0, *run.updates],
            [result.untrained, *run.loss],
            color=shade(i),
            linewidth=2.2 if i == result.longest else 1.1,
            marker="" if long else "o",
            markersize=3,
            label=f"{run.learning_rate:.2g}",
        )
    lowest = min(run.loss.min() for run in result.runs)
    room = 0.1 * abs(result.untrained - lowest)
    left.set_ylim(lowest - room, result.untrained + 2 * room)
    left.set(xlabel="updates", ylabel="held-out loss, averaged weights")
    left.legend(title="learning rate", fontsize=8, title_fontsize=8, frameon=False)
    known = [run for run in result.runs if math.isfinite(run.gain)]
    right.plot(
        [run.learning_rate for run in known],
        [100 * run.gain for run in known],
        "o-",
        color=MI_COLOR,
    )
    right.axhline(1.5, color=FAINT, linestyle="--", linewidth=1.0)
    right.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="gain by averaging (%)",
    )
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlim(min(rates) / 1.5, max(rates) * 1.5)
    if result.lr_max is not None:
        right.axvline(result.lr_max, color=LR_COLOR, linewidth=1.4)
        right.annotate(
            f"lr_max {result.lr_max:.3g}",
            (result.lr_max, 1.01),
            xycoords=("data", "axes fraction"),
            fontsize=9,
            color=LR_COLOR,
        )
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
    return figure
