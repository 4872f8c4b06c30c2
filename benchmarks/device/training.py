"""Trainings on the device: a range test, and Fashion-MNIST with all seeds at once."""

import dataclasses
import functools
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from range_speed import NUM, make_ways
from suite.methods import METHODS, PLAIN, Method
from suite.tasks import bundled_tasks, image_tasks
from suite.training import train
from timing import median_interval, seconds

from device.cells import Cell

OURS = "lr_range_test"
# Of all ways but the one that compiles 48 times.
WAYS = (OURS, "one after another, one compilation", "one ramp, step by step")
# Learning rates, fixed beforehand.
RATES = {"sgd": 0.1, "adamw": 3e-3}
FREE = "schedule-free adamw"


class Sizes(NamedTuple):
    """How long, and how often."""

    tasks: dict[str, float]  # of range tests, and the seconds that a cell may take
    steps: int
    rounds: int
    bases: tuple[str, ...]  # of methods on Fashion-MNIST
    epochs: tuple[int, ...]  # after which they are judged; all are even
    epoch: int | None  # updates of one, None for all of the data
    batch: int | None  # None for the task's
    seeds: int


FULL = Sizes(
    tasks={"digits_mlp": 25.0, "digits_cnn": 25.0},
    steps=400,
    rounds=3,
    bases=("sgd", "adamw"),
    epochs=(2, 4, 8, 16, 60),
    epoch=None,
    batch=None,
    seeds=10,
)
SHORT = Sizes(
    tasks={"digits_mlp": 1.0},
    steps=20,
    rounds=2,
    bases=("sgd",),
    epochs=(2, 4),
    epoch=2,
    batch=4,
    seeds=2,
)


class Run(NamedTuple):
    """A method on Fashion-MNIST, and for how many epochs."""

    method: Method
    rate: float
    epochs: int


def cells(short: bool, data_dir: Path | None) -> list[Cell]:
    """Those of the sections "range" and "fashion"."""
    sizes = SHORT if short else FULL
    settings = {"steps": sizes.steps, "rounds": sizes.rounds, "rates": NUM}
    found = [
        Cell(
            "range",
            task,
            settings,
            expected,
            functools.partial(time_range, task, sizes),
        )
        for task, expected in sizes.tasks.items()
    ]
    for name, run in fashion_runs(sizes).items():
        settings = {
            "rate": run.rate,
            "epochs": run.epochs,
            "epoch": sizes.epoch,
            "batch": sizes.batch,
            "seeds": sizes.seeds,
        }
        measure = functools.partial(train_fashion, run, sizes, data_dir)
        # A compilation, and the steps.
        expected = 1.0 if short else 4.0 + 0.1 * run.epochs
        found.append(Cell("fashion", name, settings, expected, measure))
    return found


def time_range(name: str, sizes: Sizes) -> dict[str, Any]:
    """Each way to try 48 learning rates: the first call, and later ones in turns."""
    task = next(task for task in bundled_tasks() if task.name == name)
    ways = make_ways(sizes.steps, task)
    first = {way: seconds(ways[way]) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(sizes.rounds):
        for way in WAYS:
            times[way].append(seconds(ways[way]))
    return {
        way: {
            "first_seconds": first[way],
            "seconds": statistics.median(times[way]),
            "ratio": median_interval(
                [b / a for a, b in zip(times[OURS], times[way], strict=True)]
            ),
        }
        for way in WAYS
    }


def fashion_runs(sizes: Sizes) -> dict[str, Run]:
    """Every run by its name. A cosine is told its end, and so has one for each."""
    last, found = sizes.epochs[-1], {}
    for base in sizes.bases:
        rate = RATES[base]
        for told in sizes.epochs:
            run = Run(PLAIN[f"{base} cosine"], rate, told)
            found[f"{base} cosine, told {told}"] = run
        for name in (base, f"mi {base}"):
            found[name] = Run(METHODS[name], rate, last)
    found[FREE] = Run(METHODS[FREE], RATES["adamw"], last)
    return found


def train_fashion(run: Run, sizes: Sizes, data_dir: Path | None) -> dict[str, Any]:
    """Row -> epochs -> test loss and accuracy, one a seed; and the seconds it took."""
    task = image_tasks(data_dir)[0]["fashion_mlp"]
    task = dataclasses.replace(task, one_by_one=False, batch=sizes.batch or task.batch)
    epoch = sizes.epoch or task.steps_per_epoch
    assert epoch is not None
    curves = train(
        task,
        run.method,
        np.asarray([run.rate], np.float32),
        range(sizes.seeds),
        steps=run.epochs * epoch,
        evaluations=run.epochs // 2,
    )
    judged = [run.epochs] if run.method.knows_horizon else sizes.epochs
    return {
        "seconds": curves.seconds,
        "compile_seconds": curves.compile_seconds,
        "steps": int(curves.steps[-1]),
        "rows": {
            row: {
                str(epochs): {
                    "loss": values["test_loss"][0, :, epochs // 2 - 1],
                    "accuracy": values["test_accuracy"][0, :, epochs // 2 - 1],
                }
                for epochs in judged
            }
            for row, values in curves.values.items()
        },
    }
