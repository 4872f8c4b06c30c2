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
from pathlib import Path

# Before JAX or BLAS start their threads.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
from peers import benchmark_mi, binned, features, gaussian, kde, ksg, plugin, ross
from peers.case import Case
from rich.console import Console
from rich.table import Table
from suite.files import replacing
from suite.markdown import markdown
from threadpoolctl import threadpool_limits
from timing import compare, median_interval, seconds

FAMILIES = {
    "plugin": plugin,
    "ross": ross,
    "ksg": ksg,
    "gaussian": gaussian,
    "kde": kde,
    "binned": binned,
    "features": features,
}
HEADER = ("case", "ours, ms", "compile, s", "against", "times", "95 %", "differs, nats")


def time_case(case: Case, pairs: int, budget: float) -> list[list[str]]:
    """Times a case; a row for each peer.

    Raises:
      AssertionError: a peer's value differs.
    """
    first = seconds(case.ours)
    compilation = first - seconds(case.ours)
    rows = []
    for name, peer in case.peers.items():
        value, ours = peer(), case.ours()
        difference = math.nan if value is None else abs(value - ours)
        if case.agree is not None and difference > case.agree:
            raise AssertionError(f"{case.name}: {name} gives {value}, ours {ours}")
        time, ratios = compare(case.ours, peer, pairs, budget)
        low, middle, high = median_interval(ratios)
        head = (case.name, f"{time * 1e3:.3g}", f"{compilation:.2f}")
        rows.append(
            [
                *(("", "", "") if rows else head),
                name,
                f"{middle:.3g}",
                f"{low:.3g} to {high:.3g}",
                "" if math.isnan(difference) else f"{difference:.0e}",
            ]
        )
    return rows


def main() -> None:
    """Prints a table a family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", metavar="family", help="all by default")
    parser.add_argument("--pairs", type=int, default=25, help="timed pairs a row")
    parser.add_argument(
        "--budget", type=float, default=3.0, help="seconds a row, after five pairs"
    )
    parser.add_argument("--output", type=Path, help="file for the tables, in Markdown")
    args = parser.parse_args()
    wanted = args.families or list(FAMILIES)
    if unknown := [name for name in wanted if name not in FAMILIES]:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, one core")
    if benchmark_mi.child() is None:
        console.print(f"{benchmark_mi.MISSING}; its rows are left out")
    rows = []
    with threadpool_limits(limits=1):
        for name in wanted:
            table = Table(title=name)
            for column in HEADER:
                left = column in ("case", "against")
                table.add_column(column, justify="left" if left else "right")
            for case in FAMILIES[name].cases():
                for row in time_case(case, args.pairs, args.budget):
                    rows.append(row)
                    table.add_row(*row)
            console.print(table)
    if args.output:
        with replacing(args.output) as part:
            part.write_text(markdown(HEADER, rows))


if __name__ == "__main__":
    sys.exit(main())
