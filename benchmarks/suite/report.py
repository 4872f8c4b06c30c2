"""Tables and figures of a summary, as `benchmarks/compare.py` writes it."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from suite.figures import draw_curves, draw_ranks, draw_trials
from suite.files import load_json, replacing
from suite.markdown import markdown, number
from suite.ranking import (
    PARTS,
    WHOLE,
    ablation,
    losses,
    mean,
    rank_table,
    ranked_tasks,
    standard_error,
    steady_rates,
)
from suite.results import HORIZONS
from suite.style import OURS, save

TITLES = {
    "1/8": "an eighth of the budget",
    "1/4": "a quarter of the budget",
    "1/2": "half of the budget",
    WHOLE: "the full budget",
}


def tables(results: Any) -> str:
    """All tables in Markdown: what each part adds, ranks, then a table a task."""
    parts = []
    for base in PARTS:
        parts += _ablation_tables(results, base)
    for horizon in reversed(HORIZONS):
        parts += [
            f"### At {TITLES[horizon]}\n",
            _rank_rows(results, horizon),
        ]
    for task, cells in results["cells"].items():
        info = results["tasks"][task]
        note = "held out" if info["held_out"] else "tuned on"
        parts += [
            f"### {task}: {info['title']} ({note})\n",
            f"{info['steps']} steps with batches of {info['batch']}; target: "
            f"validation loss {info['target']:g}.\n",
        ]
        if cells:
            parts.append(_task_table(results, task))
        for method, reason in results["skipped"].get(task, {}).items():
            parts.append(f"{method}: {reason}\n")
    return "\n".join(parts)


def _rank_rows(results: Any, horizon: str) -> str:
    """The rows of `rank_table`."""
    ranks = rank_table(results, horizon)
    shown = {"loss / cosine": ".3f", "±": ".3f", "loss / best": ".3f"}
    shown["accuracy"] = ".2%"
    rows = [
        [
            _name(results, str(row)),
            *(
                number(float(value), shown.get(column, ".2f"))
                for column, value in zip(ranks.columns, values, strict=True)
            ),
        ]
        for row, values in zip(ranks.index, ranks.to_numpy(float), strict=True)
    ]
    return markdown(["method", *ranks.columns], rows)


def _ablation_tables(results: Any, base: str) -> list[str]:
    """Titles and tables of what each part adds, none where "neither" did not run."""
    parts = []
    for whole_grid in (False, True):
        lines = ablation(results, base, whole_grid)
        if not lines:
            continue
        rows = []
        for line in lines:
            row = [line.name]
            for horizon in HORIZONS:
                error = line.error[horizon]
                loss = number(line.loss[horizon], ".3f")
                row += [
                    loss if math.isnan(error) else f"{loss} ± {error:.3f}",
                    number(line.accuracy[horizon], ".2%"),
                ]
            rows.append(row)
        header = [base]
        for horizon in HORIZONS:
            header += [f"loss, {horizon}", f"accuracy, {horizon}"]
        where = "the whole grid" if whole_grid else "the best learning rate"
        parts += [f"### What each part adds to {base}: {where}\n"]
        if whole_grid:
            kept = {t: len(steady_rates(results, base, t)) for t in _classes(results)}
            counts = ", ".join(f"{count} on {task}" for task, count in kept.items())
            parts.append(
                f"Learning rates at which {base} alone ends below ln C: {counts}.\n"
            )
        parts.append(markdown(header, rows))
    return parts


def _classes(results: Any) -> list[str]:
    """The tasks of the ablation."""
    return [t for t in ranked_tasks(results) if results["tasks"][t]["num_classes"]]


def _task_table(results: Any, task: str) -> str:
    """Every row of a task, by test loss at the whole budget."""
    cells = results["cells"][task]
    base = next(iter(cells.values()))["microseconds_per_step"]
    rows = []
    for name, cell in sorted(
        cells.items(), key=lambda item: mean(item[1]["horizons"][WHOLE]["test_loss"])
    ):
        whole, best = cell["horizons"][WHOLE], cell["best"]
        steps = cell["steps_to_target"]
        error = standard_error(whole["test_loss"])
        rows.append(
            [
                _name(results, name),
                f"{whole['learning_rate']:g}{'*' if whole['at_edge'] else ''}",
                f"{number(mean(whole['test_loss']), '.4f')} ± {error:.4f}",
                _accuracy(whole),
                *(
                    number(mean(cell["horizons"][horizon]["test_loss"]), ".4f")
                    for horizon in HORIZONS
                    if horizon != WHOLE
                ),
                number(mean(best["test_loss"]), ".4f"),
                _accuracy(best),
                "-" if None in steps else f"{np.mean(steps):.0f}",
                f"{cell['microseconds_per_step'] / base:.2f}",
            ]
        )
    header = (
        "method",
        "LR trial",
        "test loss",
        "accuracy",
        *(f"loss, {horizon}" for horizon in HORIZONS if horizon != WHOLE),
        "loss, best epoch",
        "accuracy, best epoch",
        "steps to target",
        f"time per step / {next(iter(cells))}",
    )
    return markdown(header, rows)


def _accuracy(figures: Any) -> str:
    """Mean over seeds; a dash in a regression."""
    return number(mean(figures["test_accuracy"]), ".2%")


def _name(results: Any, row: str) -> str:
    name = f"**{row}**" if row.startswith(OURS) else row
    return f"{name} (told the horizon)" if row in results["knows_horizon"] else name


def write_report(source: Path) -> list[Path]:
    """Writes tables and figures beside the JSON that they show; returns their paths."""
    path = source.with_name("compare.md")
    with replacing(path) as part:
        part.write_text(tables(load_json(source)))
    return [path, *write_figures(source)]


def write_figures(source: Path) -> list[Path]:
    """Draws what the JSON holds, beside it; returns the paths."""
    results, paths = load_json(source), []
    figures = {
        "curves": lambda: draw_curves(results, results["shown"]),
        "trials": lambda: draw_trials(results, results["shown"]),
    }
    table = losses(results, ranked_tasks(results))
    if len(table) >= 2 and table.shape[1] >= 3:  # What Friedman's test needs.
        figures["ranks"] = lambda: draw_ranks(results)
    for name, draw in figures.items():
        paths.append(source.with_name(f"compare-{name}.png"))
        save(draw(), paths[-1])
    return paths
