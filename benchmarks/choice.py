"""Measures `mutual_information` on tasks whose truth is known, beside its parts.

Prints the mean absolute error in nats over tasks that the method was chosen on, and
over others that nothing was chosen on; with --intervals, how often its 95 % confidence
interval holds the truth where the assumptions of a method hold.
"""

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from suite.arguments import OneLineParser, at_least, file, one_of
from suite.names import PROBLEMS


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "sets",
        nargs="*",
        type=partial(one_of, PROBLEMS),
        metavar="set",
        help=f"all by default: {'; '.join(PROBLEMS)}",
    )
    count = partial(at_least, 10)
    parser.add_argument("--samples", type=count, nargs="+", default=[1000, 5000])
    parser.add_argument(
        "--draws", type=partial(at_least, 1), default=3, help="data sets a task"
    )
    parser.add_argument(
        "--intervals", type=partial(at_least, 1), metavar="DRAWS", help="test intervals"
    )
    parser.add_argument(
        "--output", type=file, metavar="FILE", help="for the means or intervals"
    )
    parser.add_argument(
        "--tasks", type=file, metavar="FILE", help="for the errors of each task"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import numpy as np
from rich.console import Console
from suite.files import replacing
from suite.markdown import markdown
from suite.mi_classes import blobs, square
from suite.mi_tasks import SETS
from suite.mi_vectors import (
    Source,
    Task,
    curve,
    gaussian,
    integral,
    ring,
    student,
    uniform_noise,
)
from suite.progress import track

from optax_mi.estimators import gaussian_mi, ksg_mi, mutual_information, ross_mi

Estimate = Callable[[Any, Any], float]


def peers(labels: bool) -> dict[str, Estimate]:
    """What one would choose by hand, for class labels or for real ones."""

    def of(function: Callable, **options: Any) -> Estimate:
        return lambda x, y: float(function(x, y, **options).mi)

    chosen: dict[str, Estimate] = {"mutual_information": of(mutual_information)}
    if labels:
        return chosen | {"ross_mi": of(ross_mi), "gaussian_mi": of(gaussian_mi)}
    return chosen | {
        "ksg_mi": of(ksg_mi),
        "gaussian_mi": of(gaussian_mi),
        "gaussian_mi, copula": of(gaussian_mi, copula=True),
    }


def errors(
    task: Task, estimates: dict[str, Estimate], samples: int, sets: int
) -> list[float]:
    """Mean absolute error of each estimate over data sets, in nats."""
    found = []
    for seed in range(sets):
        x, y = task.draw(np.random.default_rng(1000 + seed), samples)
        found.append([abs(f(x, y) - task.truth) for f in estimates.values()])
    # Every shape compiles, and programs are maps of memory, of which there are few.
    jax.clear_caches()
    return [float(error) for error in np.mean(found, 0)]


def accuracy(
    samples: list[int], sets: int, names: list[str], console: Console
) -> tuple[str, str]:
    """Tables with a row a set of tasks and number of samples, and with one a task."""
    heads: dict[str, list[list[str]]] = {}
    parts = []
    for name in names:
        tasks = SETS[name]()
        kind = name.partition(",")[0]
        estimates = peers(kind == "classes")
        rows = [[task.name, f"{task.truth:.2f}"] for task in tasks]
        for size in samples:
            of_size = {f"{name}, N = {size:,}, {task.name}": task for task in tasks}
            table = [
                errors(task, estimates, size, sets)
                for _, task in track(console, of_size)
            ]
            means = [f"{mean:.3f}" for mean in np.mean(table, 0)]
            head = [f"{name}, {len(tasks)} tasks, N = {size:,}", *means]
            heads.setdefault(kind, []).append(head)
            for row, of_task in zip(rows, table, strict=True):
                row.append(" / ".join(f"{error:.2f}" for error in of_task))
        sizes = [f"N = {size:,}: {' / '.join(estimates)}" for size in samples]
        parts.append(markdown([name, "truth", *sizes], rows))
    tables = [
        markdown(["mean error, nats", *peers(kind == "classes")], rows)
        for kind, rows in heads.items()
    ]
    return "\n".join(tables), "\n".join(parts)


def table_of(joint: np.ndarray) -> Source:
    """Symbols of this joint table."""
    p = joint / joint.sum()

    def draw(rng: np.random.Generator, samples: int) -> Any:
        return np.divmod(rng.choice(p.size, samples, p=p.ravel()), p.shape[1])

    return Source(draw, integral(p))


def cases() -> dict[str, Source]:
    """Where the assumptions of a method hold."""
    return {
        "Gaussian 1 + 1, unrelated": gaussian(1, 1, []),
        "Gaussian 1 + 1, 0.05": gaussian(1, 1, [0.05]),
        "Gaussian 1 + 1, 0.2": gaussian(1, 1, [0.2]),
        "Gaussian 1 + 1, 0.6": gaussian(1, 1, [0.6]),
        "Gaussian 1 + 1, 0.95": gaussian(1, 1, [0.95]),
        "Gaussian 3 + 3": gaussian(3, 3, [0.8, 0.5], 1),
        "Gaussian 5 + 5, unrelated": gaussian(5, 5, []),
        "Gaussian 10 + 10": gaussian(10, 10, [0.8, 0.6, 0.3], 2),
        "Student 1 + 1": student(gaussian(1, 1, [0.5]), 2, 1, 1),
        "Student 3 + 3": student(gaussian(3, 3, [0.7]), 3, 3, 3),
        "ring": ring(0.15),
        "sine": curve(lambda x: np.sin(2 * math.pi * x), 0.3),
        "uniform noise": uniform_noise(0.2),
        "table 2 x 2, unrelated": table_of(np.ones((2, 2))),
        "table 2 x 2, weak": table_of(np.array([[27, 23], [23, 27]])),
        "table 3 x 3": table_of(np.eye(3) + 0.3),
        "table 10 x 10, unrelated": table_of(np.ones((10, 10))),
        "table 6 x 6, strong": table_of(np.eye(6) + 0.02),
        "2 classes, d = 1": blobs([[0], [2]]),
        "4 classes, d = 2": blobs(square(2)),
        "4 classes, d = 16": blobs(np.eye(4, 16) * 2.2),
        "10 classes, unrelated, d = 2": blobs(np.zeros((10, 2))),
        "spreads 1 and 3, d = 1": blobs([[0], [0]], [1, 3]),
    }


def intervals(samples: int, draws: int, console: Console) -> str:
    """How often the interval holds the truth, and how wide it is."""
    rows = []
    for name, source in track(console, cases()):
        found = [
            mutual_information(*source.draw(np.random.default_rng(seed), samples))
            for seed in range(draws)
        ]
        low, high = (
            np.array([getattr(one, end) for one in found]) for end in ("low", "high")
        )
        rows.append(
            [
                name,
                f"{source.truth:.3f}",
                f"{np.mean([one.mi for one in found]):.3f}",
                f"{np.mean((low <= source.truth) & (source.truth <= high)):.1%}",
                f"{np.mean(high - low):.3f}",
            ]
        )
    header = ["case", "truth", "mean", "contain the truth", "width"]
    return markdown(header, rows)


def main(argv: list[str] | None = None) -> None:
    """Prints the tables, and writes them where asked."""
    args = parse(argv)
    names = args.sets or list(SETS)
    console = Console(width=None if sys.stdout.isatty() else 140)
    if args.intervals:
        written = [(args.output, intervals(args.samples[0], args.intervals, console))]
    else:
        means, tasks = accuracy(args.samples, args.draws, names, console)
        written = [(args.tasks, tasks), (args.output, means)]
    for path, text in written:
        console.print(text, soft_wrap=True)
        if path:
            with replacing(path) as part:
                part.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
