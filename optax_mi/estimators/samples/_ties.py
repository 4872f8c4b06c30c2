"""Breaks ties with noise that is small compared with the distances between values.

Nearest neighbors need densities. If values repeat, as ages in years and rounded numbers
do, distances are 0 and densities infinite. A value that occurs n > 1 times gets uniform
noise of a tenth of its distance to others on the nearer side: to the next value, or for
many ties to the sample n / 64 places farther. A value that occurs once does not change.

If distances in one vector are compared with distances in another, noise must also be
small compared with the latter. `narrow` noise is as small as floating numbers allow:
n ties in X get 256 sqrt(n) of their steps. So among samples that are also tied in Y,
the k nearest still span many steps.
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

    Each column is returned relative to its most common value: floating numbers are
    finest near 0, and noise on many ties needs that most. If that value lies far out,
    the column does not move.
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
    changes = ordered[1:] != ordered[:-1]
    first, last = _runs(changes)
    there = jnp.isfinite(ordered)
    ties = jnp.where(there, last - first + 1, 0)
    commonest = ordered[jnp.argmax(ties)]
    # Do not move if most values would lie farther out: they would lose more precision
    # than the ties gain.
    middle = ordered[jnp.maximum(jnp.sum(valid) - 1, 0) // 2]
    nearer = jnp.abs(middle - commonest) <= 2.0 * jnp.abs(middle)
    commonest = jnp.where(jnp.isfinite(commonest) & nearer, commonest, 0.0)
    ordered = ordered - commonest

    far = 1 + ties // _FAR
    below = ordered.at[jnp.maximum(first - far, 0)].get(mode="clip")
    below = jnp.where(first >= far, below, -jnp.inf)
    above = ordered.at[last + far].get(mode="fill", fill_value=jnp.inf)
    gap = jnp.minimum(ordered - below, above - ordered)
    # If all values are equal, there is no gap, and no information.
    width = _WIDE * gap
    if narrow:
        step = jnp.abs(ordered) * jnp.finfo(x.dtype).eps
        least = _STEPS * jnp.sqrt(ties.astype(x.dtype)) * step
        width = jnp.clip(least, _NARROW * gap, width)
    scale = jnp.where((ties > 1) & jnp.isfinite(gap), width, 0.0)
    scale = jnp.zeros_like(x).at[order].set(scale, unique_indices=True)
    return jnp.where(valid, x - commonest + scale * noise, 0.0)


def _runs(changes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First and last place [N] of each element's run; runs end at changes [N - 1]."""
    samples = len(changes) + 1
    place = jnp.arange(samples, dtype=jnp.int32)
    ways = jnp.pad(jnp.stack([changes, changes[::-1]]), ((0, 0), (1, 0)))
    bits = (samples - 1).bit_length()

    # A running maximum of the starts of runs, from both ends. `jax.lax.cummax` takes up
    # to three times as long, and twice as long to compile.
    def leap(i: jax.Array, start: jax.Array) -> jax.Array:
        shift = jnp.int32(1) << i
        before = jnp.roll(start, shift, 1)
        return jnp.where(place >= shift, jnp.maximum(start, before), start)

    start = jax.lax.fori_loop(0, bits, leap, jnp.where(ways, place, 0))
    return start[0], samples - 1 - start[1, ::-1]


def break_ties_in_order(
    rng: np.random.Generator, ordered: np.ndarray, eps: float, *, narrow: bool
) -> np.ndarray:
    """As :func:`break_ties`, for one sorted column [N], with NumPy in float64.

    `eps` is that of the dtype of later distances. Values that were tied are not sorted
    after the noise.
    """
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ties = np.diff(np.append(starts, len(ordered)))
    commonest, middle = (
        ordered[starts[np.argmax(ties)]],
        ordered[(len(ordered) - 1) // 2],
    )
    if abs(middle - commonest) <= 2.0 * abs(middle):
        ordered = ordered - commonest
    groups = ties > 1
    first, ties = starts[groups], ties[groups]
    far = 1 + ties // _FAR
    # There are no values beyond the ends.
    around = np.concatenate([[-np.inf], ordered, [np.inf]])
    below = around[np.maximum(first + 1 - far, 0)]
    above = around[np.minimum(first + ties + far, len(ordered) + 1)]
    own = ordered[first]
    gap = np.minimum(own - below, above - own)
    width = _WIDE * gap
    if narrow:
        least = _STEPS * np.sqrt(ties) * np.abs(own) * eps
        width = np.clip(least, _NARROW * gap, width)
    width = np.where(np.isfinite(gap), width, 0.0)
    at = np.repeat(first - np.cumsum(ties) + ties, ties) + np.arange(ties.sum())
    ordered = ordered.copy()
    ordered[at] += np.repeat(width, ties) * rng.uniform(-1.0, 1.0, len(at))
    return ordered
