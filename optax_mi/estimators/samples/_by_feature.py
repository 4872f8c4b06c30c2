"""Nearest neighbours of one feature after another, from orders found by NumPy.

NumPy sorts some twenty times faster than XLA does on the CPU, and an order serves for
all permutations of the target. Here comes what is left to do.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.estimators.arithmetic import digamma
from optax_mi.estimators.samples._ksg_band import Plane, count_in_order, lay_strips
from optax_mi.estimators.samples._ross_mi import count_on_ordered_line


@functools.partial(jax.jit, static_argnames="k")
def ross_by_feature(
    ordered: jax.Array,
    labels: jax.Array,
    places: jax.Array,
    sizes: jax.Array,
    jobs: jax.Array,
    *,
    k: int,
) -> jax.Array:
    """Ross's estimates [J] in nats, not clipped, of the first `jobs` rows.

    Args:
      ordered: values [J, N] in order, inf beyond those of classes of two or more.
      labels: of those classes [J, N], in order, C where there is nothing.
      places: int32 [J, N], where in `ordered` the samples in the order of the label,
        then the value, are.
      sizes: int32 [J, C] of the classes, 0 for those of one.
      jobs: number of rows to look at.
      k: number of neighbours.
    """

    def estimate(j: jax.Array) -> jax.Array:
        line, label, place, size = _row(j, ordered, labels, places, sizes)
        part, dtype = jnp.sum(size), line.dtype
        nearer = count_on_ordered_line(line, label, place, k, size)
        others = digamma(jnp.minimum(k, size - 1), dtype)
        of_class = others - digamma(size, dtype) + digamma(part, dtype)
        local = of_class.at[label].get(mode="clip") - digamma(nearer, dtype)
        total = jnp.sum(jnp.where(label < len(size), local, 0.0))
        return total / jnp.maximum(part, 1).astype(dtype)

    return _each(estimate, jobs, len(ordered), ordered.dtype)


@functools.partial(jax.jit, static_argnames="k")
def ksg_by_feature(
    ordered: jax.Array,
    target: jax.Array,
    places: jax.Array,
    strips: jax.Array | None,
    count: jax.Array,
    jobs: jax.Array,
    *,
    k: int,
) -> jax.Array:
    """Kraskov's first estimates [J] in nats, not clipped, of the first `jobs` rows.

    Args:
      ordered: values [J, N] in order, inf beyond the first `count`.
      target: values [N] in order, inf likewise, of the same spread.
      places: int32 [J, N], where in `target` the samples in the order of `ordered` are.
      strips: of `strips_of` for each row, or None.
      count: number of samples.
      jobs: number of rows to look at.
      k: number of neighbours, less than `count`.
    """
    dtype = ordered.dtype
    there = jnp.arange(len(target), dtype=jnp.int32) < count
    known = digamma(count, dtype) + digamma(jnp.int32(k), dtype)

    def estimate(j: jax.Array) -> jax.Array:
        line, place, laid = _row(j, ordered, places, strips)
        plane = Plane(line, target, place, laid)
        n_x, n_y = count_in_order(plane, k, box=False)
        local = known - digamma(n_x, dtype) - digamma(n_y, dtype)
        return jnp.sum(jnp.where(there, local, 0.0)) / count.astype(dtype)

    return _each(estimate, jobs, len(ordered), dtype)


def strips_of(places: np.ndarray, k: int) -> np.ndarray | None:
    """The strips of a row of places, for :func:`ksg_by_feature`."""
    return lay_strips(places, k, np, lambda rows: np.sort(rows, axis=-1))


def _row(j: jax.Array, *arrays: jax.Array | None) -> tuple[Any, ...]:
    """Row j of each array, cut out once and for all."""
    rows = tuple(None if a is None else a[j] for a in arrays)
    return jax.lax.optimization_barrier(rows)


def _each(
    estimate: Callable[[jax.Array], jax.Array],
    jobs: jax.Array,
    rows: int,
    dtype: jax.typing.DTypeLike,
) -> jax.Array:
    """Estimates [J] of the first `jobs` rows, one after another, and 0 of the rest."""

    def one(j: jax.Array, found: jax.Array) -> jax.Array:
        return found.at[j].set(estimate(j))

    return jax.lax.fori_loop(0, jobs, one, jnp.zeros(rows, dtype))
