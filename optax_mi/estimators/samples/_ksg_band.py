r"""Joint neighbors in the plane, found in strips of samples that lie side by side.

The distance of samples i and j is :math:`\max(|x_i - x_j|, |y_i - y_j|)`. The k-th
smallest distance r among some samples is that among all if no other sample is nearer in
x, or in y, than r. Passes leave every sample with an r that is certain:

1. strips in the order of x, sorted by y, and some places to either side in a strip. The
   others lie beyond its edges or those places. A second time strips begin half a strip
   earlier, so that most samples are far from an edge once;
2. for those left over a band of some :math:`\sqrt{k N}` places in the order of y, which
   finds those far out in y, and then in the order of x;
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

# In units of sqrt(k N): samples in a strip, and width of the band that the rows of one
# step share.
_STRIP, _BAND = 5.5, 6.0
# Places to search on either side in a strip, per neighbor, and places per step.
_REACH, _PLACES = 10, 30
# Up to this k the first passes insert into lists of k; above, they are left out.
_SHORT = 6
# Samples to either side, in units of sqrt(N), that hardly any reach goes beyond.
_WITHIN = 4.0
# Rows in one step of the other passes, fewer where they make more distances than that.
_ROWS, _FEW_ROWS, _TILE = 16, 8, 2**18


class Plane(NamedTuple):
    """Samples by the order of x and of y; those that are not there are inf, and last.

    They are numbered in the order of x.
    """

    x: jax.Array  # [N], in order
    y: jax.Array  # [N], in order
    y_place: jax.Array  # int32 [N], the place in y of each sample
    strips: jax.Array | None  # see `lay_strips`


class _Sorted(NamedTuple):
    """The samples in the order of one coordinate."""

    along: jax.Array  # [N], that coordinate
    across: jax.Array  # [N], the other
    order: jax.Array  # int32 [N], where they come from


def count_in_plane(
    x: jax.Array, y: jax.Array, k: int, box: bool
) -> tuple[jax.Array, jax.Array]:
    """Numbers of samples within reach in x and in y [N], each sample itself included.

    `x` and `y` [N] hold inf where there is no sample; for `box` see `tile_reach`.
    """
    # Mapped, because code that is traced twice is compiled twice.
    x_order, y_order = jax.lax.map(argsort, jnp.stack([x, y]))
    y_place = _inverse(y_order)[x_order]
    strips = lay_strips(y_place, k, jnp, lambda rows: jnp.sort(rows, stable=False))
    counts = count_in_order(Plane(x[x_order], y[y_order], y_place, strips), k, box)
    n_x, n_y = (jnp.zeros_like(n).at[x_order].set(n) for n in counts)
    return n_x, n_y


def lay_strips(places: Any, k: int, xp: Any, sort: Callable[[Any], Any]) -> Any:
    """The places in y of the samples of each strip, in order, laid twice [2, L].

    `places` [N] are those of the samples in the order of x, and N stands for none.
    Nothing for a k above that of the passes that need it.
    """
    if k > _SHORT:
        return None
    samples = len(places)
    width = _strip_width(samples, k)
    room = -(samples + width // 2) % width + width // 2
    laid = [
        xp.pad(places, (offset, room - offset), constant_values=samples)
        for offset in (0, width // 2)
    ]
    return sort(xp.stack(laid).reshape(2, -1, width)).reshape(2, -1)


def count_in_order(plane: Plane, k: int, box: bool) -> tuple[jax.Array, jax.Array]:
    """As `count_in_plane`, of the samples in the order of x."""
    samples = len(plane.x)
    x_place = _inverse(plane.y_place)
    across = jnp.stack([plane.y[plane.y_place], plane.x[x_place]])
    # In x and in y, below 0 where not known.
    reach = jnp.where(jnp.isinf(plane.x)[None, :], 0.0, jnp.full_like(across, -1.0))
    if plane.strips is not None:
        reach = _in_strips(plane, plane.strips, x_place, reach, k, box)
    places = jnp.arange(samples, dtype=jnp.int32)
    orders = _Sorted(
        jnp.stack([plane.y, plane.x]), across[::-1], jnp.stack([x_place, places])
    )

    def search(width: int) -> Callable[[jax.Array, _Sorted], Any]:
        def turn(reach: jax.Array, by: _Sorted) -> tuple[jax.Array, None]:
            return _search(by, reach[::-1], k, width, box), None

        return turn

    width = math.ceil(_BAND * math.sqrt(k * samples))
    if width < samples // 4:
        reach, _ = jax.lax.scan(search(width), reach, orders)
    by_x = _Sorted(plane.x, across[0], places)
    reach = _search(by_x, reach, k, samples, box)
    ordered = jnp.stack([plane.x, plane.y])
    reach = jnp.stack([reach[0], reach[1, x_place]])
    n_x, n_y = jax.lax.map(lambda args: _count(*args), (ordered, reach))
    return n_x, n_y[plane.y_place]


def _inverse(order: jax.Array) -> jax.Array:
    """Where each element of a permutation is."""
    places = jnp.arange(len(order), dtype=jnp.int32)
    return jnp.zeros_like(places).at[order].set(places, unique_indices=True)


def _strip_width(samples: int, k: int) -> int:
    return min(samples, math.ceil(_STRIP * math.sqrt(k * samples)))


def _in_strips(
    plane: Plane,
    strips: jax.Array,
    x_place: jax.Array,
    reach: jax.Array,
    k: int,
    box: bool,
) -> jax.Array:
    """Reach in x and in y [2, N], where strips tell it for certain."""
    samples, width = len(plane.x), _strip_width(len(plane.x), k)
    index = jnp.arange(strips.shape[1], dtype=jnp.int32)
    inside = index % width
    far = jnp.full(1, jnp.inf, plane.x.dtype)
    x, y = (jnp.concatenate([-far, a, far]) for a in (plane.x, plane.y))
    x_of = jnp.append(x_place, jnp.int32(samples))

    def one(
        reach: jax.Array, args: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, None]:
        laid, offset = args
        at = x_of[laid]
        in_x, in_y = x[at + 1], y[laid + 1]
        first = index - inside - offset
        before = in_x - x[jnp.maximum(first, 0)]
        after = x[jnp.minimum(first + width, samples) + 1] - in_x
        # The band reads these often: compute them once.
        in_x, in_y, edge = jax.lax.optimization_barrier(
            (in_x, in_y, jnp.minimum(before, after))
        )
        found = _band(in_x, in_y, edge, inside, width, k, box)
        return reach.at[:, at].max(found, mode="drop"), None

    offsets = jnp.array([0, width // 2], jnp.int32)
    return jax.lax.scan(one, reach, (strips, offsets))[0]


def _band(
    along: jax.Array,
    across: jax.Array,
    edge: jax.Array,
    inside: jax.Array,
    width: int,
    k: int,
    box: bool,
) -> jax.Array:
    """Reach along and across [2, L] from some places to either side, or -1.

    Samples are in the order of the other coordinate within strips, in which they are
    `inside` places from the beginning, and `edge` from the edges.
    """
    samples = len(along)
    steps = -(-min(_REACH * k, width - 1) // _PLACES)
    places = steps * _PLACES
    around = [jnp.pad(a, places, constant_values=jnp.inf) for a in (along, across)]

    def differences(offset: jax.Array | int) -> list[jax.Array]:
        start = (places + offset,)
        return [
            jax.lax.dynamic_slice(a, start, (samples,)) - own
            for a, own in zip(around, (along, across), strict=True)
        ]

    def insert(nearest: tuple, along: jax.Array, across: jax.Array) -> tuple:
        distance = jnp.maximum(along, across)
        lower = (jnp.zeros_like(distance), *nearest[:-1])
        return tuple(
            jnp.maximum(low, jnp.minimum(distance, own))
            for low, own in zip(lower, nearest, strict=True)
        )

    def insert_some(i: jax.Array, nearest: tuple) -> tuple:
        for place in range(1, _PLACES + 1):
            offset = i * _PLACES + place
            nearest = insert(nearest, *map(as_bits, differences(offset)))
            nearest = insert(nearest, *map(as_bits, differences(-offset)))
        return nearest

    # One place a turn: XLA computes unrolled turns of two results again and again.
    def widen(i: jax.Array, sides: tuple) -> tuple:
        along, across = map(as_bits, differences(i - places))
        near = jnp.maximum(along, across) <= farthest
        return tuple(
            jnp.maximum(side, jnp.where(near, distance, jnp.zeros_like(side)))
            for side, distance in zip(sides, (along, across), strict=True)
        )

    none = as_bits(jnp.full_like(along, jnp.inf))
    farthest = jax.lax.fori_loop(0, steps, insert_some, (none,) * k)[-1]
    if box:
        zeros = (jnp.zeros_like(farthest),) * 2
        sides = jax.lax.fori_loop(0, 2 * places + 1, widen, zeros)
        reach = jnp.stack([to_float(side) for side in sides])
    else:
        reach = jnp.stack([below(to_float(farthest))] * 2)
    # Samples beyond the ends of a strip are not in order: only its edges bound them.
    after = jnp.where(inside + places < width, differences(places)[1], jnp.inf)
    before = jnp.where(inside >= places, -differences(-places)[1], jnp.inf)
    edge = jnp.minimum(edge, jnp.minimum(after, before))
    return _if_certain(reach, to_float(farthest), edge, box)


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
    index = jnp.arange(samples, dtype=jnp.int32)
    nowhere = samples + step_rows
    # In a row; sorting them would take longer.
    order = jnp.where(unknown, jnp.cumsum(unknown, dtype=jnp.int32) - 1, nowhere)
    places = jnp.full(samples + step_rows, samples, jnp.int32)
    places = places.at[order].set(index, mode="drop")

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
        found = _if_certain(jnp.stack(sides), farthest, jnp.minimum(right, left), box)
        return done + step_rows, reach.at[:, by.order[rows]].set(found)

    return jax.lax.while_loop(lambda s: s[0] < count, step, (jnp.int32(0), reach))[1]


def _if_certain(
    reach: jax.Array,
    farthest: jax.Array,
    edge: jax.Array,
    box: bool,
) -> jax.Array:
    """The reach where no sample beyond the edges matters, else -1."""
    certain = (farthest < edge) | (farthest == 0) if box else farthest <= edge
    return jnp.where(certain[None, :], reach, -1.0)


def _count(ordered: jax.Array, reach: jax.Array) -> jax.Array:
    """Number of samples [N], in order, within `reach` of each, itself included.

    Distances are those that the reach came from; `ordered - reach` would be rounded.
    """
    samples = len(ordered)
    places = jnp.arange(samples, dtype=jnp.int32)

    def near(at: jax.Array) -> jax.Array:
        inside = (at >= 0) & (at < samples)
        at = jnp.clip(at, 0, samples - 1)
        other = ordered.at[at].get(mode="promise_in_bounds")
        return inside & (jnp.abs(other - ordered) <= reach)

    most = samples.bit_length()
    few = min(most, math.ceil(_WITHIN * math.sqrt(samples)).bit_length())
    leap = 1 << few
    far = jnp.any(near(places + leap) | near(places - leap))
    bits = jnp.where(far, most, few)

    def last(way: int) -> jax.Array:
        def step(i: jax.Array, at: jax.Array) -> jax.Array:
            further = at + way * (jnp.int32(1) << (bits - 1 - i))
            return jnp.where(near(further), further, at)

        return jax.lax.fori_loop(0, bits, step, places)

    return last(1) - last(-1) + 1
