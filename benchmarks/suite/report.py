"""Tables and figures of a summary, as `benchmarks/compare.py` writes it."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scikit_posthocs
from matplotlib.figure import Figure
from scipy import stats

from suite.files import load_json, replacing

OURS = "mi "
COLUMNS = 4


def mean(values: Sequence[float | None]) -> float:
    """Mean over seeds, infinite if a run has diverged."""
    if any(value is None for value in values):
        return math.inf
    return float(np.mean(values))  # pyright: ignore[reportArgumentType, reportCallIssue]


def standard_error(values: Sequence[float | None]) -> float:
    """Of the mean over seeds."""
    finite = [value for value in values if value is not None]
    if len(finite) < max(2, len(values)):
        return math.nan
    return float(np.std(finite, ddof=1) / math.sqrt(len(finite)))


def losses(results: Any, tasks: Iterable[str]) -> pd.DataFrame:
    """Mean final test loss, a row a task and a column a method that ran on all."""
    rows = {
        task: {
            method: mean(cell["final"]["test_loss"])
            for method, cell in results["cells"][task].items()
        }
        for task in tasks
    }
    return pd.DataFrame.from_dict(rows, orient="index").dropna(axis="columns")


def ranked_tasks(results: Any) -> list[str]:
    """The classification tasks, where every method can run; without any, all tasks."""
    ran = [task for task, cells in results["cells"].items() if cells]
    return [t for t in ran if results["tasks"][t]["num_classes"]] or ran


def rank_table(results: Any, methods: Iterable[str] | None = None) -> pd.DataFrame:
    """Average ranks by mean final test loss: on all tasks, tuned on, and held out.

    Only methods that ran on every ranked task take part, or `methods`.
    """
    tasks = ranked_tasks(results)
    held = [t for t in tasks if results["tasks"][t]["held_out"]]
    tuned = [t for t in tasks if t not in held]
    columns = {}
    keep = list(losses(results, tasks).columns if methods is None else methods)
    for name, part in (("all", tasks), ("tuned on", tuned), ("held out", held)):
        if part:
            ranks = losses(results, part)[keep].rank(axis=1)
            columns[f"{name} ({len(part)})"] = ranks.mean()
    # How far behind the best of each task, which ranks do not tell.
    table = losses(results, tasks)[keep]
    columns["loss / best"] = np.exp(np.log(table.div(table.min(axis=1), axis=0)).mean())
    return pd.DataFrame(columns).sort_values(next(iter(columns)))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, first column to the left, the rest to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def tables(results: Any) -> str:
    """All tables in Markdown: the ranks, then a table a task."""
    horizon = set(results["knows_horizon"])
    everyone = rank_table(results)
    free = rank_table(results, [m for m in everyone.index if m not in horizon])
    parts = []
    for title, ranks in (
        ("Average rank, all methods", everyone),
        ("Average rank, methods that are not told the number of steps", free),
    ):
        rows = [
            [
                _name(str(method), horizon),
                *(f"{value:.2f}" for value in row[:-1]),
                f"{row[-1]:.3f}",
            ]
            for method, row in zip(ranks.index, ranks.to_numpy(), strict=True)
        ]
        parts += [f"### {title}\n", markdown(["method", *ranks.columns], rows)]
    for task, cells in results["cells"].items():
        info = results["tasks"][task]
        note = "held out" if info["held_out"] else "tuned on"
        parts += [
            f"### {task}: {info['title']} ({note})\n",
            f"{info['steps']} steps of {info['batch']} rows; target: validation loss "
            f"{info['target']:g}.\n",
            _task_table(cells, horizon, info["num_classes"] is not None),
        ]
        for method, reason in results["skipped"].get(task, {}).items():
            parts.append(f"{method}: {reason}\n")
    return "\n".join(parts)


def _task_table(cells: Any, horizon: set[str], classes: bool) -> str:
    base = next(iter(cells.values()))["microseconds_per_step"]
    rows = []
    for method, cell in sorted(
        cells.items(), key=lambda item: mean(item[1]["final"]["test_loss"])
    ):
        final, best = cell["final"], cell["best"]
        steps = [s for s in cell["steps_to_target"] if s is not None]
        all_reach = len(steps) == len(cell["steps_to_target"])
        per_step = cell["microseconds_per_step"]
        rows.append(
            [
                _name(method, horizon),
                f"{cell['learning_rate']:g}{'*' if cell['at_edge'] else ''}",
                f"{mean(final['test_loss']):.4f} ± "
                f"{standard_error(final['test_loss']):.4f}",
                f"{mean(final['test_accuracy']):.2%}" if classes else "-",
                f"{mean(best['test_loss']):.4f}",
                f"{mean(best['test_accuracy']):.2%}" if classes else "-",
                f"{np.mean(steps):.0f}" if all_reach else "-",
                f"{np.mean(steps) * per_step / 1e6:.2g}" if all_reach else "-",
                f"{per_step / base:.2f}",
            ]
        )
    header = (
        "method",
        "LR trial",
        "test loss",
        "accuracy",
        "loss, best epoch",
        "accuracy, best epoch",
        "steps to target",
        "seconds to target",
        "time a step / sgd",
    )
    return markdown(header, rows)


def _name(method: str, horizon: set[str]) -> str:
    name = f"**{method}**" if method.startswith(OURS) else method
    return f"{name} (told the horizon)" if method in horizon else name


def draw_ranks(results: Any) -> Figure:
    """Critical-difference figure: methods joined by a bar cannot be told apart."""
    table = losses(results, ranked_tasks(results))
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
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
            rate = _array(cell["curves"]["learning_rate"]) / cell["learning_rate"]
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
            loss = _array(trials["test_loss"])
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


def write_report(source: Path) -> list[Path]:
    """Writes tables and figures beside the JSON that they show; returns their paths."""
    results, folder = load_json(source), source.parent
    path = folder / "compare.md"
    with replacing(path) as part:
        part.write_text(tables(results))
    paths = [path]
    figures = {
        "curves": lambda: draw_curves(results, results["shown"]),
        "trials": lambda: draw_trials(results, results["shown"]),
    }
    table = losses(results, ranked_tasks(results))
    if len(table) >= 2 and table.shape[1] >= 3:  # What Friedman's test needs.
        figures["ranks"] = lambda: draw_ranks(results)
    for name, draw in figures.items():
        figure = draw()
        paths.append(folder / f"compare-{name}.png")
        with replacing(paths[-1]) as part:
            figure.savefig(part, dpi=110)
        plt.close(figure)
    return paths
