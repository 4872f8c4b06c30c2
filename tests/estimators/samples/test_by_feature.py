"""Rows of orders against KD-trees, one feature after another."""

import jax
import numpy as np
import pytest
from sklearn.feature_selection._mutual_info import _compute_mi_cc

from optax_mi.estimators.samples import ksg_by_feature, ross_by_feature, strips_of
from tests.estimators.samples.helpers import by_trees

# Rows of 64 places, some of which hold nothing.
SAMPLES, ROOM, ROWS, K = 50, 64, 3, 3


def padded(x, value):
    return np.pad(x, (0, ROOM - len(x)), constant_values=value)


def drawn():
    """Features [J, N] of which each tells something of the target [N]."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=SAMPLES)
    return target + rng.normal(size=(ROWS, SAMPLES)), target


def test_kraskov():
    x, y = drawn()
    truth = [_compute_mi_cc(row, y, K) for row in x]
    assert min(truth) > 0.01
    places = [
        padded(np.argsort(np.argsort(y))[np.argsort(row)], 0).astype(np.int32)
        for row in x
    ]
    for row in places:
        row[SAMPLES:] = np.arange(SAMPLES, ROOM)
    with jax.enable_x64(True):
        got = ksg_by_feature(
            np.stack([padded(np.sort(row), np.inf) for row in x]),
            padded(np.sort(y), np.inf),
            np.stack(places),
            np.stack([strips_of(row, K) for row in places]),
            SAMPLES,
            2,
            k=K,
        )
    np.testing.assert_allclose(got, [*truth[:2], 0.0], atol=1e-12)


@pytest.mark.parametrize("sizes", [(25, 15, 10), (45, 3, 2)])
def test_ross(sizes):
    x, _ = drawn()
    y = np.repeat([0, 1, 2], sizes)
    x += y
    truth = [by_trees(row, y, K) for row in x]
    assert min(truth) > 0.01
    rows = []
    for row in x:
        order = np.argsort(row)
        by_class = np.argsort(y[order], kind="stable")
        rows.append((row[order], y[order][by_class], by_class))
    ordered, labels, places = zip(*rows, strict=True)
    with jax.enable_x64(True):
        got = ross_by_feature(
            np.stack([padded(row, np.inf) for row in ordered]),
            np.stack([padded(row, 3).astype(np.int32) for row in labels]),
            np.stack([padded(row, ROOM - 1).astype(np.int32) for row in places]),
            np.tile(np.array(sizes, np.int32), (ROWS, 1)),
            2,
            k=K,
        )
    np.testing.assert_allclose(got, [*truth[:2], 0.0], atol=1e-12)
