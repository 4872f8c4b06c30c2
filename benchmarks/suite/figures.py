"""Figures of a summary: curves, the learning rates tried, and ranks."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import scikit_posthocs
from matplotlib.figure import Figure
from scipy import stats

from optax_mi.plotting._shared import BLUE, QUIET
from suite.ranking import WHOLE, losses, ranked_tasks
from suite.style import (
    OURS,
    WIDTH,
    legend_among,
    line_of,
    lines_of,
    panels,
    show_error,
    styled,
)

COLUMNS = 3


@styled()
def draw_ranks(results: Any) -> Figure:
    """Critical-difference figure: rows joined by a bar cannot be told apart."""
    table = losses(results, ranked_tasks(results))
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    ranks = table.rank(axis=1)
    # Nemenyi's test ranks within a row and takes the largest for the best.
    p_values = scikit_posthocs.posthoc_nemenyi_friedman(ranks)
    statistic = stats.friedmanchisquare(*ranks.to_numpy().T)
    scikit_posthocs.critical_difference_diagram(
        ranks.mean().to_dict(),
        p_values,
        ax=axes,
        label_fmt_left="{label}, {rank:.1f} ",
        label_fmt_right=" {rank:.1f}, {label}",
        color_palette={m: BLUE if m.startswith(OURS) else QUIET for m in table.columns},
        marker_props={"s": 16},
        elbow_props={"linewidth": 1.0},
        crossbar_props={"linewidth": 2.0},
    )
    axes.spines["top"].set_visible(True)
    axes.set_title(
        f"average rank of the final test loss on {len(table)} classification tasks, "
        f"1 is best (Friedman p = {statistic.pvalue:.2g})\n"
        "bars join methods that Nemenyi's test at 5 % cannot tell apart"
    )
    return figure


@styled()
def draw_curves(results: Any, methods: Sequence[str]) -> Figure:
    """Test loss over the updates, and below it the learning rate, a panel a task."""
    names = _with_any(results, methods)
    figure, stacks = panels(len(names), COLUMNS, (1.6, 0.65))
    for task, (top, bottom) in zip(names, stacks, strict=False):
        cells = results["cells"][task]
        ends, last = [], max(cell["steps"][-1] for cell in cells.values())
        for i, method in enumerate(m for m in methods if m in cells):
            cell, style = cells[method], line_of(method, i)
            loss = np.asarray(cell["curves"]["test_loss"], float)
            top.plot(cell["steps"], loss, **style)
            show_error(top, (1.02 + 0.015 * i) * last, _ends(cell), style["color"])
            ends += [loss[-1], np.nanmin(loss)]
            first = cell["horizons"][WHOLE]["learning_rate"]
            rate = np.asarray(cell["curves"]["learning_rate"], float) / first
            bottom.plot(cell["steps"], rate, **style)
        low, high = min(ends), max(ends)
        # A single row may be at its lowest at the end.
        height = (high - low) or high or 1.0
        top.set_ylim(low - 0.15 * height, high + 0.8 * height)
        top.tick_params(labelbottom=False)
        bottom.set(ylim=(0, 1.1), yticks=(0, 1))
        for ax in (top, bottom):
            ax.set_xlim(0, 1.15 * last)
    _finish(
        results,
        names,
        stacks,
        ("test loss, nats", "LR /\nlr_max"),
        "updates",
        "means of {seeds} seeds, and the standard error at the end; below, the "
        "learning rate of mi_decay",
    )
    return figure


@styled()
def draw_trials(results: Any, methods: Sequence[str]) -> Figure:
    """Final test loss against the trial, a panel a task."""
    names = _with_any(results, methods)
    figure, stacks = panels(len(names), COLUMNS, (1.9,))
    for task, (ax,) in zip(names, stacks, strict=False):
        lows, cells = [], results["cells"][task]
        for i, method in enumerate(m for m in methods if m in cells):
            cell, style = cells[method], line_of(method, i)
            trials = cell["trials"]
            loss = np.asarray(trials[WHOLE]["test_loss"], float)
            ax.plot(trials["learning_rates"], loss, "o-", **style)
            chosen = cell["horizons"][WHOLE]["learning_rate"]
            show_error(ax, chosen, _ends(cell), style["color"])
            lows.append(np.nanmin(loss))
        ax.set(xscale="log", ylim=(min(lows) * 0.97, min(lows) * 1.6))
    _finish(
        results,
        names,
        stacks,
        ("test loss, nats",),
        "learning rate",
        "means of {seeds} seeds at the end; bars: standard error at the learning rate "
        "with the lowest validation loss",
    )
    return figure


def _ends(cell: Any) -> Any:
    """Test loss of each seed after all of the budget, nan where it diverged."""
    return cell["horizons"][WHOLE]["test_loss"]


def _with_any(results: Any, methods: Sequence[str]) -> list[str]:
    """The tasks on which any of the methods ran."""
    return [t for t, cells in results["cells"].items() if set(methods) & set(cells)]


def _finish(
    results: Any,
    names: Sequence[str],
    stacks: np.ndarray,
    ylabels: Sequence[str],
    xlabel: str,
    note: str,
) -> None:
    """Titles, labels at the edges, and one legend where a place is free, or below."""
    lines: dict[str, Any] = {}
    for place, (task, stack) in enumerate(zip(names, stacks, strict=False)):
        stack[0].set_title(_title(results["tasks"][task]["title"], task))
        lines |= lines_of(stack[0])
        if place % COLUMNS == 0:
            for ax, label in zip(stack, ylabels, strict=True):
                ax.set_ylabel(label)
        if not results["tasks"][task]["num_classes"]:
            stack[0].set_ylabel("squared error / 2")
        if place + COLUMNS >= len(names):
            stack[-1].set_xlabel(xlabel)
    legend_among(stacks, len(names), lines, note.format(seeds=results["seeds"]))


def _title(text: str, name: str) -> str:
    """The name of a task, and below it what it is, in a few words."""
    return f"{name}\n{text.split(',')[0].split(':')[0]}"
