"""The digamma function of whole numbers, against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from optax_mi.estimators._digamma import digamma

WHOLE = np.r_[1:300, 10**6, 2 * 10**9]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_digamma_is_exact_to_rounding(dtype):
    with jax.enable_x64(dtype == "float64"):
        got = np.asarray(digamma(jnp.asarray(WHOLE), dtype), float)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, special.digamma(WHOLE), rtol=4 * eps, atol=4 * eps)


def test_of_zero_neighbours_it_is_finite():
    assert digamma(jnp.int32(0), jnp.float32) == digamma(jnp.int32(1), jnp.float32)
