"""Figures of a training run, its layers and a range test (matplotlib, an extra)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter
except ImportError as error:
    raise ImportError(
        "optax_mi.plotting draws with matplotlib: pip install 'optax-mi[plot]'."
    ) from error

_MI, _LR, _FAINT = "#1b6ca8", "#c44e2b", "#9a9a9a"
_ACCURACY = ("#7a5195", "#2f8f5b", "#b8860b", "#555555")


def plot_training(
    *,
    mi: Sequence[float],
    entropy: Sequence[float],
    learning_rate: Sequence[float],
    accuracy: Mapping[str, Sequence[float]] | None = None,
    title: str | None = None,
) -> Figure:
    """Draws mutual information, learning rate and accuracy over the epochs.

    The mutual information is drawn under the entropy of the labels, the learning rate
    on a log scale; a line through all panels marks every epoch that ended in a decay.

    Args:
      mi: I(outputs; labels) of each epoch, nats.
      entropy: H(labels) of each epoch, nats; for real labels infinite, and not drawn.
      learning_rate: the learning rate after each epoch.
      accuracy: from a name, such as "test", to an accuracy in [0, 1] for each epoch;
        None leaves the panel out.
      title: title of the figure, or None.

    Returns:
      A `matplotlib.figure.Figure`, not tied to pyplot: `figure.savefig("run.png")`.

    Raises:
      ValueError: the sequences differ in length, or are empty.

    Example:
      >>> from optax_mi.plotting import plot_training
      >>> figure = plot_training(
      ...     mi=[0.9, 1.9, 2.1],
      ...     entropy=[2.3, 2.3, 2.3],
      ...     learning_rate=[0.3, 0.3, 0.16],
      ...     accuracy={"train": [0.5, 0.9, 0.95], "test": [0.5, 0.88, 0.93]},
      ... )
      >>> len(figure.axes)
      3
    """
    curves = {"mi": mi, "entropy": entropy, "learning_rate": learning_rate}
    curves |= {
        f"accuracy[{name!r}]": values for name, values in (accuracy or {}).items()
    }
    _check_lengths(curves)
    epochs = range(1, len(mi) + 1)
    rates = itertools.pairwise(learning_rate)
    decays = [e for e, (old, new) in enumerate(rates, start=2) if new < old]
    panels = 3 if accuracy else 2
    figure = Figure(figsize=(7.0, 2.3 * panels), layout="constrained")
    axes = figure.subplots(panels, sharex=True)
    if title:
        figure.suptitle(title, fontsize=12)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        for epoch in decays:
            panel.axvline(epoch, color=_FAINT, linewidth=0.6, alpha=0.35)
    _draw_mi(axes[0], epochs, mi, entropy)
    _draw_rates(axes[1], epochs, learning_rate, decays)
    if accuracy:
        _draw_accuracies(axes[2], epochs, accuracy)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels(axes)
    return figure


def plot_range_test(result: Any, ax: Axes | None = None) -> Axes:
    """Draws mutual information and loss against the learning rate, and the bounds.

    Lines are means over the seeds, bands go from the lowest to the highest of them, and
    crosses mark learning rates at which a run diverged.

    Args:
      result: the :class:`optax_mi.LRRangeResult` of a range test.
      ax: axes to draw in; None makes a figure, the `.figure` of what is returned.

    Returns:
      The axes of the mutual information, in nats; those of the loss share their x axis.
    """
    if ax is None:
        ax = Figure(figsize=(7.0, 4.0), layout="constrained").subplots()
    lrs = result.learning_rates
    lost = np.asarray(result.diverged.any(1))
    losses = ax.twinx()
    for panel, values, color, label in (
        (losses, result.loss, _FAINT, "loss"),
        (ax, result.mi, _MI, "mutual information (nats)"),
    ):
        kept = np.where(lost[:, None], math.nan, values)
        panel.plot(lrs, kept.mean(1), color=color, marker="o", markersize=2.5)
        panel.fill_between(
            lrs, kept.min(1), kept.max(1), color=color, alpha=0.2, linewidth=0
        )
        panel.set_ylabel(label, color=color)
        panel.spines["top"].set_visible(False)
    ax.set(xscale="log", xlabel="learning rate")
    # The loss is the background, drawn below.
    ax.set_zorder(losses.get_zorder() + 1)
    ax.patch.set_visible(False)
    top = np.nanmax(result.mi[~lost], initial=0.0)
    entropy = math.inf if lost.all() else float(np.mean(result.entropy[~lost]))
    if entropy < 1.5 * top:
        top = max(top, entropy)
        ax.axhline(entropy, color=_FAINT, linestyle="--", linewidth=1.0)
        ax.annotate(
            "H(labels)",
            (0, entropy),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=8,
            color="#666666",
        )
    ax.set_ylim(0, 1.12 * top or 1.0)
    if lost.any():
        ax.plot(lrs[lost], np.zeros(lost.sum()), "x", color=_LR, clip_on=False)
    for name, style, side in (("lr_max", "-", "left"), ("lr_min", "--", "right")):
        if (bound := getattr(result, name)) is not None:
            ax.axvline(bound, color=_LR, linestyle=style, linewidth=1.4)
            ax.annotate(
                f"{name} {bound:.3g}",
                (bound, 1.01),
                xycoords=("data", "axes fraction"),
                ha=side,
                fontsize=9,
                color=_LR,
            )
    return ax


def plot_auto(result: Any) -> Figure:
    """Draws the runs of :func:`optax_mi.auto`, and how it chose among them.

    On the left the held-out loss of the averaged weights over the updates, one line a
    learning rate, up to the loss before any training; on the right what averaging
    gains at each learning rate that ran for long enough, and `lr_max`.

    Args:
      result: an :class:`optax_mi.AutoResult`.

    Returns:
      A `matplotlib.figure.Figure`, not tied to pyplot: `figure.savefig("auto.png")`.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
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
        color=_MI,
    )
    right.axhline(1.5, color=_FAINT, linestyle="--", linewidth=1.0)
    right.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="gain by averaging (%)",
    )
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlim(min(rates) / 1.5, max(rates) * 1.5)
    if result.lr_max is not None:
        right.axvline(result.lr_max, color=_LR, linewidth=1.4)
        right.annotate(
            f"lr_max {result.lr_max:.3g}",
            (result.lr_max, 1.01),
            xycoords=("data", "axes fraction"),
            fontsize=9,
            color=_LR,
        )
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def plot_layers(
    *,
    mi: Mapping[str, Sequence[float]],
    entropy: Sequence[float],
    learning_rate: Mapping[str, Sequence[float]],
    title: str | None = None,
) -> Figure:
    """Draws what every layer knows and its learning rate, over epochs and over depth.

    On the left the mutual information of each layer under the entropy of the labels,
    and each learning rate on a log scale; on the right the mutual information along the
    layers, one line an epoch.

    Args:
      mi: from each layer, in the order of the network, to I(activation; labels) of each
        epoch, nats.
      entropy: H(labels) of each epoch, nats.
      learning_rate: from each layer to its learning rate after each epoch.
      title: title of the figure, or None.

    Returns:
      A `matplotlib.figure.Figure`, not tied to pyplot: `figure.savefig("layers.png")`.

    Raises:
      TypeError, ValueError: the sequences differ in length, or are empty; `mi` or
        `learning_rate` is no mapping or has no layers; they have other layers.

    Example:
      >>> from optax_mi.plotting import plot_layers
      >>> figure = plot_layers(
      ...     mi={"conv": [0.4, 0.6], "dense": [0.9, 1.9]},
      ...     entropy=[2.3, 2.3],
      ...     learning_rate={"conv": [0.3, 0.3], "dense": [0.3, 0.16]},
      ... )
      >>> len(figure.axes)  # the last is the scale of the epochs
      4
    """
    for name, layers in (("mi", mi), ("learning_rate", learning_rate)):
        if not isinstance(layers, Mapping) or not layers:
            raise TypeError(
                f"{name} must be a mapping from each layer to its values, got "
                f"{layers!r:.60}."
            )
    if set(mi) != set(learning_rate):
        raise ValueError(
            f"mi and learning_rate must have the same layers, got {list(mi)} and "
            f"{list(learning_rate)}."
        )
    curves = {"entropy": entropy}
    for name, layers in (("mi", mi), ("learning_rate", learning_rate)):
        curves |= {f"{name}[{layer!r}]": values for layer, values in layers.items()}
    _check_lengths(curves)

    epochs = range(1, len(entropy) + 1)
    figure = Figure(figsize=(10.0, 5.0), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.15, 1.0))
    over_epochs = figure.add_subplot(grid[0, 0])
    rates = figure.add_subplot(grid[1, 0], sharex=over_epochs)
    over_depth = figure.add_subplot(grid[:, 1])
    if title:
        figure.suptitle(title, fontsize=12)
    top = _draw_ceiling(over_epochs, epochs, entropy)
    colors = colormaps["plasma"](np.linspace(0.05, 0.8, len(mi)))
    for (layer, values), color in zip(mi.items(), colors, strict=True):
        over_epochs.plot(epochs, values, "o-", color=color, markersize=3, label=layer)
        rates.plot(
            epochs,
            learning_rate[layer],
            color=color,
            marker="o",
            markersize=3,
            drawstyle="steps-post",
        )
    rates.set(yscale="log", xlabel="epoch", ylabel="learning rate")
    rates.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    # Learning rates only fall: the lower left is free.
    rates.legend(
        handles=over_epochs.lines[-len(mi) :],
        frameon=False,
        fontsize=8,
        loc="lower left",
    )
    over_epochs.tick_params(labelbottom=False)
    _draw_depth(over_depth, mi, entropy)
    top = 1.12 * max(top, *(max(values) for values in mi.values()))
    for panel in (over_epochs, over_depth):
        panel.set_ylim(0, top or 1.0)
        panel.set_ylabel("mutual information (nats)")
    for panel in figure.axes[:3]:
        panel.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels([over_epochs, rates])
    return figure


def _check_lengths(curves: Mapping[str, Sequence[float]]) -> None:
    """Raises unless every curve has as many values, and some."""
    lengths = {name: len(values) for name, values in curves.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"All curves need one value per epoch, got lengths {lengths}.")


def _draw_depth(
    axes: Axes, mi: Mapping[str, Sequence[float]], entropy: Sequence[float]
) -> None:
    """A line an epoch through what the layers know, dark for early epochs."""
    places = range(len(mi))
    scale = ScalarMappable(Normalize(1, max(2, len(entropy))), "viridis")
    colors = scale.to_rgba(np.arange(1, len(entropy) + 1))
    for values, color in zip(zip(*mi.values(), strict=True), colors, strict=True):
        axes.plot(places, values, "o-", color=color, linewidth=1.0, markersize=3.5)
    axes.axhline(entropy[-1], color=_FAINT, linestyle="--", linewidth=1.2)
    long = sum(map(len, mi)) > 40
    axes.set_xticks(places, list(mi), rotation=30 if long else 0)
    axes.set_xlim(-0.3, len(mi) - 0.7)
    axes.set_xlabel("layer, from the input to the output")
    axes.figure.colorbar(scale, ax=axes, label="epoch", aspect=40, pad=0.02)


def _draw_mi(
    axes: Axes, epochs: range, mi: Sequence[float], entropy: Sequence[float]
) -> None:
    top = max(max(mi), _draw_ceiling(axes, epochs, entropy))
    if math.isfinite(max(entropy)):
        axes.fill_between(epochs, mi, entropy, color=_FAINT, alpha=0.12, linewidth=0)
    axes.plot(epochs, mi, color=_MI, marker="o", markersize=3)
    axes.set_ylabel("mutual information\n(nats)")
    axes.set_ylim(0, top * 1.15 or 1.0)


def _draw_ceiling(axes: Axes, epochs: range, entropy: Sequence[float]) -> float:
    """The entropy of the labels, and its largest value; of real labels nothing, 0."""
    if not math.isfinite(max(entropy)):
        return 0.0
    axes.plot(epochs, entropy, color=_FAINT, linestyle="--", linewidth=1.2)
    axes.annotate(
        "H(labels): all there is to know",
        (epochs[-1], entropy[-1]),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="#666666",
    )
    return max(entropy)


def _draw_rates(
    axes: Axes, epochs: range, learning_rate: Sequence[float], decays: Sequence[int]
) -> None:
    axes.plot(epochs, learning_rate, color=_LR, drawstyle="steps-post")
    marked = [learning_rate[epoch - 1] for epoch in decays]
    axes.plot(decays, marked, "v", color=_LR, markersize=6, label="decay")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 10 * low:  # Powers of ten would say nothing of what lies between two.
        for set_formatter in (
            axes.yaxis.set_major_formatter,
            axes.yaxis.set_minor_formatter,
        ):
            set_formatter(StrMethodFormatter("{x:g}"))
    if decays:
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.set_ylabel("learning rate")


def _draw_accuracies(
    axes: Axes, epochs: range, accuracy: Mapping[str, Sequence[float]]
) -> None:
    for (name, values), color in zip(
        accuracy.items(), itertools.cycle(_ACCURACY), strict=False
    ):
        label = f"{name}: {values[-1]:.1%} at the end"
        axes.plot(epochs, values, color=color, marker="o", markersize=3, label=label)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_ylabel("accuracy")
