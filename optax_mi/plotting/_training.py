"""A figure of a training run."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optax_mi.plotting._shared import (
    FAINT,
    GREEN,
    LR_COLOR,
    MI_COLOR,
    ORANGE,
    PURPLE,
    QUIET,
    draw_ceiling,
    label_epochs,
    label_rates,
    marker_of,
    read_curves,
)

_ACCURACY = (PURPLE, GREEN, ORANGE, QUIET)
# More lines would merge into a gray background.
_MOST_DECAYS = 40


def plot_training(
    *,
    mi: Sequence[float],
    entropy: Sequence[float],
    learning_rate: Sequence[float],
    accuracy: Mapping[str, Sequence[float]] | None = None,
    title: str | None = None,
) -> Figure:
    """Draws mutual information, learning rate and accuracy over the epochs.

    It draws the mutual information under the entropy of the labels, and the learning
    rate on a log scale. A line through all panels marks every epoch that ended in a
    decay, unless there are more than 40 of them.

    Args:
      mi: I(outputs; labels) of each epoch, nats.
      entropy: H(labels) of each epoch, nats; infinite for real labels, and then not
        drawn.
      learning_rate: the learning rate after each epoch.
      accuracy: a mapping from a name, such as "test", to the accuracy in [0, 1] of each
        epoch; None leaves the panel out.
      title: title of the figure, or None.

    Returns:
      A `matplotlib.figure.Figure`, not tied to pyplot: `figure.savefig("run.png")`.

    Raises:
      TypeError, ValueError: the sequences differ in length, are empty, or have elements
        that are not numbers or are infinite; or `accuracy` is not a mapping.

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
    if accuracy is not None and not isinstance(accuracy, Mapping):
        raise TypeError(
            "accuracy must be a mapping from each name to its values, got "
            f"{accuracy!r:.60}."
        )
    shares = {f"accuracy[{name!r}]": row for name, row in (accuracy or {}).items()}
    curves = read_curves(
        {"mi": mi, "entropy": entropy, "learning_rate": learning_rate} | shares
    )
    epochs = range(1, len(curves["mi"]) + 1)
    falls = np.diff(curves["learning_rate"]) < 0
    decays = [epoch for epoch, fell in enumerate(falls, start=2) if fell]
    decays = decays if len(decays) <= _MOST_DECAYS else []
    panels = 3 if accuracy else 2
    figure = Figure(figsize=(7.0, 2.3 * panels), layout="constrained")
    axes = figure.subplots(panels, sharex=True)
    if title:
        figure.suptitle(title, fontsize=12)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        for epoch in decays:
            panel.axvline(epoch, color=FAINT, linewidth=0.6, alpha=0.35)
    _draw_mi(axes[0], epochs, curves["mi"], curves["entropy"])
    _draw_rates(axes[1], epochs, curves["learning_rate"], decays)
    if accuracy:
        rows = [curves[key] for key in shares]
        _draw_accuracies(axes[2], epochs, dict(zip(accuracy, rows, strict=True)))
    label_epochs(axes[-1], epochs)
    figure.align_ylabels(axes)
    return figure


def _draw_mi(axes: Axes, epochs: range, mi: np.ndarray, entropy: np.ndarray) -> None:
    ceiling = draw_ceiling(axes, epochs, entropy, "H(labels): all there is to know")
    if ceiling:
        axes.fill_between(epochs, mi, entropy, color=FAINT, alpha=0.12, linewidth=0)
    axes.plot(epochs, mi, color=MI_COLOR, **marker_of(epochs))
    axes.set_ylabel("mutual information\n(nats)")
    axes.set_ylim(0, 1.15 * max(ceiling, np.nanmax(mi, initial=0.0)) or 1.0)


def _draw_rates(
    axes: Axes, epochs: range, learning_rate: np.ndarray, decays: Sequence[int]
) -> None:
    axes.plot(
        epochs,
        learning_rate,
        color=LR_COLOR,
        drawstyle="steps-post",
        marker="o" if len(epochs) == 1 else "",
        markersize=3,
    )
    if decays:
        marked = [learning_rate[epoch - 1] for epoch in decays]
        axes.plot(decays, marked, "v", color=LR_COLOR, markersize=6, label="decay")
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    label_rates(axes)


def _draw_accuracies(
    axes: Axes, epochs: range, accuracy: Mapping[str, np.ndarray]
) -> None:
    for (name, values), color in zip(
        accuracy.items(), itertools.cycle(_ACCURACY), strict=False
    ):
        label = f"{name}: {values[-1]:.1%} at the end"
        axes.plot(epochs, values, color=color, label=label, **marker_of(epochs))
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_ylabel("accuracy")
