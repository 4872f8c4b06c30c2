r"""Joint neighbours in the plane, by bands around the sorted order.

The distance of samples i and j is :math:`\max(|x_i - x_j|, |y_i - y_j|)`. In the order
of x the k nearest of a sample lie some :math:`\sqrt{k N} / 2` places away, typically,
and the k-th smallest distance r among the samples in a band of places is that among all
of them if :math:`r \le |x_i - x_j|` for j at either edge of the band: whatever lies
outside is farther in x alone. Three passes make every sample certain of its r:

1. a band in the order of x around every sample;
2. a band in the order of y for those left over: sparse in y, they come in runs there;
3. all samples for those left over again.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi.estimators._neighbors import bucket_count, kth_smallest

# Places to either side in the first pass, in units of sqrt(k N), and in the second.
_FIRST, _SECOND = 0.9, 4.0
# Up to this k the first pass is worth it: it inserts into lists of k, one by one.
_SHORT = 8
# Places taken in one step of the first pass; rows of one step in the others.
_PLACES, _ROWS, _TILE = 8, 32, 2**18


class _Reach(NamedTuple):
    """How far from each sample to count, and whether that is certain; all [N]."""

    along: jax.Array
    across: jax.Array
    certain: jax.Array


class _Sorted(NamedTuple):
    """The samples in the order of one of their coordinates, `along`."""

    along: jax.Array
    across: jax.Array
    order: jax.Array


def count_in_plane(
    x: jax.Array, y: jax.Array, valid: jax.Array, k: int, box: bool
) -> tuple[jax.Array, jax.Array]:
    """Numbers of samples within reach in x and in y, each sample itself included.

    Exact for all valid samples, whatever the passes leave to the last.

    Args:
      x: coordinates [N], inf where not valid.
      y: as `x`.
      valid: bool [N].
      k: number of neighbours that set the reach; see `tile_reach` for it and `box`.
    """
    samples = len(x)
    unit = math.sqrt(k * samples)
    both = jnp.stack([x, y])
    # Mapped, since what is traced twice compiles twice.
    orders = jax.lax.map(argsort, both)
    by_x = _Sorted(x[orders[0]], y[orders[0]], orders[0])
    by_y = _Sorted(y[orders[1]], x[orders[1]], orders[1])
    if k <= _SHORT:
        found = _band(by_x, k, min(math.ceil(_FIRST * unit), samples - 1), box)
    else:
        found = _Reach(jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros_like(valid))
    found = _Reach(found.across, found.along, found.certain | ~valid)
    width = math.ceil(_SECOND * unit)
    if width < samples // 8:
        found = _search(by_y, found, k, width, box)
    found = _search(by_y, found, k, samples, box)
    reaches = jnp.stack([found.across, found.along])
    ordered = jnp.stack([by_x.along, by_y.along])
    n_x, n_y = jax.lax.map(lambda args: _count(*args), (both, ordered, reaches))
    return n_x, n_y


def _count(sample: jax.Array, ordered: jax.Array, reach: jax.Array) -> jax.Array:
    """Number of samples [N] not farther than `reach` [N] from each, itself included.

    By bisection; the distances are computed as those that `reach` came from, since
    `sample - reach` is rounded.
    """

    def compare(place: jax.Array) -> tuple[jax.Array, jax.Array]:
        other = ordered[place]
        return other < sample, jnp.abs(other - sample) <= reach

    def before(place: jax.Array) -> jax.Array:
        less, near = compare(place)
        return less & ~near

    def not_after(place: jax.Array) -> jax.Array:
        less, near = compare(place)
        return less | near

    return _bisect(not_after, len(sample)) - _bisect(before, len(sample))


def argsort(x: jax.Array) -> jax.Array:
    """The order [N] of x [N].

    XLA on the CPU sorts integers alone five times as fast as it sorts floating numbers,
    or integers that take others along: sort, rank by bisection, and sort rank and place
    in one word.
    """
    integers = jnp.int32 if x.dtype == jnp.float32 else jnp.int64
    bits = jax.lax.bitcast_convert_type(x, integers)
    keys = jnp.where(bits < 0, bits ^ jnp.iinfo(integers).max, bits)
    places = jnp.arange(len(x), dtype=jnp.uint32)
    if len(x) > 2**16:
        return jax.lax.sort((keys, places), num_keys=1)[1]
    ordered = jax.lax.sort(keys, is_stable=False)
    rank = _bisect(lambda place: ordered[place] < keys, len(x))
    words = (rank.astype(jnp.uint32) << 16) | places
    return jax.lax.sort(words, is_stable=False) & jnp.uint32(2**16 - 1)


def _bisect(holds: Callable[[jax.Array], jax.Array], size: int) -> jax.Array:
    """Number of places for which `holds`, one for each sample; these come first."""
    steps = size.bit_length()

    def step(i: jax.Array, low: jax.Array) -> jax.Array:
        probe = low + (jnp.int32(1 << steps - 1) >> i)
        return jnp.where(
            (probe <= size) & holds(jnp.minimum(probe, size) - 1), probe, low
        )

    return jax.lax.fori_loop(0, steps, step, jnp.zeros(size, jnp.int32))


def as_bits(distance: jax.Array) -> jax.Array:
    """Distances as integers of the same order.

    Minima of floating numbers cost twice as much: they must pass nan on. As an integer
    nan is above inf, and so the distance of nothing.
    """
    integers = jnp.int32 if distance.dtype == jnp.float32 else jnp.int64
    return jax.lax.bitcast_convert_type(jnp.abs(distance), integers)


def to_float(bits: jax.Array) -> jax.Array:
    """What `as_bits` made integers of."""
    floating = jnp.float32 if bits.dtype == jnp.int32 else jnp.float64
    return jax.lax.bitcast_convert_type(bits, floating)


def below(distance: jax.Array) -> jax.Array:
    """The largest number less than a distance, or 0."""
    return to_float(jnp.maximum(as_bits(distance) - 1, 0))


def _band(by: _Sorted, k: int, width: int, box: bool) -> _Reach:
    """The reach in a band of `width` places to either side, in the samples' order."""
    samples = len(by.along)
    steps = -(-width // _PLACES)
    width = steps * _PLACES
    padded = [jnp.pad(a, width, constant_values=jnp.inf) for a in by[:2]]

    def over_band(update: Callable[..., Any], init: Any) -> Any:
        def step(i: jax.Array, state: Any) -> Any:
            for place in range(1, _PLACES + 1):
                for offset in (_PLACES * i + place, -_PLACES * i - place):
                    state = update(
                        state,
                        *(
                            as_bits(
                                jax.lax.dynamic_slice(p, (width + offset,), (samples,))
                                - a
                            )
                            for p, a in zip(padded, by[:2], strict=True)
                        ),
                    )
            return state

        return jax.lax.fori_loop(0, steps, step, init)

    def insert(nearest: tuple, along: jax.Array, across: jax.Array) -> tuple:
        distance = jnp.maximum(along, across)
        lower = (jnp.zeros_like(distance), *nearest[:-1])
        return tuple(
            jnp.maximum(a, jnp.minimum(distance, b))
            for a, b in zip(lower, nearest, strict=True)
        )

    def widen(sides: tuple, along: jax.Array, across: jax.Array) -> tuple:
        near = jnp.maximum(along, across) <= farthest
        return tuple(
            jnp.maximum(side, jnp.where(near, distance, jnp.zeros_like(side)))
            for side, distance in zip(sides, (along, across), strict=True)
        )

    nothing = as_bits(jnp.full_like(by.along, jnp.inf))
    farthest = over_band(insert, (nothing,) * k)[-1]
    edge = jnp.minimum(
        as_bits(padded[0][2 * width :] - by.along),
        as_bits(padded[0][:samples] - by.along),
    )
    if box:
        sides = over_band(widen, (jnp.zeros_like(farthest),) * 2)
        along, across = map(to_float, sides)
    else:
        along = across = below(to_float(farthest))
    certain = _certain(farthest, edge, box)
    return _Reach(
        *(jnp.zeros_like(a).at[by.order].set(a) for a in (along, across, certain))
    )


def _certain(farthest: jax.Array, edge: jax.Array, box: bool) -> jax.Array:
    """Whether no sample beyond the edge matters; a box takes all that are as far."""
    if box:
        return (farthest < edge) | (farthest == 0)
    return farthest <= edge


def _search(by: _Sorted, known: _Reach, k: int, columns: int, box: bool) -> _Reach:
    """The reach of those samples that lack it, found among `columns` places.

    Some rows, one after the other in the order, share the places around them.
    """
    samples = len(by.along)
    columns += -columns % bucket_count(columns, k + 1)
    fill = max(columns - samples, 0)
    rows_at_once = max(_ROWS // 4, min(_ROWS, _TILE // columns))
    along, across = (jnp.pad(a, (0, fill), constant_values=jnp.inf) for a in by[:2])
    missing = ~known.certain[by.order]
    count = jnp.sum(missing, dtype=jnp.int32)
    places = jnp.where(missing, jnp.arange(samples, dtype=jnp.int32), samples)
    places = jnp.pad(jax.lax.sort(places), (0, rows_at_once), constant_values=samples)

    def step(state: tuple[jax.Array, _Reach]) -> tuple[jax.Array, _Reach]:
        done, found = state
        rows = jax.lax.dynamic_slice(places, (done,), (rows_at_once,))
        rows = jnp.where(rows < samples, rows, rows[0])
        middle = (rows[0] + jnp.max(rows) - columns) // 2
        start = jnp.clip(middle, 0, len(along) - columns)
        near_along, near_across = (
            jax.lax.dynamic_slice(a, (start,), (columns,)) for a in (along, across)
        )
        own = by.along[rows]
        gaps = [
            as_bits(near[None, :] - a[rows][:, None])
            for near, a in ((near_along, by.along), (near_across, by.across))
        ]
        side_along, side_across, farthest = tile_reach(*gaps, k, box)
        # Nothing lies beyond the first and the last place. Negative where a row is
        # itself outside of the places.
        before = jnp.where(start == 0, jnp.inf, own - near_along[0])
        after = jnp.where(start + columns < samples, near_along[-1] - own, jnp.inf)
        certain = _certain(farthest, jnp.minimum(before, after), box)
        chosen = by.order[rows]
        new = _Reach(side_along, side_across, certain)
        found = _Reach(*(a.at[chosen].set(b) for a, b in zip(found, new, strict=True)))
        return done + rows_at_once, found

    return jax.lax.while_loop(lambda s: s[0] < count, step, (jnp.int32(0), known))[1]


def tile_reach(
    x: jax.Array, y: jax.Array, k: int, box: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Reach in x and in y [T], and distance of the k-th neighbour, from a tile of each.

    `x` and `y` [T, N] hold distances `as_bits`, every row that of the sample itself.
    """
    joint = jnp.maximum(x, y)
    farthest = kth_smallest(to_float(joint), k + 1)
    if not box:
        return below(farthest), below(farthest), farthest
    near = joint <= as_bits(farthest)[:, None]
    sides = (
        to_float(jnp.max(jnp.where(near, a, jnp.zeros_like(a)), 1)) for a in (x, y)
    )
    return *sides, farthest
