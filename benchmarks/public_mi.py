"""How near the estimators come to the truth on the forty tasks of benchmark-mi.

Czyż et al., Beyond Normal: On the Evaluation of Mutual Information Estimators, NeurIPS
2023, arXiv:2306.11078: distributions of vectors with tails, warps, sparse relations and
manifolds, whose information is known. `make bmi` installs the package in an
environment of its own, which draws the samples and runs its estimators. Printed is the
mean absolute error in nats over tasks and draws; a table of every task is written.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from suite.arguments import OneLineParser, add_output, at_least


def sizes(text: str) -> list[int]:
    """Numbers of samples, commas between."""
    return [at_least(2, part) for part in text.split(",")]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "--samples", type=sizes, default=[1000, 5000], help="comma-separated"
    )
    parser.add_argument(
        "--seeds", type=partial(at_least, 2), default=3, help="draws of each task"
    )
    add_output(parser, "outputs/public_mi")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
from peers import benchmark_mi
from rich.console import Console
from suite.files import replacing
from suite.markdown import markdown
from suite.progress import bars

from optax_mi.estimators import gaussian_mi, ksg_mi, mutual_information

Estimate = Callable[[np.ndarray, np.ndarray], float]


class Task(NamedTuple):
    """A distribution by its name, and its information in nats."""

    name: str
    truth: float


def ours(estimate: Callable, **options: object) -> Estimate:
    """An estimator of this library on arrays of NumPy."""

    def run(x: np.ndarray, y: np.ndarray) -> float:
        return float(estimate(jnp.asarray(x), jnp.asarray(y), **options).mi)

    return run


def theirs(process: benchmark_mi.Child, estimator: str) -> Estimate:
    """An estimator of benchmark-mi, by its name there and as it comes."""

    def run(x: np.ndarray, y: np.ndarray) -> float:
        both = benchmark_mi.packed(x), benchmark_mi.packed(y)
        return process.ask("value", estimator, *both)

    return run


OURS = {
    "mutual_information": ours(mutual_information),
    "ksg_mi": ours(ksg_mi),
    "gaussian_mi": ours(gaussian_mi),
    "gaussian_mi, copula": ours(gaussian_mi, copula=True),
}
THEIRS = {
    "bmi KSG": "KSGEnsembleFirstEstimator",
    "bmi CCA": "CCAMutualInformationEstimator",
}


def errors(
    process: benchmark_mi.Child,
    tasks: Sequence[Task],
    estimators: dict[str, Estimate],
    samples: int,
    seeds: int,
    done: Callable[[], object],
) -> np.ndarray:
    """Estimate less truth, [estimators, tasks, seeds]."""
    found = np.empty((len(estimators), len(tasks), seeds))
    for column, task in enumerate(tasks):
        for seed in range(seeds):
            drawn = process.ask("draw", task.name, samples, seed)
            x, y = (benchmark_mi.unpacked(*a) for a in drawn)
            for row, estimate in enumerate(estimators.values()):
                found[row, column, seed] = estimate(x, y) - task.truth
        # Every shape compiles, and programs are maps of memory, of which there are few.
        jax.clear_caches()
        done()
    return found


def task_table(tasks: Sequence[Task], names: Sequence[str], found: np.ndarray) -> str:
    """Mean and standard deviation of each estimator's values on every task."""
    lines = []
    for task, of_task in zip(tasks, found.swapaxes(0, 1), strict=True):
        values = of_task + task.truth
        lines.append(
            [
                task.name,
                f"{task.truth:.3f}",
                *(f"{v.mean():.3f} ± {v.std(ddof=1):.3f}" for v in values),
            ]
        )
    return markdown(["task", "truth", *names], lines)


def main(argv: list[str] | None = None) -> None:
    """Prints the mean errors, and writes what every task reads."""
    args = parse(argv)
    process = benchmark_mi.child()
    if process is None:
        OneLineParser().error(benchmark_mi.MISSING)
    estimators = OURS | {n: theirs(process, t) for n, t in THEIRS.items()}
    tasks = [Task(*task) for task in process.ask("tasks")]
    console, means, parts = Console(), [], []
    with bars(console) as progress:
        bar = progress.add_task("", total=len(args.samples) * len(tasks))
        for samples in args.samples:
            progress.update(bar, description=f"N = {samples:,}")
            found = errors(
                process,
                tasks,
                estimators,
                samples,
                args.seeds,
                partial(progress.advance, bar),
            )
            means.append([f"{e:.3f}" for e in np.abs(found).mean((1, 2))])
            parts.append(
                f"*N = {samples:,}*\n\n{task_table(tasks, [*estimators], found)}"
            )
    header = ["mean absolute error, nats", *(f"N = {n:,}" for n in args.samples)]
    rows = [[n, *e] for n, e in zip(estimators, zip(*means, strict=True), strict=True)]
    console.print(markdown(header, rows), soft_wrap=True)
    with replacing(args.output / "tasks.md") as part:
        part.write_text("\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
