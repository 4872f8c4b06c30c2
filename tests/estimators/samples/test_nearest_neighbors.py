"""Streaming nearest neighbours: the one-shot estimators on a uniform sample."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi import mi_decay
from optax_mi.estimators.samples._ksg_mi import ksg_mi
from optax_mi.estimators.samples._nearest_neighbors import nearest_neighbors
from optax_mi.estimators.samples._ross_mi import ross_mi
from tests.helpers import accumulate, measure, read


def classes(samples, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, samples)
    x = rng.normal(size=(samples, 2)) + 2 * labels[:, None]
    return x.astype(np.float32), labels


@pytest.mark.usefixtures("strict")
def test_a_short_epoch_reads_as_the_one_shot_estimators():
    x, labels = classes(150)
    estimator = nearest_neighbors(features=2, num_classes=3, sample_size=200)
    streamed = measure(estimator, x, labels, batches=3)
    once = ross_mi(x, labels)
    np.testing.assert_allclose(streamed.mi, once.mi, rtol=1e-5)
    np.testing.assert_allclose(streamed.std_error, once.std_error, rtol=1e-4)
    assert (streamed.num_samples, streamed.dropped) == (150, 0)
    real = x[:, :1] + labels[:, None].astype(np.float32)
    estimator = nearest_neighbors(features=2, label_features=1, sample_size=200, k=5)
    streamed = measure(estimator, x, real, batches=3)
    np.testing.assert_allclose(streamed.mi, ksg_mi(x, real, k=5).mi, rtol=1e-5)
    assert streamed.entropy == math.inf
    assert 0 < streamed.normalized < 1


def test_a_long_epoch_is_sampled_without_bias():
    """Correlated Gaussians of 20,000 samples, of which 500 are kept."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 1)).astype(np.float32)
    y = (0.8 * x + 0.6 * rng.normal(size=x.shape)).astype(np.float32)
    # In order of x: the first or the last 500 would know next to nothing.
    order = np.argsort(x[:, 0])
    estimator = nearest_neighbors(features=1, label_features=1, sample_size=500)
    seen = measure(estimator, x[order], y[order], batches=20)
    assert seen.num_samples == 500
    assert abs(seen.mi + 0.5 * math.log(1 - 0.8**2)) < 4 * seen.std_error


def test_merge_and_what_cannot_be_used():
    x, labels = classes(400)
    x[0], labels[1] = np.nan, 7
    weights = np.ones(400, np.float32)
    weights[2] = 0
    estimator = nearest_neighbors(features=2, num_classes=3, sample_size=256)
    parts = [
        accumulate(estimator, x[s], labels[s], weights[s])
        for s in (slice(0, 100), slice(100, 400))
    ]
    merged = read(estimator, jax.jit(estimator.merge)(*parts))
    assert (merged.num_samples, merged.dropped) == (256, 3)
    whole = ross_mi(x, labels, num_classes=3, mask=weights > 0)
    # A part of the same samples: the spread of the difference is below the sum.
    assert abs(merged.mi - whole.mi) < 3 * (merged.std_error + whole.std_error)
    empty = read(estimator, estimator.init())
    assert (empty.mi, empty.num_samples) == (0, 0)


@pytest.mark.parametrize("batch", [1, 6])
def test_a_last_axis_of_one_may_be_left_out(batch):
    x, y = np.random.default_rng(0).normal(size=(2, 60, 1)).astype(np.float32)
    labels = np.arange(60) % 2
    for options, target in (({"label_features": 1}, y), ({"num_classes": 2}, labels)):
        estimator = nearest_neighbors(features=1, **options)
        full = accumulate(estimator, x, target, batches=60 // batch)
        short = accumulate(estimator, x[:, 0], target.reshape(60), batches=60 // batch)
        np.testing.assert_array_equal(full.x, short.x)
        np.testing.assert_array_equal(full.y, short.y)


def test_jitter_breaks_ties():
    labels = np.arange(200) % 2
    x = np.zeros((200, 1), np.float32)
    x[100:] = 1 + labels[100:, None]
    for key in (None, jax.random.key(0)):
        estimator = nearest_neighbors(features=1, num_classes=2, key=key)
        assert np.isfinite(measure(estimator, x, labels).mi)


def test_it_drives_a_learning_rate():
    x, labels = classes(300)
    estimator = nearest_neighbors(features=2, num_classes=3, sample_size=128)
    tx = mi_decay(1.0, estimator=estimator, steps_per_epoch=1)
    state = tx.init(jnp.zeros(2))
    update = jax.jit(tx.update)
    for _ in range(3):
        _, state = update(jnp.ones(2), state, outputs=x, labels=labels)
    assert 0 < float(state.current_lr) < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give exactly one of num_classes and label_features"),
        ({"num_classes": 2, "label_features": 1}, "Give exactly one"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"num_classes": 2, "k": 1024}, "k must be less than the number of samples"),
        ({"num_classes": 2, "k": 0}, "k must be at least 1"),
        ({"num_classes": 2, "sample_size": 1}, "sample_size must be at least 2"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        nearest_neighbors(features=3, **options)


def test_wrong_shapes():
    estimator = nearest_neighbors(features=3, num_classes=2)
    with pytest.raises(ValueError, match="outputs must have the shape"):
        measure(estimator, np.ones((4, 2), np.float32), np.zeros(4, int))
    with pytest.raises(TypeError, match="labels must be integers"):
        measure(estimator, np.ones((4, 3), np.float32), np.zeros(4, np.float32))
