r"""Joint neighbors in any dimension, from tiles of distances.

A tile has the distances of some samples from all, in x and in y, computed column by
column. The k-th smallest of their maximum gives the reach, within which samples are
counted. Euclidean distances stay squared, because roots are slow and do not change the
order.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from optax_mi.estimators.arithmetic import power_of_two
from optax_mi.estimators.samples._k_smallest import bucket_count, kth_smallest

# Distances in a tile, and the columns per pass over it.
_TILE, _COLUMNS = 80_000, 16

Norm = Literal["euclidean", "max"]


def count_in_tiles(
    x: jax.Array, y: jax.Array, k: int, box: bool, norm: Norm
) -> tuple[jax.Array, jax.Array]:
    """Numbers of samples within reach in x and in y [N], including the sample itself.

    `x` and `y` [N, d] are inf in invalid rows; for `box` see `tile_reach`. The
    Euclidean norm uses squares, see `share_unit`.
    """
    samples = len(x)
    # A power of 2 fills the SIMD lanes of the processor.
    rows = 2 ** (max(1, min(_TILE, samples**2) // samples).bit_length() - 1)
    tiles = -(-samples // rows)
    # Pad to a whole number of buckets before the loop.
    buckets = bucket_count(samples, k + 1)
    fill = -samples % buckets
    columns = [
        jnp.pad(a.T, ((0, 0), (0, fill)), constant_values=jnp.inf) for a in (x, y)
    ]
    queries = [
        jnp.pad(a, ((0, tiles * rows - samples), (0, 0))).reshape(tiles, rows, -1)
        for a in (x, y)
    ]

    def count(query: list[jax.Array]) -> list[jax.Array]:
        in_x, in_y = (
            _distances(*pair, norm) for pair in zip(query, columns, strict=True)
        )
        _, *reach = tile_reach(in_x, in_y, k, box)
        return [
            _count(distance <= as_bits(far)[:, None], buckets)
            for distance, far in zip((in_x, in_y), reach, strict=True)
        ]

    n_x, n_y = (n.reshape(-1)[:samples] for n in jax.lax.map(count, queries))
    return n_x, n_y


def tile_reach(
    x: jax.Array, y: jax.Array, k: int, box: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Distance of the k-th neighbor, reach in x and reach in y, [T] each.

    `x` and `y` are distances [T, N] `as_bits`, including the sample's own. With `box`,
    the reach is the largest distance, in x and in y, of the samples that are at most as
    far as the k-th neighbor. Otherwise, in both, it is the largest number below that
    neighbor's distance, or 0.
    """
    joint = jnp.maximum(x, y)
    farthest = kth_smallest(to_float(joint), k + 1)
    if not box:
        return farthest, below(farthest), below(farthest)
    near = joint <= as_bits(farthest)[:, None]
    in_x, in_y = (
        to_float(jnp.max(jnp.where(near, a, jnp.zeros_like(a)), 1)) for a in (x, y)
    )
    return farthest, in_x, in_y


def as_bits(difference: jax.Array) -> jax.Array:
    """Absolute values as integers in the same order; nan is above inf.

    On the CPU, XLA computes maxima of integers faster, because floats must propagate
    nan.
    """
    integer = jnp.int32 if difference.dtype == jnp.float32 else jnp.int64
    return jax.lax.bitcast_convert_type(jnp.abs(difference), integer)


def to_float(bits: jax.Array) -> jax.Array:
    """The inverse of `as_bits`."""
    floating = jnp.float32 if bits.dtype == jnp.int32 else jnp.float64
    return jax.lax.bitcast_convert_type(bits, floating)


def below(distance: jax.Array) -> jax.Array:
    """The largest number less than a distance, or 0."""
    return to_float(jnp.maximum(as_bits(distance) - 1, 0))


def share_unit(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`x` and `y` [N, d] times a power of 2, for distances that will be squared.

    If one is at least 2**40 times smaller than the other, it gets its own power, so
    that its squares do not underflow: it stays 2**40 times smaller.
    """
    units = [jnp.min(power_of_two(a)) for a in (x, y)]
    least = 2.0**40 * jnp.minimum(*units)
    x, y = (
        a * unit * jnp.maximum(least / unit, 1.0)
        for a, unit in zip((x, y), units, strict=True)
    )
    return x, y


def _distances(query: jax.Array, columns: jax.Array, norm: Norm) -> jax.Array:
    """Distances [T, N] `as_bits` of samples [T, d] from those in columns [d, N].

    Euclidean distances are squared.
    """
    blocks, rest = divmod(len(columns), _COLUMNS)
    square = norm == "euclidean"
    zero = jnp.zeros((len(query), columns.shape[1]), query.dtype)
    zero = zero if square else as_bits(zero)

    def farther(distance: jax.Array, query: jax.Array, columns: jax.Array) -> jax.Array:
        for i in range(len(columns)):
            gap = columns[i][None, :] - query[:, i][:, None]
            if square:
                distance = distance + jnp.square(gap)
            else:
                distance = jnp.maximum(distance, as_bits(gap))
        return distance

    def block(i: jax.Array, distance: jax.Array) -> jax.Array:
        start = rest + i * _COLUMNS
        part = jax.lax.dynamic_slice_in_dim(query, start, _COLUMNS, 1)
        return farther(
            distance,
            part,
            jax.lax.dynamic_slice_in_dim(columns, start, _COLUMNS, 0),
        )

    def over_columns() -> jax.Array:
        distance = farther(zero, query[:, :rest], columns[:rest])
        if not blocks:
            return distance
        return jax.lax.fori_loop(0, blocks, block, distance)

    if not square:
        return over_columns()
    # A branch whose outcome XLA does not know. Without it, XLA recomputes sums of
    # squares for each use: up to 4 times slower, and maybe with different rounding.
    seen = jax.lax.optimization_barrier(jnp.bool_(True))
    return as_bits(jax.lax.cond(seen, over_columns, lambda: zero))


def _count(near: jax.Array, width: int) -> jax.Array:
    """Number of true elements [T] of [T, N], by sums that XLA vectorizes on the CPU."""
    parts = near.reshape(len(near), -1, width).sum(1, dtype=jnp.int32)
    return jax.lax.optimization_barrier(parts).sum(1, dtype=jnp.int32)
