"""A learning rate that decays as a power of time once the network has learned."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_number
from optax_mi.estimators import MIEstimate
from optax_mi.rules._base import DecayRule


class _Progress(NamedTuple):
    """State of :func:`log_time_rule`; all but the steps are shares of H(Y)."""

    decided: jax.Array  # step of the last decision, shape=(), dtype=int32
    seen: jax.Array  # step of the last epoch's end, shape=(), dtype=int32
    waiting: jax.Array  # average U between the steps `decided` and `seen`
    waiting_variance: jax.Array  # squared standard error of `waiting`
    last: jax.Array  # `waiting` at the last decision
    recent_mean: jax.Array  # average U of the last tenth of the steps
    recent_variance: jax.Array  # squared standard error of `recent_mean`
    mean: jax.Array  # average U of all steps
    lowest: jax.Array  # least U, of the first look and of `recent_mean` so far


def log_time_rule(rate: float = 0.8, sharpness: float = 10.0) -> DecayRule:
    r"""Decays as a power of time; faster, the longer ago the network learned.

    .. math::
        \frac{d \ln \eta}{d \ln t} = -\mathrm{rate} \cdot \min(1,\, 10\, U_t^-)
        \left( \frac{\bar U_t - U_0 + 0.02}{U_t^+ - U_0 + 0.02}
        \right)^{\mathrm{sharpness}},

    where :math:`t` is the number of steps; :math:`U_t` is the share of H(Y) that the
    network knows, :attr:`MIEstimate.adjusted
    <optax_mi.estimators.MIEstimate.adjusted>`, averaged over the last tenth of the
    steps; :math:`U_t^\mp` lie two standard errors below and above it; :math:`\bar U_t`
    is its average over all steps, and :math:`U_0` its lowest value. While the network
    learns, the learning rate stays constant; once the network has learned all that it
    will, the learning rate decays like :math:`t^{-\mathrm{rate}}`. It also stays
    constant while the network may know nothing, or relearns what it has lost.

    The default rate is chosen for :func:`optax_mi.average_params`. The rule is ours,
    not the paper's.

    Args:
      rate: exponent of the decay once the network has learned everything, positive.
      sharpness: how long after learning the learning rate starts to decay, at least 0;
        larger values wait longer.

    Returns:
      A :class:`DecayRule`; its state is nine scalars.

    Raises:
      TypeError, ValueError: `rate` or `sharpness` is out of range.

    Example:
      >>> from optax_mi import mi_sgd
      >>> from optax_mi.rules import log_time_rule
      >>> rule = log_time_rule(rate=0.5)  # decays more slowly
      >>> tx = mi_sgd(0.3, num_classes=10, rule=rule)

    References:
      Vasudevan, Entropy 22(5):560, 2020, for the idea that MI sets the learning rate.
    """
    check_number("rate", rate, lambda r: r > 0, "positive and finite")
    check_number("sharpness", sharpness, lambda s: s >= 0, "at least 0 and finite")

    def init() -> _Progress:
        steps = (jnp.zeros((), jnp.int32) for _ in range(2))
        shares = (jnp.zeros((), jnp.float32) for _ in range(6))
        # Larger than any U.
        return _Progress(*steps, *shares, lowest=jnp.full((), 2.0, jnp.float32))

    def look(state: _Progress, estimate: MIEstimate) -> _Progress:
        return state._replace(lowest=estimate.adjusted)

    def update(
        state: _Progress,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, _Progress]:
        del lr_min, lr_max
        # Subtract as integers: the steps of a long run are not exact in float32.
        since = (step - state.decided).astype(jnp.float32)
        part = (step - state.seen).astype(jnp.float32) / jnp.maximum(since, 1.0)
        error = jnp.nan_to_num(estimate.adjusted_std_error)
        waiting = _blend(state.waiting, estimate.adjusted, part)
        waiting_variance = _blend_variance(state.waiting_variance, error**2, part)

        first = state.decided == 0
        share = since / step.astype(jnp.float32)
        log_time = jnp.where(first, 0.0, -jnp.log1p(-share))
        weight = jnp.where(first, 1.0, -jnp.expm1(-_RECENT * log_time))
        recent = _blend(state.recent_mean, waiting, weight)
        variance = _blend_variance(state.recent_variance, waiting_variance, weight)
        mean = _blend(state.mean, waiting, share)

        doubt = 2.0 * jnp.sqrt(variance)
        known = jnp.maximum(recent - doubt, 0.0)
        lowest = jnp.minimum(state.lowest, recent)
        gain = recent + doubt - lowest + _SLACK
        # Positive, because `mean` is 0.1 `recent` plus 0.9 of the average `recent`.
        ratio = jnp.minimum((mean - lowest + _SLACK) / gain, 1.0)
        relearns = (recent < _LOST * mean) & (waiting > state.last)
        speed = rate * jnp.minimum(known / _KNOWN, 1.0) * ratio**sharpness
        decayed = learning_rate * jnp.exp(-speed * log_time)

        waits = state._replace(
            seen=step, waiting=waiting, waiting_variance=waiting_variance
        )
        decides = waits._replace(
            decided=step,
            last=waiting,
            recent_mean=recent,
            recent_variance=variance,
            mean=mean,
            lowest=lowest,
        )
        enough = first | (share >= _LEAST_SHARE)
        proposed = jnp.where(enough & ~relearns, decayed, learning_rate)
        return proposed, jax.tree.map(
            lambda new, old: jnp.where(enough, new, old), decides, waits
        )

    return DecayRule(init, update, look=look)


_KNOWN = 0.1  # share of H(Y) from which the decay has its full rate
_RECENT = 10.0  # `recent_mean` averages over the last 1 / 10 of the steps
_SLACK = 0.02  # smaller gains count as none
_LEAST_SHARE = 0.02  # of the steps so far, between two decisions
_LOST = 0.98  # below this share of its average U, the network has lost knowledge


def _blend(old: jax.Array, new: jax.Array, weight: jax.Array) -> jax.Array:
    """The weighted average, with `weight` on the new value."""
    return old + weight * (new - old)


def _blend_variance(old: jax.Array, new: jax.Array, weight: jax.Array) -> jax.Array:
    """The variance of an average of two independent measurements."""
    return (1.0 - weight) ** 2 * old + weight**2 * new
