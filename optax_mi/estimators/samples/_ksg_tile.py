r"""Joint neighbours in any dimension, from tiles of distances.

Some samples against all: distances in x, column by column, the same in y, the k-th
smallest of their maximum, and what lies within reach. Euclidean distances stay squared:
roots are slow, and change no order.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from optax_mi.estimators.arithmetic import power_of_two
from optax_mi.estimators.samples._k_smallest import bucket_count, kth_smallest

# Distances in a tile, and columns whose distances are taken in one pass over it.
_TILE, _COLUMNS = 80_000, 16

Norm = Literal["euclidean", "max"]


def count_in_tiles(
    x: jax.Array, y: jax.Array, k: int, box: bool, norm: Norm
) -> tuple[jax.Array, jax.Array]:
    """Numbers of samples within reach in x and in y [N], each sample itself included.

    `x` and `y` [N, d] hold inf in rows that are not valid; for `box` see `tile_reach`.
    Squares are taken for the Euclidean norm, see `share_unit`.
    """
    samples = len(x)
    # A power of 2, which fills the lanes of the processor.
    rows = 2 ** (max(1, min(_TILE, samples**2) // samples).bit_length() - 1)
    tiles = -(-samples // rows)
    # A whole number of buckets, padded before the loop.
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
    """Distance of the k-th neighbour, reach in x and reach in y, [T] each.

    `x` and `y` are distances [T, N] `as_bits`, the sample's own among them. For a `box`
    the reach is the largest distance, in x and in y, of the samples not farther than
    the k-th neighbour; else, in both, the largest number below that neighbour's
    distance, or 0.
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
    """Absolute values as integers of the same order, nan being more than inf.

    XLA on the CPU takes maxima of integers faster, since floats must pass nan on.
    """
    integer = jnp.int32 if difference.dtype == jnp.float32 else jnp.int64
    return jax.lax.bitcast_convert_type(jnp.abs(difference), integer)


def to_float(bits: jax.Array) -> jax.Array:
    """What `as_bits` made an integer of."""
    floating = jnp.float32 if bits.dtype == jnp.int32 else jnp.float64
    return jax.lax.bitcast_convert_type(bits, floating)


def below(distance: jax.Array) -> jax.Array:
    """The largest number less than a distance, or 0."""
    return to_float(jnp.maximum(as_bits(distance) - 1, 0))


def share_unit(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`x` and `y` [N, d] times a power of 2, for distances that are to be squared.

    If one of them is 2**40 times smaller than the other, or more, it gets a power of
    its own, at which its squares do not vanish: it stays 2**40 times smaller.
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

    Squared for the Euclidean norm.
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
    # A branch whose outcome XLA does not see. Without it, sums of squares are computed
    # anew for each use: up to 4 times slower, and perhaps rounded in two ways.
    seen = jax.lax.optimization_barrier(jnp.bool_(True))
    return as_bits(jax.lax.cond(seen, over_columns, lambda: zero))


def _count(near: jax.Array, width: int) -> jax.Array:
    """Number of true elements [T] of [T, N], by sums that XLA vectorises on the CPU."""
    parts = near.reshape(len(near), -1, width).sum(1, dtype=jnp.int32)
    return jax.lax.optimization_barrier(parts).sum(1, dtype=jnp.int32)
