"""Tables and curves of `benchmarks/images.py`, from what it has kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from suite.figures import OURS
from suite.files import load_json, replacing
from suite.markdown import markdown, number
from suite.ranking import WHOLE, mean, standard_error

HORIZONS = ("1/4", "1/2", WHOLE)
# What the other rows are held against: nothing is given to it.
CHOSEN = "mi sgd range test + average"
# Rows of the figures, in colours that the colour-blind tell apart (Okabe-Ito, Tol).
COLOURS = {
    "sgd cosine": "#000000",
    "sgd plateau": "#999999",
    "lars": "#E69F00",
    "rmsprop": "#CC79A7",
    "adam": "#882255",
    "adamw cosine": "#56B4E9",
    "schedule-free adamw": "#009E73",
    "mi sgd range test + average": "#D55E00",
    "mi adamw range test + average": "#0072B2",
}


def write_report(source: Path) -> list[Path]:
    """Writes tables and figures beside the JSON that they show; returns their paths."""
    results, folder = load_json(source), source.parent
    paths = [folder / "images.md"]
    with replacing(paths[0]) as part:
        part.write_text(tables(results))
    for task in results["cells"]:
        figure = draw(results, task)
        paths.append(folder / f"images-{task}.png")
        with replacing(paths[-1]) as part:
            figure.savefig(part, dpi=110)
        plt.close(figure)
    return paths


def tables(results: Any) -> str:
    """Every row against ours, then a table a task, with accuracy under noise."""
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


def draw(results: Any, task: str) -> Figure:
    """Test loss and accuracy over the steps, and over the time that they take."""
    cells, scales = results["cells"][task], ["steps"]
    if _times(results, task):
        scales.append("time, in steps of sgd")
    size = (5 * len(scales), 6.4)
    figure, axes = plt.subplots(
        2, len(scales), figsize=size, sharex="col", sharey="row", squeeze=False
    )
    shown = [row for row in COLOURS if row in cells]
    for row in shown:
        steps = np.asarray(cells[row]["steps"])
        places = steps, steps * _step_time(results, task, row)
        for axis, name in zip(axes, ("test_loss", "test_accuracy"), strict=True):
            for ax, x in zip(axis, places, strict=False):
                ax.plot(
                    x,
                    np.asarray(cells[row]["curves"][name], float),
                    color=COLOURS[row],
                    lw=2.2 if row.startswith(OURS) else 1.3,
                    label=row,
                )
    for axis, name in zip(axes, ("test_loss", "test_accuracy"), strict=True):
        axis[0].set_ylim(*_limits([cells[row]["curves"][name] for row in shown]))
    axes[0, 0].set_ylabel("test loss, nats")
    axes[1, 0].set_ylabel("test accuracy")
    for ax, scale in zip(axes[1], scales, strict=True):
        ax.set_xlabel(scale)
    figure.suptitle(results["tasks"][task]["title"])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower center", ncols=2 + (len(scales) > 1), fontsize=9
    )
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    return figure


def _limits(curves: Sequence[Sequence[float | None]]) -> tuple[float, float]:
    """Room for all but the first values, which would flatten the rest."""
    later = np.asarray([curve[2:] for curve in curves], float)
    low, high = np.nanmin(later), np.nanmax(later)
    margin = 0.06 * (high - low)
    return low - margin, high + margin
