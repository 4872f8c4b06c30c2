r"""Mutual information of real vectors by nearest neighbors.

.. math::
    \hat I_1 &= \psi(N) + \psi(k)
        - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle, \\
    \hat I_2 &= \psi(N) + \psi(k) - 1 / k - \langle \psi(n_x) + \psi(n_y) \rangle .
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from optax_mi._checks import check_choice, check_flag, check_static_int
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import digamma, power_of_two
from optax_mi.estimators.inputs import array_or_none, host_vectors, read_vectors
from optax_mi.estimators.samples._ksg_band import count_in_plane
from optax_mi.estimators.samples._ksg_tile import Norm, count_in_tiles, share_unit
from optax_mi.estimators.samples._shared import check_neighbors, finish
from optax_mi.estimators.samples._ties import break_ties, check_key

# Up to this many samples, all distances are as fast as sorting, and compile faster.
_FEW = 256


def ksg_mi(
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    k: int = 3,
    algorithm: Literal[1, 2] = 1,
    norm: Norm = "euclidean",
    mask: jax.typing.ArrayLike | None = None,
    key: jax.Array | int | None = 0,
    clip: bool = True,
) -> MIEstimate:
    r"""Estimates I(X; Y) in nats of real vectors by their k nearest neighbors.

    The distance in (x, y) is the larger of the distances in x and in y, and :math:`n_x`
    is the number of other samples that are nearer in x than the k-th neighbor in
    (x, y). Then

    .. math::
        \hat I = \psi(N) + \psi(k)
            - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle .

    The second algorithm counts the samples that are at most as far in x (in y) as the
    farthest of the k nearest. It has less bias and more variance:

    .. math::
        \hat I = \psi(N) + \psi(k) - 1 / k - \langle \psi(n_x) + \psi(n_y) \rangle .

    X and Y are scaled to the same spread, but their columns are not. Noise that is
    small compared with the distance to other values breaks ties. The estimate cannot
    exceed about :math:`\psi(N) - \psi(k)`; in many dimensions it is too low long before
    that.

    Args:
      outputs: real samples X, [N] or [N, d].
      labels: real samples Y, [N] or [N, e]. For class labels see :func:`ross_mi`.
      k: number of neighbors, at least 1 and less than N; more neighbors give less
        variance and more bias.
      algorithm: 1 or 2, as above.
      norm: norm of distances within X and within Y, "euclidean" or "max"; the paper
        uses the maximum norm. For single columns they are the same. For more columns
        the Euclidean norm finds more of the information, and is equally unbiased if
        there is none.
      mask: None, or booleans [N]; samples with False are dropped and counted.
      key: a seed, or a key of `jax.random`, for the noise that breaks ties. None uses
        the samples unchanged, without noise and in their own units. Then the first
        algorithm does not count samples exactly as far as the k-th neighbor, except
        copies of the sample itself; the second counts them as neighbors.
      clip: whether to set an estimate below 0 to 0.

    Returns:
      An :class:`MIEstimate` with an infinite `entropy`. `std_error` treats neighbors as
      independent, and does not include the bias. If X or Y is constant, `mi` is 0; with
      k valid samples or fewer it is 0 with a `std_error` of nan.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit, k is not a Python int in [1,
        N), or the algorithm or the norm is unknown.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import ksg_mi
      >>> x, noise = jax.random.normal(jax.random.key(0), (2, 4000))
      >>> estimate = ksg_mi(x, 0.8 * x + 0.6 * noise)  # -ln(0.6) = 0.51 nats
      >>> print(f"{estimate.mi:.2f} nats, give or take {estimate.std_error:.2f}")
      0.52 nats, give or take 0.02

    References:
      Kraskov, Stögbauer and Grassberger, Estimating mutual information, Physical Review
      E 69, 066138, 2004, equations 8 and 9.
    """
    check_choice("algorithm", algorithm, (1, 2))
    check_choice("norm", norm, ("euclidean", "max"))
    k = check_static_int("k", k, 1)
    x, y = host_vectors("outputs", outputs), host_vectors("labels", labels)
    check_key("key", key)
    clip = check_flag("clip", clip)
    mask = array_or_none("mask", mask)
    return _ksg(x, y, mask, key, k, algorithm == 2, norm, clip)


@functools.partial(jax.jit, static_argnames=("k", "box", "norm", "clip"))
def _ksg(
    outputs: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None,
    key: jax.Array | None,
    k: int,
    box: bool,
    norm: Norm,
    clip: bool,
) -> MIEstimate:
    samples = read_vectors(outputs, labels, mask=mask)
    x, y, valid = samples.outputs, samples.labels, samples.kept
    dtype = x.dtype
    k = check_neighbors(k, len(x))
    split = [x.shape[1]]
    if key is not None:
        # All columns at once, because tracing twice would compile twice.
        both = break_ties(key, jnp.concatenate([x, y], 1), valid, narrow=True)
        x, y = (_equal_spread(a, valid) for a in jnp.split(both, split, 1))
    one_column = x.shape[1] == y.shape[1] == 1
    if norm == "euclidean" and not one_column:
        x, y = share_unit(x, y)
    # Dropped samples are infinitely far from all others.
    both = jnp.where(valid[:, None], jnp.concatenate([x, y], 1), jnp.inf)
    x, y = jnp.split(both, split, 1)
    count = jnp.sum(valid, dtype=jnp.int32)
    if one_column and len(x) > _FEW:
        within = count_in_plane(x[:, 0], y[:, 0], k, box)
    else:
        within = count_in_tiles(x, y, k, box, "max" if one_column else norm)
    if box:
        # The counts include the sample itself.
        within = [n - 1 for n in within]
    numbers = jnp.concatenate([*within, jnp.stack([count, jnp.int32(k)])])
    psi = digamma(numbers, dtype)
    psi_x, psi_y, (psi_count, psi_k) = jnp.split(psi, [len(x), 2 * len(x)])
    psi_k = psi_k - jnp.asarray(1 / k if box else 0, dtype)
    local = (psi_count - psi_x) + (psi_k - psi_y)
    varies = [jnp.any(a) for a in jnp.split(_varies(both, valid), split)]
    local = jnp.where(varies[0] & varies[1], local, 0.0)
    mi = jnp.sum(jnp.where(valid, local, 0.0)) / count.astype(dtype)
    mi = jnp.where(count > k, mi, 0.0)
    local = jnp.where(count > k, local, jnp.nan)
    return finish(mi, jnp.asarray(jnp.inf, dtype), local, valid, clip)


def _equal_spread(x: jax.Array, valid: jax.Array) -> jax.Array:
    """`x` [N, d] divided by the root of the total variance of its `valid` rows.

    This makes distances in X and in Y comparable.
    """
    kept = valid[:, None]
    total = jnp.maximum(jnp.sum(valid, dtype=x.dtype), 1.0)
    x = x * jnp.min(power_of_two(x))
    centred = jnp.where(kept, x - jnp.sum(x, 0, keepdims=True) / total, 0.0)
    variance = jnp.sum(jnp.square(centred)) / total
    return x * jax.lax.rsqrt(jnp.where(variance > 0, variance, 1.0))


def _varies(x: jax.Array, valid: jax.Array) -> jax.Array:
    """Whether each column [d] varies among the valid samples."""
    low = jnp.min(jnp.where(valid[:, None], x, jnp.inf), 0)
    high = jnp.max(jnp.where(valid[:, None], x, -jnp.inf), 0)
    return low < high
