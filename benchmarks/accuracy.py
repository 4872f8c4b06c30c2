"""How near the estimators come to the truth, on problems where it is known.

Mean and standard deviation over data sets, in nats, of every estimator on problems
with class labels and with real ones, and the time of one estimate.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from suite.arguments import OneLineParser, at_least, file


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "--sets", type=partial(at_least, 2), default=20, help="data sets a row"
    )
    parser.add_argument("--output", type=file, metavar="FILE", help="for the tables")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import numpy as np
from rich.console import Console
from suite.files import replacing
from suite.markdown import markdown
from suite.mi_vectors import ring
from suite.progress import track
from timing import seconds

from optax_mi.estimators import binned_mi, gaussian_mi, kde_mi, ksg_mi, ross_mi

Data = tuple[np.ndarray, np.ndarray]


class Problem(NamedTuple):
    """Data of known information, in nats."""

    name: str
    draw: Callable[[np.random.Generator], Data]
    truth: float


def blobs(samples: int, columns: int, apart: float) -> Callable[..., Data]:
    """Four Gaussian classes whose means lie on the first two axes."""

    def draw(rng: np.random.Generator, samples: int = samples) -> Data:
        labels = rng.integers(0, 4, samples)
        x = rng.normal(size=(samples, columns)).astype(np.float32)
        x[:, :2] += apart * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[labels]
        return x, labels

    return draw


def blobs_truth(apart: float) -> float:
    """I of four Gaussian classes, by a million draws from the densities themselves."""
    x, labels = blobs(10**6, 2, apart)(np.random.default_rng(0))
    means = apart * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    logs = -0.5 * ((x[:, None] - means) ** 2).sum(-1)
    largest = logs.max(1)
    mixture = np.log(np.exp(logs - largest[:, None]).mean(1)) + largest
    return float(np.mean(logs[np.arange(len(x)), labels] - mixture))


def checkerboard(samples: int) -> Callable[..., Data]:
    """The label is the sign of a product: no column knows anything alone."""

    def draw(rng: np.random.Generator) -> Data:
        x = rng.uniform(-1, 1, (samples, 2)).astype(np.float32)
        return x, (x[:, 0] * x[:, 1] > 0).astype(int)

    return draw


def unrelated(samples: int, columns: int) -> Callable[..., Data]:
    """Ten classes that x knows nothing about."""

    def draw(rng: np.random.Generator) -> Data:
        return rng.normal(size=(samples, columns)).astype(np.float32), rng.integers(
            0, 10, samples
        )

    return draw


def correlated(samples: int, columns: int, rho: float, warp: bool = False) -> Callable:
    """Gaussian pairs, a correlation in every column; or a monotone map of them."""

    def draw(rng: np.random.Generator) -> Data:
        x, noise = rng.normal(size=(2, samples, columns))
        y = rho * x + math.sqrt(1 - rho**2) * noise
        if warp:
            x, y = np.sinh(2 * x), np.exp(y)
        return x.astype(np.float32), y.astype(np.float32)

    return draw


def problems() -> dict[str, list[Problem]]:
    """By the kind of label."""
    easy, hard = blobs_truth(1.5), blobs_truth(3.0)
    circle, rho = ring(0.1), 0.8
    pair = -0.5 * math.log(1 - rho**2)
    return {
        "class labels": [
            Problem("4 classes, d = 2", blobs(1000, 2, 1.5), easy),
            Problem("4 classes far apart, d = 2", blobs(1000, 2, 3.0), hard),
            Problem("4 classes, d = 16", blobs(1000, 16, 1.5), easy),
            Problem("4 classes, d = 128", blobs(1000, 128, 1.5), easy),
            Problem("checkerboard, d = 2", checkerboard(1000), math.log(2)),
            Problem("10 classes, unrelated, d = 16", unrelated(1000, 16), 0.0),
        ],
        "real labels": [
            Problem("Gaussian, 1 + 1", correlated(1000, 1, rho), pair),
            Problem("Gaussian, 5 + 5", correlated(1000, 5, rho), 5 * pair),
            Problem("warped, 1 + 1", correlated(1000, 1, rho, True), pair),
            Problem("ring, 1 + 1", lambda rng: circle.draw(rng, 1000), circle.truth),
            Problem("unrelated, 1 + 1", correlated(1000, 1, 0.0), 0.0),
            Problem("unrelated, 20 + 20", correlated(1000, 20, 0.0), 0.0),
        ],
    }


def estimators() -> dict[str, dict[str, Callable[..., Any]]]:
    """By the kind of label; values are not clipped, so that a bias shows."""
    return {
        "class labels": {
            "ross_mi": partial(ross_mi, clip=False),
            "gaussian_mi": partial(gaussian_mi, clip=False),
            "kde_mi, bandwidth 0.5": partial(kde_mi, bandwidth=0.5, clip=False),
            "binned_mi, 8 bins": partial(binned_mi, num_bins=8, clip=False),
        },
        "real labels": {
            "ksg_mi": partial(ksg_mi, clip=False),
            "ksg_mi, algorithm 2": partial(ksg_mi, algorithm=2, clip=False),
            "ksg_mi, norm max": partial(ksg_mi, norm="max", clip=False),
            "gaussian_mi": partial(gaussian_mi, clip=False),
            "gaussian_mi, copula": partial(gaussian_mi, copula=True, clip=False),
        },
    }


def measure(problem: Problem, estimate: Callable[..., Any], sets: int) -> str:
    """Mean and spread over data sets, and the median milliseconds of one estimate."""
    values, times = [], []
    for seed in range(sets):
        x, y = map(jax.numpy.asarray, problem.draw(np.random.default_rng(seed)))
        values.append(float(estimate(x, y).mi))
        times.append(seconds(lambda x=x, y=y: float(estimate(x, y).mi)))
    middle = statistics.median(times) * 1e3
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} ({middle:.2g})"


def tables(sets: int, console: Console) -> str:
    """A table a kind of label, a row a problem."""
    parts = []
    for kind, rows in problems().items():
        columns = estimators()[kind]
        lines = []
        for name, problem in track(console, {row.name: row for row in rows}):
            cells = [measure(problem, estimate, sets) for estimate in columns.values()]
            lines.append([name, f"{problem.truth:.3f}", *cells])
        parts.append(markdown([kind, "truth", *columns], lines))
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Prints both tables, and writes them where asked."""
    args = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else 140)
    text = tables(args.sets, console)
    console.print(text, soft_wrap=True)
    if args.output:
        with replacing(args.output) as part:
            part.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
