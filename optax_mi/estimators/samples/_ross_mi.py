r"""Mutual information of real vectors and class labels, by nearest neighbors.

.. math::
    \hat I = \psi(N) - \langle \psi(N_c) \rangle + \langle \psi(k_c) \rangle
             - \langle \psi(m_i) \rangle

for samples in the order of their classes, with unused samples last.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from optax_mi._checks import check_flag, check_static_int
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import (
    digamma,
    log_or_zero,
    power_of_two,
    sort,
)
from optax_mi.estimators.inputs import (
    array_or_none,
    host_ids,
    host_vectors,
    read_vectors,
)
from optax_mi.estimators.samples._k_smallest import bucket_count, k_smallest_in_buckets
from optax_mi.estimators.samples._shared import check_neighbors, finish
from optax_mi.estimators.samples._ties import break_ties, check_key

# Elements of a tile of distances.
_TILE_SIZE = 2**21
# Up to this many columns, differences are nearly as fast as a matrix product.
_FEW_COLUMNS = 4
# A squared radius from a matrix product is used if it is this many times its rounding.
_STANDS_OUT = 8.0


def ross_mi(
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    k: int = 3,
    num_classes: int | None = None,
    mask: jax.typing.ArrayLike | None = None,
    key: jax.Array | int | None = 0,
    clip: bool = True,
) -> MIEstimate:
    r"""Estimates I(X; Y) in nats of vectors and class labels by nearest neighbors.

    .. math::
        \hat I = \psi(N) - \langle \psi(N_c) \rangle + \langle \psi(k_c) \rangle
                 - \langle \psi(m_i) \rangle ,

    where sample i is in a class of :math:`N_c` samples, :math:`k_c = \min(k, N_c - 1)`,
    and :math:`m_i` samples of all classes, including itself, are nearer than the
    :math:`k_c`-th neighbor in its class. If that neighbor is at distance 0,
    :math:`m_i` counts the samples at distance 0.

    The distance is Euclidean, so scale columns comparably first. Noise that is small
    compared with the distance to other values breaks ties, such as those of whole or
    rounded numbers.

    Args:
      outputs: real samples, [N] or [N, d].
      labels: integer class labels [N].
      k: number of neighbors, less than N; more neighbors give less variance and more
        bias.
      num_classes: number of classes C; None (not under jit) is the largest label + 1.
      mask: None, or booleans [N]; samples with False are dropped and counted.
      key: a seed, or a key of `jax.random`, for the noise that breaks ties; None adds
        no noise.
      clip: whether to clip the estimate to [0, H(Y)].

    Returns:
      An :class:`MIEstimate`. The only sample of a class counts in `entropy` and
      `num_samples` only; if no class has two samples, the value is 0 nats with a
      `std_error` of nan. `std_error` treats neighbors as independent, and is up to 1.4
      times too small.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit, k is not a Python int in [1,
        N), or `num_classes` is needed.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import ross_mi
      >>> labels = jax.numpy.arange(1000) % 2
      >>> x = 4.0 * labels + jax.random.normal(jax.random.key(0), 1000)
      >>> estimate = ross_mi(x, labels)
      >>> print(f"{estimate.mi:.2f} of {estimate.entropy:.2f} nats")
      0.64 of 0.69 nats

    References:
      Ross, PLoS ONE 9(2):e87357, 2014, equation 3.
    """
    labels, num_classes = host_ids("labels", labels, num_classes)
    k = check_static_int("k", k, 1)
    x, mask = host_vectors("outputs", outputs), array_or_none("mask", mask)
    check_key("key", key)
    clip = check_flag("clip", clip)
    return _ross(x, labels, mask, key, k, num_classes, clip)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _ross(
    outputs: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None,
    key: jax.Array | None,
    k: int,
    num_classes: int,
    clip: bool,
) -> MIEstimate:
    samples = read_vectors(outputs, labels, mask=mask, num_classes=num_classes)
    x, labels, valid = samples.outputs, samples.labels, samples.kept
    k = check_neighbors(k, len(x))
    if key is not None:
        x = break_ties(key, x, valid)
    sizes = jnp.zeros(num_classes, jnp.int32).at[labels].add(valid.astype(jnp.int32))
    total = jnp.sum(sizes)
    shares = sizes.astype(x.dtype) / jnp.maximum(total, 1).astype(x.dtype)
    entropy = jnp.abs(jnp.sum(shares * log_or_zero(shares)))

    # The only sample of a class has no neighbor, so leave it out.
    sizes = jnp.where(sizes > 1, sizes, 0)
    part = jnp.sum(sizes)
    labels = jnp.where(valid & (sizes[labels] > 0), labels, num_classes)
    count_nearer = _count_on_line if x.shape[1] == 1 else _count_in_space
    labels, nearer = count_nearer(x, labels, k, sizes)
    of_class = digamma(jnp.minimum(k, sizes - 1), x.dtype) - digamma(sizes, x.dtype)
    local = of_class.at[labels].get(mode="clip") - digamma(nearer, x.dtype)
    local += digamma(part, x.dtype)
    used = labels < num_classes
    count = part.astype(x.dtype)
    mi = jnp.sum(jnp.where(used, local, 0.0)) / jnp.maximum(count, 1.0)
    # `finish` averages the spread over all valid samples; only some have a term.
    spread = jnp.where(used, (local - mi) * (total.astype(x.dtype) / count), 0.0)
    local = jnp.where(part > 0, mi + spread, jnp.nan)
    # Samples are in another order now: those without a term come last.
    valid = jnp.arange(len(x), dtype=jnp.int32) < total
    return finish(mi, entropy, local, valid, clip)


def _count_on_line(
    x: jax.Array, labels: jax.Array, k: int, sizes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Labels [N] in order, and the number of samples nearer than the radius."""
    num_classes = len(sizes)
    x = jnp.where(labels < num_classes, x[:, 0], jnp.inf)
    ordered = sort(x)
    # The place of the last of equal values, which does not change the counts.
    place = _furthest(jnp.zeros_like(labels), 1, len(x), lambda at: ordered[at] <= x)
    labels, place = _sort_by_class(labels, place, num_classes)
    return labels, count_on_ordered_line(ordered, labels, place, k, sizes)


def count_on_ordered_line(
    ordered: jax.Array, labels: jax.Array, place: jax.Array, k: int, sizes: jax.Array
) -> jax.Array:
    """Number of samples nearer than the radius, for those at `place` in `ordered` [N].

    They are in order of their labels, then of their places.
    """
    x, part = ordered[place], jnp.sum(sizes)
    radius = _radius_on_line(x, labels, k, sizes)

    def nearer(at: jax.Array) -> jax.Array:
        return _nearer(jnp.abs(ordered[at] - x), radius)

    above = _furthest(place, 1, part, nearer)
    below = _furthest(place, -1, part, nearer)
    return above - below + 1


def _radius_on_line(
    x: jax.Array, labels: jax.Array, k: int, sizes: jax.Array
) -> jax.Array:
    """Distances [N] to the k-th neighbor in the class, in order of class and x.

    A sample and its k nearest neighbors in its class are k + 1 samples in a row.
    """
    first = (jnp.cumsum(sizes) - sizes).at[labels].get(mode="clip")
    size = sizes.at[labels].get(mode="clip")
    others = jnp.minimum(k, size - 1)
    index = jnp.arange(len(x), dtype=jnp.int32)

    def widen(shift: jax.Array, radius: jax.Array) -> jax.Array:
        left = index - shift
        right = left + others
        reach = jnp.maximum(
            x - x.at[left].get(mode="clip"), x.at[right].get(mode="clip") - x
        )
        inside = (left >= first) & (right < first + size)
        return jnp.where(inside, jnp.minimum(radius, reach), radius)

    return jax.lax.fori_loop(0, k + 1, widen, jnp.full_like(x, jnp.inf))


def _furthest(
    start: jax.Array,
    way: int,
    end: int | jax.Array,
    holds: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """The last index from `start` in a direction, in [0, end), up to which `holds`."""
    bits = len(start).bit_length()

    def leap(i: jax.Array, at: jax.Array) -> jax.Array:
        further = at + way * (jnp.int32(1) << (bits - 1 - i))
        inside = (further >= 0) & (further < end)
        further = jnp.where(inside, further, at)
        return jnp.where(holds(further), further, at)

    return jax.lax.fori_loop(0, bits, leap, start)


def _nearer(distance: jax.Array, radius: jax.Array) -> jax.Array:
    """Whether a distance is less than the radius, or 0."""
    return (distance < radius) | (distance == 0)


def _sort_by_class(
    labels: jax.Array, place: jax.Array, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Labels and places [N], in [0, N), in the order of the label, then the place."""
    base = jnp.uint32(len(labels))
    if (num_classes + 1) * len(labels) > 2**32:
        labels, place = jax.lax.sort((labels, place), num_keys=2, is_stable=False)
        return labels, place
    both = labels.astype(jnp.uint32) * base + place.astype(jnp.uint32)
    both = jax.lax.sort(both, is_stable=False)
    labels = both // base
    return labels.astype(jnp.int32), (both - labels * base).astype(jnp.int32)


def _count_in_space(
    x: jax.Array, labels: jax.Array, k: int, sizes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Labels [N] in order, and the number of samples nearer than the radius."""
    place = jnp.arange(len(x), dtype=jnp.int32)
    labels, place = _sort_by_class(labels, place, len(sizes))
    # One unit for all columns, in which no square overflows or underflows.
    x = _center(x[place] * jnp.min(power_of_two(x)), labels < len(sizes))
    x = x * jnp.min(power_of_two(x))
    nothing = jnp.zeros(len(x), x.dtype)
    if x.shape[1] <= _FEW_COLUMNS:
        counts, _ = _count_in_tiles(_direct, x, nothing, labels, k, sizes)
    else:
        norms = jnp.sum(jnp.square(x), 1)
        counts, told = _count_in_tiles(_product, x, norms, labels, k, sizes)
        # If a radius is too close to the rounding of the product, use differences.
        counts = jax.lax.cond(
            told,
            lambda: counts,
            lambda: _count_in_tiles(_direct, x, nothing, labels, k, sizes)[0],
        )
    return labels, counts


def _direct(rows: jax.Array, x: jax.Array) -> jax.Array:
    """Squared distances [T, N] of rows [T, d] from x [N, d], by differences."""
    columns, rows = x.T, rows.T

    def add(i: jax.Array | int, total: jax.Array) -> jax.Array:
        return total + jnp.square(columns[i][None, :] - rows[i][:, None])

    total = jnp.zeros((rows.shape[1], len(x)), x.dtype)
    if len(columns) > _FEW_COLUMNS:
        return jax.lax.fori_loop(0, len(columns), add, total)
    for i in range(len(columns)):
        total = add(i, total)
    return total


def _product(rows: jax.Array, x: jax.Array) -> jax.Array:
    """As `_direct` without the squared norms of both, from a matrix product."""
    return jax.lax.dot_general(
        -2.0 * rows, x, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )


def _count_in_tiles(
    distances: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    norms: jax.Array,
    labels: jax.Array,
    k: int,
    sizes: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Number of samples nearer than the radius [N], and whether all radii are accurate.

    Samples are in the order of their labels. `norms` [N] of both are added to
    `distances`, whose errors are a few times the rounding of the norms.
    """
    samples, dimensions = x.shape
    tile = 2 ** min(8, max(4, int(math.log2(_TILE_SIZE / samples))))
    width = max(bucket_count(samples, k), 2 ** math.ceil(math.log2(k)))
    padding = (0, -samples % max(tile, width))
    x = jnp.pad(x, (padding, (0, 0)))
    labels = jnp.pad(labels, padding, constant_values=len(sizes))
    norms = jnp.pad(norms, padding)
    # Unused samples are infinitely far from all others.
    columns = jnp.where(labels < len(sizes), norms, jnp.inf)
    # The largest rounding error of the squared distance of equal samples.
    blur = 3 * jnp.finfo(x.dtype).eps * dimensions**0.5 * norms
    first = (jnp.cumsum(sizes) - sizes).at[labels].get(mode="clip")
    end = first + sizes.at[labels].get(mode="clip")
    row = jnp.arange(tile, dtype=jnp.int32)

    def count(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, norm, rounding, low, high = (
            jax.lax.dynamic_slice_in_dim(array, start, tile)
            for array in (x, norms, blur, first, end)
        )
        # Squared distances are `between + columns + norm`; `norm` keeps the order.
        between = distances(rows, x)

        def others(at: jax.Array, part: jax.Array) -> jax.Array:
            same = (at >= low[None]) & (at < high[None]) & (at != start + row[None])
            return jnp.where(same, part, jnp.inf)

        def layer(i: jax.Array, minima: jax.Array) -> jax.Array:
            at = i * width + jnp.arange(width, dtype=jnp.int32)
            part = jax.lax.dynamic_slice_in_dim(between, i * width, width, 1)
            part += columns[at][None]
            return jnp.minimum(minima, others(at[:, None], part.T).T)

        def read(at: jax.Array) -> jax.Array:
            return others(at, between[row[None], at] + columns[at])

        # A class is a run of columns, so only these are searched for neighbors.
        minima = jax.lax.fori_loop(
            low[0] // width,
            (jnp.max(high) - 1) // width + 1,
            layer,
            jnp.full((tile, width), jnp.inf, x.dtype),
        )
        nearest = k_smallest_in_buckets(minima, len(x) // width, k, read)
        last = jnp.clip(high - low - 2, 0, k - 1)
        reach = jnp.take_along_axis(nearest, last[:, None], 1)[:, 0]
        radius = reach + norm
        idle = jnp.isinf(jax.lax.dynamic_slice_in_dim(columns, start, tile))
        told = (radius > _STANDS_OUT * rounding) | idle
        # If the radius is 0, equal samples count as nearer. Do not compute the radius
        # minus the norm: with rounding, the neighbor could seem nearer than itself.
        reach = jnp.maximum(reach, jnp.finfo(x.dtype).tiny - norm)
        # Whole numbers up to 2**24 are exact, and XLA sums floats faster.
        nearer = between + columns[None, :] < reach[:, None]
        return jnp.sum(nearer, 1, dtype=x.dtype), told

    starts = jnp.arange(0, len(x), tile, dtype=jnp.int32)
    counts, told = jax.lax.map(count, starts)
    return counts.reshape(-1)[:samples].astype(jnp.int32), jnp.all(told)


def _center(x: jax.Array, used: jax.Array) -> jax.Array:
    """`x` minus a sample near the mean, or 0 if unused; it is exact and keeps ties."""
    kept = used[:, None]
    count = jnp.maximum(jnp.sum(kept, dtype=x.dtype), 1.0)
    mean = jnp.sum(jnp.where(kept, x, 0.0), 0, keepdims=True) / count
    distance = jnp.sum(jnp.square(x - mean), 1)
    center = x[jnp.argmin(jnp.where(used, distance, jnp.inf))]
    return jnp.where(kept, x - center[None], 0.0)
