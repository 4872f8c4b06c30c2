"""What the estimators of samples share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.samples._shared import check_neighbors, finish, jitter

pytestmark = pytest.mark.usefixtures("strict")


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (5, ValueError, "k must be less than .* N = 5, since .* got k=5"),
        (0, ValueError, "k must be at least 1, got k=0"),
        (True, TypeError, "k must be an int, got k=True"),
        (2.0, TypeError, r"k must be an int, got k=2\.0"),
    ],
)
def test_neighbors_are_fewer_than_samples(k, error, message):
    with pytest.raises(error, match=message):
        check_neighbors(k, 5)
    assert check_neighbors(np.int64(4), 5) == 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_jitter_is_in_proportion_to_the_spread_of_what_is_valid(dtype):
    rng = np.random.default_rng(0)
    valid = np.arange(4000) % 4 > 0
    x = np.where(valid[:, None], 5 + rng.normal(size=(4000, 3)) * [1e-3, 1, 1e4], 0)
    x[:, 1] = np.where(valid, x[:, 1], 1e6)
    with jax.enable_x64(dtype == "float64"):
        given = jnp.asarray(x, dtype)
        assert jitter(None, given, valid) is given
        noisy = jax.jit(jitter)(jax.random.key(0), given, valid)
    assert noisy.dtype == dtype
    added = np.asarray(noisy, float) - np.asarray(given, float)
    assert not np.any(added[~valid])
    # By columns; 3000 draws tell a spread to 1.3 %. Rounding adds to the first column,
    # whose mean is 5000 times its spread.
    wanted = np.finfo(dtype).eps ** (2 / 3) * x[valid].std(0)
    np.testing.assert_allclose(added[valid].std(0)[1:], wanted[1:], rtol=0.06)


def test_a_constant_column_has_no_jitter():
    x = jnp.ones((50, 1))
    np.testing.assert_array_equal(jitter(jax.random.key(0), x, jnp.ones(50, bool)), x)


def finished(mi, local, valid, clip=True):
    arguments = (jnp.float32(mi), jnp.float32(1.5), local, jnp.asarray(valid))
    return finish(*arguments, clip)


def test_an_estimate_and_its_spread_are_of_the_valid_samples():
    local = jnp.array([1.0, 2.0, jnp.nan, 6.0])
    got = finished(0.7, local, [True, True, False, True])
    np.testing.assert_allclose(got.mi, 0.7, rtol=1e-6)
    assert (got.entropy, got.num_samples, got.dropped, got.chance) == (1.5, 3, 1, 0)
    np.testing.assert_allclose(got.std_error, np.std([1, 2, 6]) / 3**0.5, rtol=1e-6)
    assert np.isnan(finished(0.7, None, [True]).std_error)


def test_estimates_are_clipped_if_asked_for_and_of_no_samples_0():
    one = jnp.ones(1)
    assert [finished(mi, one, [True]).mi for mi in (-1.0, 2.0)] == [0.0, 1.5]
    assert [finished(mi, one, [True], False).mi for mi in (-1.0, 2.0)] == [-1.0, 2.0]
    nothing = finished(jnp.nan, one, [False], clip=False)
    assert (nothing.mi, nothing.entropy, nothing.num_samples) == (0, 0, 0)
    assert np.isnan(nothing.std_error)
