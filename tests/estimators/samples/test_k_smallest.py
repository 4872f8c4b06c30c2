"""The k smallest of each row against a sort."""

import jax
import numpy as np
import pytest

from optax_mi.estimators.samples._k_smallest import (
    bucket_count,
    k_smallest,
    kth_smallest,
)

pytestmark = pytest.mark.usefixtures("strict")

# One column, fewer than buckets pay for, a multiple of the buckets, and not.
SHAPES = [(3, 1, 1), (5, 7, 7), (4, 40, 3), (9, 512, 3), (9, 515, 3), (2, 515, 40)]
# In one dtype the two ways to find them, and all in the other.
CASES = [
    *[(*shape, np.float32) for shape in SHAPES],
    *[(*shape, np.float64) for shape in (SHAPES[2], SHAPES[4])],
]


@pytest.mark.parametrize(("rows", "columns", "k", "dtype"), CASES)
def test_equals_a_sort(rows, columns, k, dtype):
    rng = np.random.default_rng(0)
    tiles = {
        "distinct": rng.normal(size=(rows, columns)),
        "ties": rng.integers(0, 3, (rows, columns)),
        "few finite": np.where(rng.random((rows, columns)) < 2 / columns, 1, np.inf),
        "all inf": np.full((rows, columns), np.inf),
        "ascending": np.arange(rows * columns).reshape(rows, columns),
        "descending": -np.arange(rows * columns).reshape(rows, columns),
    }
    with jax.enable_x64(dtype == np.float64):
        both = jax.jit(lambda tile: (k_smallest(tile, k), kth_smallest(tile, k)))
        for name, tile in tiles.items():
            tile = tile.astype(dtype)
            truth = np.sort(tile, 1)[:, :k]
            ours, last = both(tile)
            assert ours.dtype == dtype
            np.testing.assert_array_equal(ours, truth, err_msg=name)
            np.testing.assert_array_equal(last, truth[:, -1], err_msg=name)


def test_maps_over_tiles():
    tiles = np.random.default_rng(0).normal(size=(3, 4, 515)).astype(np.float32)
    mapped = jax.jit(jax.vmap(lambda tile: kth_smallest(tile, 3)))(tiles)
    np.testing.assert_array_equal(mapped, np.sort(tiles, -1)[..., 2])


def test_padding_to_whole_buckets_keeps_their_number():
    for columns in (100, 1000, 5000, 100_000):
        for k in (1, 3, 10):
            padded = columns + -columns % bucket_count(columns, k)
            assert bucket_count(padded, k) == bucket_count(columns, k)
