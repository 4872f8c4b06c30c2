"""Ties, broken by noise that is small beside whatever is not tied.

Nearest neighbours are for densities: where values repeat, as ages in years and rounded
numbers do, distances are 0 and densities infinite. A value that is there n > 1 times
gets uniform noise of a tenth of its distance to others, on the nearer side: to the next
value, or further where that lies nearer than n / 64 samples do. A value that is there
once stays as it is.

Where distances in one vector are compared with those in another, noise must be small
beside the distances in the other, too. `narrow` noise is as small as floating numbers
allow: n ties in X get 256 sqrt(n) of their steps. So among those that are tied in Y as
well the k nearest still span many steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.estimators.arithmetic import argsort

Key = jax.Array | int

# Shares of the gap to the next value.
_WIDE = 0.1
_NARROW = 1e-5
_STEPS = 256
_FAR = 64


def break_ties(
    key: Key, x: jax.Array, valid: jax.Array, *, narrow: bool = False
) -> jax.Array:
    """`x` [N, d] with noise on tied values, column by column.

    Each column comes back as distances from its commonest value, where floating numbers
    are finest and noise on many ties needs that most; from 0 if that lies far out.
    """
    noise = jax.random.uniform(as_key(key), x.shape, x.dtype, -1.0, 1.0)

    def column(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        return _break_ties(*args, valid, narrow)

    return jax.lax.map(column, (x.T, noise.T)).T


def check_key(name: str, key: Any) -> None:
    """Raises unless it is a key, a seed, or None."""
    if key is None or isinstance(key, jax.Array):
        return
    if isinstance(key, bool) or not isinstance(key, int | np.integer):
        raise TypeError(
            f"{name} must be a key of jax.random, an int or None, got {key!r:.60}."
        )


def as_key(key: Key) -> jax.Array:
    """A key from a key or a seed."""
    seed = jnp.asarray(key)
    if seed.ndim == 0 and jnp.issubdtype(seed.dtype, jnp.integer):
        return jax.random.key(seed)
    return seed


def _break_ties(
    x: jax.Array, noise: jax.Array, valid: jax.Array, narrow: bool
) -> jax.Array:
    """One column [N]."""
    order = argsort(jnp.where(valid, x, jnp.inf))
    ordered = jnp.where(valid[order], x[order], jnp.inf)
    first, last = _first_and_last(ordered)
    there = jnp.isfinite(ordered)
    ties = jnp.where(there, last - first + 1, 0)
    commonest = ordered[jnp.argmax(ties)]
    # Not to where most would lie further out: they would lose more than the ties gain.
    middle = ordered[jnp.maximum(jnp.sum(valid) - 1, 0) // 2]
    nearer = jnp.abs(middle - commonest) <= 2.0 * jnp.abs(middle)
    commonest = jnp.where(jnp.isfinite(commonest) & nearer, commonest, 0.0)
    ordered = ordered - commonest

    far = 1 + ties // _FAR
    below = ordered.at[jnp.maximum(first - far, 0)].get(mode="clip")
    below = jnp.where(first >= far, below, -jnp.inf)
    above = ordered.at[last + far].get(mode="fill", fill_value=jnp.inf)
    gap = jnp.minimum(ordered - below, above - ordered)
    # Where all values are one there is no gap, and nothing to tell apart.
    width = _WIDE * gap
    if narrow:
        step = jnp.abs(ordered) * jnp.finfo(x.dtype).eps
        least = _STEPS * jnp.sqrt(ties.astype(x.dtype)) * step
        width = jnp.clip(least, _NARROW * gap, width)
    scale = jnp.where((ties > 1) & jnp.isfinite(gap), width, 0.0)
    scale = jnp.zeros_like(x).at[order].set(scale, unique_indices=True)
    return jnp.where(valid, x - commonest + scale * noise, 0.0)


def _first_and_last(ordered: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where the elements that equal each of these [N], in order, begin and end.

    Two bisections in one loop, which compiles faster than running maxima and minima.
    """
    samples = len(ordered)
    bits = samples.bit_length()

    def step(i: jax.Array, counts: tuple[jax.Array, jax.Array]) -> Any:
        less, not_more = counts
        leap = jnp.int32(1 << bits - 1) >> i

        def place(count: jax.Array) -> jax.Array:
            return ordered[jnp.minimum(count + leap, samples) - 1]

        further = (less + leap <= samples) & (place(less) < ordered)
        no_less = (not_more + leap <= samples) & (place(not_more) <= ordered)
        return (
            jnp.where(further, less + leap, less),
            jnp.where(no_less, not_more + leap, not_more),
        )

    zero = jnp.zeros(samples, jnp.int32)
    less, not_more = jax.lax.fori_loop(0, bits, step, (zero, zero))
    return less, not_more - 1
