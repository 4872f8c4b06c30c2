"""A rule that limits the sum of another rule's learning rates."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from optax_mi._checks import check_is, check_number
from optax_mi.estimators import MIEstimate
from optax_mi.rules._base import NONE_BEFORE, DecayRule
from optax_mi.rules._log_time import log_time_rule


class _Spent(NamedTuple):
    """State of :func:`capped_rule`."""

    summed_to: jax.Array  # step up to which `lr_sum` counts, shape=(), dtype=int32
    lr_sum: jax.Array  # of the learning rates of all steps
    uncapped: jax.Array  # learning rate of the rule alone; -1 before its first decision
    rule_state: chex.ArrayTree


def capped_rule(lr_sum_max: chex.Numeric, rule: DecayRule | None = None) -> DecayRule:
    r"""Follows a rule, and lowers its learning rates as their sum grows.

    .. math::
        \eta_t = \eta_t' \max\left(0,\;
        1 - \frac{1}{S} \sum_{s < t} \eta_s \right),

    where :math:`\eta_t'` is the learning rate of `rule` and S is `lr_sum_max`. Set
    `lr_min=0.0` in :func:`optax_mi.mi_decay`, because its lower bound overrides the
    rule; then the sum approaches S and stays there. A network that memorizes its
    training set begins to do so at about the same sum, whether the learning rate is
    high and the run short, or the learning rate low and the run long. With a limit it
    stops there, and training may continue for any time. The rule is ours, not the
    paper's.

    Args:
      lr_sum_max: the limit, in learning rates times updates, positive.
        :func:`optax_mi.auto` finds one.
      rule: the rule that sets the learning rate before the limit; None means
        :func:`log_time_rule` with its defaults.

    Returns:
      A :class:`DecayRule`; its state is three scalars and the state of `rule`.

    Raises:
      TypeError, ValueError: `lr_sum_max` is out of range, or `rule` is not a rule.

    Example:
      >>> from optax_mi import mi_sgd
      >>> from optax_mi.rules import capped_rule
      >>> tx = mi_sgd(0.3, 0.0, num_classes=10, rule=capped_rule(30.0))

    References:
      Ali, Kolter and Tibshirani, `AISTATS 2019 <https://arxiv.org/abs/1810.10082>`_,
      treat steps times learning rate as time, and show that early stopping regularizes.
    """
    check_number("lr_sum_max", lr_sum_max, lambda s: s > 0, "positive and finite")
    inner = log_time_rule() if rule is None else rule
    check_is("rule", inner, DecayRule, "log_time_rule()")

    def init() -> _Spent:
        return _Spent(
            summed_to=jnp.zeros((), jnp.int32),
            lr_sum=jnp.zeros((), jnp.float32),
            uncapped=jnp.full((), NONE_BEFORE, jnp.float32),
            rule_state=inner.init(),
        )

    def update(
        state: _Spent,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, _Spent]:
        first = state.uncapped < 0
        before = jnp.where(first, learning_rate, state.uncapped)
        proposed, rule_state = inner.update(
            state.rule_state, estimate, before, step=step, lr_min=lr_min, lr_max=lr_max
        )
        # Like the learning rate itself, it never rises.
        uncapped = jnp.minimum(jnp.clip(proposed, lr_min, lr_max), before)
        since = (step - state.summed_to).astype(jnp.float32)
        lr_sum = state.lr_sum + since * learning_rate
        left = jnp.maximum(1.0 - lr_sum / lr_sum_max, 0.0)
        return uncapped * left, _Spent(step, lr_sum, uncapped, rule_state)

    def look(state: _Spent, estimate: MIEstimate) -> _Spent:
        assert inner.look is not None
        return state._replace(rule_state=inner.look(state.rule_state, estimate))

    return DecayRule(
        init, update, inner.needs_entropy, None if inner.look is None else look
    )
