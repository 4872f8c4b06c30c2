"""Streaming nearest neighbours: the one-shot estimators on a uniform sample."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.samples._ksg_mi import ksg_mi
from optax_mi.estimators.samples._nearest_neighbors import nearest_neighbors
from optax_mi.estimators.samples._ross_mi import ross_mi
from tests.estimators.samples.helpers import by_trees, definition
from tests.helpers import accumulate

# Batches of 100 rows: an estimator's update compiles once, and so does its estimate.
SIZE = 256
CLASSED = nearest_neighbors(features=2, num_classes=3, sample_size=SIZE)
REAL = nearest_neighbors(features=1, label_features=1, sample_size=SIZE, k=5)


def classes(samples, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, samples)
    x = rng.normal(size=(samples, 2)) + 2 * labels[:, None]
    return x.astype(np.float32), labels


def kept(state):
    return (state.x, state.y), jnp.arange(SIZE) < state.seen


@pytest.mark.usefixtures("strict")
def test_a_short_epoch_reads_as_the_one_shot_estimators():
    x, labels = classes(200)
    state = accumulate(CLASSED, x, labels, batches=2)
    # Not compiled as a whole, the estimate takes the program of the one-shot function.
    streamed = CLASSED.estimate(state)
    data, valid = kept(state)
    once = ross_mi(*data, num_classes=3, mask=valid)
    np.testing.assert_array_equal(streamed[:4], once[:4])
    np.testing.assert_allclose(streamed.mi, by_trees(x, labels, 3), atol=3 / 200)
    assert (streamed.num_samples, streamed.dropped) == (200, 0)
    state = accumulate(REAL, x[:, :1], labels[:, None].astype(np.float32), batches=2)
    streamed = REAL.estimate(state)
    data, valid = kept(state)
    once = ksg_mi(*data, k=5, mask=valid)
    np.testing.assert_array_equal(streamed[:4], once[:4])
    assert streamed.entropy == math.inf
    assert 0 < streamed.normalized < 1


@pytest.mark.parametrize("norm", ["euclidean", "max"])
def test_the_norm_is_that_of_ksg_mi(norm):
    x, _ = classes(60)
    y = x[::-1] + x
    estimator = nearest_neighbors(
        features=2, label_features=2, norm=norm, sample_size=60, key=None
    )
    seen = estimator.estimate(accumulate(estimator, x, y, batches=1))
    np.testing.assert_allclose(seen.mi, definition(x, y, 3, 1, norm), atol=1e-4)


def test_a_long_epoch_is_sampled_without_bias():
    """Correlated Gaussians of 20,000 samples, of which 256 are kept."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 1)).astype(np.float32)
    y = (0.8 * x + 0.6 * rng.normal(size=x.shape)).astype(np.float32)
    # In order of x: the first or the last 256 would know next to nothing.
    order = np.argsort(x[:, 0])
    seen = REAL.estimate(accumulate(REAL, x[order], y[order], batches=200))
    assert seen.num_samples == SIZE
    assert abs(seen.mi + 0.5 * math.log(1 - 0.8**2)) < 4 * seen.std_error


def test_merge_and_what_cannot_be_used():
    x, labels = classes(400)
    truth = by_trees(x[3:], labels[3:], 3)
    x[0], labels[1] = np.nan, 7
    weights = np.ones(400, np.float32)
    weights[2] = 0
    parts = [
        accumulate(CLASSED, x[s], labels[s], weights[s], batches)
        for s, batches in ((slice(0, 100), 1), (slice(100, 400), 3))
    ]
    merged = CLASSED.estimate(jax.jit(CLASSED.merge)(*parts))
    assert (merged.num_samples, merged.dropped) == (SIZE, 3)
    # A part of the same samples: the spread of the difference is below the sum.
    assert abs(merged.mi - truth) < 6 * merged.std_error
    empty = CLASSED.estimate(CLASSED.init())
    assert (empty.mi, empty.num_samples) == (0, 0)


def test_the_key_breaks_ties_and_does_not_draw_the_sample():
    x, labels = classes(200)
    x = np.round(x)
    key = jax.random.key(0)
    noisy = nearest_neighbors(features=2, num_classes=3, sample_size=SIZE, key=key)
    state = accumulate(noisy, x, labels, batches=2)
    np.testing.assert_array_equal(state.x[:200], x)
    data, valid = kept(state)
    once = ross_mi(*data, num_classes=3, mask=valid, key=key)
    assert noisy.estimate(state).mi == once.mi
    assert once.mi != ross_mi(*data, num_classes=3, mask=valid, key=None).mi


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give exactly one of num_classes and label_features"),
        ({"num_classes": 2, "label_features": 1}, "Give exactly one"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"num_classes": 2, "k": 1024}, "k must be less than the number of samples"),
        ({"num_classes": 2, "k": 0}, "k must be at least 1"),
        ({"num_classes": 2, "norm": "max"}, "norm is for real labels, got norm='max'"),
        ({"label_features": 2, "norm": "l1"}, "'euclidean' or 'max', got norm='l1'"),
        ({"num_classes": 2, "sample_size": 1}, "sample_size must be at least 2"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        nearest_neighbors(features=3, **options)


def test_wrong_shapes():
    estimator = nearest_neighbors(features=3, num_classes=2)
    with pytest.raises(ValueError, match="outputs must have the shape"):
        accumulate(estimator, np.ones((4, 2), np.float32), np.zeros(4, int))
    with pytest.raises(TypeError, match="labels must be integers"):
        accumulate(estimator, np.ones((4, 3), np.float32), np.zeros(4, np.float32))
