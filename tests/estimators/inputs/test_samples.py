"""Weights of samples, and what they add up to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import binned_mi, gaussian_mi, plugin_mi, variational_mi
from optax_mi.estimators.inputs import Samples, health
from optax_mi.estimators.inputs._samples import check_shape, weigh

pytestmark = pytest.mark.usefixtures("strict")

VALID = jnp.array([True, True, False, True, True, True])


def test_weights_are_0_where_a_sample_may_not_count():
    given = np.array([0.5, 0.0, 3.0, -1.0, np.nan, np.inf])
    np.testing.assert_array_equal(
        weigh(VALID, given, jnp.float32), [0.5, 0, 0, 0, 0, 0]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "given", [None, np.ones(6, bool), np.ones(6, int), np.ones(6, np.float16)]
)
def test_weights_of_any_type_are_of_the_type_asked_for(dtype, given):
    with jax.enable_x64(dtype == "float64"):
        weights = weigh(VALID, given, dtype)
    assert weights.dtype == dtype
    np.testing.assert_array_equal(weights, VALID)


def test_no_gradient_flows_through_weights():
    slope = jax.grad(lambda w: weigh(VALID, w, jnp.float32).sum())(jnp.ones(6))
    np.testing.assert_array_equal(slope, 0)


def test_weights_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"mask must have .*\(6,\), got \(6, 1\)"):
        weigh(VALID, np.ones((6, 1)), jnp.float32, "mask")
    check_shape("weights", jnp.ones((2, 3)), (2, 3))


def test_totals_and_the_effective_number_of_samples():
    weights = np.array([[2.0, 0.0, 1.0], [0.5, 0.0, 0.0]], np.float32)
    samples = Samples(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3), int), jnp.array(weights))
    np.testing.assert_array_equal(samples.kept, weights > 0)
    np.testing.assert_array_equal(samples.totals, [3.5, 5.25, 3])
    weight, effective, dropped = health(samples.totals)
    assert (weight, dropped) == (3.5, 3)
    np.testing.assert_allclose(effective, 3.5**2 / 5.25, rtol=1e-6)


def test_the_scale_of_weights_is_free_and_none_are_no_samples():
    # The square of the sum overflows float32, and that of the squares does not.
    large = jnp.full(8, 2.0**61)
    totals = jnp.stack([large.sum(), jnp.sum(large**2), jnp.float32(0)])
    assert jnp.isinf(large.sum() ** 2)
    assert health(totals)[1] == 8
    assert health(jnp.zeros(3)) == (0, 0, 0)


@pytest.mark.parametrize("weight", [1e-25, 1e-19, 1e25])
def test_the_number_of_samples_is_nan_where_squares_of_weights_do_not_fit(weight):
    labels = jnp.arange(40) % 2
    weights = jnp.full(40, weight, jnp.float32)
    x = jax.random.normal(jax.random.key(0), (40, 2))
    x = x + jnp.where(labels > 0, 2.0, 0.0)[:, None]
    counted = plugin_mi(labels, labels, weights=weights)
    for estimate in (
        counted,
        binned_mi(x, labels, num_classes=2, weights=weights),
        variational_mi(x, labels, weights=weights),
        gaussian_mi(x, labels, num_classes=2, weights=weights),
    ):
        np.testing.assert_allclose(estimate.entropy, np.log(2), rtol=1e-5)
        assert np.isnan(estimate.num_samples)
        assert np.isnan(estimate.std_error)
        assert estimate.dropped == 0
    # Shares need no squares, but chance needs the number.
    np.testing.assert_allclose(counted.mi, np.log(2), rtol=1e-5)
    assert np.isnan(counted.normalized)
    assert np.isnan(estimate.mi)
