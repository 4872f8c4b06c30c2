"""A learning rate that falls when the residual H(Y) - I stops falling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_number
from optax_mi.estimators import MIEstimate
from optax_mi.rules._base import NONE_BEFORE, DecayRule


class _LastResidual(NamedTuple):
    """State of :func:`residual_rule`."""

    last_residual: jax.Array  # of the previous epoch, nats; -1 before the first


def residual_rule(threshold: float = 0.05, strength: float = 0.5) -> DecayRule:
    r"""Decays by a factor when the residual stops falling.

    The residual :math:`R = H(Y) - I`, in nats, is what the network does not know yet.
    An epoch stalls if :math:`R_{t-1} - R_t \le \mathrm{threshold} \cdot R_{t-1}`. Then

    .. math::
        \eta_{t+1} = \max(\eta_{\min},\ \eta_t (1 - \mathrm{strength} \cdot U_t)),

    where U is the share of H(Y) that the network knows, :attr:`MIEstimate.normalized
    <optax_mi.estimators.MIEstimate.normalized>`. Real labels have no residual, so
    :func:`optax_mi.mi_decay` refuses this rule for them. This is our reading of the
    paper, not a formula from it.

    Args:
      threshold: relative fall of the residual per epoch at or below which an epoch
        stalls, in [0, 1). Larger values decay sooner.
      strength: share of the learning rate that a stall removes when U = 1, in (0, 1].

    Returns:
      A :class:`DecayRule`; its state is the residual of the previous epoch, in nats.

    Raises:
      TypeError, ValueError: `threshold` or `strength` is out of range.

    Example:
      >>> from optax_mi import mi_sgd
      >>> from optax_mi.rules import residual_rule
      >>> rule = residual_rule(threshold=0.1)
      >>> tx = mi_sgd(0.3, num_classes=10, steps_per_epoch=100, rule=rule)

    References:
      Vasudevan, `Entropy 22(5):560 <https://doi.org/10.3390/e22050560>`_, 2020.
    """
    check_number("threshold", threshold, lambda t: 0 <= t < 1, "in [0, 1)")
    check_number("strength", strength, lambda s: 0 < s <= 1, "in (0, 1]")

    def init() -> _LastResidual:
        return _LastResidual(jnp.full((), NONE_BEFORE, jnp.float32))

    def update(
        state: _LastResidual,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, _LastResidual]:
        del step, lr_max
        residual = estimate.entropy - estimate.mi
        last = state.last_residual
        stalled = (last >= 0) & (last - residual <= threshold * last)
        decayed = jnp.maximum(
            lr_min, learning_rate * (1.0 - strength * estimate.normalized)
        )
        proposed = jnp.where(stalled, decayed, learning_rate)
        proposed = jnp.where(jnp.isfinite(residual), proposed, jnp.nan)
        return proposed, _LastResidual(residual)

    return DecayRule(init, update, needs_entropy=True)
