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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from suite.bounds import suggest
from suite.files import load_json, replacing
from suite.methods import GROUPS as TUNED_GROUPS
from suite.methods import METHODS as TUNED
from suite.methods import Method
from suite.progress import bars
from suite.ranking import rank_table
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
from suite.tasks import Task, bundled_tasks, image_tasks
from suite.training import train
from suite.untuned import UNTUNED, search, setting_of

from optax_mi import LRRangeResult

METHODS = TUNED | UNTUNED
GROUPS = TUNED_GROUPS | {"untuned": tuple(UNTUNED)}
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
# Columns that fit a terminal; the report has the others.
IN_TERMINAL = ("rank", "not told", "loss / cosine", "loss / best", "accuracy")


def budget(task: Task, short: bool) -> int:
    """Steps of the whole budget: whole ones at every measurement."""
    steps = task.steps // 10 if short else task.steps
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


def choose(
    kind: str,
    wanted: str | None,
    known: dict[str, Any],
    groups: Mapping[str, Sequence[str]] = {},
) -> list[str]:
    """Names in a comma-separated list, all by default; a group stands for its names.

    Raises:
      ValueError: a name is not known.
    """
    given = list(known) if wanted is None else [n.strip() for n in wanted.split(",")]
    # Each once, in the order of their first mention.
    names = list(dict.fromkeys(n for name in given for n in groups.get(name, [name])))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--{kind}: no {', '.join(unknown)}; there are {list(known)}")
    return names


def find_tasks(
    data_dir: Path | None, wanted: str | None, console: Console
) -> list[Task]:
    """The tasks asked for whose data are there; says of the others how to get them."""
    tasks = {task.name: task for task in bundled_tasks()}
    images, missing = image_tasks(data_dir)
    names = choose("tasks", wanted, {**tasks, **images, **missing})
    for name in names:
        if name in missing:
            console.print(f"skipped {name}: {missing[name]}", soft_wrap=True)
    return [(tasks | images)[name] for name in names if name not in missing]


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", help="comma-separated; all by default")
    parser.add_argument(
        "--methods",
        help=f"comma-separated, names or groups ({', '.join(GROUPS)}); all by default",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=7, help="learning rates a method")
    parser.add_argument(
        "--short", action="store_true", help="a tenth of the steps: shows that it runs"
    )
    parser.add_argument("--data-dir", type=Path, help="folder of MNIST, CIFAR, ...")
    parser.add_argument("--output", type=Path, default=Path("outputs/compare"))
    parser.add_argument(
        "--report", type=Path, help="folder of tables and figures; --output by default"
    )
    args = parser.parse_args(argv)
    console = Console()
    try:
        if args.seeds < 2 or not 1 <= args.trials <= 7:
            raise ValueError("--seeds must be at least 2, and --trials from 1 to 7")
        names = choose("methods", args.methods, METHODS, GROUPS)
        tasks = find_tasks(args.data_dir, args.tasks, console)
        if not tasks:
            raise ValueError("no task is left to run")
        for task in tasks:
            reasons = {name: METHODS[name].unfit(task.num_classes) for name in names}
            if all(reasons.values()):
                raise ValueError(f"no method fits {task.name}: {reasons}")
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")

    folder = args.output / "short" if args.short else args.output
    rows = {row: METHODS[name] for name in names for row in METHODS[name].rows}
    results: dict[str, Any] = {
        **machine(),
        "seeds": args.seeds,
        "trials": args.trials,
        "knows_horizon": [row for row, of in rows.items() if of.knows_horizon],
        "rivals": {row: of.rival for row, of in rows.items()},
        "shown": [row for row in SHOWN if row in rows] or list(rows),
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
                method = METHODS[name]
                reason, found = method.unfit(task.num_classes), None
                if not reason:
                    found = find_bounds(task, method, folder, args.short)
                    if found is not None and found.lr_max is None:
                        reason = f"range test: {found.lr_max_reason}"
                if reason:
                    results["skipped"].setdefault(task.name, {})[name] = reason
                else:
                    cells |= run_cell(
                        task, method, found, folder, args.seeds, args.trials, args.short
                    )
                progress.advance(bar)
    source = (args.report or folder) / "compare.json"
    save_json(source, results)
    paths = [source, *write_report(source)]
    results = load_json(source)
    table = Table(title="at all of the budget")
    ranks = rank_table(results)
    shown = [name for name in ranks.columns if name.split(" (")[0] in IN_TERMINAL]
    ranks = ranks[shown]
    for column in ("method", *ranks.columns):
        table.add_column(str(column), justify="left" if column == "method" else "right")
    for method, row in zip(ranks.index, ranks.to_numpy(), strict=True):
        table.add_row(str(method), *(f"{value:.3g}" for value in row))
    console.print(table)
    for path in paths:
        console.print(f"wrote {path}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
