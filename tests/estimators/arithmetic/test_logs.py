"""Logarithms of shares, 0 of none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic import log_or_zero

TINY = np.finfo(np.float32).tiny


@pytest.mark.usefixtures("strict")
def test_equals_numpy_where_there_is_a_share():
    shares = np.array([TINY, 0.25, 1.0, 3.0], np.float32)
    np.testing.assert_allclose(log_or_zero(jnp.asarray(shares)), np.log(shares), 1e-6)
    np.testing.assert_array_equal(log_or_zero(jnp.array([0.0, -1.0, jnp.nan])), 0)


def test_its_slope_is_finite_where_there_is_none():
    slope = jax.grad(lambda p: jnp.sum(log_or_zero(p)))(jnp.array([0.0, 0.25]))
    np.testing.assert_array_equal(slope, [0, 4])
