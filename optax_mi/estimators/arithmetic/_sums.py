"""Sums that stay exact over a long epoch and cost a train step almost nothing.

A float32 total of ones stops growing at 2**24. A total that is stored as the
unevaluated sum of two float32 numbers, `high + low`, has about 48 bits: whole numbers
are exact to 2**48, and a sum of fractions is exact to float32 rounding. With
s = fl(a + b) and t = fl(s - a), the rounding error of s is

    e = (a - (s - t)) + (b - t)         exactly (Knuth, TAOCP vol. 2, 4.2.2, theorem B)

and is added to `low`. Doing so at every update would read and write the whole of a
large table for the few cells that a batch changes. So batches are added in place to a
third number, `recent`, which is folded into the other two before its counts could
round.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi.estimators.arithmetic._varying import vary_like

# `recent` is folded once it has this many samples. The last batch may exceed that, but
# the sum stays below 2**24, up to which float32 represents every whole number.
_FOLD_AT = 2**16
MAX_BATCH = 2**23


class LongSum(NamedTuple):
    """The total `high + low + recent`, three pytrees with the same structure."""

    high: Any  # float32
    low: Any  # float32, at most half an ulp of `high`
    recent: Any  # float32, the sum of `pending` samples
    pending: jax.Array  # shape=(), dtype=int32


def zeros(like: Any) -> LongSum:
    """An empty sum, for a pytree with the shapes of the leaves of `like`."""
    parts = [
        jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), like) for _ in range(3)
    ]
    return LongSum(*parts, pending=jnp.zeros((), jnp.int32))


def value(total: LongSum) -> Any:
    """The total, rounded to float32."""
    return jax.tree.map(
        lambda high, low, recent: high + (low + recent),
        total.high,
        total.low,
        total.recent,
    )


def of_a_batch(nothing: LongSum) -> LongSum:
    """An empty sum that keeps the next batch of any size in `recent`."""
    return nothing._replace(high=None, low=None)


def add_across(total: LongSum, part: LongSum, axis_name: Any) -> LongSum:
    """The total after a batch that is split over devices, see `of_a_batch`."""
    recent, samples = jax.lax.psum((part.recent, part.pending), axis_name)
    return advance(total, jax.tree.map(jnp.add, total.recent, recent), samples)


def advance(total: LongSum, recent: Any, samples: int | jax.Array) -> LongSum:
    """The total after a batch of `samples` that changes its recent part to `recent`."""
    if total.high is None:
        return total._replace(recent=recent, pending=total.pending + samples)
    # The types of the loop must not change, also in shard_map.
    total = LongSum(
        jax.tree.map(vary_like, total.high, recent),
        jax.tree.map(vary_like, total.low, recent),
        recent,
        total.pending + samples,
    )
    # A loop of at most one round works in place. XLA's conditional would copy the
    # tables at every update.
    return jax.lax.while_loop(_is_full, _fold, total)


def merge(total: LongSum, other: LongSum) -> LongSum:
    """The sum of two totals."""
    total = _fold(total)
    for values in (other.high, other.low, other.recent):
        total = _add(total, values)
    return total


def _is_full(total: LongSum) -> jax.Array:
    return total.pending >= _FOLD_AT


def _fold(total: LongSum) -> LongSum:
    """The same total with an empty recent part."""
    empty = jax.tree.map(jnp.zeros_like, total.recent)
    return _add(
        total._replace(recent=empty, pending=jnp.zeros_like(total.pending)),
        total.recent,
    )


def _add(total: LongSum, values: Any) -> LongSum:
    """Adds float32 values to `high + low`."""

    def add(a: jax.Array, low: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = a + b
        t = s - a
        low = low + ((a - (s - t)) + (b - t))
        high = s + low
        return high, low - (high - s)

    highs, structure = jax.tree.flatten(total.high)
    lows, parts = jax.tree.leaves(total.low), jax.tree.leaves(values)
    sums = [add(*leaf) for leaf in zip(highs, lows, parts, strict=True)]
    return total._replace(
        high=structure.unflatten(high for high, _ in sums),
        low=structure.unflatten(low for _, low in sums),
    )
