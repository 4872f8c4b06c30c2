r"""Mutual information of noisy vectors and their class, from pairwise distances.

.. math::
    \hat I = \hat H(T) - \hat H(T \mid Y), \qquad
    \hat H(T) = -\frac1N \sum_i \ln \frac1N \sum_j k_{ij}, \qquad
    \hat H(T \mid Y) = -\frac1N \sum_i \ln \frac{1}{N_{y_i}}
                       \sum_{j:\, y_j = y_i} k_{ij},

up to a term that cancels. The sums are at least :math:`k_{ii} = 1`, so their logarithms
need no shift.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi._checks import check_choice, check_flag, check_number
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import log_or_zero, sum_by_label
from optax_mi.estimators.inputs import (
    array_or_none,
    class_ids,
    host_vectors,
    read_vectors,
)
from optax_mi.estimators.samples._shared import finish

Distance = Literal["kl", "bhattacharyya"]

# Rows of a tile; its kernels take 256 kB in float32, and stay in cache.
_TILE = 256
_EXPONENTS = {"kl": 1 / 2, "bhattacharyya": 1 / 8}


def kde_mi(
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    bandwidth: jax.typing.ArrayLike,
    num_classes: int | None = None,
    mask: jax.typing.ArrayLike | None = None,
    distance: Distance = "kl",
    clip: bool = True,
) -> MIEstimate:
    r"""Estimates I(T; Y) in nats, for T the outputs with Gaussian noise and classes Y.

    .. math::
        \hat I(T; Y) = \frac1N \sum_i
            \ln \frac{\frac{1}{N_{y_i}} \sum_{j:\, y_j = y_i} k_{ij}}
                     {\frac1N \sum_j k_{ij}}, \qquad
        k_{ij} = e^{-\|x_i - x_j\|^2 / 2 s^2}, \quad s = \mathrm{bandwidth}.

    It is a difference of two bounds on entropies, so it is neither an upper nor a lower
    bound on I(T; Y), but it is at most H(Y). A few samples in many dimensions are
    isolated, and give H(Y) for any data.

    Args:
      outputs: real samples, [N] or [N, d].
      labels: integer class labels [N].
      bandwidth: standard deviation s of the noise, in the units of the outputs,
        positive. The value depends on it: compare values with the same s.
      num_classes: number of classes C; None (not under jit) is the largest label + 1.
      mask: None, or booleans [N]; samples with False are dropped and counted.
      distance: the distance between the Gaussians around samples: `"kl"`, their
        Kullback-Leibler divergence, or `"bhattacharyya"`, which has 8 in place of 2 in
        the kernel.
      clip: whether to clip to [0, H(Y)].

    Returns:
      An :class:`MIEstimate`. `std_error` is the delta method's, accurate to about a
      tenth. With no valid sample or one class the value is 0 nats. `chance` is 0,
      although independent outputs give more than 0, and nearly H(Y) at narrow
      bandwidths.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit, or an argument is out of
        range.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import kde_mi
      >>> x = jax.random.normal(jax.random.key(0), (1000, 2))
      >>> labels = (x[:, 0] > 0).astype(int)
      >>> for bandwidth in (0.1, 1.0, 10.0):
      ...     print(f"{kde_mi(x, labels, bandwidth=bandwidth).mi:.2f}")
      0.65
      0.30
      0.01

    References:
      Kolchinsky and Tracey, Entropy 19(7):361, 2017, equations 10 and 11.
    """
    check_bandwidth(bandwidth, distance)
    labels, num_classes = class_ids("labels", labels, num_classes)
    return _estimate(
        host_vectors("outputs", outputs),
        labels,
        array_or_none("mask", mask),
        bandwidth,
        num_classes=num_classes,
        distance=distance,
        clip=check_flag("clip", clip),
    )


def check_bandwidth(bandwidth: jax.typing.ArrayLike, distance: str) -> None:
    """Raises unless the bandwidth is positive and finite, and the distance known."""
    check_choice("distance", distance, tuple(_EXPONENTS))
    if shape := getattr(bandwidth, "shape", ()):
        raise ValueError(f"bandwidth must be a scalar, got shape {shape}.")
    check_number("bandwidth", bandwidth, lambda s: s > 0, "positive and finite")


@partial(jax.jit, static_argnames=("num_classes", "distance", "clip"))
def _estimate(
    outputs: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None,
    bandwidth: jax.typing.ArrayLike,
    *,
    num_classes: int,
    distance: str,
    clip: bool,
) -> MIEstimate:
    """The estimate, after numbers are checked."""
    samples = read_vectors(outputs, labels, mask=mask, num_classes=num_classes)
    x, labels, ones = samples
    valid = samples.kept
    bandwidth = jax.lax.stop_gradient(jnp.asarray(bandwidth)).astype(x.dtype)
    by_class = sum_by_label(labels, ones[:, None], num_classes)[:, 0]
    total = jnp.maximum(jnp.sum(by_class), 1.0)
    log_shares = log_or_zero(by_class / total)
    # Relative to their mean, the squares in the distances have the least rounding.
    centre = jnp.sum(ones[:, None] * x, 0, keepdims=True) / total
    points = _points(
        (x - centre) * (math.sqrt(_EXPONENTS[distance]) / bandwidth), labels, valid
    )
    same, every = _kernel_sums(points)
    local = (jnp.log(same / every)).ravel()[: len(x)] - log_shares[labels]
    mi = jnp.sum(ones * local) / total
    entropy = jnp.abs(jnp.sum(by_class * log_shares)) / total
    some = _some(len(x))
    influence = local[some] + _shifts(points, same, every, some)
    used = ones[some]
    number = jnp.maximum(jnp.sum(used), 1.0)
    mean = jnp.sum(used * influence) / number
    variance = jnp.sum(used * jnp.square(influence - mean)) / number
    std_error = jnp.where(jnp.any(valid), jnp.sqrt(variance / total), jnp.nan)
    return finish(mi, entropy, None, valid, clip)._replace(std_error=std_error)


class _Points(NamedTuple):
    """Samples in units of the kernel, in tiles [T, B]; the last tile is padded."""

    x: jax.Array  # [T, B, d]
    norms: jax.Array  # [T, B], inf for dropped samples
    labels: jax.Array  # [T, B]


def _points(x: jax.Array, labels: jax.Array, valid: jax.Array) -> _Points:
    """Samples [N, d] in tiles."""
    samples, columns = x.shape
    rows = min(_TILE, samples)
    tiles = -(-samples // rows)
    padding = tiles * rows - samples
    # Dropped samples are infinitely far from all others.
    norms = jnp.where(valid, 0.0, jnp.inf).astype(x.dtype)
    if columns > 1:
        norms += jnp.sum(jnp.square(x), -1)
    return _Points(
        jnp.pad(x, ((0, padding), (0, 0))).reshape(tiles, rows, columns),
        jnp.pad(norms, (0, padding), constant_values=jnp.inf).reshape(tiles, rows),
        jnp.pad(labels, (0, padding)).reshape(tiles, rows),
    )


def _tile(points: _Points, i: jax.Array) -> _Points:
    """Tile i."""
    return jax.tree.map(lambda part: part[i], points)


def _kernels(rows: _Points, columns: _Points) -> tuple[jax.Array, jax.Array]:
    """exp(-|x_i - x_j|**2), with 0 between classes, and for all; both [B, B']."""
    if rows.x.shape[-1] > 1:
        product = jnp.matmul(rows.x, columns.x.T, precision=jax.lax.Precision.HIGHEST)
        apart = -2.0 * product
    else:
        # Equally fast, without cancellation.
        apart = jnp.square(rows.x - columns.x.T)
    apart = apart + rows.norms[:, None] + columns.norms[None]
    # Terms below e**-50 vanish next to the self term; nan, from inf - inf, is far.
    kernels = jnp.where(apart < 50.0, jnp.exp(-jnp.maximum(apart, 0.0)), 0.0)
    same = jnp.where(rows.labels[:, None] == columns.labels[None], kernels, 0.0)
    return same, kernels


def _kernel_sums(points: _Points) -> jax.Array:
    """Sums over j of the kernels in the class of i, and of all, [2, T, B]."""
    tiles, rows = points.labels.shape
    dtype = points.x.dtype
    diagonal = jnp.eye(rows, dtype=bool)

    def tile(j: jax.Array, state: Any) -> Any:
        i, sums = state
        both = _kernels(_tile(points, i), _tile(points, j))
        # Kernel of a sample with itself; also of dropped ones, which are unused.
        both = [jnp.where(diagonal & (i == j), 1.0, part) for part in both]
        right = jnp.stack([jnp.sum(part, 1) for part in both])
        below = jnp.stack([jnp.sum(part, 0) for part in both])
        mirrored = jnp.where(jnp.equal(i, j), 0.0, below)
        return i, sums.at[:, i].add(right).at[:, j].add(mirrored)

    def row(i: jax.Array, sums: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(i, tiles, tile, (i, sums))[1]

    return jax.lax.fori_loop(0, tiles, row, jnp.zeros((2, tiles, rows), dtype))


def _some(samples: int) -> np.ndarray:
    """The samples for the standard error: all of a few, or a tile of many."""
    if samples <= 4 * _TILE:
        return np.arange(samples)
    # Multiples of the golden ratio mod 1 are evenly spread, without a period.
    return (samples * (np.arange(_TILE) * ((5**0.5 - 1) / 2) % 1)).astype(int)


def _shifts(
    points: _Points, same: jax.Array, every: jax.Array, some: np.ndarray
) -> jax.Array:
    """The change of all samples' logarithms if a sample were repeated, [M]."""
    queries = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[some], points)

    def add(j: jax.Array, total: jax.Array) -> jax.Array:
        within, kernels = _kernels(queries, _tile(points, j))
        return total + jnp.sum(within / same[j][None] - kernels / every[j][None], 1)

    start = jnp.zeros(len(some), points.x.dtype)
    return jax.lax.fori_loop(0, len(points.labels), add, start)
