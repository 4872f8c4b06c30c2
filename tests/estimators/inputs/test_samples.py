"""Weights of samples, and what they add up to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
