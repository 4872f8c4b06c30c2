"""Distances to the nearest neighbors: the k smallest of each row of a tile.

Columns are split into about sqrt(k N) buckets. The k smallest elements lie in the k
buckets with the smallest minima. So a row costs one pass of minima and 2 k passes over
sqrt(k N) elements. In contrast, XLA on the CPU sorts whole rows for `jax.lax.top_k`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def bucket_count(columns: int, k: int) -> int:
    """Number of buckets, a power of 2, for the k smallest of so many columns.

    Pad columns with inf to a multiple of it before a loop, which then reads its tiles
    in place.
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
    # Rows are the last axis: XLA vectorizes minima over any axis but the last.
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
    """The k smallest [T, k], ascending, of rows with known bucket minima [T, B].

    Bucket b has the `depth` columns b, b + B, ..., and k is at most B. `read` returns
    the elements at columns [M, T]; its last axis is the rows.
    """
    rows, width = minima.shape
    least, bucket = _knock_out(jax.lax.optimization_barrier(minima).T, k)
    layers = width * jnp.arange(depth, dtype=jnp.int32)
    columns = (layers[:, None, None] + bucket[None]).reshape(depth * k, rows)
    # If fewer than k buckets have a finite element, some bucket was found twice.
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
