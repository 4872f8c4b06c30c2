r"""Mutual information of real vectors by nearest neighbours.

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

# Up to so many samples all distances take no longer than sorting, and compile faster.
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
    r"""Estimates I(X; Y) in nats of real vectors by their k nearest neighbours.

    With the larger of the distances in x and in y for the distance in (x, y), and
    :math:`n_x` the number of other samples nearer in x than the k-th neighbour in (x,
    y) is,

    .. math::
        \hat I = \psi(N) + \psi(k)
            - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle .

    The second algorithm counts the samples not farther in x (in y) than the k nearest
    reach; it has less bias and more variance:

    .. math::
        \hat I = \psi(N) + \psi(k) - 1 / k - \langle \psi(n_x) + \psi(n_y) \rangle .

    X and Y are brought to the same spread, but not their columns. Values that repeat
    are told apart by noise that is small beside their distance to others. It cannot
    exceed some :math:`\psi(N) - \psi(k)`, and is too low long before in many
    dimensions.

    Args:
      outputs: real samples X, [N] or [N, d].
      labels: real samples Y, [N] or [N, e]. For class labels see :func:`ross_mi`.
      k: number of neighbours, at least 1 and less than N; more have less variance and
        more bias.
      algorithm: 1 or 2, as above.
      norm: of distances inside X and inside Y, "euclidean" or "max"; the paper takes
        the maximum norm. Between single columns they are the same. With more the
        Euclidean reads more of what is there, and is as unbiased where nothing is.
      mask: None, or booleans [N]; samples with False are dropped and counted.
      key: a seed, or a key of `jax.random`, for the noise that breaks ties. None takes
        the samples as they are, without noise and in their own units. Samples exactly
        as far as the k-th neighbour then count as beyond it in the first algorithm, but
        for copies of the sample itself, and as neighbours in the second.
      clip: whether to set an estimate below 0 to 0.

    Returns:
      An :class:`MIEstimate` with an infinite `entropy`. `std_error` takes neighbours as
      independent, and leaves out the bias. Where X or Y is constant, `mi` is 0; with k
      valid samples or fewer it is 0 with a `std_error` of nan.

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
        # All columns at once, since what is traced twice compiles twice.
        both = break_ties(key, jnp.concatenate([x, y], 1), valid, narrow=True)
        x, y = (_equal_spread(a, valid) for a in jnp.split(both, split, 1))
    one_column = x.shape[1] == y.shape[1] == 1
    if norm == "euclidean" and not one_column:
        x, y = share_unit(x, y)
    # What is dropped is infinitely far from everything.
    both = jnp.where(valid[:, None], jnp.concatenate([x, y], 1), jnp.inf)
    x, y = jnp.split(both, split, 1)
    count = jnp.sum(valid, dtype=jnp.int32)
    if one_column and len(x) > _FEW:
        within = count_in_plane(x[:, 0], y[:, 0], k, box)
    else:
        within = count_in_tiles(x, y, k, box, "max" if one_column else norm)
    if box:
        # Those counted hold the sample itself.
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
    """`x` [N, d] over the root of its total variance, 0 where not `valid`.

    Distances in X are compared with distances in Y.
    """
    kept = valid[:, None]
    total = jnp.maximum(jnp.sum(valid, dtype=x.dtype), 1.0)
    x = x * jnp.min(power_of_two(x))
    centred = jnp.where(kept, x - jnp.sum(x, 0, keepdims=True) / total, 0.0)
    variance = jnp.sum(jnp.square(centred)) / total
    return x * jax.lax.rsqrt(jnp.where(variance > 0, variance, 1.0))


def _varies(x: jax.Array, valid: jax.Array) -> jax.Array:
    """Which columns [d] of the valid samples are not constant."""
    low = jnp.min(jnp.where(valid[:, None], x, jnp.inf), 0)
    high = jnp.max(jnp.where(valid[:, None], x, -jnp.inf), 0)
    return low < high
