"""Sorted numbers and their order against NumPy's."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic import argsort, sort

TINY = np.finfo(np.float32).tiny
SPECIAL = [np.inf, -np.inf, 3e38, -3e38, 1.0, 1.0, 0.0, 0.0, TINY, -TINY, -1.0, -1.0]
ROUNDED = np.random.default_rng(0).normal(size=100).round(1) + 0.0
# Words of 32 bits hold 31, 25 and 14 bits beside the place: two sorts to three.
SAMPLES = {
    "none": [],
    "one": [2.0],
    "two": SPECIAL[:2],
    "many": np.r_[SPECIAL, ROUNDED],
}
# The place of the last takes a bit more than that of the one before it.
SAMPLES["five"] = SPECIAL[:5]
SAMPLES["large"] = np.tile(SAMPLES["many"], 1200) * np.repeat([1.0, -0.3], 67200)


TYPES = pytest.mark.parametrize(
    ("dtype", "x64"), [("float32", False), ("float32", True), ("float64", True)]
)


@TYPES
@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.usefixtures("strict")
def test_order_is_stable_and_numpys(x, dtype, x64):
    x = np.asarray(x, dtype) + np.asarray(0, dtype)  # No -0, which is below 0 here.
    with jax.enable_x64(x64):
        ordered, order = jax.jit(lambda x: (sort(x), argsort(x)))(jnp.asarray(x))
    assert (ordered.dtype, order.dtype) == (dtype, np.int32)
    np.testing.assert_array_equal(order, np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(ordered, np.sort(x))


@TYPES
def test_neighbouring_numbers_are_told_apart(dtype, x64):
    one = np.ones((), dtype)
    x = np.array([np.nextafter(one, 2 * one), one, np.nextafter(one, 0 * one), 0.0])
    with jax.enable_x64(x64):
        x = jnp.asarray(np.append(x, -0.0).astype(dtype))
        np.testing.assert_array_equal(argsort(x), [4, 3, 2, 1, 0])
        np.testing.assert_array_equal(np.signbit(sort(x)), [1, 0, 0, 0, 0])


def test_no_word_of_64_bits_is_made_without_x64():
    program = jax.jit(argsort).lower(jnp.zeros(2**17)).as_text()
    assert not re.search(r"x(ui|i|f)64>", program)


@pytest.mark.parametrize("one", [sort, argsort])
def test_vmap_and_map_are_a_loop(one):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 50)), jnp.float32)
    wanted = np.stack([one(row) for row in x])
    np.testing.assert_array_equal(jax.vmap(one)(x), wanted)
    np.testing.assert_array_equal(jax.lax.map(one, x), wanted)
