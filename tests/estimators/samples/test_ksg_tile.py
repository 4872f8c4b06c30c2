"""Neighbours from tiles of distances, against all distances at once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from optax_mi.estimators.samples import _ksg_tile
from tests.estimators.samples.helpers import numbers_within

pytestmark = pytest.mark.usefixtures("strict")


def test_distances_as_integers_keep_their_order():
    x = np.array([0.0, -1e-40, 1.5, -1.5, np.inf, -np.inf, 3e38], np.float32)
    bits = _ksg_tile.as_bits(jnp.asarray(x))
    assert bits.dtype == np.int32
    np.testing.assert_array_equal(_ksg_tile.to_float(bits), abs(x))
    np.testing.assert_array_equal(np.argsort(bits), np.argsort(abs(x)))
    # What is not there is farther than anything.
    assert _ksg_tile.as_bits(jnp.float32(np.nan)) > bits.max()
    with jax.enable_x64(True):
        wide = _ksg_tile.as_bits(jnp.asarray(x, float))
        assert wide.dtype == np.int64
        np.testing.assert_array_equal(_ksg_tile.to_float(wide), abs(x.astype(float)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_below_is_the_next_one_or_0(dtype):
    x = np.array([0.0, 1.0, 3e38], dtype)
    with jax.enable_x64(dtype == "float64"):
        got = _ksg_tile.below(jnp.asarray(x))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.maximum(np.nextafter(x, -np.inf), 0))


def test_reach_of_the_kth_neighbour():
    # The sample itself, a neighbour far in x, one far in y, and two beyond.
    x = np.array([[0, 3, 1, 5, 4]], np.float32)
    y = np.array([[0, 1, 2, 1, 5]], np.float32)
    bits = [_ksg_tile.as_bits(jnp.asarray(a)) for a in (x, y)]
    assert [float(r[0]) for r in _ksg_tile.tile_reach(*bits, 2, True)] == [3, 3, 2]
    farthest, *reach = _ksg_tile.tile_reach(*bits, 2, False)
    assert farthest == 3
    np.testing.assert_array_equal(reach, np.nextafter(np.float32([[3], [3]]), 0))


# One column, some, a block of them and some more; tiles of one row, and one tile.
@pytest.mark.parametrize(
    ("widths", "size", "algorithm", "norm"),
    [
        ((1, 2), 1, 1, "max"),
        ((3, 3), 2**20, 1, "euclidean"),
        ((3, 20), 1000, 2, "euclidean"),
        ((35, 1), 1000, 1, "max"),
    ],
)
def test_tiles_of_any_size_count_the_same(monkeypatch, widths, size, algorithm, norm):
    rng = np.random.default_rng(0)
    # On a grid, with ties in both.
    x, y = (rng.integers(-9, 10, (101, width)) / 4.0 for width in widths)
    valid = np.arange(101) % 10 > 0
    monkeypatch.setattr(_ksg_tile, "_TILE", size)

    @jax.jit
    def count(x, y):
        x, y = (jnp.where(valid[:, None], a, jnp.inf) for a in (x, y))
        return _ksg_tile.count_in_tiles(x, y, 3, algorithm == 2, norm)

    got = count(x.astype(np.float32), y.astype(np.float32))
    wanted = numbers_within(x[valid], y[valid], 3, algorithm, norm)
    np.testing.assert_array_equal(np.array(got)[:, valid], wanted)


def test_euclidean_counts_are_those_of_trees():
    rng = np.random.default_rng(2)
    # Of any size: radius and count must be rounded alike.
    x, y = rng.normal(size=(2, 400, 4)).astype(np.float32)
    y += x
    count = jax.jit(partial(_ksg_tile.count_in_tiles, k=3, box=False, norm="euclidean"))
    joint = np.maximum(cdist(x.astype(float), x), cdist(y.astype(float), y))
    third = np.sort(joint, 1)[:, 3]
    for a, got in zip((x, y), count(x, y), strict=True):
        tree = KDTree(a.astype(float))
        inside, outside = (
            tree.query_ball_point(a, r, p=2, return_length=True)
            for r in (third * (1 - 1e-6), third * (1 + 1e-6))
        )
        # The k-th neighbour lies between them in x or in y, and hardly another.
        alone = outside - inside <= 1
        assert alone.mean() > 0.99
        np.testing.assert_array_equal(got[alone], inside[alone])


@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30, 1e-34])
def test_no_square_overflows_or_vanishes_whatever_the_units(size):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 3)).astype(np.float32)
    scaled, _ = _ksg_tile.share_unit(jnp.asarray(size * x, np.float32), jnp.asarray(y))
    squares = np.square(np.array(scaled)).sum(1)
    assert np.all(np.isfinite(squares))
    assert np.all(squares > np.finfo(np.float32).tiny)
    # A power of 2.
    factor = np.array(scaled) / np.float32(size * x)
    assert np.frexp(factor[0, 0])[0] == 0.5
    np.testing.assert_array_equal(factor, factor[0, 0])
