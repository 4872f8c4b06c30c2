"""The paper's comparison on real images: Fashion-MNIST, many methods, four networks.

An MLP, a LeNet-like CNN, a ResNet with batch norms and an MLP of binary activations,
with the labels as they are, with 30 % of the training labels wrong, or with classes of
1 to 100 in frequency. A method has three learning rates and three seeds, and is judged
at a quarter, a half and all of the budget with the learning rate that is best there on
validation data; "range test" rows find theirs. What is done is kept in the output
folder, a file for every method of every task, so that an interrupted run resumes.
"""

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from suite.arguments import (
    OneLineParser,
    add_names,
    add_output,
    at_least,
    choose,
    folder,
)
from suite.names import FASHION, PAPER, PAPER_CORE
from suite.sources import add_data_dir


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    add_names(parser, "--tasks", FASHION)
    parser.add_argument(
        "--methods",
        type=partial(choose, known=PAPER, groups={"core": PAPER_CORE}),
        default=PAPER,
        help="comma-separated, names or the group 'core'; all by default: "
        + ", ".join(PAPER),
    )
    parser.add_argument("--seeds", type=partial(at_least, 2), default=3)
    parser.add_argument(
        "--short",
        action="store_true",
        help="a tenth of the steps, at most 320; ends in tables",
    )
    add_data_dir(parser)
    add_output(parser, "outputs/images")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--times", action="store_true", help="time the steps of each row instead"
    )
    what.add_argument(
        "--report",
        type=folder,
        metavar="DIR",
        help="write tables and figures of what is kept there instead",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

from compare import budget, find_bounds, run_cell
from rich.console import Console
from suite.fashion import fashion_tasks
from suite.files import load_json
from suite.images_report import write_report
from suite.methods import Method
from suite.paper import ROWS, TIMED, rows_of
from suite.progress import bars
from suite.results import cell_path, machine, save_json
from suite.step_times import step_times
from suite.tasks import Task, shortened

# A range test tries 48 learning rates, each for so many updates, from one start.
RANGE_TEST = {"num_steps": 100, "num_seeds": 1}


def run(task: Task, method: Method, folder: Path, seeds: int, short: bool) -> Any:
    """The rows of a method on a task, or why there are none; kept once they are run."""
    found = find_bounds(task, method, folder, short, **RANGE_TEST)
    if found is not None and found.lr_max is None:
        return f"range test: {found.lr_max_reason}"
    return run_cell(task, method, found, folder, seeds, 3, short)


def times_path(folder: Path, task: Task) -> Path:
    """File of the step times, which are those of the network whatever the labels."""
    return cell_path(folder, task.name.split("-")[0], "step times")


def is_kept(task: Task, method: Method, folder: Path, short: bool) -> bool:
    """Whether a method ran, or its range test found nothing to run with."""
    if cell_path(folder, task.name, method.name).is_file():
        return True
    if not cell_path(folder, task.name, f"{method.name} bounds").is_file():
        return False
    found = find_bounds(task, method, folder, short)
    return found is not None and found.lr_max is None


def kept(tasks: Mapping[str, Task], folder: Path, seeds: int, short: bool) -> Any:
    """Everything that is kept of the tasks, in one piece.

    Nothing is run but what is kept with other settings, such as fewer seeds.
    """
    told = [row for m in ROWS.values() if m.knows_horizon for row in m.rows]
    results: dict[str, Any] = {
        **machine(),
        "seeds": seeds,
        "knows_horizon": told,
        "tasks": {},
        "cells": {},
        "skipped": {},
        "times": {},
    }
    for task in tasks.values():
        cells, skipped = {}, {}
        for name, method in rows_of(task.name).items():
            if not is_kept(task, method, folder, short):
                continue
            found = run(task, method, folder, seeds, short)
            if isinstance(found, str):
                skipped[name] = found
            else:
                cells |= found
        if cells:
            steps = {"steps": budget(task, short)}
            results["tasks"][task.name] = task.describe() | steps
            results["cells"][task.name], results["skipped"][task.name] = cells, skipped
        path = times_path(folder, task)
        if path.is_file():
            results["times"][task.name.split("-")[0]] = load_json(path)
    return results


def report(
    tasks: Mapping[str, Task],
    place: Path,
    folder: Path,
    seeds: int,
    short: bool,
    console: Console,
) -> None:
    """Writes tables and figures of what is kept of the tasks."""
    source = place / "images.json"
    save_json(source, kept(tasks, folder, seeds, short))
    for path in (source, *write_report(source)):
        console.print(f"wrote {path}", soft_wrap=True)


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes tables and figures."""
    args = parse(argv)
    tasks = fashion_tasks(args.data_dir)
    if args.short:
        tasks = {name: shortened(task) for name, task in tasks.items()}
    folder = args.output / "short" if args.short else args.output
    console = Console()
    if args.report is not None:
        report(tasks, args.report, folder, args.seeds, args.short, console)
        return
    with bars(console) as progress:
        each = 1 if args.times else len(args.methods)
        bar = progress.add_task("", total=len(args.tasks) * each)
        for task in (tasks[name] for name in args.tasks):
            if args.times:
                progress.update(bar, description=f"{task.name}, seconds a step")
                save_json(times_path(folder, task), step_times(task, TIMED, "sgd"))
                progress.advance(bar)
                continue
            for name in args.methods:
                progress.update(bar, description=f"{task.name}, {name}")
                run(task, rows_of(task.name)[name], folder, args.seeds, args.short)
                progress.advance(bar)
    if args.short and not args.times:
        tasks = {name: tasks[name] for name in args.tasks}
        report(tasks, folder, folder, args.seeds, True, console)
        console.print((folder / "images.md").read_text(), soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main())
