"""A limit on the sum of learning rates against a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi import learning_rates, mi_sgd
from optax_mi.rules import DecayRule, capped_rule
from tests import reference
from tests.rules.helpers import CURVE, rates, truth

PAIRS = [(mi, 1.7) for mi in CURVE]


class Capped:
    """The slow one: what the rule alone would have, times what is left of the sum."""

    def __init__(self, lr_sum_max):
        self.inner, self.lr_sum_max = reference.LogTimeRule(0.8, 10.0), lr_sum_max
        self.sum, self.step, self.alone = 0.0, 0, None

    def __call__(self, mi, h, lr, lr_min, lr_max, step, **measured):
        before = lr if self.alone is None else self.alone
        proposed = self.inner(mi, h, before, lr_min, lr_max, step, **measured)
        self.alone = min(max(proposed, lr_min), before)
        self.sum += lr * (step - self.step)
        self.step = step
        return self.alone * max(0.0, 1 - self.sum / self.lr_sum_max)


@pytest.mark.parametrize("lr_sum_max", [3.0, 20.0, 1e6])
@pytest.mark.parametrize("steps", [1, [3, 4, 9, 10, 50, 51, 52, 90, 300, 301, 900]])
def test_equals_the_plain_loop(lr_sum_max, steps):
    got = rates(capped_rule, PAIRS, {"lr_sum_max": lr_sum_max}, steps=steps)
    want = truth(Capped(lr_sum_max), PAIRS, steps)
    # What is left of the sum is a difference, good to some 1e-7 of the whole.
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-7)


def test_a_limit_far_away_changes_nothing():
    alone = truth(reference.LogTimeRule(0.8, 10.0), PAIRS, 10)
    got = rates(capped_rule, PAIRS, {"lr_sum_max": 1e9}, steps=10)
    np.testing.assert_allclose(got, alone, rtol=2e-5)


def test_the_sum_comes_near_its_limit_and_stays_below():
    hold = DecayRule(lambda: (), lambda state, _, lr, **bounds: (lr, state))
    rule = capped_rule(5.0, hold)
    tx = mi_sgd(0.25, 0.0, num_classes=2, rule=rule, steps_per_epoch=1)
    labels = jnp.arange(8) % 2

    def step(state, _):
        _, state = tx.update(jnp.ones(2), state, outputs=labels, labels=labels)
        return state, learning_rates(state)["all"]

    _, seen = jax.lax.scan(step, tx.init(jnp.ones(2)), length=400)
    # A step of a twentieth of what is left each time: the learning rate is geometric.
    np.testing.assert_allclose(seen[:9], 0.25 * 0.95 ** np.arange(1, 10), rtol=1e-5)
    assert 4.99 < float(seen.sum()) + 0.25 < 5.01


def test_a_rule_without_a_look_has_none():
    hold = DecayRule(lambda: (), lambda state, _, lr, **bounds: (lr, state))
    assert capped_rule(1.0, hold).look is None
    assert capped_rule(1.0).look is not None


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), float("nan")])
def test_refuses_limits_that_are_none(wrong):
    with pytest.raises(ValueError, match="lr_sum_max must be positive and finite"):
        capped_rule(wrong)


def test_refuses_what_is_no_rule():
    with pytest.raises(TypeError, match="rule must be"):
        capped_rule(1.0, "cosine")
