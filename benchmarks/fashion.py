"""A network on Fashion-MNIST at fixed learning rates, told its end or not.

Momentum sgd and adamw, with a cosine that is told when each reading comes, at a
constant learning rate, under `mi_decay`, and with averaged weights; beside them
schedule-free adamw. `mi_decay` decides once an epoch, ten times an epoch, or when it
chooses.
Printed are test loss and accuracy after 2, 4, 8, 16 and 60 epochs, mean over seeds.
Nothing is tuned. What is done is kept, so that an interrupted run resumes.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from suite.arguments import OneLineParser, add_names, add_output, at_least
from suite.sources import add_data_dir

DECISIONS = ("epoch", "tenth", "own")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--seeds", type=partial(at_least, 1), default=3)
    add_names(parser, "--decisions", DECISIONS)
    parser.add_argument(
        "--short", action="store_true", help="epochs of 20 steps, as a check"
    )
    add_data_dir(parser)
    add_output(parser, "outputs/fashion")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import numpy as np
import optax
from optax import contrib
from rich.console import Console
from suite.files import load_json, replacing
from suite.markdown import markdown
from suite.methods import (
    MOMENTUM,
    WARMUP,
    Method,
    averaged,
    cosine,
    default_estimator,
)
from suite.progress import bars
from suite.results import cell_path, save_json
from suite.tasks import Task, fashion_mlp
from suite.training import train

from optax_mi import mi_decay

EPOCHS = (2, 4, 8, 16, 60)
# Epochs between two measurements.
EVERY = 2
STEPS_IN_SHORT = 20  # an epoch
RATES = {"sgd": 0.1, "adamw": 3e-3}
BASES: dict[str, Callable[..., Any]] = {"sgd": MOMENTUM, "adamw": optax.adamw}


class Run(NamedTuple):
    """One method, told how many epochs it has and when to decide."""

    method: Method
    rate: float
    epochs: int
    steps_per_epoch: int | None


def decayed(setting: Any, optimizer: Callable[..., Any]) -> Any:
    """An optimizer under `mi_decay`, which decides when it chooses if not told."""
    decay = mi_decay(
        setting.trial,
        estimator=default_estimator(num_classes=setting.num_classes),
        steps_per_epoch=setting.steps_per_epoch,
    )
    return optax.chain(optimizer(1.0), decay)


def runs(task: Task, decisions: Sequence[str]) -> dict[str, Run]:
    """Every run by its name, that of its first row."""
    epoch = task.steps_per_epoch
    assert epoch is not None
    lengths = {"epoch": epoch, "tenth": max(1, epoch // 10), "own": None}
    last, found = EPOCHS[-1], []
    for base, optimizer in BASES.items():
        rate = RATES[base]
        for told in EPOCHS:
            method = Method(
                f"{base} cosine, told {told}",
                partial(lambda s, make: make(cosine(s)), make=optimizer),
                knows_horizon=True,
            )
            found.append(Run(method, rate, told, epoch))
        constant = Method(base, partial(lambda s, make: make(s.trial), make=optimizer))
        found.append(Run(averaged(constant), rate, last, epoch))
        for name in decisions:
            method = Method(
                f"mi {base}, {name}",
                partial(decayed, optimizer=optimizer),
            )
            found.append(Run(averaged(method), rate, last, lengths[name]))
    free = Method(
        "schedule-free adamw",
        lambda s: contrib.schedule_free_adamw(s.trial, warmup_steps=WARMUP),
        views={"schedule-free adamw": contrib.schedule_free_eval_params},
    )
    found.append(Run(free, RATES["adamw"], last, epoch))
    return {run.method.name: run for run in found}


def measure(task: Task, run: Run, epochs: dict[int, int], seeds: int) -> Any:
    """Row -> epochs -> test loss and accuracy, one a seed.

    `epochs` gives, for each of the epochs shown, how many steps lie before it.
    """
    steps = epochs[run.epochs]
    curves = train(
        dataclasses.replace(task, steps_per_epoch=run.steps_per_epoch),
        run.method,
        np.asarray([run.rate], np.float32),
        range(seeds),
        steps=steps,
        evaluations=run.epochs // EVERY,
    )
    places = {
        epoch: list(curves.steps).index(before)
        for epoch, before in epochs.items()
        if before <= steps
    }
    if run.method.knows_horizon:
        places = {run.epochs: places[run.epochs]}
    return {
        row: {
            str(epoch): {
                "loss": values["test_loss"][0, :, place],
                "accuracy": values["test_accuracy"][0, :, place],
            }
            for epoch, place in places.items()
        }
        for row, values in curves.values.items()
    }


def as_markdown(table: dict[str, Any]) -> str:
    """A line a row: test loss and accuracy after each number of epochs."""
    header = ["method"]
    for epoch in EPOCHS:
        header += [f"loss, {epoch}", f"accuracy, {epoch}"]
    lines = []
    for row, by_epoch in table.items():
        line = [row]
        for epoch in EPOCHS:
            seen = by_epoch.get(str(epoch))
            if seen is None or None in seen["loss"]:
                line += ["-" if seen is None else "diverged", "-"]
                continue
            loss, hits = np.asarray(seen["loss"]), np.asarray(seen["accuracy"])
            error = loss.std(ddof=1) / np.sqrt(len(loss)) if len(loss) > 1 else np.nan
            line += [f"{loss.mean():.4f} ± {error:.4f}", f"{hits.mean():.2%}"]
        lines.append(line)
    return markdown(header, lines)


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes the table."""
    args = parse(argv)
    task = fashion_mlp(args.data_dir)
    length = STEPS_IN_SHORT if args.short else task.steps_per_epoch
    assert length is not None
    task = dataclasses.replace(task, steps_per_epoch=length)
    epochs = {epoch: epoch * length for epoch in EPOCHS}
    folder = args.output / "short" if args.short else args.output
    table: dict[str, Any] = {}
    console = Console()
    with bars(console) as progress:
        wanted = runs(task, args.decisions)
        bar = progress.add_task("", total=len(wanted))
        for name, run in wanted.items():
            progress.update(bar, description=name)
            path = cell_path(folder, task.name, name.replace(",", ""))
            config = {
                "seeds": args.seeds,
                "rate": run.rate,
                "steps": epochs[run.epochs],
                "steps_per_epoch": run.steps_per_epoch,
                "rows": list(run.method.rows),
            }
            if not path.is_file() or load_json(path)["config"] != config:
                rows = measure(task, run, epochs, args.seeds)
                save_json(path, {"config": config, "rows": rows})
            table |= load_json(path)["rows"]
            progress.advance(bar)
    save_json(folder / "fashion.json", table)
    text = as_markdown(load_json(folder / "fashion.json"))
    with replacing(folder / "fashion.md") as part:
        part.write_text(text)
    console.print(f"{jax.devices()[0].device_kind}\n\n{text}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
