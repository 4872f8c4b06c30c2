"""Bins and hashes of them against NumPy and Python."""

import jax
import numpy as np
import pytest

from optax_mi.estimators.tables._bins import bins_of, check_ends, hash_of

pytestmark = pytest.mark.usefixtures("strict")

binned = jax.jit(bins_of, static_argnums=3)


def test_bins_are_those_of_numpy_and_hold_what_is_beyond_the_ends():
    x = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    x[:4] = [[-np.inf, np.inf], [-1e30, 1e30], [-1.5, 1.0], [-1.25, -0.5]]
    low, high = np.float32([-1.5, -0.5]), np.float32([1.0, 1.0])
    got = binned(x, low, high, 10)
    assert got.dtype == np.int32
    for column, start, end, bins in zip(x.T, low, high, got.T, strict=True):
        inside = np.linspace(start, end, 11)[1:-1]
        np.testing.assert_array_equal(bins, np.digitize(column, inside))


def test_one_range_for_all_columns_and_no_number_in_the_first_bin():
    x = np.float32([[0.0, 0.49], [0.51, np.nan], [1.0, 2.0]])
    got = binned(x, 0.0, 1.0, 2)
    np.testing.assert_array_equal(got, [[0, 0], [1, 0], [1, 1]])


def test_a_column_of_one_value_has_one_bin():
    x = np.full((3, 1), 7, np.float32)
    np.testing.assert_array_equal(binned(x, x[0], x[0], 5), 0)


def mixed(h):
    """The finalizer of MurmurHash3, in Python's integers."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> shift)) * factor % 2**32
    return h ^ (h >> 16)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_hash_is_that_of_whole_numbers_in_python(seed):
    bins = np.random.default_rng(2).integers(0, 30, (50, 7))
    got = jax.jit(hash_of, static_argnums=1)(bins, seed)
    assert got.dtype == np.uint32
    odd = np.random.default_rng(seed).integers(2**31, size=7, dtype=np.uint32)
    odd = [2 * int(a) + 1 for a in odd]
    wanted = [
        mixed(sum(a * int(b) for a, b in zip(odd, row, strict=True)) % 2**32)
        for row in bins
    ]
    np.testing.assert_array_equal(got, np.array(wanted, np.uint32))


def test_hashes_spread_evenly_over_buckets():
    # All rows of three bins in eight columns.
    rows = np.stack(np.meshgrid(*[np.arange(3)] * 8), -1).reshape(-1, 8)
    hashes = np.asarray(jax.jit(hash_of, static_argnums=1)(rows, 0))
    # A pair in 2**32 meets, and there are 2e7 pairs.
    assert len(np.unique(hashes)) == len(rows)
    counts = np.bincount(hashes % 64, minlength=64)
    # Of a Poisson number, 103 on average.
    assert np.abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())


@pytest.mark.parametrize(
    ("low", "high", "error", "message"),
    [
        (1.0, 1.0, ValueError, r"high must be finite and more than low=1\.0, got"),
        (0.0, np.inf, ValueError, "high must be finite and more than"),
        (-np.inf, 0.0, ValueError, "low must be finite, got low=-inf"),
        ("a", 0.0, TypeError, "low must be a number, got 'a'"),
    ],
)
def test_ends_that_cannot_be(low, high, error, message):
    with pytest.raises(error, match=message):
        check_ends(low, high)


def test_traced_ends_are_let_through():
    jax.eval_shape(lambda low: check_ends(low, 0.0) or low, np.float32(1))


def test_ends_that_float32_makes_one_are_an_error():
    for low, high in ((1e8, 1e8 + 1), ([0.0, 1e8], [1.0, 1e8 + 1])):
        with pytest.raises(ValueError, match=r"low=.* and high=.* are one number"):
            check_ends(low, high)
        with jax.enable_x64(True):
            check_ends(low, high)
    check_ends(1e8, 1e8 + 100)
