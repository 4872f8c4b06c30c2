"""A figure of a range test of the learning rate."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optax_mi.plotting._shared import FAINT, LR_COLOR, MI_COLOR, QUIET


def plot_range_test(result: Any, ax: Axes | None = None) -> Axes:
    """Draws mutual information and loss against the learning rate, and the bounds.

    Lines show means over the seeds, bands the range from the lowest to the highest, and
    crosses the learning rates at which a run diverged.

    Args:
      result: the :class:`optax_mi.LRRangeResult` of a range test.
      ax: axes to draw in; None makes a figure, the `.figure` of the returned axes.

    Returns:
      The axes of the mutual information, in nats; the axes of the loss share their x
      axis.
    """
    if ax is None:
        ax = Figure(figsize=(7.0, 4.0), layout="constrained").subplots()
    lrs = result.learning_rates
    lost = np.asarray(result.diverged.any(1))
    losses = ax.twinx()
    for panel, values, color, label in (
        (losses, result.loss, FAINT, "loss"),
        (ax, result.mi, MI_COLOR, "mutual information (nats)"),
    ):
        kept = np.where(lost[:, None], math.nan, values)
        panel.plot(lrs, kept.mean(1), color=color, marker="o", markersize=2.5)
        panel.fill_between(
            lrs, kept.min(1), kept.max(1), color=color, alpha=0.2, linewidth=0
        )
        panel.set_ylabel(label, color=QUIET if color == FAINT else color)
        panel.spines["top"].set_visible(False)
    ax.set(xscale="log", xlabel="learning rate")
    # Draw the loss below the mutual information.
    ax.set_zorder(losses.get_zorder() + 1)
    ax.patch.set_visible(False)
    top = np.nanmax(result.mi[~lost], initial=0.0)
    entropy = math.inf if lost.all() else float(np.mean(result.entropy[~lost]))
    if entropy < 1.5 * top:
        top = max(top, entropy)
        ax.axhline(entropy, color=FAINT, linestyle="--", linewidth=1.0)
        ax.annotate(
            "H(labels)",
            (0, entropy),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=8,
            color=QUIET,
        )
    ax.set_ylim(0, 1.12 * top or 1.0)
    if lost.any():
        ax.plot(lrs[lost], np.zeros(lost.sum()), "x", color=LR_COLOR, clip_on=False)
    for name, style, side in (("lr_max", "-", "left"), ("lr_min", "--", "right")):
        if (bound := getattr(result, name)) is not None:
            ax.axvline(bound, color=LR_COLOR, linestyle=style, linewidth=1.4)
            ax.annotate(
                f"{name} {bound:.3g}",
                (bound, 1.01),
                xycoords=("data", "axes fraction"),
                ha=side,
                fontsize=9,
                color=LR_COLOR,
            )
    return ax
