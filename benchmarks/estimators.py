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
from functools import partial

from suite.arguments import OneLineParser, at_least, file, one_of, positive

FAMILIES = ("plugin", "ross", "ksg", "gaussian", "kde", "binned", "features")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "families",
        nargs="*",
        type=partial(one_of, FAMILIES),
        metavar="family",
        help=f"all by default: {', '.join(FAMILIES)}",
    )
    parser.add_argument(
        "--pairs", type=partial(at_least, 1), default=25, help="timed pairs a row"
    )
    parser.add_argument(
        "--budget", type=positive, default=3.0, help="seconds a row, after five pairs"
    )
    parser.add_argument(
        "--output", type=file, metavar="FILE", help="for the tables, in Markdown"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

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

CASES = dict(
    zip(FAMILIES, (plugin, ross, ksg, gaussian, kde, binned, features), strict=True)
)
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


def main(argv: list[str] | None = None) -> None:
    """Prints a table a family."""
    args = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, one core")
    if benchmark_mi.child() is None:
        console.print(f"{benchmark_mi.MISSING}; its rows are left out")
    rows = []
    with threadpool_limits(limits=1):
        for name in args.families or FAMILIES:
            table = Table(title=name)
            for column in HEADER:
                left = column in ("case", "against")
                table.add_column(column, justify="left" if left else "right")
            for case in CASES[name].cases():
                for row in time_case(case, args.pairs, args.budget):
                    rows.append(row)
                    table.add_row(*row)
            console.print(table)
    if args.output:
        with replacing(args.output) as part:
            part.write_text(markdown(HEADER, rows))


if __name__ == "__main__":
    sys.exit(main())
