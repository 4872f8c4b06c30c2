"""Measurements that the caller makes."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import MIEstimate, measured
from tests.helpers import read

pytestmark = pytest.mark.usefixtures("strict")


def test_keeps_the_last_measurement_and_skips_nan():
    estimator = measured(entropy=math.log(10))
    # One program for a measurement and for none.
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(estimator.update, n=1))
    state = estimator.init()
    assert np.isnan(read(estimator, state).mi)
    for mi in (math.nan, 1.0, 1.25, math.nan):
        state = update(state, mi=mi)
    estimate = read(estimator, state)
    assert estimate.mi == 1.25
    np.testing.assert_allclose(estimate.entropy, math.log(10), rtol=1e-6)
    assert estimate.num_samples == 1


def test_takes_a_whole_estimate():
    truth = MIEstimate(*map(jnp.float32, (0.9, 1.1, 100.0, 0.05, 3.0, 0.02)))
    estimator = measured()
    state = estimator.update(estimator.init(), mi=truth)
    chex.assert_trees_all_equal(read(estimator, state), truth)
    nothing = truth._replace(mi=jnp.float32(jnp.nan))
    state = estimator.update(state, mi=nothing)
    chex.assert_trees_all_equal(read(estimator, state), truth)


def test_clips_a_scalar_to_the_entropy():
    estimator = measured(entropy=1.0)
    for mi, clipped in ((-0.5, 0.0), (3.0, 1.0)):
        state = estimator.update(estimator.init(), mi=mi)
        assert read(estimator, state).mi == clipped


def test_merge_prefers_the_later_measurement():
    estimator = measured(entropy=1.0)
    first, second = (estimator.update(estimator.init(), mi=mi) for mi in (0.25, 0.5))
    assert read(estimator, estimator.merge(first, second)).mi == 0.5
    assert read(estimator, estimator.merge(first, estimator.init())).mi == 0.25
    assert read(estimator, estimator.merge(estimator.init(), first)).mi == 0.25


def test_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match=r"measured\(entropy=\.\.\.\)"):
        measured().update(measured().init(), mi=0.5)
    with pytest.raises(ValueError, match=r"mi must be a scalar, got shape \(3,\)"):
        measured(1.0).update(measured().init(), mi=jnp.ones(3))
    with pytest.raises(ValueError, match="entropy must be positive"):
        measured(entropy=0.0)
    assert isinstance(measured().init(), MIEstimate)


def test_a_measurement_may_be_of_any_numbers_and_is_named_if_it_is_none():
    estimator = measured(entropy=1.0)
    for mi in (np.float64(0.5), np.array(0.5, np.float16), jnp.float32(0.5), 0.5):
        assert read(estimator, estimator.update(estimator.init(), mi=mi)).mi == 0.5
    with pytest.raises(ValueError, match=r"mi must be a scalar, got shape \(1,\)"):
        estimator.update(estimator.init(), mi=[0.5])
    with pytest.raises(TypeError, match="mi must be an array of numbers, got"):
        estimator.update(estimator.init(), mi="much")
