"""Second moments, batch by batch, against NumPy's of all samples."""

import chex
import jax
import numpy as np
import pytest

from optax_mi.estimators.moments._moments import (
    Moments,
    centre,
    increments,
    moments_of_pair,
    no_moments,
    union_increments,
)

pytestmark = pytest.mark.usefixtures("strict")

BATCHES, BATCH, COLUMNS = 4, 50, 3
MEAN = 10.0
either = pytest.mark.parametrize("classes", [1, 4])


def data(classes):
    """Rows far from 0 for their spread, labels, of which one never comes, weights."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, max(classes - 1, 1), BATCHES * BATCH)
    rows = MEAN + rng.normal(size=(len(labels), COLUMNS)) + labels[:, None]
    weights = rng.integers(0, 3, len(labels))
    arrays = (rows.astype(np.float32), labels, weights.astype(np.float32))
    return [np.split(a, BATCHES) for a in arrays]


def truth(rows, labels, weights, classes):
    """Weights, means and scatter about the means, one class after the other."""
    parts, scatter = [], np.zeros((COLUMNS, COLUMNS))
    for c in range(classes):
        w = weights * (labels == c)
        mean = w @ rows / w.sum() if w.sum() else np.zeros(COLUMNS)
        away = rows.astype(float) - mean
        scatter += (w[:, None] * away).T @ away
        parts.append((w.sum(), mean))
    return Moments(*(np.array(part) for part in zip(*parts, strict=True)), scatter)


def about(moments, origin):
    """The means of classes that there are, as distances from the origin."""
    shift = np.where(moments.weights[:, None] > 0, origin, 0)
    return moments._replace(means=moments.means - shift)


@jax.jit
def add(before, rows, labels, weights):
    return jax.tree.map(
        lambda a, b: a + b, before, increments(before, rows, labels, weights)
    )


def accumulate(batches, classes):
    """The moments about the mean that was there before."""
    total = no_moments(classes, COLUMNS)
    for rows, labels, weights in zip(*batches, strict=True):
        total = add(total, rows - np.float32(MEAN), labels, weights)
    return total


@either
def test_batch_by_batch_they_are_numpys(classes):
    batches = data(classes)
    got = accumulate(batches, classes)
    wanted = truth(*map(np.concatenate, batches), classes)
    chex.assert_trees_all_close(got, about(wanted, MEAN), rtol=1e-5, atol=1e-5)
    assert np.any(wanted.weights == 0) == (classes > 1)


@either
def test_of_two_parts_they_are_those_of_the_union(classes):
    batches = data(classes)
    first, second = (
        accumulate([b[s] for b in batches], classes) for s in (slice(1), slice(1, None))
    )
    across = jax.jit(union_increments)(first, second)
    whole = Moments(
        first.weights + second.weights,
        first.means + across.means,
        first.scatter + second.scatter + across.scatter,
    )
    wanted = truth(*map(np.concatenate, batches), classes)
    chex.assert_trees_all_close(whole, about(wanted, MEAN), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(across.weights, 0)
    # With nothing on either side nothing moves but the means.
    nothing = no_moments(classes, COLUMNS)
    np.testing.assert_array_equal(union_increments(first, nothing).means, 0)
    np.testing.assert_allclose(
        union_increments(nothing, first).means, first.means, rtol=1e-6
    )


def test_moments_of_a_pair_are_those_of_both_beside_one_another_in_their_units():
    rows, _, weights = map(np.concatenate, data(1))
    # The first mean of numbers so far from 0 is off by some of their spread.
    rows[:, 0] += 1e5
    units = np.float32([[0.5, 2.0]]), np.float32([[4.0]])
    parts = np.split(rows, [2], 1)
    got, origin = jax.jit(moments_of_pair)(*parts, units, weights)
    scaled = rows.astype(float) * np.concatenate(units, 1)
    wanted = about(truth(scaled, 0, weights, 1), origin.astype(float))
    chex.assert_trees_all_close(got._replace(means=wanted.means), wanted, rtol=1e-5)
    np.testing.assert_allclose(got.means, wanted.means, atol=1e-6)
    np.testing.assert_allclose(origin, wanted.means + origin, rtol=1e-6)
    # Without a weight there is nothing that could be nan.
    nothing, _ = jax.jit(moments_of_pair)(*parts, units, 0 * weights)
    chex.assert_trees_all_equal(nothing, no_moments(1, 3))


def test_the_centre_is_the_weighted_mean_and_does_not_overflow():
    rows = np.array([[1e38, 1.0], [3e38, 2.0], [3e38, 6.0]], np.float32)
    weights = np.array([1.0, 1.0, 2.0], np.float32)
    np.testing.assert_allclose(centre(rows, weights), [[2.5e38, 3.75]], rtol=1e-6)
    np.testing.assert_array_equal(centre(rows, 0 * weights), [[0, 0]])


def test_no_moments_are_of_the_type_asked_for():
    chex.assert_trees_all_equal_dtypes(
        no_moments(2, 3), Moments(*(np.zeros(1, np.float32) for _ in range(3)))
    )
    with jax.enable_x64(True):
        assert {a.dtype for a in no_moments(2, 3, "float64")} == {np.dtype(float)}
