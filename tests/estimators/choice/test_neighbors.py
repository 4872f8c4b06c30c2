"""Filled up or not, neighbours are the same."""

import math

import numpy as np
import pytest

from optax_mi.estimators import ksg_mi, ross_mi
from optax_mi.estimators.choice import _ranks
from optax_mi.estimators.choice._interval import Reading
from optax_mi.estimators.choice._neighbors import (
    at_most,
    neighbors_of_classes,
    neighbors_of_vectors,
)
from optax_mi.estimators.choice._ranks import normal_scores

RNG = np.random.default_rng(0)


def ranks(x):
    return _ranks.ranks(x, RNG)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 2)])
def test_of_vectors(m, n):
    u = ranks(RNG.normal(size=(300, m)))
    v = ranks(normal_scores(u[:, :1]) + RNG.normal(size=(300, n)))
    x, y = (normal_scores(a).astype(np.float32) for a in (u, v))
    expected = ksg_mi(x, y, k=2, clip=False)
    found = neighbors_of_vectors(u, v, 0)
    # Columns of zeros leave distances; a scale of all is rounded.
    assert found.mi == pytest.approx(float(expected.mi), abs=2e-3)
    error = 1.5 * float(expected.std_error)
    assert math.sqrt(found.variance) == pytest.approx(error, rel=0.02)


@pytest.mark.parametrize("d", [1, 3])
def test_of_classes(d):
    labels = RNG.integers(3, size=300)
    u = ranks(RNG.normal(size=(300, d)) + labels[:, None])
    expected = ross_mi(normal_scores(u).astype(np.float32), labels, clip=False)
    found = neighbors_of_classes(u, labels, 0)
    assert found.mi == pytest.approx(float(expected.mi), abs=1e-4)
    assert found.why.endswith(f"nats in {d} column{'s' * (d > 1)}")


def test_at_most_what_samples_can_show():
    near = Reading(4.5, 0.01, 0.0, "nearest neighbors", "")
    assert at_most(near, 1000).at_least
    assert not at_most(near, 10_000).at_least
    assert not at_most(near._replace(method="Gaussian copula"), 1000).at_least
