"""A learning rate proportional to what the network does not know."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_number
from optax_mi.estimators import MIEstimate
from optax_mi.rules._base import NONE_BEFORE, DecayRule


class _LastMI(NamedTuple):
    """State of :func:`proportional_rule`."""

    last_mi: jax.Array  # of the previous epoch, nats; -1 before the first


def proportional_rule(threshold: float = 0.01) -> DecayRule:
    r"""Decays in proportion to what the network knows when the MI stops growing.

    An epoch stalls if :math:`I_t - I_{t-1} \le \mathrm{threshold} \cdot I_{t-1}`, in
    nats. Then

    .. math::
        \eta_{t+1} = \eta_{\min} + (\eta_{\max} - \eta_{\min}) (1 - U_t),

    where U is the share of H(Y) that the network knows, :attr:`MIEstimate.normalized
    <optax_mi.estimators.MIEstimate.normalized>`. This is our simplest reading of the
    paper, not a formula from it.

    Args:
      threshold: relative gain of MI per epoch at or below which an epoch stalls, at
        least 0. Larger values decay sooner.

    Returns:
      A :class:`DecayRule`; its state is the MI of the previous epoch, in nats.

    Raises:
      TypeError, ValueError: `threshold` is negative or not finite.

    Example:
      >>> from optax_mi import mi_sgd
      >>> from optax_mi.rules import proportional_rule
      >>> rule = proportional_rule(threshold=0.02)
      >>> tx = mi_sgd(0.3, num_classes=10, steps_per_epoch=100, rule=rule)

    References:
      Vasudevan, `Entropy 22(5):560 <https://doi.org/10.3390/e22050560>`_, 2020.
    """
    check_number("threshold", threshold, lambda t: t >= 0, "at least 0 and finite")

    def init() -> _LastMI:
        return _LastMI(jnp.full((), NONE_BEFORE, jnp.float32))

    def update(
        state: _LastMI,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, _LastMI]:
        del step
        gain = estimate.mi - state.last_mi
        stalled = (state.last_mi >= 0) & (gain <= threshold * state.last_mi)
        decayed = lr_min + (lr_max - lr_min) * (1.0 - estimate.normalized)
        return jnp.where(stalled, decayed, learning_rate), _LastMI(estimate.mi)

    return DecayRule(init, update)
