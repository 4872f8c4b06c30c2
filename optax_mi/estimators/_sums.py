"""Sums that stay exact over a long epoch.

A float32 total stops growing at 2**24 when ones are added to it. A total kept as
the unevaluated sum of two float32 numbers, `high + low`, carries about 48 bits: whole
numbers are exact to 2**48, and a sum of fractions loses nothing that shows in float32.
With s = fl(a + b) and t = fl(s - a), the rounding error of s is

    e = (a - (s - t)) + (b - t)         exactly (Knuth, TAOCP vol. 2, 4.2.2, theorem B)

and goes into `low`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class CompensatedSum(NamedTuple):
    """The total `high + low`, with abs(low) at most half an ulp of `high`."""

    high: jax.Array  # float32
    low: jax.Array  # float32, same shape

    @property
    def value(self) -> jax.Array:
        """The total, rounded to float32."""
        return self.high + self.low


def zeros(shape: tuple[int, ...]) -> CompensatedSum:
    """The sum of nothing."""
    return CompensatedSum(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32))


def merge(total: CompensatedSum, other: CompensatedSum) -> CompensatedSum:
    """The sum of two totals."""
    s = total.high + other.high
    t = s - total.high
    error = (total.high - (s - t)) + (other.high - t)
    low = total.low + other.low + error
    high = s + low
    return CompensatedSum(high, low - (high - s))


def add(total: CompensatedSum, values: jax.Array) -> CompensatedSum:
    """`total` after float32 `values` of the same shape came in."""
    return merge(total, CompensatedSum(values, jnp.zeros_like(values)))
