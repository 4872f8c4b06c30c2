"""Scores of features against scikit-learn, closed forms, and as its users call it."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.feature_selection import (
    SelectFdr,
    SelectKBest,
    SelectPercentile,
    mutual_info_classif,
    mutual_info_regression,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from optax_mi.estimators import feature_mi
from tests.estimators.samples.helpers import by_trees

SAMPLES = 310
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(SAMPLES, 3))
CODES = np.stack(
    [
        np.digitize(NUMBERS[:, 0], [-0.5, 0.5]),
        RNG.integers(0, 40, SAMPLES),
        # Each of a value of its own, or two.
        RNG.permutation(np.r_[np.arange(SAMPLES - 10), np.arange(10)]),
        np.full(SAMPLES, 7),
    ],
    1,
)
X = np.hstack([NUMBERS, CODES])
IS_CODE = np.array([False] * 3 + [True] * 4)
REAL = NUMBERS[:, 0] + NUMBERS[:, 1] + RNG.normal(size=SAMPLES)
CLASSES = np.digitize(REAL, [-1, 0, 1])


@pytest.mark.parametrize("k", [1, 3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("discrete_target", [False, True])
def test_equals_scikit_learn(k, discrete_target):
    peer = mutual_info_classif if discrete_target else mutual_info_regression
    y = CLASSES if discrete_target else REAL
    got = feature_mi(
        X, y, discrete_features=IS_CODE, discrete_target=discrete_target, n_neighbors=k
    )
    truth = peer(X, y, discrete_features=IS_CODE, n_neighbors=k, random_state=0)
    if not discrete_target:
        # Of two samples or three it takes distances from a product, which rounds.
        truth[4:6] = [by_trees(y, codes, k) for codes in X.T[4:6]]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, truth, atol=2e-6)
    assert got[-1] == 0


def test_rare_classes_equal_scikit_learn():
    y = np.r_[np.zeros(200, int), np.ones(100, int), [2, 2, 3], np.arange(4, 11)]
    got = feature_mi(NUMBERS, y, discrete_target=True)
    truth = mutual_info_classif(NUMBERS, y, random_state=0)
    np.testing.assert_allclose(got, truth, atol=2e-6)


@pytest.mark.parametrize("discrete_target", [False, True])
def test_of_ties_the_mean_over_seeds_is_scikit_learn_s(discrete_target):
    x = np.round(2 * NUMBERS)
    peer = mutual_info_classif if discrete_target else mutual_info_regression
    y = CLASSES if discrete_target else np.round(REAL, 1)
    score = functools.partial(feature_mi, x, y, discrete_target=discrete_target)
    got, truth = (
        np.stack([f(random_state=seed) for seed in range(20)])
        for f in (score, functools.partial(peer, x, y))
    )
    error = np.hypot(got.std(0), truth.std(0)) / np.sqrt(20)
    assert (abs(got.mean(0) - truth.mean(0)) < 4 * error + 0.01).all()


def test_rounded_gaussians_read_the_truth():
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 4000))
    y = 0.8 * x + 0.6 * noise
    # Rounding to a tenth of the spread loses next to nothing.
    got = feature_mi(np.round(x, 1)[:, None], np.round(y, 1), discrete_target=False)
    np.testing.assert_allclose(got, -np.log(0.6), atol=0.04)


def test_units_do_not_matter():
    y = REAL.copy()
    scale = np.array([1e-30, 1e200, 1.0])
    near = feature_mi(NUMBERS, y)
    np.testing.assert_allclose(feature_mi(scale * NUMBERS, y), near, atol=2e-6)
    np.testing.assert_allclose(feature_mi(NUMBERS + 1e6, 1e5 * y), near, atol=2e-3)
    times = (1_700_000_000_000_000_000 + 1e15 * NUMBERS).astype(np.int64)
    np.testing.assert_allclose(feature_mi(times, y), near, atol=2e-3)


def test_an_array_of_any_kind():
    truth = feature_mi(NUMBERS.astype(np.float32), REAL)
    for table in (jnp.asarray(NUMBERS), pd.DataFrame(NUMBERS.astype(np.float32))):
        np.testing.assert_allclose(feature_mi(table, list(REAL)), truth, atol=1e-12)
    words = np.array(["a", "b", "c", "d"])[CLASSES]
    for y in (words, pd.Series(words, dtype="category"), words.astype(object)):
        np.testing.assert_allclose(feature_mi(X, y), feature_mi(X, CLASSES), atol=1e-6)


def test_sparse_counts_of_words():
    counts = RNG.poisson(0.3, (SAMPLES, 9)) * (CLASSES[:, None] % 3)
    truth = mutual_info_classif(counts, CLASSES, discrete_features=True)
    for kind in (sparse.csr_matrix, sparse.csc_array):
        got = feature_mi(kind(counts), CLASSES)
        np.testing.assert_allclose(got, truth, atol=1e-12)


@pytest.mark.parametrize(
    ("y", "discrete"),
    [
        (np.arange(100) % 2 * 2.0 - 1, True),
        (np.arange(100) % 10, True),
        (np.arange(100) % 3 == 0, True),
        (np.arange(100) % 10 + 0.5, False),
        (np.arange(100) % 40 + 0.0, False),
        (np.arange(100), False),
    ],
)
def test_kinds_of_targets(y, discrete):
    x = NUMBERS[:100]
    wanted = feature_mi(x, y, discrete_target=discrete)
    np.testing.assert_array_equal(feature_mi(x, y), wanted)


@pytest.mark.parametrize("y", [REAL, CLASSES], ids=["numbers", "classes"])
def test_p_values_are_counts_of_permutations(y):
    score = functools.partial(feature_mi, X, discrete_features=IS_CODE)
    scores, p = score(y, num_permutations=19)
    np.testing.assert_array_equal(scores, score(y))
    # Those of the draws, one by one; of noise that breaks ties there is none here.
    rng = np.random.default_rng(0)
    others = np.stack([score(y[rng.permutation(SAMPLES)]) for _ in range(19)])
    clear = scores > 0
    wanted = (1 + (others >= scores - 1e-6).sum(0)) / 20
    np.testing.assert_array_equal(p[clear], wanted[clear])
    # A constant feature ties with itself; one that tells reaches the least.
    assert p[-1] == 1
    assert p[0] == 0.05


def test_p_values_of_nothing_are_uniform():
    x = np.random.default_rng(2).normal(size=(SAMPLES, 200))
    p = feature_mi(x, CLASSES, num_permutations=39)[1]
    assert stats.kstest(p - RNG.random(200) / 40, "uniform").pvalue > 0.01


def test_selects_as_scikit_learn_does():
    frame = pd.DataFrame(NUMBERS, columns=["a", "b", "c"])
    best = SelectKBest(feature_mi, k=2).set_output(transform="pandas")
    assert [*best.fit_transform(frame, CLASSES)] == ["a", "b"]
    best = SelectPercentile(feature_mi, percentile=34).fit(frame, REAL)
    assert best.get_support().sum() == 1
    with_p = functools.partial(feature_mi, num_permutations=99)
    fdr = SelectFdr(with_p, alpha=0.05).fit(NUMBERS, REAL)
    assert fdr.get_support().tolist() == [True, True, False]
    for selector in (clone(best), pickle.loads(pickle.dumps(clone(best)))):
        np.testing.assert_array_equal(selector.fit(frame, REAL).scores_, best.scores_)
    pipeline = make_pipeline(SelectKBest(feature_mi, k=2), LogisticRegression())
    assert cross_val_score(pipeline, NUMBERS, CLASSES > 1, cv=3).min() > 0.6


def test_random_states():
    x, y = np.round(NUMBERS, 1), REAL
    first = feature_mi(x, y)
    np.testing.assert_array_equal(feature_mi(x, y, random_state=0), first)
    assert (feature_mi(x, y, random_state=1) != first).any()
    assert (feature_mi(x, y, random_state=None) != first).any()
    for make in (np.random.RandomState, np.random.default_rng):
        drawn = [feature_mi(x, y, random_state=make(5)) for _ in range(2)]
        np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"y": REAL[:-1]}, ValueError, "X of 310 and y of 309"),
        ({"y": np.arange(SAMPLES) // 5}, ValueError, "62 different integers in 310"),
        ({"discrete_target": "yes"}, ValueError, "discrete_target must be 'auto'"),
        (
            {"y": CLASSES.astype(str), "discrete_target": False},
            ValueError,
            "y has strings",
        ),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be at least 1"),
        ({"n_neighbors": 310}, ValueError, "n_neighbors must be less than .* 310"),
        ({"n_neighbors": 3.0}, TypeError, "n_neighbors must be an int"),
        ({"num_permutations": -1}, ValueError, "num_permutations must be at least 0"),
        ({"random_state": "0"}, TypeError, "random_state must be an int"),
        (
            {"X": np.r_[[1e60], REAL[1:]][:, None]},
            ValueError,
            "X, in column 0, has 310 values, of which float32 can",
        ),
    ],
)
def test_errors_name_what_to_pass(change, error, words):
    with pytest.raises(error, match=words):
        feature_mi(**{"X": NUMBERS, "y": REAL, **change})


def test_jit_is_told_what_to_use_instead():
    with pytest.raises(TypeError, match="map ross_mi, ksg_mi or plugin_mi"):
        jax.jit(feature_mi)(NUMBERS, REAL)
