"""Figures of a summary: curves, the learning rates tried, and ranks."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import scikit_posthocs
from matplotlib.figure import Figure
from scipy import stats

from suite.ranking import WHOLE, losses, ranked_tasks

OURS = "mi "
COLUMNS = 4


def draw_ranks(results: Any) -> Figure:
    """Critical-difference figure: rows joined by a bar cannot be told apart."""
    table = losses(results, ranked_tasks(results))
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    ranks = table.rank(axis=1)
    # Nemenyi's test ranks within a row and takes the largest for the best.
    p_values = scikit_posthocs.posthoc_nemenyi_friedman(ranks)
    statistic = stats.friedmanchisquare(*ranks.to_numpy().T)
    scikit_posthocs.critical_difference_diagram(
        ranks.mean().to_dict(),
        p_values,
        ax=axes,
        label_fmt_left="{label} ({rank:.1f})",
        label_fmt_right="({rank:.1f}) {label}",
        color_palette={m: "C3" if m.startswith(OURS) else "0.3" for m in table.columns},
    )
    axes.set_title(
        f"average rank of the final test loss on {len(table)} tasks "
        f"(Friedman p = {statistic.pvalue:.2g}; bars: Nemenyi, 5 %)",
        fontsize=10,
    )
    return figure


def draw_curves(results: Any, methods: Sequence[str]) -> Figure:
    """Test loss over the steps, and below it the learning rate, a panel a task."""
    names = _with_any(results, methods)
    figure, axes = _panels(len(names), (3, 1))
    for place, task in enumerate(names):
        cells = results["cells"][task]
        row, column = divmod(place, COLUMNS)
        top, bottom = axes[2 * row, column], axes[2 * row + 1, column]
        ends = []
        for i, method in enumerate(m for m in methods if m in cells):
            cell = cells[method]
            width = 2 if method.startswith(OURS) else 1.1
            style: Any = {"color": f"C{i}", "lw": width, "label": method}
            loss = _array(cell["curves"]["test_loss"])
            top.plot(cell["steps"], loss, **style)
            ends += [loss[-1], np.nanmin(loss)]
            first = cell["horizons"][WHOLE]["learning_rate"]
            rate = _array(cell["curves"]["learning_rate"]) / first
            bottom.plot(cell["steps"], rate, **style)
        low, high = min(ends), max(ends)
        top.set_ylim(low - 0.1 * (high - low), high + 0.8 * (high - low))
        top.set_title(task, fontsize=10)
        top.tick_params(labelbottom=False)
        bottom.set(yscale="log", ylim=(0.008, 1.3))
        for ax in (top, bottom):
            ax.set_xlim(0, max(cell["steps"][-1] for cell in cells.values()))
        if column == 0:
            top.set_ylabel("test loss")
            bottom.set_ylabel("LR / lr_max")
    _finish(figure, axes, "step")
    return figure


def draw_trials(results: Any, methods: Sequence[str]) -> Figure:
    """Final test loss against the trial, a panel a task."""
    names = _with_any(results, methods)
    figure, axes = _panels(len(names), (1,))
    for place, task in enumerate(names):
        lows, cells = [], results["cells"][task]
        ax = axes[divmod(place, COLUMNS)]
        for i, method in enumerate(m for m in methods if m in cells):
            trials = cells[method]["trials"]
            loss = _array(trials[WHOLE]["test_loss"])
            ax.plot(
                trials["learning_rates"], loss, "o-", ms=3, color=f"C{i}", label=method
            )
            lows.append(np.nanmin(loss))
        ax.set(xscale="log", ylim=(min(lows) * 0.97, min(lows) * 1.6))
        ax.set_title(task, fontsize=10)
        if place % COLUMNS == 0:
            ax.set_ylabel("final test loss")
    _finish(figure, axes, "learning rate")
    return figure


def _with_any(results: Any, methods: Sequence[str]) -> list[str]:
    """The tasks on which any of the methods ran."""
    return [t for t, cells in results["cells"].items() if set(methods) & set(cells)]


def _panels(tasks: int, heights: tuple[int, ...]) -> tuple[Figure, np.ndarray]:
    """Rows of four tasks, each as many axes high as `heights` has entries."""
    rows = -(-tasks // COLUMNS)
    figure, axes = plt.subplots(
        rows * len(heights),
        COLUMNS,
        figsize=(11, (1.1 if len(heights) > 1 else 2.3) * rows * len(heights) + 1.2),
        layout="constrained",
        squeeze=False,
        height_ratios=heights * rows,
    )
    for ax in (
        axes.reshape(rows, len(heights), COLUMNS)
        .swapaxes(1, 2)
        .reshape(rows * COLUMNS, len(heights))[tasks:]
        .ravel()
    ):
        ax.set_axis_off()
    return figure, axes


def _finish(figure: Figure, axes: np.ndarray, xlabel: str) -> None:
    """Labels the last row and adds one legend for all panels."""
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.asarray([math.nan if v is None else v for v in values])
