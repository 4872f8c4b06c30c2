"""Normal scores against SciPy's ranks."""

import jax
import numpy as np
import pytest
from scipy import special, stats

from optax_mi.estimators.moments._copula import normal_scores

pytestmark = pytest.mark.usefixtures("strict")

SAMPLES = 200
ONES = np.ones(SAMPLES, np.float32)
scores = jax.jit(normal_scores)


def data():
    x = np.random.default_rng(0).normal(size=(SAMPLES, 2))
    # Ties share the mean of their ranks.
    x[:, 0] = np.round(x[:, 0])
    return x.astype(np.float32)


def truth(x):
    return special.ndtri(stats.rankdata(x, axis=0) / (len(x) + 1))


def test_equals_the_normal_quantiles_of_average_ranks():
    x = data()
    np.testing.assert_allclose(scores(x, ONES), truth(x), atol=2e-6)
    # Nothing but the order counts.
    monotone = np.exp(3 * x)
    np.testing.assert_array_equal(scores(monotone, ONES), scores(x, ONES))


def test_rows_of_weight_0_have_no_rank():
    x = data()
    kept = np.arange(SAMPLES) % 3 > 0
    # Outside of the others, amid them, and among their ties.
    for dropped in ([1e30, -1e30], [0.5, 0.5], [0.0, x[1, 1]]):
        x[~kept] = dropped
        got = scores(x, kept.astype(np.float32))
        np.testing.assert_allclose(got[kept], truth(x[kept]), atol=2e-6)
        np.testing.assert_array_equal(got[~kept], 0)
    np.testing.assert_array_equal(scores(x, 0 * ONES), 0)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_weights_are_repetitions_whatever_their_scale(scale):
    x = data()
    weights = np.random.default_rng(1).integers(0, 3, SAMPLES)
    got = scores(x, np.float32(scale * weights))
    # A row that counts twice has the mean of two ranks; all rows together count for as
    # many as their effective number.
    again = np.repeat(np.arange(SAMPLES), weights)
    ranks = np.zeros_like(x)
    ranks[again] = stats.rankdata(x[again], axis=0)
    worth = weights.sum() / (weights**2).sum()
    share = ((ranks - 0.5) * worth + 0.5) / (len(again) * worth + 1)
    used = weights > 0
    np.testing.assert_allclose(got[used], special.ndtri(share[used]), atol=1e-5)
