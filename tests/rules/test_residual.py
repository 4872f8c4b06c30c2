"""The residual rule against the slow reference, epoch by epoch."""

import math

import numpy as np
import pytest

from optax_mi.rules import residual_rule
from tests import reference
from tests.rules.helpers import CURVE, LR_MAX, LR_MIN, rates, truth

pytestmark = pytest.mark.usefixtures("strict")


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_equals_the_reference(threshold, strength):
    pairs = [(mi, 1.7) for mi in CURVE]
    settings = {"threshold": threshold, "strength": strength}
    got = rates(residual_rule, pairs, settings)
    want = truth(reference.ResidualRule(threshold, strength), pairs)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[0] == LR_MAX
    assert got[-1] < LR_MAX


def test_defaults():
    # Gains that close 2.1 % and 7 % of the residual.
    pairs = [(mi, 1.7) for mi in (1.0, 1.015, 1.063)]
    got = rates(residual_rule, pairs)
    want = truth(reference.ResidualRule(0.05, 0.5), pairs)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[2] == got[1] < LR_MAX


def test_anneals_at_a_plateau():
    plateau = [(0.85, 1.7)] * 50
    assert rates(residual_rule, plateau)[-1] == pytest.approx(LR_MIN)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"threshold": 1.0}, "threshold must be in"),
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"strength": 0.0}, "strength must be in"),
        ({"strength": 1.5}, "strength=1.5"),
        ({"strength": math.nan}, "strength must be in"),
    ],
)
def test_refuses_settings_out_of_range(settings, match):
    residual_rule(threshold=0.0, strength=1.0)
    with pytest.raises(ValueError, match=match):
        residual_rule(**settings)
