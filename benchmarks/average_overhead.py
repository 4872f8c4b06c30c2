"""What a train step pays for the average of its params.

Times a train step under `optax.sgd` with `average_params` after it, in interleaved
pairs as overhead.py does, its state donated, and prints the median ratio of the pairs
with its confidence interval: to sgd alone, and to the least that an average can do, one
read and one write of the params a step. The row `A/A` pits sgd against itself. A second
table has the two updates by themselves.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

from timing import compare, median_interval, parse_timing


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return parse_timing(__doc__, 300, argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import optax
from overhead import CNN, MLP, begin, make_batches, make_run
from rich.table import Table

from optax_mi import average_params

SIZES = (10**4, 10**6, 10**7)


def halve() -> optax.GradientTransformationExtraArgs:
    """Moves a copy of the params half the way to them: an average with no count."""

    def init_fn(params: Any) -> Any:
        return jax.tree.map(jnp.copy, params)

    def update_fn(updates: Any, state: Any, params: Any = None, **_: Any) -> Any:
        new = optax.apply_updates(params, updates)
        return updates, jax.tree.map(lambda x, p: x + 0.5 * (p - x), state, new)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def make_update(tx: Any, size: int) -> Callable[[], Any]:
    """A function that makes ten updates of so many params, its state donated."""
    step = jax.jit(lambda state, u, p: tx.update(u, state, p)[1], donate_argnums=0)
    params, updates = jnp.ones(size), jnp.full(size, 0.01)
    state = tx.init(params)

    def run() -> Any:
        nonlocal state
        for _ in range(10):
            state = step(state, updates, params)
        return jax.block_until_ready(state)

    return run


def time_pair(base: Callable, other: Callable, pairs: int, calls: int) -> list[str]:
    """Microseconds of one of the calls in `base`, the ratio and its interval."""
    base()
    other()
    time_base, ratios = compare(base, other, pairs)
    low, middle, high = median_interval(ratios)
    return [
        f"{time_base / calls * 1e6:.0f}",
        f"{middle:.3f}",
        f"{low:.3f} to {high:.3f}",
    ]


def main(argv: list[str] | None = None) -> None:
    """Prints both tables."""
    args, console = parse(argv), begin()
    table = Table(title=f"train step, median of {args.pairs} interleaved pairs")
    for column in ("model", "of", "against", "base, us", "ratio", "95 %"):
        table.add_column(column, justify="right" if "," in column else "left")
    sgd = optax.sgd(0.1, momentum=0.9)
    averaged = optax.chain(sgd, average_params())
    halved = optax.chain(sgd, halve())
    for model, steps in ((MLP(10), args.steps), (CNN(10), max(1, args.steps // 10))):
        run = functools.partial(
            make_run, model, batches=make_batches(10, steps), scanned=False, donate=True
        )
        for of, against, tx, base in (
            ("A/A", "sgd", sgd, sgd),
            ("one read and write", "sgd", halved, sgd),
            ("average_params", "sgd", averaged, sgd),
            ("average_params", "one read and write", averaged, halved),
        ):
            row = time_pair(run(tx=base), run(tx=tx), args.pairs, steps)
            table.add_row(type(model).__name__, of, against, *row)
    console.print(table)

    table = Table(title="update of average_params alone, against one read and write")
    for column in ("params", "one read and write, us", "ratio", "95 %"):
        table.add_column(column, justify="right")
    for size in SIZES:
        base, other = (make_update(tx, size) for tx in (halve(), average_params()))
        table.add_row(f"{size:,}", *time_pair(base, other, args.pairs, 10))
    console.print(table)


if __name__ == "__main__":
    main()
