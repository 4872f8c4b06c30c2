"""The rules against the slow reference, epoch by epoch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi import (
    MIEstimate,
    log_time_rule,
    measured,
    mi_decay,
    proportional_rule,
    residual_rule,
)
from tests import reference

pytestmark = pytest.mark.usefixtures("strict")

LR_MIN, LR_MAX = 0.01, 0.5
# Learns, levels off, learns again, forgets, and levels off for good.
CURVE = [0.1, 0.6, 1.2, 1.21, 1.21, 1.6, 1.5, 1.55, 1.5501, 1.5501, 1.5501]


def estimate(mi, entropy):
    fields = (mi, entropy, 100.0, math.nan, 0.0)
    return MIEstimate(*(jnp.asarray(x, jnp.float32) for x in fields))


def rates(rule, pairs, lr=LR_MAX, steps=10):
    """After each epoch; `steps` is its length, or the step at which each ends."""
    ends = steps * np.arange(1, len(pairs) + 1) if np.ndim(steps) == 0 else steps
    state, out = rule.init(), []
    lr = jnp.float32(lr)
    for step, (mi, entropy) in zip(ends, pairs, strict=True):
        new, state = rule.update(
            state,
            estimate(mi, entropy),
            lr,
            step=jnp.int32(step),
            lr_min=jnp.float32(LR_MIN),
            lr_max=jnp.float32(LR_MAX),
        )
        lr = jnp.minimum(lr, new)
        out.append(float(lr))
    return out


def truth(rule, pairs, ends=None):
    ends = range(len(pairs)) if ends is None else ends
    return reference.rates(rule, pairs, LR_MAX, LR_MIN, LR_MAX, ends)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_residual_rule_equals_the_reference(threshold, strength):
    pairs = [(mi, 1.7) for mi in CURVE]
    got = rates(residual_rule(threshold, strength), pairs)
    want = truth(reference.ResidualRule(threshold, strength), pairs)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[0] == LR_MAX
    assert got[-1] < LR_MAX


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4])
def test_proportional_rule_equals_the_reference(threshold):
    pairs = [(mi, 1.7) for mi in CURVE]
    got = rates(proportional_rule(threshold), pairs)
    want = truth(reference.ProportionalRule(threshold), pairs)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[-1] < LR_MAX


def test_defaults():
    # Gains 1.5 % and 4.7 % of MI, which close 2.1 % and 7 % of the residual.
    pairs = [(mi, 1.7) for mi in (1.0, 1.015, 1.063)]
    for ours, slow, falls in (
        (proportional_rule(), reference.ProportionalRule(0.01), False),
        (residual_rule(), reference.ResidualRule(0.05, 0.5), True),
    ):
        got = rates(ours, pairs)
        np.testing.assert_allclose(got, truth(slow, pairs), rtol=1e-5)
        assert (got[1] < LR_MAX) == falls
        assert got[2] == got[1]


def test_residual_rule_anneals_at_a_plateau_and_proportional_rule_levels_off():
    plateau = [(0.85, 1.7)] * 50
    assert rates(residual_rule(), plateau)[-1] == pytest.approx(LR_MIN)
    assert rates(proportional_rule(), plateau)[-1] == pytest.approx(
        (LR_MIN + LR_MAX) / 2
    )


@pytest.mark.parametrize(("rate", "sharpness"), [(6.0, 10.0), (1.0, 3.0), (2.5, 0.0)])
@pytest.mark.parametrize("steps", [1, 37, [3, 4, 9, 10, 50, 51, 52, 90, 300, 301, 900]])
def test_log_time_rule_equals_the_reference(rate, sharpness, steps):
    pairs = [(mi, 1.7) for mi in CURVE]
    got = rates(log_time_rule(rate, sharpness), pairs, steps=steps)
    ends = steps if isinstance(steps, list) else [steps * (i + 1) for i in range(11)]
    want = truth(reference.LogTimeRule(rate, sharpness), pairs, ends)
    np.testing.assert_allclose(got, want, rtol=2e-5)
    assert got[0] == LR_MAX
    assert got[-1] < 0.9 * LR_MAX


def test_log_time_rule_takes_a_network_that_forgets_for_one_that_learns_nothing():
    pairs = [(mi, 1.7) for mi in (1.6, 1.6, 0.4, 0.2, 0.2)]
    want = truth(reference.LogTimeRule(6.0, 10.0), pairs, range(1, 6))
    np.testing.assert_allclose(rates(log_time_rule(), pairs, steps=1), want, rtol=2e-5)


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_log_time_rule_falls_by_a_power_of_time_whatever_the_epoch(steps):
    epochs = 1000 // steps
    got = rates(log_time_rule(rate=3.0), [(0.36, 1.0)] * epochs, steps=steps)
    # From the end of the first epoch: 0.6 is the square root of U.
    assert got[-1] == pytest.approx(LR_MAX * epochs ** (-3.0 * 0.6), rel=1e-4)


def test_log_time_rule_holds_while_the_network_learns():
    ends = np.arange(1, 200)
    learning = [(t / 200, 1.0) for t in ends]
    assert rates(log_time_rule(), learning, steps=ends)[-1] > 0.9 * LR_MAX
    slowing = [(1 - 1 / t, 1.0) for t in ends]
    assert rates(log_time_rule(), slowing, steps=ends)[-1] < 0.01 * LR_MAX


def test_log_time_rule_sees_shares_and_not_nats():
    small = rates(log_time_rule(), [(mi, 1.7) for mi in CURVE])
    large = rates(log_time_rule(), [(4 * mi, 4 * 1.7) for mi in CURVE])
    np.testing.assert_allclose(small, large, rtol=1e-6)


def test_log_time_rule_keeps_counting_after_two_thousand_million_steps():
    ends = [2**30, 2**30 + 2**24, 2**30 + 2**25, 2**31 - 1, 2**31 - 1]
    got = rates(log_time_rule(rate=1.0), [(1.0, 1.0)] * 5, steps=ends)
    want = [LR_MAX * 2**30 / end for end in ends]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_network_that_knows_all_decays_and_one_that_knows_nothing_does_not():
    for rule in (residual_rule(), proportional_rule(), log_time_rule()):
        assert rates(rule, [(1.0, 1.0)] * 40)[-1] <= 1.001 * LR_MIN
        assert rates(rule, [(0.0, 1.0)] * 40)[-1] == LR_MAX
        # One class only: nothing to know, so nothing is decided.
        assert rates(rule, [(0.0, 0.0)] * 40)[-1] == LR_MAX


@pytest.mark.parametrize("make", [proportional_rule, residual_rule, log_time_rule])
def test_a_state_keeps_its_types(make):
    rule = make()
    state, lr = jax.eval_shape(rule.init), jnp.float32(LR_MAX)

    def update(state):
        given = {"step": jnp.int32(1), "lr_min": lr, "lr_max": lr}
        return rule.update(state, estimate(1.0, 1.7), lr, **given)[1]

    # Also whether they are weak.
    assert state == jax.eval_shape(update, state)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: residual_rule(threshold=1.0), "threshold must be in"),
        (lambda: residual_rule(threshold=-0.1), "threshold=-0.1"),
        (lambda: residual_rule(strength=0.0), "strength must be in"),
        (lambda: residual_rule(strength=1.5), "strength=1.5"),
        (lambda: residual_rule(strength=math.nan), "strength must be in"),
        (lambda: log_time_rule(rate=0.0), "rate must be positive"),
        (lambda: log_time_rule(rate=math.inf), "rate=inf"),
        (lambda: log_time_rule(sharpness=-1.0), "sharpness must be at least 0"),
        (lambda: proportional_rule(threshold=-1), "threshold must be at least 0"),
        (lambda: proportional_rule(threshold=math.inf), "finite"),
    ],
)
def test_refuses_settings_out_of_range(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_real_labels_hold_the_residual_rule_and_not_the_default():
    """Their entropy is infinite: U is the variance explained, and R has no meaning."""
    for rule, moves in ((residual_rule(), False), (log_time_rule(), True)):
        tx = mi_decay(1.0, estimator=measured(1.0), steps_per_epoch=1, rule=rule)
        state = tx.init(jnp.zeros(()))
        for mi in (1.0, 1.5, 1.5, 1.5):
            seen = MIEstimate(*(jnp.float32(v) for v in (mi, jnp.inf, 9, 0.1, 0)))
            _, state = tx.update(jnp.ones(()), state, mi=seen)
        assert (float(state.learning_rate) < 1) == moves
        assert int(state.held) == (0 if moves else 4)
