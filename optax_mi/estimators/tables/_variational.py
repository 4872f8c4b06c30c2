"""A lower bound on mutual information from the cross-entropy of the network."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.arithmetic import _sums, log_or_zero, scatter
from optax_mi.estimators.inputs import (
    Samples,
    health,
    read_logits,
    streaming,
)
from optax_mi.estimators.tables._plugin import delta_estimate


class Losses(NamedTuple):
    """The sums of :func:`variational` for C classes."""

    by_label: jax.Array  # float32 [C, 2]: weight, weighted loss
    loss: jax.Array  # float32 [2]: weighted loss, weighted square of it
    totals: jax.Array  # float32 [3], see Samples.totals


def variational(*, num_classes: int) -> MIEstimator:
    r"""Estimates a lower bound on I(output; label), in O(C) memory.

    .. math::
        I(X; Y) \ge \hat H(Y) + \frac1N \sum_n \ln q(y_n \mid x_n),
        \qquad q = \mathrm{softmax}(\mathrm{outputs}),

    in nats, with equality if the network is calibrated. The value is clipped to [0,
    H(Y)], so it is 0 for a network that is confidently wrong.

    Args:
      num_classes: number of classes C, at least 2; the state takes 24 C bytes.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, logits of shape [..., C],
      and `labels`, integers of shape [...]; a sample whose loss is not finite is
      dropped too. `std_error` is the delta method's.

    Raises:
      TypeError, ValueError: `num_classes` is below 2 or not a Python int.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import variational
      >>> estimator = variational(num_classes=2)
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
      >>> state, labels = estimator.init(), jnp.array([0, 1])
      >>> state = estimator.update(state, outputs=logits, labels=labels)
      >>> print(f"{estimator.estimate(state).mi:.4f}")  # ln 2 + ln 0.9
      0.5878

    References:
      Barber and Agakov, The IM algorithm, NIPS 2003, equation 3.
    """
    num_classes = check_static_int("num_classes", num_classes, 2)

    def init() -> _sums.LongSum:
        by_label = jnp.zeros((num_classes, 2))
        return _sums.zeros(Losses(by_label, loss=jnp.zeros(2), totals=jnp.zeros(3)))

    def add(state: _sums.LongSum, samples: Samples) -> _sums.LongSum:
        loss = _cross_entropy(samples.outputs, samples.labels)
        # The logit of a label may be -inf if its class is masked.
        weights = jnp.where(jnp.isfinite(loss), samples.weights, 0.0)
        samples = samples._replace(weights=weights)
        loss = jnp.where(samples.kept, loss, 0.0)
        weighted = samples.weights * loss
        rows = jnp.stack([samples.weights, weighted], -1)
        by_label, sums, totals = state.recent
        recent = Losses(
            scatter(by_label, (samples.labels,), rows),
            sums + jnp.stack([jnp.sum(weighted), jnp.sum(weighted * loss)]),
            totals + samples.totals,
        )
        return _sums.advance(state, recent, samples.labels.size)

    def estimate(state: _sums.LongSum) -> MIEstimate:
        return estimate_bound(state, clip=True)

    read = functools.partial(read_logits, num_classes=num_classes)
    return streaming(init, read, add, estimate, _sums.merge, additive=True)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Loss [...] of logits [..., C], which may all lie far from 0.

    It uses the operations of Optax's loss, so that XLA computes the exponentials once.
    Only the last one differs: subtracting first loses no digits to a large logit.
    """
    top = jnp.max(logits, -1)
    shift = jnp.where(jnp.isfinite(top), top, 0.0)
    total = jnp.sum(jnp.exp(logits - shift[..., None]), -1)
    own = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return jnp.log(total) + (shift - own)


def estimate_bound(state: _sums.LongSum, clip: bool) -> MIEstimate:
    """The bound of all samples in the sums."""
    by_label, sums, totals = _sums.value(state)
    weight, count, dropped = health(totals)
    scale = jnp.where(weight > 0, 1.0 / jnp.where(weight > 0, weight, 1.0), 0.0)
    p, loss_share = (by_label * scale).T
    loss, square = sums * scale
    log_p = log_or_zero(p)
    entropy = jnp.abs(jnp.sum(p * log_p))
    bound = entropy - loss
    # Variance of -ln p(y) - loss, the pointwise information.
    second = jnp.sum(p * log_p**2) + 2.0 * jnp.sum(log_p * loss_share) + square
    variance = jnp.maximum(second - bound**2, 0.0)
    # For independent outputs the bound is negative, so chance is 0.
    return delta_estimate(bound, entropy, variance, count, dropped, clip)
