"""Two ways to do one thing, timed in pairs that take turns: machines are noisy."""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial

from suite.arguments import OneLineParser, at_least, file


def parse_timing(
    description: str | None,
    pairs: int,
    argv: list[str] | None = None,
    keeps: bool = False,
) -> argparse.Namespace:
    """The command line of a script that times train steps, and may keep what it has."""
    parser, count = OneLineParser(description=description), partial(at_least, 1)
    parser.add_argument("--pairs", type=count, default=pairs, help="timed pairs a row")
    parser.add_argument("--steps", type=count, default=30, help="updates a timed run")
    parser.add_argument(
        "--compiles", type=count, default=20, help="pairs of compilations"
    )
    if keeps:
        parser.add_argument(
            "--output", type=file, metavar="FILE", help="a JSON for the first table"
        )
    return parser.parse_args(argv)


def seconds(run: Callable[[], object]) -> float:
    """Time of one call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def compare(
    base: Callable, other: Callable, pairs: int, budget: float = math.inf
) -> tuple[float, list[float]]:
    """Median seconds of `base`, and the ratios other / base, one per pair.

    Stops after `pairs`, or once they took `budget` seconds: not before the fifth,
    unless they took five times as long. Both have been called before, so that nothing
    compiles here.
    """
    times, ratios = [], []
    begin = time.perf_counter()
    for i in range(pairs):
        # Who goes first alternates, so that neither gains from the place.
        if i % 2:
            second, first = seconds(other), seconds(base)
        else:
            first, second = seconds(base), seconds(other)
        times.append(first)
        ratios.append(second / first)
        spent = time.perf_counter() - begin
        if spent > (budget if i >= 4 else 5 * budget):
            break
    return statistics.median(times), ratios


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median between the ends of its 95 % confidence interval.

    The number of values below the true median is binomial, so the ends are values too.
    """
    ordered, half = sorted(values), 0.98 * math.sqrt(len(values))
    low = max(0, math.floor(len(values) / 2 - half))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return ordered[low], statistics.median(ordered), ordered[high]
