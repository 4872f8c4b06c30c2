"""Compares ways to train: every method on every task, at equal tuning budgets.

Methods are judged at an eighth, a quarter, a half and all of the budget. Those that are
not told the horizon are measured on the way; those that are told, in a run for each. A
method tries the same number of learning rates on every task, all on the same seeds. At
each horizon the trial with the lowest validation loss there is reported, on test data.
What is done is kept in the output folder, so that an interrupted run resumes, and
tables and figures are drawn anew from what is kept.
"""

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from suite.arguments import (
    OneLineParser,
    add_output,
    at_least,
    choose,
    folder,
    python_file,
)
from suite.names import CORE, IMAGES, TASKS, UNTUNED
from suite.names import METHODS as TUNED
from suite.sources import check_told_apart

GROUPS = {"core": CORE, "untuned": UNTUNED}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "--add",
        type=python_file,
        metavar="FILE",
        help="Python file with tasks and methods of your own: see docs/comparison.md",
    )
    parser.add_argument(
        "--tasks",
        help=f"comma-separated; all by default: {', '.join((*TASKS, *IMAGES))}",
    )
    parser.add_argument(
        "--methods",
        help=f"comma-separated, names or groups ({', '.join(GROUPS)}); all by default: "
        + ", ".join((*TUNED, *UNTUNED)),
    )
    parser.add_argument("--seeds", type=partial(at_least, 2), default=5)
    parser.add_argument(
        "--trials",
        type=int,
        choices=range(1, 8),
        default=7,
        help="learning rates a method",
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="a tenth of the steps, at most 320, and fewer images to judge by",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder with the files of MNIST, CIFAR, ..., or with a folder for each",
    )
    add_output(parser, "outputs/compare")
    parser.add_argument(
        "--report",
        type=folder,
        metavar="DIR",
        help="of tables and figures; --output by default",
    )
    args = parser.parse_args(argv)
    if args.add is None:  # whose names are known once it is imported
        chosen(args, (*TASKS, *IMAGES), (*TUNED, *UNTUNED))
    return args


def chosen(
    args: argparse.Namespace, tasks: Iterable[str], methods: Iterable[str]
) -> tuple[list[str], list[str]]:
    """The names of tasks and of methods that are asked for; exits if one is unknown."""
    found = []
    for option, known, groups in (("tasks", tasks, {}), ("methods", methods, GROUPS)):
        names, text = list(known), vars(args)[option]
        try:
            found.append(names if text is None else choose(text, names, groups))
        except argparse.ArgumentTypeError as error:
            OneLineParser().error(f"argument --{option}: {error}")
    return found[0], found[1]


if __name__ == "__main__":
    parse()  # before what is slow to import

import numpy as np
from rich.console import Console
from rich.table import Table
from suite.added import Added, joined, read_added
from suite.bounds import suggest
from suite.files import load_json, replacing
from suite.markdown import number
from suite.methods import METHODS, Method
from suite.progress import bars
from suite.ranking import losses, rank_table, ranked_tasks
from suite.report import write_report
from suite.results import (
    EVALUATIONS,
    HORIZONS,
    cell_path,
    load_cell,
    machine,
    save_cell,
    save_json,
    summarise,
)
from suite.tasks import Task, bundled_tasks, image_tasks, shortened
from suite.training import train
from suite.untuned import UNTUNED as GIVEN_NOTHING
from suite.untuned import search, setting_of

from optax_mi import LRRangeResult

SHOWN = (
    "sgd",
    "sgd cosine",
    "mi sgd",
    "mi sgd + average",
    "adamw cosine",
    "schedule-free adamw",
    "mi adamw",
    "mi adamw + average",
)
# The most steps of a short run.
SHORT = 320
# Columns that fit a terminal; the report has the others.
IN_TERMINAL = (
    "rank",
    "test loss",
    "not told",
    "loss / cosine",
    "loss / best",
    "accuracy",
)


def budget(task: Task, short: bool) -> int:
    """Steps of the whole budget: whole ones at every measurement."""
    steps = min(task.steps // 10, SHORT) if short else task.steps
    return max(1, steps // EVALUATIONS) * EVALUATIONS


def find_bounds(
    task: Task, method: Method, folder: Path, short: bool, **how: Any
) -> LRRangeResult | None:
    """A method's range test on a task, done now unless it is kept.

    `how` goes to :func:`suggest`; a short test has 40 steps whatever it says.
    """
    if method.tested is None:
        return None
    path = cell_path(folder, task.name, f"{method.name} bounds")
    how |= {"num_steps": 40} if short else {}
    if not path.is_file():
        found = suggest(task, method.tested, **how)
        with replacing(path) as part:
            part.write_text(found.to_json() + "\n")
    try:
        return LRRangeResult.from_json(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def find_settings(
    task: Task, method: Method, folder: Path, seeds: int, short: bool
) -> list[dict[str, float]]:
    """What `auto` finds for each seed in a tenth of the steps; kept once it is run."""
    assert method.searched is not None
    path = cell_path(folder, task.name, f"{method.name} search")
    updates = max(60, budget(task, short) // 10)
    if not path.is_file() or len(load_json(path)["settings"]) < seeds:
        found = [search(task, method.searched, seed, updates) for seed in range(seeds)]
        reports = [str(each).splitlines() for each in found]
        settings = [setting_of(each) for each in found]
        if not all(settings):
            raise ValueError(f"{task.name}, {method.name}: {found[settings.index({})]}")
        save_json(path, {"updates": updates, "settings": settings, "reports": reports})
    kept = load_json(path)["settings"][:seeds]
    # JSON has no infinity.
    return [{name: np.inf if v is None else v for name, v in k.items()} for k in kept]


def run_cell(
    task: Task,
    method: Method,
    found: LRRangeResult | None,
    folder: Path,
    seeds: int,
    trials: int,
    short: bool,
) -> Any:
    """The summary of each row of a cell, run now unless its figures are kept."""
    settings: Any
    if method.searched is not None:
        each = find_settings(task, method, folder, seeds, short)
        rates = (float(np.median([own["lr_max"] for own in each])),)
        settings = {
            name: np.asarray([[own[name] for own in each]], np.float32)
            for name in each[0]
        }
    elif found is None:
        # A short run tries every other learning rate, so that it spans the same range.
        rates = method.trials[:: -(-len(method.trials) // trials)]
        settings = np.asarray(rates, np.float32)
    else:
        assert found.lr_max is not None
        rates = (found.lr_max,)
        low = found.lr_min or found.lr_max / 100
        settings = tuple(np.asarray([rate], np.float32) for rate in (*rates, low))
    steps = budget(task, short)
    config = {
        "learning_rates": rates,
        "seeds": seeds,
        "steps": steps,
        "evaluations": EVALUATIONS,
        "batch": task.batch,
        "steps_per_epoch": task.steps_per_epoch,
        "rows": list(method.rows),
    }
    path = cell_path(folder, task.name, method.name)
    runs = load_cell(path, config)
    if runs is None:
        whole = {"all": EVALUATIONS}
        measured = {
            horizon: train(
                task,
                method,
                settings,
                range(seeds),
                steps=steps // EVALUATIONS * place,
                # A run that is told a shorter horizon is of use at its end alone.
                evaluations=EVALUATIONS if place == EVALUATIONS else 1,
                paired=method.searched is not None,
            )
            for horizon, place in (HORIZONS if method.knows_horizon else whole).items()
        }
        runs = save_cell(path, config, measured)
    return {row: summarise(runs, row, rates, task.target) for row in method.rows}


def find_tasks(
    names: list[str], added: dict[str, Task], data_dir: Path | None, console: Console
) -> list[Task]:
    """The tasks of these names whose data are there; says how to get the others'.

    Raises:
      ValueError: there are none, or two would read the same files.
    """
    images, missing = image_tasks(data_dir)
    tasks = {task.name: task for task in bundled_tasks()} | images | added
    if data_dir is not None:
        sets = (n.replace("fashion_mlp", "fashion_mnist") for n in names if n in images)
        check_told_apart(sets, data_dir)
    for name in names:
        if name in missing:
            console.print(f"skipped {name}: {missing[name]}", soft_wrap=True)
    found = [tasks[name] for name in names if name not in missing]
    if not found:
        raise ValueError("no task is left to run")
    return found


def in_terminal(results: Any) -> Table:
    """The ranks; of a single task the test loss too."""
    ranks = rank_table(results)
    if len(tasks := ranked_tasks(results)) == 1:
        ranks.insert(1, "test loss", losses(results, tasks).iloc[0])
    shown = [name for name in ranks if str(name).split(" (")[0] in IN_TERMINAL]
    # Ratios to rows that did not run are not numbers.
    ranks = ranks[shown].dropna(axis="columns", how="all")
    table = Table(title="at all of the budget")
    for column in ("method", *ranks.columns):
        table.add_column(str(column), justify="left" if column == "method" else "right")
    for method, row in zip(ranks.index, ranks.to_numpy(float), strict=True):
        table.add_row(str(method), *(number(value, ".3g") for value in row))
    return table


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes tables and figures."""
    args, console = parse(argv), Console()
    try:
        added = read_added(args.add) if args.add else Added({}, {}, "")
        methods = joined(METHODS | GIVEN_NOTHING, added.methods)
        tasks, names = chosen(
            args, joined(dict.fromkeys((*TASKS, *IMAGES)), added.tasks), methods
        )
        tasks = find_tasks(tasks, added.tasks, args.data_dir, console)
        for task in tasks:
            reasons = {name: methods[name].unfit(task.num_classes) for name in names}
            if all(reasons.values()):
                raise ValueError(f"no method fits {task.name}: {reasons}")
    except ValueError as error:
        OneLineParser().error(str(error))
    if args.short:
        tasks = [shortened(task) for task in tasks]
    folder = args.output / "short" if args.short else args.output
    rows = {row: methods[name] for name in names for row in methods[name].rows}
    results: dict[str, Any] = {
        **machine(),
        "seeds": args.seeds,
        "trials": args.trials,
        "knows_horizon": [row for row, of in rows.items() if of.knows_horizon],
        "rivals": {row: of.rival for row, of in rows.items()},
        "shown": [
            row
            for row, of in rows.items()
            if row in SHOWN or of.name in added.methods or not rows.keys() & set(SHOWN)
        ],
        "tasks": {
            task.name: task.describe() | {"steps": budget(task, args.short)}
            for task in tasks
        },
        "cells": {},
        "skipped": {},
    }
    with bars(console) as progress:
        bar = progress.add_task("", total=len(tasks) * len(names))
        for task in tasks:
            cells: dict[str, Any] = {}
            results["cells"][task.name] = cells
            for name in names:
                progress.update(bar, description=f"{task.name}, {name}")
                method = methods[name]
                own = task.name in added.tasks or name in added.methods
                place = folder / added.folder if own else folder
                reason, found = method.unfit(task.num_classes), None
                if not reason:
                    found = find_bounds(task, method, place, args.short)
                    if found is not None and found.lr_max is None:
                        reason = f"range test: {found.lr_max_reason}"
                if reason:
                    results["skipped"].setdefault(task.name, {})[name] = reason
                else:
                    cells |= run_cell(
                        task, method, found, place, args.seeds, args.trials, args.short
                    )
                progress.advance(bar)
    source = (args.report or folder) / "compare.json"
    save_json(source, results)
    paths = [source, *write_report(source)]
    results = load_json(source)
    console.print(in_terminal(results))
    for path in paths:
        console.print(f"wrote {path}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
