"""How all figures of results look, and how they are saved."""

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optax_mi.plotting._shared import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
)
from suite.files import replacing

OURS = "mi "
WIDTH = 7.3  # inches: 700 pixels of a page, so that fonts have their size there
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.markersize": 3,
    "figure.constrained_layout.use": True,
}
# Where lines have no color of their own.
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
METHODS = {
    "sgd": FAINT,
    "sgd cosine": BLACK,
    "sgd plateau": FAINT,
    "mi sgd": ORANGE,
    "mi sgd + average": VERMILLION,
    "lars": ORANGE,
    "rmsprop": PURPLE,
    "adam": "#882255",
    "adamw cosine": SKY,
    "schedule-free adamw": GREEN,
    "mi adamw": PURPLE,
    "mi adamw + average": BLUE,
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """The look of all figures, for as long as one is drawn; a decorator too."""
    with plt.rc_context(STYLE):
        yield


def line_of(method: str, place: int) -> dict[str, Any]:
    """Color, width and order of a method's line: thin ones lie on thick ones.

    Methods without a color of their own get one by their place among those drawn.
    """
    other = COLORS[place % len(COLORS)]
    color = METHODS.get(method.replace(" range test", ""), other)
    return line_style(method, color, thick=method.startswith(OURS))


def line_style(label: str, color: str, thick: bool) -> dict[str, Any]:
    """A line's color, width and order: thin ones lie on thick ones."""
    return {
        "color": color,
        "linewidth": 2.4 if thick else 1.1,
        "zorder": 2.0 if thick else 2.1,
        "label": label,
    }


def show_error(axes: Axes, place: float, values: Any, color: str) -> None:
    """A bar of the mean over seeds and its standard error."""
    seen = np.asarray(values, float)
    error = seen.std(ddof=1) / np.sqrt(len(seen))
    axes.errorbar(
        place, seen.mean(), error, color=color, linewidth=1.1, capsize=1.5, zorder=2.2
    )


def panels(count: int, columns: int, heights: Sequence[float]) -> tuple[Figure, Any]:
    """A figure of panels [count, len(heights)], and a free place at its end.

    Each panel is a stack of axes of those heights, inches. The figure has `columns`
    panels a row and no axes where none is needed.
    """
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows * len(heights),
        columns,
        figsize=(WIDTH, rows * sum(heights)),
        height_ratios=list(heights) * rows,
        squeeze=False,
    )
    stacks = axes.reshape(rows, len(heights), columns).swapaxes(1, 2)
    stacks = stacks.reshape(rows * columns, len(heights))
    for ax in stacks[count:].ravel():
        ax.set_axis_off()
    return figure, stacks


def legend_below(
    figure: Figure, lines: dict[str, Any], columns: int, note: str
) -> None:
    """One legend for all panels, from labels to lines, and a note above it."""
    figure.legend(
        list(lines.values()),
        list(lines),
        loc="outside lower center",
        ncols=columns,
        title=note or None,
    )


def legend_among(stacks: Any, count: int, lines: dict[str, Any], note: str) -> None:
    """One legend in the place after the last of `count` panels, or below them all."""
    if count == len(stacks):
        legend_below(stacks[0][0].figure, lines, 3, note)
        return
    stacks[count][0].legend(
        list(lines.values()),
        list(lines),
        loc="upper left",
        bbox_to_anchor=(-0.2, 1.25),
        title=textwrap.fill(note, 32),
        alignment="left",
        labelspacing=0.25,
    ).set_in_layout(False)


def lines_of(axes: Axes) -> dict[str, Any]:
    """From labels to the lines of the axes."""
    lines, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, lines, strict=True))


def save(figure: Figure, path: Path) -> None:
    """Writes the figure, whole or not at all, and closes it."""
    with replacing(path) as part:
        figure.savefig(part, dpi=150)
    plt.close(figure)
