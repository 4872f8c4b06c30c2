"""The digamma function of whole numbers, against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from optax_mi.estimators.arithmetic._digamma import digamma, digamma_difference

WHOLE = np.r_[1:300, 10**6, 2 * 10**9]
difference = jax.jit(digamma_difference)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_digamma_is_exact_to_rounding(dtype):
    with jax.enable_x64(dtype == "float64"):
        got = np.asarray(jax.jit(digamma, static_argnums=1)(WHOLE, dtype), float)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, special.digamma(WHOLE), rtol=4 * eps, atol=4 * eps)


def test_its_dtype_is_the_one_that_is_asked_for():
    with jax.enable_x64(True):
        assert digamma(jnp.arange(1, 99), "float32").dtype == "float32"


def test_of_zero_neighbours_it_is_finite():
    assert digamma(jnp.int32(0), jnp.float32) == digamma(jnp.int32(1), jnp.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [0.0, 0.5, 7.0, 32.0])
def test_differences_of_reals_are_exact_to_rounding(dtype, step):
    x = np.r_[0.5:40:0.25, 1e3, 1e6]
    with jax.enable_x64(dtype == "float64"):
        got = difference(x.astype(dtype), np.asarray(step, dtype))
    # Below 16 sixteen reciprocals, the largest 1 / x, add their roundings.
    tolerance = 8 * np.finfo(dtype).eps * np.maximum(1, 1 / x)
    truth = special.digamma(x + step) - special.digamma(x)
    assert np.all(np.abs(np.asarray(got, float) - truth) <= tolerance)
    if step == 7.0:
        # The steps of whole size are sums of reciprocals, small ones too.
        whole = sum(1 / (x + i) for i in range(7))
        np.testing.assert_allclose(got[-1], whole[-1], rtol=8 * np.finfo(dtype).eps)
