"""Sorting order against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic._argsort import argsort

TINY = np.finfo(np.float32).tiny
SPECIAL = [np.inf, -np.inf, 3e38, -3e38, 1.0, 1.0, 0.0, 0.0, TINY, -TINY, -1.0, -1.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("strict")
def test_order_is_stable_and_numpys(dtype):
    x = np.r_[SPECIAL, np.random.default_rng(0).normal(size=100).round(1) + 0.0]
    with jax.enable_x64(dtype == "float64"):
        got = jax.jit(argsort)(jnp.asarray(x, dtype))
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, np.argsort(x.astype(dtype), kind="stable"))


def test_vmap_and_map_are_a_loop():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 50)), jnp.float32)
    wanted = np.argsort(x, -1)
    np.testing.assert_array_equal(jax.jit(jax.vmap(argsort))(x), wanted)
    np.testing.assert_array_equal(jax.lax.map(argsort, x), wanted)
