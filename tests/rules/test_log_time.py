"""The default rule against the slow reference, closed forms and long runs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.rules import log_time_rule
from tests import reference
from tests.rules.helpers import CURVE, LR_MAX, estimate, rates, step_ends, truth

pytestmark = pytest.mark.usefixtures("strict")


@pytest.mark.parametrize(("rate", "sharpness"), [(6.0, 10.0), (1.0, 3.0), (2.5, 0.0)])
@pytest.mark.parametrize("steps", [1, 37, [3, 4, 9, 10, 50, 51, 52, 90, 300, 301, 900]])
def test_equals_the_reference(rate, sharpness, steps):
    pairs = [(mi, 1.7) for mi in CURVE]
    settings = {"rate": rate, "sharpness": sharpness}
    got = rates(log_time_rule, pairs, settings, steps=steps)
    want = truth(reference.LogTimeRule(rate, sharpness), pairs, steps)
    np.testing.assert_allclose(got, want, rtol=2e-5)
    assert got[0] == LR_MAX
    assert got[-1] < 0.9 * LR_MAX


def test_goes_on_where_a_network_forgets():
    pairs = [(mi, 1.7) for mi in (1.6, 1.6, 0.4, 0.2, 0.2)]
    want = truth(reference.LogTimeRule(0.8, 10.0), pairs, 1)
    np.testing.assert_allclose(rates(log_time_rule, pairs, steps=1), want, rtol=2e-5)


def test_holds_from_two_hundredths_below_the_average_on_if_it_learns():
    # Down to 0.97 of the average and up again, and down to 0.99 of it.
    for low, again, holds in ((0.85, 0.86, True), (0.89, 0.895, False)):
        pairs = [(u, 1.0) for u in [*[0.9] * 10, low, again]]
        want = truth(reference.LogTimeRule(0.8, 10.0), pairs)
        got = rates(log_time_rule, pairs)
        np.testing.assert_allclose(got, want, rtol=2e-5)
        assert (got[-1] == got[-2]) == holds


@pytest.mark.parametrize("before", [1, 10, 300])
def test_holds_while_a_network_learns_again(before):
    """However long it knew much before it lost that."""
    again = np.linspace(0.2, 0.85, 1 + before // 3)
    got = rates(log_time_rule, [(u, 1.0) for u in [*[0.9] * before, *again]], steps=1)
    # Two decisions may still see the fall; each is of a fiftieth of the steps.
    assert got[-1] > 0.95 * got[before]


def test_looks_at_what_is_known_before_the_first_epoch_is_over():
    """It compares gains since then: what was known before is no progress."""
    pairs = [(u, 1.0) for u in (0.5, 0.6, 0.65, 0.68, 0.69, 0.7, 0.7)]
    for known in (0.0, 0.3, 0.5):
        slow = reference.LogTimeRule(0.8, 10.0)
        slow.look(known, 1.0)
        got = rates(log_time_rule, pairs, known=known)
        np.testing.assert_allclose(got, truth(slow, pairs), rtol=2e-5)
    # The later the network has learned what it knows, the more of the rate is left.
    assert got[-1] > 0.9 * LR_MAX


@pytest.mark.parametrize("start", [0.8, 0.85, 0.9])
def test_lets_a_network_learn_that_knows_much_at_the_start(start):
    learning = [(start + (1 - start) * (1 - 0.6**n), 1.0) for n in range(4)]
    assert rates(log_time_rule, learning)[-1] > 0.3 * LR_MAX
    assert rates(log_time_rule, [(start, 1.0)] * 40)[-1] < 0.06 * LR_MAX


def test_waits_for_what_is_significant():
    """Two standard errors are taken off U, and those of an average shrink with it."""
    pairs = [(0.0, 1.0), *[(0.3, 1.0)] * 149]
    for std_error in (0.0, 0.05, 0.11, 0.149, 0.151, 1.0):
        got = rates(log_time_rule, pairs, steps=1, std_error=std_error)
        want = truth(reference.LogTimeRule(0.8, 10.0), pairs, 1, std_error=std_error)
        np.testing.assert_allclose(got, want, rtol=2e-5)
        assert (got[-1] == LR_MAX) == (std_error == 1.0)


def test_never_raises_a_rate_and_stays_finite_when_steps_count_no_more():
    rule, rate = log_time_rule(sharpness=0.0), jnp.float32(LR_MAX)
    state, bounds = rule.init(), {"lr_min": jnp.float32(0), "lr_max": rate}
    # What may be less than nothing is known.
    seen = estimate(0.1, 1.0, std_error=1.0)
    for step in (2**30, 2**30 + 2**26, 2**31 - 1, 2**31 - 1, 2**31 - 1):
        new, state = rule.update(state, seen, rate, step=jnp.int32(step), **bounds)
        assert new <= rate
        assert all(np.isfinite(leaf) for leaf in state)
        assert state.waiting_variance >= 0


def test_sees_what_is_above_chance():
    pairs = [(0.25, 1.7), (0.3, 1.7), (0.31, 1.7), (0.31, 1.7)]
    got = rates(log_time_rule, pairs, steps=1, chance=0.2)
    want = truth(reference.LogTimeRule(0.8, 10.0), pairs, 1, chance=0.2)
    np.testing.assert_allclose(got, want, rtol=2e-5)
    assert rates(log_time_rule, [(0.2, 1.7)] * 20, chance=0.2)[-1] == LR_MAX


def test_noise_around_chance_does_not_decay():
    """Below chance counts as much as above: what is averaged is not clipped."""
    noise = 0.05 * (-1.0) ** np.arange(400)
    pairs = [(0.2 + e, 1.7) for e in noise]
    assert rates(log_time_rule, pairs, chance=0.2)[-1] > 0.9 * LR_MAX


@pytest.mark.parametrize("steps", [1, 3])
def test_is_exact_after_ten_million_epochs_of_one_step(steps):
    """U rises to 0.5 in the first third and stays: 1e7 steps, against float64."""
    rule, total = log_time_rule(), 10_000_000 // steps
    high, low = jnp.float32(LR_MAX), jnp.float32(0)

    def epoch(n, carry):
        lr, state = carry
        step = steps * (n + 1)
        known = 0.5 * jnp.minimum(step / (total * steps / 3), 1.0)
        new, state = rule.update(
            state, estimate(known, 1.0), lr, step=step, lr_min=low, lr_max=high
        )
        return new, state

    start = (high, rule.init())
    lr, state = jax.jit(lambda c: jax.lax.fori_loop(0, total, epoch, c))(start)
    # In closed form, up to the last decision; time is a share of the whole.
    end = int(state.decided) / (total * steps)
    t = np.geomspace(1e-7, end, 200_001)
    mean = np.where(t < 1 / 3, 0.75 * t, 0.5 - 1 / (12 * t))
    ramp = 1.5 * (10 / 11) * np.minimum(t, 1 / 3) ** 11 / t**10
    recent = np.where(t < 1 / 3, ramp, ramp + 0.5 * (1 - (1 / (3 * t)) ** 10))
    speed = 0.8 * np.minimum(10 * recent, 1) * ((mean + 0.02) / (recent + 0.02)) ** 10
    assert end > 0.98
    assert float(state.mean) == pytest.approx(mean[-1], rel=1e-5)
    assert float(state.recent_mean) == pytest.approx(recent[-1], rel=1e-5)
    want = LR_MAX * np.exp(-np.trapezoid(speed, np.log(t)))
    assert float(lr) == pytest.approx(want, rel=1e-2)


@pytest.mark.parametrize("known", [0.05, 0.1, 0.36])
@pytest.mark.parametrize("steps", [1, 10, 100])
def test_falls_by_a_power_of_time_whatever_the_epoch(steps, known):
    epochs = 1000 // steps
    got = rates(log_time_rule, [(known, 1.0)] * epochs, {"rate": 3.0}, steps=steps)
    # From the end of the first epoch to the last decision, at most a fiftieth ago. A
    # network that knows half of a tenth decays at half the rate.
    want = LR_MAX * epochs ** (-3.0 * min(1.0, 10 * known))
    assert want * (1 - 1e-4) <= got[-1] <= want * 0.98**-3.0 * (1 + 1e-4)


def test_holds_while_the_network_learns():
    ends = step_ends(199, 1)
    learning = [(t / 200, 1.0) for t in ends]
    assert rates(log_time_rule, learning, steps=ends)[-1] > 0.9 * LR_MAX
    slowing = [(1 - 1 / t, 1.0) for t in ends]
    assert rates(log_time_rule, slowing, steps=ends)[-1] < 0.4 * LR_MAX


def test_sees_shares_and_not_nats():
    small = rates(log_time_rule, [(mi, 1.7) for mi in CURVE])
    large = rates(log_time_rule, [(4 * mi, 4 * 1.7) for mi in CURVE])
    np.testing.assert_allclose(small, large, rtol=1e-6)


def test_keeps_counting_after_two_thousand_million_steps():
    ends = [2**30, 2**30 + 2**25, 2**30 + 2**26, 2**31 - 1, 2**31 - 1]
    got = rates(log_time_rule, [(1.0, 1.0)] * 5, {"rate": 1.0}, steps=ends)
    want = [LR_MAX * 2**30 / end for end in ends]
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": math.inf}, "rate=inf"),
        ({"sharpness": -1e-3}, "sharpness must be at least 0"),
    ],
)
def test_refuses_settings_out_of_range(settings, match):
    log_time_rule(rate=1e-3, sharpness=0.0)
    with pytest.raises(ValueError, match=match):
        log_time_rule(**settings)
