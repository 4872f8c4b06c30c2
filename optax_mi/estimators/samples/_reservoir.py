r"""A uniform sample of an epoch with a fixed size, for estimators that need samples.

The first M samples fill the places. After them, the n-th sample takes a random place
with probability :math:`M / n` (Vitter, Random sampling with a reservoir, ACM TOMS
11(1), 1985, algorithm R). Merging draws from two reservoirs without replacement.

Random numbers depend on the number of updates, which is in the state. So the same
batches give the same sample on any device.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.arithmetic import replicate
from optax_mi.estimators.inputs import Kind, Samples, read_vectors, streaming

_MOST = 2**31 - 1


class Reservoir(NamedTuple):
    """M of the samples so far; places from `seen` on are empty."""

    x: jax.Array  # float32 [M, features]
    y: jax.Array  # int32 [M], or float32 [M, label_features]
    seen: jax.Array  # shape=(), dtype=int32: usable samples; saturates
    dropped: jax.Array  # shape=(), dtype=int32: other samples; saturates
    num_batches: jax.Array  # shape=(), dtype=int32


def sampled(
    kind: Kind,
    sample_size: Any,
    measure: Callable[[jax.Array, jax.Array, jax.Array], MIEstimate],
) -> MIEstimator:
    """The estimator that applies `measure(x, y, valid)` to a sample of the epoch."""
    size = check_static_int("sample_size", sample_size, 2)

    def init() -> Reservoir:
        x = jnp.zeros((size, kind.features), jnp.float32)
        if kind.label_features is None:
            y = jnp.zeros(size, jnp.int32)
        else:
            y = jnp.zeros((size, kind.label_features), jnp.float32)
        return Reservoir(x, y, *(jnp.zeros((), jnp.int32) for _ in range(3)))

    def add(state: Reservoir, samples: Samples) -> Reservoir:
        # Every device keeps the whole sample, so it needs the whole batch.
        x, y, kept = replicate(samples)
        valid = kept > 0
        place = _places(state, valid, size)
        used = jnp.sum(valid, dtype=jnp.int32)
        return Reservoir(
            x=state.x.at[place].set(x, mode="drop"),
            y=state.y.at[place].set(y, mode="drop"),
            seen=_held_sum(state.seen, used),
            dropped=_held_sum(state.dropped, valid.size - used),
            num_batches=_held_sum(state.num_batches, 1),
        )

    def estimate(state: Reservoir) -> MIEstimate:
        valid = jnp.arange(size) < state.seen
        seen = measure(state.x, state.y, valid)
        return seen._replace(dropped=state.dropped.astype(seen.dropped.dtype))

    bounded = kind.label_features is None
    read = functools.partial(read_vectors, batch=True, **kind._asdict())
    return streaming(init, read, add, estimate, _merge, bounded)


def _places(state: Reservoir, valid: jax.Array, size: int) -> jax.Array:
    """The place of each sample of a batch, [N]; `size` if it takes none."""
    chance, where = jax.random.split(jax.random.fold_in(_key(), state.num_batches))
    # The sample's number in the epoch, from 1.
    number = _held_sum(state.seen, jnp.cumsum(valid, dtype=jnp.int32))
    limit = 2.0**32 * size / jnp.maximum(number, size + 1).astype(jnp.float32)
    bits = jax.random.bits(chance, valid.shape, jnp.uint32)
    accepted = bits.astype(jnp.float32) < limit
    random = jax.random.randint(where, valid.shape, 0, size, jnp.int32)
    place = jnp.where(number <= size, number - 1, random)
    takes = valid & ((number <= size) | accepted)
    place = jnp.where(takes, place, size)
    # If several samples take one place, keep the last: a scatter could keep any.
    order = jnp.arange(1, valid.size + 1, dtype=jnp.int32)
    last = jnp.zeros(size, jnp.int32).at[place].max(order, mode="drop")
    stays = jnp.take(last, place, mode="fill", fill_value=0) == order
    return jnp.where(stays, place, size)


def _merge(state: Reservoir, other: Reservoir) -> Reservoir:
    """Draws M samples from both without replacement, in random proportions."""
    size = len(state.x)
    urn, order = jax.random.split(jax.random.fold_in(_key(), -1 - state.num_batches))

    def draw(left: tuple[jax.Array, jax.Array], u: jax.Array) -> Any:
        first, second = left
        share = first / jnp.maximum(first + second, 1.0)
        # Once one of them is used up, rounding must not draw from it.
        from_first = ((u < share) | (second <= 0)) & (first > 0)
        taken = jnp.where(from_first, 1.0, 0.0)
        return (first - taken, second - (1.0 - taken)), from_first

    counts = (state.seen.astype(jnp.float32), other.seen.astype(jnp.float32))
    draws = jax.random.uniform(urn, (size,), jnp.float32)
    _, from_first = jax.lax.scan(draw, counts, draws)
    # Each reservoir's places in random order, with the empty ones last.
    empty = jnp.arange(size)[None] >= jnp.stack([state.seen, other.seen])[:, None]
    keys = jax.random.uniform(order, (2, size), jnp.float32)
    first, second = jnp.argsort(jnp.where(empty, 2.0, keys), axis=1)
    drawn = jnp.cumsum(from_first, dtype=jnp.int32) - 1
    place = jnp.arange(size)

    def pick(mine: jax.Array, theirs: jax.Array) -> jax.Array:
        rank = jnp.maximum(drawn, 0)
        ours = mine[first[rank]]
        others = theirs[second[jnp.clip(place - drawn - 1, 0, size - 1)]]
        mask = from_first.reshape((-1,) + (1,) * (mine.ndim - 1))
        return jnp.where(mask, ours, others)

    return Reservoir(
        x=pick(state.x, other.x),
        y=pick(state.y, other.y),
        seen=_held_sum(state.seen, other.seen),
        dropped=_held_sum(state.dropped, other.dropped),
        num_batches=_held_sum(_held_sum(state.num_batches, other.num_batches), 1),
    )


def _key() -> jax.Array:
    return jax.random.key(0)


def _held_sum(a: jax.Array, b: jax.typing.ArrayLike) -> jax.Array:
    """The sum of nonnegative integers, which saturates at the largest int32."""
    b = jnp.asarray(b, jnp.int32)
    return jnp.where(a > _MOST - b, _MOST, a + b)
