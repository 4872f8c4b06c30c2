"""What orders of the target, and features beside a feature, do to its score."""

import numpy as np
import pytest

from optax_mi.estimators.features._columns import Features
from optax_mi.estimators.features._scorer import Scorer, _bucket

SAMPLES = 60
RNG = np.random.default_rng(0)
TARGETS = {
    "classes": (RNG.integers(0, 3, SAMPLES), True),
    "a class of one": (np.minimum(np.arange(SAMPLES), 2), True),
    "numbers": (RNG.normal(size=SAMPLES), False),
    "tied numbers": (RNG.integers(0, 9, SAMPLES) + 0.5, False),
}
# Numbers, tied numbers, codes, and many codes.
X = np.stack(
    [
        RNG.normal(size=SAMPLES),
        RNG.integers(0, 5, SAMPLES),
        RNG.integers(0, 2, SAMPLES),
        RNG.integers(0, 20, SAMPLES),
    ],
    1,
)


def scorer(X, y, of_classes, discrete):
    features = Features(X, discrete)
    return Scorer(features, y, of_classes=of_classes, neighbors=3, seed=0)


@pytest.mark.parametrize(("y", "of_classes"), TARGETS.values(), ids=TARGETS)
def test_an_order_is_that_of_the_target(y, of_classes):
    order = RNG.permutation(SAMPLES)
    whole = np.arange(SAMPLES)
    scores = scorer(X, y, of_classes, [2, 3]).score([whole, order, order])
    np.testing.assert_array_equal(scores[1], scores[2])
    turned = scorer(X, y[order], of_classes, [2, 3]).score([whole])
    # Where values repeat, noise is drawn for other samples.
    tied = np.unique(y).size < SAMPLES and not of_classes
    same = [] if tied else [0, 2, 3]
    np.testing.assert_allclose(scores[1, same], turned[0, same], atol=1e-6)
    assert (abs(scores[0] - scores[1]) > 1e-3).any()


def test_a_score_does_not_depend_on_other_features():
    for y, of_classes in TARGETS.values():
        all_scores = scorer(X, y, of_classes, [2, 3]).score([np.arange(SAMPLES)])
        # Noise goes by the number of the column.
        fewer = scorer(X[:, :2], y, of_classes, []).score([np.arange(SAMPLES)])
        np.testing.assert_array_equal(all_scores[:, :2], fewer)


def test_few_lengths_in_use():
    lengths = {_bucket(n) for n in range(1, 2**20, 97)}
    assert len(lengths) < 200
    assert all(n <= _bucket(n) < n + max(64, n / 15) for n in range(1, 70_000, 7))
