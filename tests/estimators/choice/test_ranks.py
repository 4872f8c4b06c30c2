"""Ranks, and which columns matter, against scipy and by construction."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from optax_mi.estimators.choice import _ranks
from optax_mi.estimators.choice._ranks import (
    independent,
    normal_scores,
    related,
    related_to_classes,
    standardize,
    waves,
)

RNG = np.random.default_rng(0)


TIES = np.random.default_rng(9)


def ranks(x):
    return _ranks.ranks(x, TIES)


def test_ranks_are_those_of_scipy():
    x = RNG.normal(size=(200, 3))
    expected = (rankdata(x, axis=0) - 0.5) / 200
    np.testing.assert_allclose(ranks(x), expected, atol=1e-12)
    np.testing.assert_allclose(normal_scores(ranks(x)), norm.ppf(expected))


def test_ties_come_in_random_order():
    x = np.repeat([2.0, 1.0, 3.0], 100)[:, None]
    u = ranks(x)[:, 0]
    for value, low in ((1.0, 0), (2.0, 100), (3.0, 200)):
        part = u[x[:, 0] == value]
        expected = (np.arange(low, low + 100) + 0.5) / 300
        np.testing.assert_allclose(np.sort(part), expected)
        assert abs(np.corrcoef(part, np.arange(100))[0, 1]) < 0.3
    np.testing.assert_array_equal(ranks(np.ones((5, 1))), 0.5)


def test_standardized_columns():
    x = np.c_[RNG.normal(3.0, 2.0, 500), np.full(500, 7.0)]
    z = standardize(x)
    np.testing.assert_allclose(z[:, 0].std(), 1.0)
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-12)
    assert not z[:, 1].any()


def test_waves_are_uncorrelated_in_a_column():
    w = waves(ranks(RNG.normal(size=(1000, 1))))[:, :, 0]
    np.testing.assert_allclose(w.T @ w / 1000, np.eye(3), atol=1e-3)


def test_columns_that_depend_are_found():
    x, y = RNG.normal(size=(2, 1000, 6))
    y[:, 2] += x[:, 1]  # a line
    y[:, 4] = x[:, 3] ** 2 + 0.1 * y[:, 4]  # uncorrelated
    found = related(ranks(x), ranks(y))
    np.testing.assert_array_equal(found[0], [1, 3])
    np.testing.assert_array_equal(found[1], [2, 4])


def test_columns_that_do_not_are_not():
    hits = 0
    for seed in range(100):
        x, y = np.random.default_rng(seed).normal(size=(2, 300, 4))
        hits += len(related(ranks(x), ranks(y))[0]) > 0
    # One in a hundred, by the level.
    assert hits <= 5


def test_columns_that_differ_between_classes_are_found():
    labels = RNG.integers(3, size=900)
    x = RNG.normal(size=(900, 5))
    x[:, 1] += 0.5 * (labels == 2)
    x[:, 3] *= 1 + labels
    found = related_to_classes(ranks(x), labels)
    np.testing.assert_array_equal(found, [1, 3])


@pytest.mark.parametrize("classes", [1, 400])
def test_one_class_or_one_sample_a_class_finds_nothing(classes):
    labels = np.arange(400) % classes
    found = related_to_classes(ranks(RNG.normal(size=(400, 2))), labels)
    assert not len(found)


def test_independent_columns_determine_the_others():
    x = RNG.normal(size=(100, 3))
    both = np.c_[x, x[:, 0], x[:, 1] + x[:, 2], np.zeros(100)]
    kept = independent(both)
    assert len(kept) == 3
    assert 5 not in kept
    assert np.linalg.matrix_rank(both[:, kept]) == 3


def test_constant_columns_determine_nothing():
    assert not len(independent(np.zeros((50, 2))))


def test_many_rows_are_thinned():
    x = np.random.default_rng(0).normal(size=(70_000, 2))
    u = ranks(x)
    found = related(
        u, ranks(x[:, :1] + np.random.default_rng(1).normal(size=(70_000, 1)))
    )
    np.testing.assert_array_equal(found[0], [0])
    np.testing.assert_array_equal(related_to_classes(u, (x[:, 1] > 0) * 1), [1])
