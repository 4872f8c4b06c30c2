"""Ties against scikit-learn's noise, and what the noise leaves as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from optax_mi.estimators import ksg_mi, ross_mi
from optax_mi.estimators.samples import _ties
from optax_mi.estimators.samples._ties import break_ties

SAMPLES = 1500
SEEDS = range(8)


def columns():
    """From the kinds of columns that have ties to one of each, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, SAMPLES)
    noise = rng.normal(size=SAMPLES)
    return labels, {
        "whole": np.round(40 + 8 * labels + 8 * noise),
        "rounded": np.round(500 + labels + 0.6 * noise, 1),
        "mixed": np.where(rng.random(SAMPLES) < 0.4, 0, labels + np.abs(noise)),
        "heavy tails": np.round(np.exp(2 * noise + labels)),
        "two values": (labels + noise > 1).astype(float),
        "none": labels + 0.6 * noise,
    }


LABELS, COLUMNS = columns()


@pytest.mark.parametrize("kind", COLUMNS)
def test_class_labels_as_scikit_learn(kind):
    x = COLUMNS[kind]
    theirs = [mutual_info_classif(x[:, None], LABELS, random_state=s)[0] for s in SEEDS]
    ours = [float(ross_mi(x, LABELS, num_classes=3, key=s).mi) for s in SEEDS]
    agree(ours, theirs)


@pytest.mark.parametrize("kind", COLUMNS)
def test_real_labels_as_scikit_learn(kind):
    x = COLUMNS[kind]
    y = x + 0.5 * np.std(x) * np.random.default_rng(1).normal(size=SAMPLES)
    y = y if kind == "none" else np.round(y)
    theirs = [mutual_info_regression(x[:, None], y, random_state=s)[0] for s in SEEDS]
    ours = [float(ksg_mi(x, y, key=s).mi) for s in SEEDS]
    agree(ours, theirs)


@pytest.mark.parametrize("kind", ["whole", "two values"])
def test_one_side_tied_has_hardly_any_noise(kind):
    """The k nearest of many ties are then found by the other side alone."""
    x = COLUMNS[kind]
    y = LABELS + 0.6 * np.random.default_rng(2).normal(size=SAMPLES)
    theirs = [mutual_info_regression(x[:, None], y, random_state=s)[0] for s in SEEDS]
    for a, b in [(x, y), (y, x)]:
        ours = [float(ksg_mi(a, b, key=s).mi) for s in SEEDS]
        agree(ours, theirs)
        assert np.std(ours) < np.std(theirs) + 0.005


def agree(ours, theirs):
    """Within what their own seeds make of it, four standard errors of the mean."""
    spread = np.hypot(np.std(ours, ddof=1), np.std(theirs, ddof=1)) / len(SEEDS) ** 0.5
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * spread + 2 / SAMPLES


def test_lone_values_stay_and_ties_stay_nearer_to_one_another_than_to_others():
    x = np.array([5.0, 1.0, 1.0, 1.0, 2.0, 2.0, 9.0, np.nan])[:, None]
    valid = np.isfinite(x[:, 0])
    given = jnp.asarray(np.where(valid[:, None], x, 0))
    got = np.asarray(jax.jit(break_ties)(0, given, valid))[:, 0]
    # Distances from the commonest value, 1.
    np.testing.assert_array_equal(got[[0, 6, 7]], [4.0, 8.0, 0.0])
    assert len(set(got[valid])) == 7
    assert np.all(np.abs(got[1:4]) < 0.11)
    assert np.all(np.abs(got[4:6] - 1) < 0.11)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e30])
def test_a_constant_column_stays_one(value):
    x = jnp.full((50, 1), value)
    np.testing.assert_array_equal(break_ties(0, x, jnp.ones(50, bool)), 0 * x)


@pytest.mark.usefixtures("strict")
def test_ties_begin_and_end_where_searching_says():
    rng = np.random.default_rng(0)
    for samples in (1, 2, 63, 64, 65):
        ordered = np.sort(rng.integers(-4, 4, samples)).astype(np.float32)
        ordered[ordered == 3] = np.inf
        got = jax.jit(_ties._first_and_last)(ordered)
        sides = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
        first, after = sides
        np.testing.assert_array_equal(got, [first, after - 1])
