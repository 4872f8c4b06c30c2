"""What every rule keeps to."""

import jax
import jax.numpy as jnp
import pytest

from optax_mi import mi_decay
from optax_mi.estimators import MIEstimate, measured
from optax_mi.rules import DecayRule, log_time_rule, proportional_rule, residual_rule
from tests.rules.helpers import LR_MAX, LR_MIN, estimate, rates

pytestmark = pytest.mark.usefixtures("strict")

every_rule = pytest.mark.parametrize(
    "make", [proportional_rule, residual_rule, log_time_rule]
)


@every_rule
def test_a_network_that_knows_all_decays_and_one_that_knows_nothing_does_not(make):
    assert rates(make, [(1.0, 1.0)] * 150)[-1] <= 1.001 * LR_MIN
    assert rates(make, [(0.0, 1.0)] * 40)[-1] == LR_MAX
    # One class only: nothing to know, so nothing is decided.
    assert rates(make, [(0.0, 0.0)] * 40)[-1] == LR_MAX


@every_rule
def test_a_state_keeps_its_types(make):
    rule = make()
    state, lr = jax.eval_shape(rule.init), jnp.float32(LR_MAX)

    def update(state):
        given = {"step": jnp.int32(1), "lr_min": lr, "lr_max": lr}
        return rule.update(state, estimate(1.0, 1.7), lr, **given)[1]

    # Also whether they are weak.
    assert state == jax.eval_shape(update, state)


@every_rule
def test_only_the_residual_needs_a_finite_entropy(make):
    assert make().needs_entropy == (make is residual_rule)


def test_a_rule_of_your_own_needs_neither_an_entropy_nor_a_look():
    rule = DecayRule(init=lambda: (), update=lambda state, *_, **__: (0.0, state))
    assert rule.look is None
    assert not rule.needs_entropy


@pytest.mark.parametrize(
    ("make", "moves"), [(residual_rule, False), (log_time_rule, True)]
)
def test_real_labels_hold_the_residual_rule_and_not_the_default(make, moves):
    """Their entropy is infinite: U is the variance explained, and R has no meaning."""
    tx = mi_decay(1.0, estimator=measured(1.0), steps_per_epoch=1, rule=make())
    state, update = tx.init(jnp.zeros(())), jax.jit(tx.update)
    for mi in (1.0, 1.5, 1.5, 1.5):
        seen = MIEstimate(*(jnp.float32(v) for v in (mi, jnp.inf, 9, 0.1, 0)))
        _, state = update(jnp.ones(()), state, mi=seen)
    assert (float(state.current_lr) < 1) == moves
    assert int(state.held) == (0 if moves else 4)
