"""Tables and curves of `benchmarks/images.py`, from what it has kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from optax_mi.plotting._shared import name_lines
from suite.files import load_json, replacing
from suite.markdown import markdown, number
from suite.ranking import WHOLE, mean, standard_error
from suite.style import OURS, line_of, panels, save, show_error, styled

HORIZONS = ("1/4", "1/2", WHOLE)
# What the other rows are held against: nothing is given to it.
CHOSEN = "mi sgd range test + average"
# Rows of the figures.
SHOWN = (
    "sgd cosine",
    "sgd plateau",
    "lars",
    "rmsprop",
    "adam",
    "adamw cosine",
    "schedule-free adamw",
    "mi sgd range test + average",
    "mi adamw range test + average",
)


def write_report(source: Path) -> list[Path]:
    """Writes tables and figures beside the JSON that they show; returns their paths."""
    path = source.with_name("images.md")
    with replacing(path) as part:
        part.write_text(tables(load_json(source)))
    return [path, *write_figures(source)]


def write_figures(source: Path) -> list[Path]:
    """Draws what the JSON holds, beside it; returns the paths."""
    results, paths = load_json(source), []
    for task in results["cells"]:
        paths.append(source.with_name(f"images-{task}.png"))
        save(draw(results, task), paths[-1])
    return paths


def tables(results: Any) -> str:
    """Every row against ours, then a table a task, with accuracy under noise."""
    parts = []
    if any(CHOSEN in cells for cells in results["cells"].values()):
        parts = [
            f"### Every method compared with **{CHOSEN}**\n",
            "Final test loss and steps to the target, each divided by the value of "
            "that method:\n",
            _ratio_table(results),
        ]
    for task, cells in results["cells"].items():
        info = results["tasks"][task]
        parts += [
            f"### {info['title']}\n",
            f"{info['steps']} steps with batches of {info['batch']}; target: a "
            f"validation loss of {info['target']:g}.\n",
            _task_table(results, task),
        ]
        parts += [f"{row}: {why}\n" for row, why in results["skipped"][task].items()]
        if any(cell["noise"] for cell in cells.values()):
            parts += [
                "Accuracy on 2,000 test images under noise of the given L2 norm:\n",
                _noise_table(cells),
            ]
    return "\n".join(parts)


def _ratio_table(results: Any) -> str:
    """A line a row, in the order of their mean ratio of losses; a column a task."""
    columns = {
        task: cells for task, cells in results["cells"].items() if CHOSEN in cells
    }
    names = dict.fromkeys(row for cells in columns.values() for row in cells)
    lines = []
    for name in names:
        ratios, line = [], []
        for cells in columns.values():
            if name not in cells:
                line.append("-")
                continue
            ours, theirs = cells[CHOSEN], cells[name]
            loss = _end_loss(theirs) / _end_loss(ours)
            steps = _steps_to_target(theirs) / _steps_to_target(ours)
            ratios.append(loss)
            line.append(f"{number(loss, '.3f')}, {number(steps, '.1f')}")
        lines.append((float(np.mean(ratios)), [name, *line]))
    lines.sort(key=lambda line: line[0])
    return markdown(["method", *columns], [line for _, line in lines])


def _end_loss(cell: Any) -> float:
    return mean(cell["horizons"][WHOLE]["test_loss"])


def _task_table(results: Any, task: str) -> str:
    """Every row of a task, by test loss at the end."""
    rows = []
    for name, cell in _by_loss(results["cells"][task]):
        ends = [cell["horizons"][horizon] for horizon in HORIZONS]
        losses = [number(mean(end["test_loss"]), ".4f") for end in ends]
        losses[-1] += f" ± {number(standard_error(ends[-1]['test_loss']), '.4f')}"
        steps = _steps_to_target(cell)
        ratio = _step_time(results, task, name)
        rows.append(
            [
                f"**{name}**" if name.startswith(OURS) else name,
                f"{ends[-1]['learning_rate']:.2g}{'*' if ends[-1]['at_edge'] else ''}",
                *losses,
                *(number(mean(end["test_accuracy"]), ".2%") for end in ends),
                number(ratio, ".2f"),
                number(steps, ".0f"),
                number(steps * ratio, ".0f"),
            ]
        )
    header = [
        "method",
        "LR",
        *(f"loss, {horizon}" for horizon in HORIZONS),
        *(f"accuracy, {horizon}" for horizon in HORIZONS),
        "time per step / sgd",
        "steps to target",
        "time to target, in sgd steps",
    ]
    return markdown(header, rows)


def _noise_table(cells: Any) -> str:
    kinds = sorted(
        next(iter(cells.values()))["noise"],
        key=lambda kind: (kind.split()[0], float(kind.split()[1])),
    )
    rows = [
        [name, *(number(mean(cell["noise"][kind]), ".1%") for kind in kinds)]
        for name, cell in _by_loss(cells)
    ]
    return markdown(["method", *kinds], rows)


def _by_loss(cells: Any) -> list[tuple[str, Any]]:
    return sorted(cells.items(), key=lambda item: _end_loss(item[1]))


def _steps_to_target(cell: Any) -> float:
    """Mean over seeds; nan if one of them never comes there."""
    steps = [np.nan if n is None else n for n in cell["steps_to_target"]]
    return float(np.mean(steps))


def _times(results: Any, task: str) -> Any:
    """The step times of the task's network, empty if they were not measured.

    The time that binary activations take is not told apart from that of the MLP.
    """
    net = task.split("-")[0]
    return results["times"].get("mlp" if net == "binary" else net, {})


def _step_time(results: Any, task: str, row: str) -> float:
    """Time of a step over that of sgd; bounds from a range test change nothing."""
    found = _times(results, task).get(row.replace(" range test", ""))
    return found["ratio"] if found else np.nan


@styled()
def draw(results: Any, task: str) -> Figure:
    """Test loss and accuracy over the updates, and over the time that they take."""
    cells, scales = results["cells"][task], ["updates"]
    if _times(results, task):
        scales.append("time, in updates of sgd")
    metrics = {"test_loss": "test loss, nats", "test_accuracy": "test accuracy, %"}
    figure, stacks = panels(len(scales), len(scales), (2.3, 2.1))
    shown = [row for row in SHOWN if row in cells] or list(cells)
    for i, (metric, label) in enumerate(metrics.items()):
        factor = 100 if metric == "test_accuracy" else 1
        curves = {
            row: factor * np.asarray(cells[row]["curves"][metric], float)
            for row in shown
        }
        for stack, scale in zip(stacks, scales, strict=True):
            ax = stack[i]
            for j, (row, curve) in enumerate(curves.items()):
                slower = 1 if scale == "updates" else _step_time(results, task, row)
                steps = slower * np.asarray(cells[row]["steps"])
                style = line_of(row, j)
                ax.plot(steps, curve, **style)
                if scale == "updates":
                    ends = np.asarray(cells[row]["horizons"][WHOLE][metric], float)
                    place = (1.02 + 0.015 * j) * steps[-1]
                    show_error(ax, place, factor * ends, style["color"])
            ax.set_ylim(*_limits(list(curves.values())))
            if i:
                ax.set_xlabel(scale)
            else:
                ax.tick_params(labelbottom=False)
        stacks[0][i].set_ylabel(label)
    figure.suptitle(
        f"Fashion-MNIST, {results['tasks'][task]['title']}: means of "
        f"{results['seeds']} seeds, bars at the end: standard error",
        fontsize=8,
    )
    for ax in stacks[-1]:
        name_lines(ax)
    return figure


def _limits(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Room for all but the first values, which would flatten the rest."""
    later = np.asarray([curve[2:] for curve in curves])
    low, high = np.nanmin(later), np.nanmax(later)
    margin = 0.06 * (high - low)
    return low - margin, high + margin
