"""Distances to the nearest neighbours: the k smallest of each row of a tile.

Columns are dealt into about sqrt(k N) buckets. The k smallest elements lie in the k
buckets with the smallest minima, so a row costs one pass of minima and 2 k passes over
sqrt(k N) elements, where XLA on the CPU makes a sort of whole rows of `jax.lax.top_k`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def bucket_count(columns: int, k: int) -> int:
    """Number of buckets, a power of 2, for the k smallest of so many columns.

    Pad with inf to a multiple of it before a loop: its tiles are then read in place.
    """
    return 2 ** round(math.log2(k * columns) / 2)


def kth_smallest(tile: jax.Array, k: int) -> jax.Array:
    """The k-th smallest [T] of each row of a tile [T, N] without nan, k at most N."""
    return k_smallest(tile, k)[:, -1]


def k_smallest(tile: jax.Array, k: int) -> jax.Array:
    """The k smallest [T, k] of each row of a tile [T, N], in ascending order."""
    if k == 1:
        return tile.min(1, keepdims=True)
    rows, columns = tile.shape
    width = bucket_count(columns, k)
    depth = columns // width
    # Rows go last: XLA vectorises minima over any axis but the last.
    if k * depth + width >= columns:
        return _knock_out(tile.T, k)[0].T
    minima = tile[:, : depth * width].reshape(rows, depth, width).min(1)
    if rest := columns % width:
        padding = ((0, 0), (0, width - rest))
        last = jnp.pad(tile[:, -rest:], padding, constant_values=jnp.inf)
        minima = jnp.minimum(minima, last)

    def read(at: jax.Array) -> jax.Array:
        row = jnp.arange(rows, dtype=jnp.int32)
        return tile.at[row[None], at].get(mode="fill", fill_value=jnp.inf)

    return k_smallest_in_buckets(minima, -(-columns // width), k, read)


def k_smallest_in_buckets(
    minima: jax.Array, depth: int, k: int, read: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """The k smallest [T, k], ascending, of rows whose bucket minima [T, B] are known.

    Bucket b holds columns b, b + B, ..., `depth` of them, and k is at most B. `read`
    gives the elements at columns [M, T], the last axis being the rows.
    """
    rows, width = minima.shape
    least, bucket = _knock_out(jax.lax.optimization_barrier(minima).T, k)
    layers = width * jnp.arange(depth, dtype=jnp.int32)
    columns = (layers[:, None, None] + bucket[None]).reshape(depth * k, rows)
    # Where fewer than k buckets hold a finite element, one of them was found again.
    found = jnp.tile(least < jnp.inf, (depth, 1))
    return _knock_out(jnp.where(found, read(columns), jnp.inf), k)[0].T


def _knock_out(x: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest [k, T] of each column of [M, T], ascending, and their indices."""
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 0)

    def step(x: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        smallest = x.min(0)
        where = jnp.min(jnp.where(x == smallest[None], index, len(x) - 1), 0)
        return jnp.where(index == where[None], jnp.inf, x), (smallest, where)

    return jax.lax.scan(step, x, length=k)[1]
