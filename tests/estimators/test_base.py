"""Shares of the entropy that an estimate tells of, and estimators filled in by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import MIEstimate, MIEstimator
from optax_mi.estimators._base import no_estimate, unpack

pytestmark = pytest.mark.usefixtures("strict")


def make(*fields):
    return MIEstimate(*(jnp.float32(x) for x in fields))


@pytest.mark.parametrize(
    ("fields", "adjusted", "normalized"),
    [
        ((0.6, 1.0, 9, 0.1, 0, 0.2), 0.5, 0.5),
        ((0.1, 1.0, 9, 0.1, 0, 0.2), -0.125, 0.0),
        ((0.5, 1.0, 9, 0.1, 0), 0.5, 0.5),
        ((0.8, 1.0, 9, 0.1, 0, 0.8), np.nan, np.nan),
        ((0.0, 0.0, 9, 0.1, 0, 0.0), 0.0, 0.0),
        ((0.5, np.inf, 9, 0.1, 0, 0.0), 1 - np.exp(-1), 1 - np.exp(-1)),
        ((-0.1, np.inf, 9, 0.1, 0, 0.0), 1 - np.exp(0.2), 0.0),
        ((0.5, np.nan, 9, 0.1, 0, 0.0), np.nan, np.nan),
    ],
)
def test_the_share_of_what_chance_leaves(fields, adjusted, normalized):
    seen = make(*fields)
    np.testing.assert_allclose(seen.adjusted, adjusted, rtol=1e-5)
    np.testing.assert_allclose(seen.normalized, normalized, rtol=1e-5)


@pytest.mark.parametrize(
    ("mi", "entropy", "chance"), [(0.6, 1.0, 0.2), (0.5, np.inf, 0.1)]
)
def test_the_error_of_the_share_is_its_slope_times_that_of_the_mi(mi, entropy, chance):
    seen = make(mi, entropy, 9, 1e-3, 0, chance)
    more = make(mi + 1e-3, entropy, 9, 1e-3, 0, chance)
    step = more.adjusted - seen.adjusted
    np.testing.assert_allclose(seen.adjusted_std_error, step, rtol=3e-3)


def test_no_error_is_known_of_a_share_whose_mi_has_none():
    assert np.isnan(make(0.5, 1.0, 9, np.nan, 0).adjusted_std_error)


def test_the_default_is_an_array_of_a_strong_type():
    state = make(0.5, 1.0, 9, 0.1, 0)
    types = {jax.typeof(x) for x in jax.tree.leaves(state)}
    assert len(types) == 1
    assert jax.typeof(no_estimate().chance) in types


def test_before_any_measurement_nothing_is_known_of_no_samples():
    nothing = unpack(no_estimate())
    np.testing.assert_array_equal(nothing, [np.nan, np.nan, 0, np.nan, 0, 0])
    assert np.isnan(nothing.normalized)


def test_an_estimator_is_of_classes_and_gathers_unless_it_says_so():
    estimator = MIEstimator(*[lambda *_, **__: None] * 4)
    assert estimator.bounded
    assert estimator.gathers
