"""Log-determinants from moments: ridge, shrinkage, bias and constant columns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.covariance import oas

from optax_mi.estimators.moments import _logdet
from optax_mi.estimators.moments._gaussian_mi import gaussian_mi
from optax_mi.estimators.moments._moments import Moments
from tests.estimators.moments.helpers import (
    FLOAT32,
    class_data,
    class_truth,
    real_data,
    real_truth,
)

pytestmark = pytest.mark.usefixtures("strict")

EPS = np.finfo(np.float32).eps


@pytest.mark.parametrize(("columns", "others"), [(1, 1), (3, 2), (7, 12), (0, 3)])
def test_the_bias_is_that_of_wishart_matrices(columns, others):
    freedom, features = 40, 8
    reading = _logdet._Reading(0, 0, np.float32(columns), np.float32(others))
    got = jax.jit(_logdet._bias, static_argnums=2)(
        np.float32(freedom), reading, features
    )
    i = np.arange(columns)
    psi = special.digamma
    wanted = np.sum(psi((freedom - i) / 2) - psi((freedom - others - i) / 2)) / 2
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-7)


def test_the_bias_of_a_part_of_a_column_lies_between():
    def bias(columns):
        reading = _logdet._Reading(0, 0, np.float32(columns), np.float32(2))
        return float(_logdet._bias(np.float32(40), reading, 4))

    parts = [bias(columns) for columns in np.linspace(1, 3, 9)]
    assert np.all(np.diff(parts) > 0)
    np.testing.assert_allclose(parts[2], (parts[0] + parts[4]) / 2, rtol=0.02)


def test_the_factor_is_numpys_with_a_ridge_of_4_eps():
    a = np.random.default_rng(0).normal(size=(9, 4)) * [1, 10, 100, 1e3]
    matrix = np.float32(a.T @ a)
    lower = jax.jit(_logdet._cholesky)(matrix)
    wanted = np.linalg.cholesky(matrix + 4 * EPS * np.diag(np.diag(matrix)))
    np.testing.assert_allclose(lower, wanted, rtol=1e-4, atol=1e-3)
    # Where columns are collinear it is the ridge that is left.
    twice = np.float32(np.ones((2, 2)))
    left = jax.jit(_logdet._cholesky)(twice)[1, 1]
    np.testing.assert_allclose(left, np.sqrt(8 * EPS), rtol=0.05)


def test_where_rounding_was_larger_the_ridge_grows_until_there_is_a_factor():
    factor = jax.jit(_logdet._cholesky)
    matrix = np.float32([[1, 1 + 1e-4], [1 + 1e-4, 1]])
    assert np.linalg.eigvalsh(matrix)[0] < -5e-5
    lower = factor(matrix)
    assert np.all(np.isfinite(lower))
    # By factors of 8, no more than needed.
    assert 1e-4 < np.max(lower @ lower.T - matrix) < 8 * 1.1e-4
    # Nothing mends what is not a number, and the search for it ends.
    assert np.isnan(factor(np.float32([[1, np.nan], [np.nan, 1]]))[1, 1])


def test_constant_columns_are_those_whose_spread_is_rounding():
    mean = np.float32([0, 0, 10, 10, 1000])
    deviation = np.float32([0, 1e-30, 3 * EPS * 10, 5 * EPS * 10, 5 * EPS * 1000])
    got = _logdet._varies(jnp.asarray(deviation**2), jnp.asarray(mean))
    np.testing.assert_array_equal(got, [False, False, False, True, True])
    scale = _logdet._inverse_root(jnp.array([4.0, 0.0]), jnp.array([True, False]))
    np.testing.assert_allclose(scale, [0.5, 0], rtol=1e-6)


def test_an_estimate_is_of_moments_about_any_origin():
    x, labels = class_data()
    parts = [x[labels == c] for c in range(4)]
    scatter = sum(len(part) * np.cov(part.T, bias=True) for part in parts)
    read = jax.jit(
        lambda m, origin, totals: _logdet.gaussian_estimate(
            m, origin, totals, 3, 0.0, 0.0, True, False
        )
    )
    totals = np.float32([400, 400, 7])
    for origin in (0.0, x.mean(0)):
        means = np.array([part.mean(0) - origin for part in parts])
        moments = Moments(np.bincount(labels), means, scatter)
        moments = jax.tree.map(np.float32, moments)
        got = read(moments, np.float32(origin) * np.ones((1, 3), np.float32), totals)
        assert abs(got.mi - class_truth(x, labels)) < 5 * FLOAT32
        assert (got.num_samples, got.dropped) == (400, 7)
    assert np.isnan(
        read(
            moments._replace(scatter=scatter * np.float32(np.inf)),
            np.zeros((1, 3), np.float32),
            totals,
        ).mi
    )


raw = partial(gaussian_mi, clip=False)


def test_collinear_and_constant_columns_change_nothing_and_are_finite():
    x, y = real_data()
    z, labels = class_data()
    plain = partial(raw, bias_correction=None)
    apart = plain(z, labels, num_classes=4)
    for extra in (lambda a: a @ np.ones((3, 3), np.float32), lambda a: 0 * a + 0.1):
        more = plain(np.c_[x, extra(x)].astype(np.float32), y)
        np.testing.assert_allclose(more.mi, real_truth(x, y, False), atol=1e-5)
        more = plain(np.c_[z, extra(z)].astype(np.float32), labels, num_classes=4)
        np.testing.assert_allclose(more.mi, class_truth(z, labels, False), atol=1e-5)
        np.testing.assert_allclose(more.std_error, apart.std_error, rtol=1e-4)
    # A constant column costs no degree of freedom either.
    more = raw(np.c_[x, x * 0 + 7], y)
    np.testing.assert_allclose(more.mi, real_truth(x, y), atol=5 * FLOAT32)


def shrunk_truth(x, y, share):
    joint = np.corrcoef(np.c_[x, y].astype(float).T)
    shrunk = (1 - share) * joint + share * np.eye(len(joint))
    k = x.shape[1]
    parts = [np.linalg.slogdet(a)[1] for a in (shrunk[:k, :k], shrunk[k:, k:], shrunk)]
    return (parts[0] + parts[1] - parts[2]) / 2


def test_shrinkage_multiplies_correlations():
    x, y = real_data()
    # Fewer samples than columns.
    few = np.float32(np.arange(400) < 4)
    ours = raw(x, y, shrinkage=0.3, weights=few)
    truth = shrunk_truth(x[:4], y[:4], 0.3)
    np.testing.assert_allclose(ours.mi, truth, rtol=1e-5)
    z, labels = class_data(samples=9, columns=20, classes=2)
    assert 0 < raw(z, labels, shrinkage=0.5, num_classes=2).mi < 5


def test_oas_is_that_of_scikit_learn():
    x, y = (a.astype(float) for a in real_data(samples=12, columns=8, others=5))
    # Nothing to learn from a column that does not vary.
    constant = x * [*[1] * 6, 0, 0]
    with jax.enable_x64(True):
        for given, columns in ((x, 8), (constant, 6)):
            joint = np.c_[x[:, :columns], y]
            _, share = oas((joint - joint.mean(0)) / joint.std(0))
            ours = raw(given, y, shrinkage="oas")
            truth = shrunk_truth(x[:, :columns], y, share)
            np.testing.assert_allclose(ours.mi, truth, rtol=1e-10)
        assert raw(x, y * 0, shrinkage="oas").mi == 0
