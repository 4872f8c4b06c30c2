"""Methods that are given nothing, against tuned ones.

`auto` on momentum sgd and on adamw, each seed with a search of its own in a tenth of
the steps; rivals that ask for no learning rate, at their published defaults; and adamw
at its usual ones. On the tasks of `compare.py`, five seeds, and on some of `images.py`,
three. The tuned rows, which have the best of seven learning rates, or of three on
images, are those of their tables in `docs/results`. What is done is kept in the output
folder, so that an interrupted run resumes.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from suite.arguments import OneLineParser, add_names, add_output, at_least, folder
from suite.names import TASKS
from suite.sources import add_data_dir, missing_fashion

IMAGES = ("mlp-clean", "mlp-wrong", "mlp-rare")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    known = (*TASKS, *IMAGES)
    add_names(parser, "--tasks", known)
    parser.add_argument(
        "--seeds", type=partial(at_least, 2), help="5, and 3 on images, by default"
    )
    parser.add_argument(
        "--short", action="store_true", help="a tenth of the steps, at most 320"
    )
    add_data_dir(parser, needed=False)
    add_output(parser, "outputs/untuned")
    parser.add_argument(
        "--report",
        type=folder,
        metavar="DIR",
        help="of the tables; --output by default",
    )
    args = parser.parse_args(argv)
    reason = missing_fashion(args.data_dir)
    if reason and set(args.tasks) <= set(IMAGES):
        parser.error(reason)
    return args


if __name__ == "__main__":
    parse()  # before what is slow to import

import numpy as np
from compare import budget, find_settings, run_cell
from rich.console import Console
from scipy.stats import rankdata
from suite.fashion import fashion_tasks
from suite.files import load_json, replacing
from suite.markdown import markdown, number
from suite.progress import bars
from suite.results import machine, save_json
from suite.tasks import Task, bundled_tasks, shortened
from suite.untuned import UNTUNED

RESULTS = Path(__file__).parents[1] / "docs" / "results"
# Rows with the learning rate that is best on validation data.
TUNED = (
    "mi sgd + average",
    "mi adamw + average",
    "sgd cosine",
    "adamw cosine",
    "schedule-free adamw",
    "adamw + average",
    "prodigy",
    "dog + average",
)
# What each `auto` row would be with the best learning rate that was tried.
BEST_OF = {"auto sgd": "mi sgd + average", "auto adamw": "mi adamw + average"}


def final_losses(cell: Any) -> list[float]:
    """Test losses of a row at the end, of each seed."""
    return cell["horizons"]["all"]["test_loss"]


def run_task(task: Task, folder: Path, seeds: int, short: bool) -> dict[str, Any]:
    """Every row that is given nothing."""
    rows: dict[str, Any] = {}
    for name, method in UNTUNED.items():
        cells = run_cell(task, method, None, folder, seeds, 1, short)
        rows[name] = {"test_loss": final_losses(cells[name])}
        if method.searched is not None:
            found = find_settings(task, method, folder, seeds, short)
            rows[name]["settings"] = found
    return rows


def tuned_rows(task: str) -> dict[str, Any]:
    """The tuned rows of a task that are in the tables."""
    for source in ("compare.json", "images.json"):
        cells = load_json(RESULTS / source)["cells"].get(task)
        if cells is not None:
            return {
                row: {"test_loss": final_losses(cells[row])}
                for row in TUNED
                if row in cells
            }
    return {}


def mean(row: Any) -> float:
    """Mean over the seeds, infinite where one of them diverged."""
    losses = np.array(row["test_loss"], float)
    return float(np.nan_to_num(losses, nan=np.inf).mean())


def as_markdown(results: Any) -> str:
    """Ranks and losses; then, of `auto`, the share above the best of its trials."""
    tasks = results["tasks"]
    text = ""
    for title, names in (
        ("Suite", [name for name in tasks if name not in IMAGES]),
        ("Fashion-MNIST", [name for name in tasks if name in IMAGES]),
    ):
        if names:
            losses = {name: tasks[name] for name in names}
            text += f"### {title}\n\n{_loss_table(losses)}\n"
    return f"{text}### `auto` and the same method, tuned\n\n{_regret_table(tasks)}"


def _loss_table(tasks: Any) -> str:
    """A row a method: average ranks, and the mean test loss of each task."""
    rows = [*UNTUNED, *TUNED]
    losses = np.array(
        [
            [mean(cells[row]) if row in cells else np.nan for cells in tasks.values()]
            for row in rows
        ]
    )
    # A rank is that of a row that has finished every task.
    full = [i for i in range(len(rows)) if np.isfinite(losses[i]).all()]
    among_all = dict(zip(full, rankdata(losses[full], axis=0).mean(1), strict=True))
    given = [i for i, row in enumerate(UNTUNED) if not UNTUNED[row].knows_horizon]
    among_given = dict(zip(given, rankdata(losses[given], axis=0).mean(1), strict=True))
    return markdown(
        ["method", "rank, all", "rank, given nothing", *tasks],
        [
            [
                f"**{row}**" if row in BEST_OF else row,
                number(among_all.get(i, np.nan), ".1f"),
                number(among_given.get(i, np.nan), ".1f"),
                *(number(loss, ".4g") for loss in losses[i]),
            ]
            for i, row in enumerate(rows)
        ],
    )


def _regret_table(tasks: Any) -> str:
    """How far `auto` ends above the best trial of the method that it sets."""
    rows = []
    for task, cells in tasks.items():
        row = [task]
        for ours, best in BEST_OF.items():
            shown = "-"
            if best in cells:
                ratios = np.array(cells[ours]["test_loss"], float)
                ratios = ratios / np.array(cells[best]["test_loss"], float)
                error = ratios.std(ddof=1) / np.sqrt(len(ratios))
                more = mean(cells[ours]) / mean(cells[best]) - 1
                shown = f"{more:+.1%} ± {error:.1%}"
            found = cells[ours]["settings"]
            rates = [own["lr_max"] for own in found]
            limited = sum(own["lr_sum_max"] is not None for own in found)
            row += [shown, f"{min(rates):.2g} to {max(rates):.2g}", str(limited)]
        rows.append(row)
    header = ["task"]
    for ours in BEST_OF:
        header += [ours, "`lr_max`", "runs with a limit"]
    return markdown(header, rows)


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes the tables."""
    args = parse(argv)
    console = Console()
    tasks = {task.name: task for task in bundled_tasks()}
    if reason := missing_fashion(args.data_dir):
        skipped = [name for name in args.tasks if name in IMAGES]
        if skipped:
            console.print(f"skipped {', '.join(skipped)}: {reason}", soft_wrap=True)
    else:
        images = fashion_tasks(args.data_dir)
        tasks |= {name: images[name] for name in IMAGES}
    if args.short:
        tasks = {name: shortened(task) for name, task in tasks.items()}
    names = [name for name in args.tasks if name in tasks]
    folder = args.output / "short" if args.short else args.output
    results: dict[str, Any] = {**machine(), "tasks": {}, "steps": {}}
    with bars(console) as progress:
        bar = progress.add_task("", total=len(names))
        for name in names:
            progress.update(bar, description=name)
            seeds = args.seeds or (3 if name in IMAGES else 5)
            rows = run_task(tasks[name], folder, seeds, args.short)
            tuned = {} if args.short else tuned_rows(name)
            results["tasks"][name] = rows | tuned
            results["steps"][name] = budget(tasks[name], args.short)
            progress.advance(bar)
    target = args.report or folder
    save_json(target / "untuned.json", results)
    text = as_markdown(load_json(target / "untuned.json"))
    with replacing(target / "untuned.md") as part:
        part.write_text(text)
    console.print(text)


if __name__ == "__main__":
    sys.exit(main())
