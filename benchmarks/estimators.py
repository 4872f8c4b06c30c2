"""Times the one-shot estimators against others' code that computes the same.

Ours and a peer take turns on one core, with one thread each, and the median ratio of
the pairs is printed between the ends of its 95 % confidence interval: how many times
faster ours is. Compilation is apart: it happens once for every shape. A peer that
gives another value fails the run.
"""

import argparse
import math
import os
import sys

# Before JAX or BLAS start their threads.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
from peers import plugin
from peers.case import Case
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from timing import compare, median_interval, seconds

FAMILIES = {"plugin": plugin}


def add_rows(table: Table, case: Case, pairs: int, budget: float) -> None:
    """Times a case; a row for each peer.

    Raises:
      AssertionError: a peer's value differs.
    """
    first = seconds(case.ours)
    compilation = first - seconds(case.ours)
    for i, (name, peer) in enumerate(case.peers.items()):
        value = peer()
        difference = math.nan if value is None else abs(value - case.ours())
        if case.agree is not None and difference > case.agree:
            raise AssertionError(
                f"{case.name}: {name} gives {value}, ours {case.ours()}"
            )
        time, ratios = compare(case.ours, peer, pairs, budget)
        low, middle, high = median_interval(ratios)
        table.add_row(
            *(
                (case.name, f"{time * 1e3:.3g}", f"{compilation:.2f}")
                if i == 0
                else [""] * 3
            ),
            name,
            f"{middle:.3g}",
            f"{low:.3g} to {high:.3g}",
            "" if math.isnan(difference) else f"{difference:.0e}",
        )


def main() -> None:
    """Prints a table a family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", metavar="family", help="all by default")
    parser.add_argument("--pairs", type=int, default=25, help="timed pairs a row")
    parser.add_argument(
        "--budget", type=float, default=4.0, help="seconds a row, after five pairs"
    )
    args = parser.parse_args()
    wanted = args.families or list(FAMILIES)
    if unknown := [name for name in wanted if name not in FAMILIES]:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    with threadpool_limits(limits=1):
        for name in wanted:
            table = Table(title=name)
            for column in (
                "case",
                "ours, ms",
                "compile, s",
                "against",
                "times",
                "95 %",
            ):
                left = column in ("case", "against")
                table.add_column(column, justify="left" if left else "right")
            table.add_column("differs, nats", justify="right")
            for case in FAMILIES[name].cases():
                add_rows(table, case, args.pairs, args.budget)
            console.print(table)


if __name__ == "__main__":
    sys.exit(main())
