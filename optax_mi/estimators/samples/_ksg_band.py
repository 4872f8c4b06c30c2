r"""Joint neighbours in the plane, by bands around the sorted order.

The distance of samples i and j is :math:`\max(|x_i - x_j|, |y_i - y_j|)`. The k-th
smallest distance r within a band of places in the order of x is that among all samples
if :math:`r \le |x_i - x_j|` for j at either edge of the band. Three passes leave every
sample with an r that is certain:

1. a band of about :math:`\sqrt{k N}` places in the order of x around each sample;
2. for those left over, which lie far out in y, a band in the order of y;
3. for those left over again, all samples.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi.estimators.arithmetic import argsort
from optax_mi.estimators.samples._k_smallest import bucket_count
from optax_mi.estimators.samples._ksg_tile import as_bits, below, tile_reach, to_float

# In units of sqrt(k N): places to either side in the first pass, and width of the band
# that the rows of one step share in the second.
_FIRST, _SECOND = 1.1, 6.0
# Up to this k the first pass inserts into lists of k; above, it works as the second.
_SHORT = 6
# Places to either side in one step of the first pass.
_PLACES = 4
# Rows in one step of the other passes, fewer where they make more distances than that.
_ROWS, _FEW_ROWS, _TILE = 64, 8, 2**18


class _Sorted(NamedTuple):
    """The samples in the order of one coordinate."""

    along: jax.Array  # [N], that coordinate
    across: jax.Array  # [N], the other
    order: jax.Array  # int32 [N], where they come from


def count_in_plane(
    x: jax.Array, y: jax.Array, valid: jax.Array, k: int, box: bool
) -> tuple[jax.Array, jax.Array]:
    """Numbers of samples within reach in x and in y [N], each sample itself included.

    `x` and `y` [N] hold inf where not `valid`; for `box` see `tile_reach`.
    """
    samples = len(x)
    unit = math.sqrt(k * samples)
    both = jnp.stack([x, y])
    # Mapped, since what is traced twice compiles twice.
    orders = jax.lax.map(argsort, both)
    by_x = _Sorted(x[orders[0]], y[orders[0]], orders[0])
    by_y = _Sorted(y[orders[1]], x[orders[1]], orders[1])
    # Along x and across it, below 0 where not known.
    reach = jnp.where(valid[None, :], jnp.full_like(both, -1.0), 0.0)
    width = math.ceil(_FIRST * unit)
    if k <= _SHORT:
        found = _band(by_x, k, min(width, samples - 1), box)
        reach = jnp.where(reach < 0, reach.at[:, by_x.order].set(found), reach)
    elif 2 * width < samples // 2:
        reach = _search(by_x, reach, k, _ROWS + 2 * width, box)
    reach = reach[::-1]
    width = math.ceil(_SECOND * unit)
    if width < samples // 7:
        reach = _search(by_y, reach, k, width, box)
    reach = _search(by_y, reach, k, samples, box)[::-1]
    ordered = jnp.stack([by_x.along, by_y.along])
    n_x, n_y = jax.lax.map(lambda args: _count(*args), (both, ordered, reach))
    return n_x, n_y


def _band(by: _Sorted, k: int, width: int, box: bool) -> jax.Array:
    """Reach along and across [2, N] from `width` places to either side, or -1."""
    samples = len(by.along)
    steps = -(-width // _PLACES)
    width = steps * _PLACES
    ends = [jnp.full(width, end, by.along.dtype) for end in (-jnp.inf, jnp.inf)]
    along = jnp.concatenate([ends[0], by.along, ends[1]])
    across = jnp.pad(by.across, width, constant_values=jnp.inf)

    def distances(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = (width + offset,)
        return (
            as_bits(jax.lax.dynamic_slice(along, start, (samples,)) - by.along),
            as_bits(jax.lax.dynamic_slice(across, start, (samples,)) - by.across),
        )

    def over_band(update: Callable[..., Any], init: Any) -> Any:
        def step(i: jax.Array, state: Any) -> Any:
            for place in range(1, _PLACES + 1):
                offset = i * _PLACES + place
                state = update(state, *distances(offset))
                state = update(state, *distances(-offset))
            return state

        return jax.lax.fori_loop(0, steps, step, init)

    def insert(nearest: tuple, along: jax.Array, across: jax.Array) -> tuple:
        distance = jnp.maximum(along, across)
        lower = (jnp.zeros_like(distance), *nearest[:-1])
        return tuple(
            jnp.maximum(low, jnp.minimum(distance, own))
            for low, own in zip(lower, nearest, strict=True)
        )

    def widen(sides: tuple, along: jax.Array, across: jax.Array) -> tuple:
        near = jnp.maximum(along, across) <= farthest
        return tuple(
            jnp.maximum(side, jnp.where(near, distance, jnp.zeros_like(side)))
            for side, distance in zip(sides, (along, across), strict=True)
        )

    none = as_bits(jnp.full_like(by.along, jnp.inf))
    farthest = over_band(insert, (none,) * k)[-1]
    if box:
        sides = over_band(widen, (jnp.zeros_like(farthest),) * 2)
        reach = jnp.stack([to_float(side) for side in sides])
    else:
        reach = jnp.stack([below(to_float(farthest))] * 2)
    edges = along[2 * width :] - by.along, by.along - along[:samples]
    return _if_certain(reach, to_float(farthest), *edges, box)


def _search(
    by: _Sorted, reach: jax.Array, k: int, columns: int, box: bool
) -> jax.Array:
    """Reach along and across [2, N]; the unknown is sought among `columns` samples.

    Rows that follow one another in the order share those around them.
    """
    samples = len(by.along)
    columns += -columns % bucket_count(columns, k + 1)
    step_rows = max(_FEW_ROWS, min(_ROWS, _TILE // columns))
    fill = max(columns - samples, 0)
    along, across = (jnp.pad(a, (0, fill), constant_values=jnp.inf) for a in by[:2])
    unknown = reach[0, by.order] < 0
    count = jnp.sum(unknown, dtype=jnp.int32)
    places = jnp.where(unknown, jnp.arange(samples, dtype=jnp.int32), samples)
    places = jnp.pad(jax.lax.sort(places), (0, step_rows), constant_values=samples)

    def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        done, reach = state
        rows = jax.lax.dynamic_slice(places, (done,), (step_rows,))
        rows = jnp.where(rows < samples, rows, rows[0])
        start = (rows[0] + jnp.max(rows) - columns) // 2
        start = jnp.clip(start, 0, len(along) - columns)
        near_along, near_across = (
            jax.lax.dynamic_slice(a, (start,), (columns,)) for a in (along, across)
        )
        own = by.along[rows]
        farthest, *sides = tile_reach(
            as_bits(near_along[None, :] - own[:, None]),
            as_bits(near_across[None, :] - by.across[rows][:, None]),
            k,
            box,
        )
        # Nothing lies beyond the first and the last sample. Below 0 for a row that is
        # not itself among the columns.
        ends = start + columns >= samples, start <= 0
        gaps = near_along[-1] - own, own - near_along[0]
        right, left = (
            jnp.where(end, jnp.inf, gap) for end, gap in zip(ends, gaps, strict=True)
        )
        found = _if_certain(jnp.stack(sides), farthest, right, left, box)
        return done + step_rows, reach.at[:, by.order[rows]].set(found)

    return jax.lax.while_loop(lambda s: s[0] < count, step, (jnp.int32(0), reach))[1]


def _if_certain(
    reach: jax.Array,
    farthest: jax.Array,
    after: jax.Array,
    before: jax.Array,
    box: bool,
) -> jax.Array:
    """The reach where no sample beyond the edges matters, else -1."""
    edge = jnp.minimum(after, before)
    certain = (farthest < edge) | (farthest == 0) if box else farthest <= edge
    return jnp.where(certain[None, :], reach, -1.0)


def _count(sample: jax.Array, ordered: jax.Array, reach: jax.Array) -> jax.Array:
    """Number of samples [N] not farther than `reach` from each, itself included.

    Distances are those that the reach came from; `sample - reach` would be rounded.
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


def _bisect(holds: Callable[[jax.Array], jax.Array], size: int) -> jax.Array:
    """For each sample the number of places where it `holds`, which come first."""
    bits = size.bit_length()

    def step(i: jax.Array, low: jax.Array) -> jax.Array:
        probe = low + (jnp.int32(1 << bits - 1) >> i)
        inside = probe <= size
        return jnp.where(inside & holds(jnp.minimum(probe, size) - 1), probe, low)

    return jax.lax.fori_loop(0, bits, step, jnp.zeros(size, jnp.int32))
