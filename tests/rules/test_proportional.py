"""The proportional rule against the slow reference, epoch by epoch."""

import math

import numpy as np
import pytest

from optax_mi.rules import proportional_rule
from tests import reference
from tests.rules.helpers import CURVE, LR_MAX, LR_MIN, rates, truth

pytestmark = pytest.mark.usefixtures("strict")


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4])
def test_equals_the_reference(threshold):
    pairs = [(mi, 1.7) for mi in CURVE]
    got = rates(proportional_rule, pairs, {"threshold": threshold})
    want = truth(reference.ProportionalRule(threshold), pairs)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[-1] < LR_MAX


def test_defaults():
    # Gains of 1.5 % and 4.7 % of MI.
    pairs = [(mi, 1.7) for mi in (1.0, 1.015, 1.063)]
    got = rates(proportional_rule, pairs)
    want = truth(reference.ProportionalRule(0.01), pairs)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[2] == got[1] == LR_MAX


def test_levels_off_at_a_plateau():
    plateau = [(0.85, 1.7)] * 50
    middle = (LR_MIN + LR_MAX) / 2
    assert rates(proportional_rule, plateau)[-1] == pytest.approx(middle)


@pytest.mark.parametrize(
    ("threshold", "match"),
    [(-1, "threshold must be at least 0"), (math.inf, "finite")],
)
def test_refuses_settings_out_of_range(threshold, match):
    proportional_rule(threshold=0.0)
    with pytest.raises(ValueError, match=match):
        proportional_rule(threshold=threshold)
