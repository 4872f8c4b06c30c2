"""Powers of 2 in which squares neither overflow nor vanish."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic import power_of_two

pytestmark = pytest.mark.usefixtures("strict")


def test_units_are_powers_of_two_that_bring_the_largest_near_1():
    rows = np.array([[5e37, 1e-37, 0.0, -50.0], [1.0, 1e-38, 0.0, 4.0]], np.float32)
    unit = np.asarray(power_of_two(jnp.asarray(rows)))
    assert unit.shape == (1, 4)
    np.testing.assert_array_equal(np.log2(unit) % 1, 0)
    largest = np.max(np.abs(rows * unit), 0)
    assert np.all((largest[[0, 1, 3]] >= 0.5) & (largest[[0, 1, 3]] < 1))
    assert largest[2] == 0
    # In a minimum over columns zeros have no say.
    tiny = jnp.asarray(rows[:, 1:3])
    assert jnp.min(power_of_two(tiny)) == unit[0, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_units_of_the_largest_and_the_smallest_numbers_are_no_infinity_nor_0(dtype):
    info = np.finfo(dtype)
    with jax.enable_x64(dtype == "float64"):
        ends = jnp.asarray([[info.max, info.smallest_subnormal]], dtype)
        unit = np.asarray(power_of_two(ends))
    assert np.all((unit >= info.tiny) & (unit <= info.max))
    assert info.max * unit[0, 0] < 4
