"""Streaming pairwise distances: the one-shot estimate of a uniform sample."""

import jax
import numpy as np
import pytest

from optax_mi.estimators.samples._kde import kde
from optax_mi.estimators.samples._kde_mi import kde_mi
from tests.helpers import accumulate, read

SIZE = 64
OPTIONS = {"num_classes": 3, "bandwidth": 0.8, "distance": "bhattacharyya"}
ESTIMATOR = kde(features=2, sample_size=SIZE, **OPTIONS)


def data(samples, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, samples)
    x = rng.normal(size=(samples, 2)) + labels[:, None]
    return x.astype(np.float32), labels


@pytest.mark.usefixtures("strict")
def test_a_short_epoch_reads_as_the_one_shot_function():
    x, labels = data(48)
    state = accumulate(ESTIMATOR, x, labels, batches=2)
    streamed = read(ESTIMATOR, state)
    # One shape with the sample that is kept, whose empty places are masked.
    whole = np.r_[x, np.full((16, 2), 9, np.float32)], np.r_[labels, np.ones(16, int)]
    once = kde_mi(*whole, mask=np.arange(SIZE) < 48, **OPTIONS)
    np.testing.assert_allclose(streamed.mi, once.mi, rtol=1e-5)
    np.testing.assert_allclose(streamed.std_error, once.std_error, rtol=1e-4)
    np.testing.assert_allclose(streamed.entropy, once.entropy, rtol=1e-6)
    assert (streamed.num_samples, streamed.dropped) == (48, 0)
    # Of a long epoch so many are kept.
    long = accumulate(ESTIMATOR, *data(96, seed=1), batches=4)
    seen = read(ESTIMATOR, jax.jit(ESTIMATOR.merge)(state, long))
    assert (seen.num_samples, long.seen) == (SIZE, 96)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"features": 0}, ValueError, "features must be at least 1"),
        ({"num_classes": 1}, ValueError, "num_classes must be at least 2"),
        ({"bandwidth": 0.0}, ValueError, "bandwidth must be positive and finite"),
        ({"bandwidth": "wide"}, TypeError, "bandwidth must be a number"),
        ({"distance": "euclid"}, ValueError, "distance must be one of"),
        ({"sample_size": 1}, ValueError, "sample_size must be at least 2"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        kde(**{"features": 2, "num_classes": 3, "bandwidth": 1.0, **options})
