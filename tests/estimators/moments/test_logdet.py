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
    shrunk_truth,
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
    # With weights, the program is one that test_gaussian_mi has.
    apart = raw(z, labels, num_classes=4, weights=np.ones(400, np.float32))
    for extra in (lambda a: a @ np.ones((3, 3), np.float32), lambda a: 0 * a + 0.1):
        more = plain(np.c_[x, extra(x)].astype(np.float32), y)
        np.testing.assert_allclose(more.mi, real_truth(x, y, False), atol=1e-5)
        more = plain(np.c_[z, extra(z)].astype(np.float32), labels, num_classes=4)
        np.testing.assert_allclose(more.mi, class_truth(z, labels, False), atol=1e-5)
        np.testing.assert_allclose(more.std_error, apart.std_error, rtol=1e-4)
    # A constant column costs no degree of freedom either.
    more = raw(np.c_[x, x * 0 + 7], y)
    np.testing.assert_allclose(more.mi, real_truth(x, y), atol=5 * FLOAT32)


def test_shrinkage_multiplies_correlations():
    x, y = real_data()
    # Fewer samples than columns.
    few = np.float32(np.arange(400) < 4)
    ours = raw(x, y, shrinkage=0.3, weights=few)
    truth = shrunk_truth(x[:4], y[:4], 0.3)
    np.testing.assert_allclose(ours.mi, truth, rtol=1e-5)


@pytest.mark.slow
def test_shrinkage_serves_fewer_samples_than_columns():
    z, labels = class_data(samples=9, columns=20, classes=2)
    assert 0 < raw(z, labels, shrinkage=0.5, num_classes=2).mi < 5


def reads_of_independent(samples, columns, others, shrinkage, draws=200):
    """Means of what is read and of `chance`, and their error; others < 0 are classes.

    Columns are correlated, as those of layers are, and one does not vary.
    """
    rng = np.random.default_rng(0)
    mixed = 0.8 ** abs(np.subtract.outer(np.arange(columns), np.arange(columns)))
    x = rng.normal(size=(draws, samples, columns)) @ np.linalg.cholesky(mixed).T
    x[:, :, 0] = 3.0
    y = rng.normal(size=(draws, samples, others)) if others > 0 else None
    if y is None:
        y = np.stack([rng.permutation(samples) % -others for _ in range(draws)])
    classes = -others if others < 0 else None

    def read(x, y):
        return raw(x, y, shrinkage=shrinkage, num_classes=classes)

    seen = jax.jit(jax.vmap(read))(x.astype(np.float32), jnp.asarray(y))
    return seen.mi.mean(), seen.chance.mean(), seen.mi.std() / draws**0.5


@pytest.mark.parametrize(
    ("samples", "columns", "others", "shrinkage"),
    [
        (200, 5, 2, 0.3),
        (60, 9, -4, 0.5),
        pytest.param(12, 20, 6, 0.5, marks=pytest.mark.slow),
        pytest.param(60, 9, 4, "oas", marks=pytest.mark.slow),
        pytest.param(12, 20, -2, "oas", marks=pytest.mark.slow),
        pytest.param(200, 4, -20, "oas", marks=pytest.mark.slow),
    ],
)
def test_chance_is_what_shrunk_independent_columns_read(
    samples, columns, others, shrinkage
):
    read, chance, error = reads_of_independent(samples, columns, others, shrinkage)
    assert abs(chance - read) < 0.1 * read + 3 * error


def test_columns_shrunk_to_no_correlation_tell_nothing_but_class_means():
    seen = raw(*real_data(), shrinkage=0.999999)
    np.testing.assert_allclose([seen.mi, seen.chance], 0, atol=1e-9)
    z, labels = class_data()
    seen = [
        raw(z, labels, num_classes=4, shrinkage=s).chance for s in (0.999, 0.9999999)
    ]
    # Of three columns and three differences of classes, as without shrinkage.
    np.testing.assert_allclose(seen, 1.5 * np.log1p(3 / (400 - 1 - 3 - 3)), rtol=0.01)


def test_noise_bounds_what_classes_far_apart_are_read_as():
    # The docs give the bound, and from which noise on it is less than H(Y).
    for classes, least in ((2, 0.58), (10, 0.41)):
        m = classes - 1
        bounds = [m / 2 * np.log1p(1 / (m * r**2)) for r in (least - 0.01, least)]
        assert bounds[0] > np.log(classes) > bounds[1]
        labels = np.arange(400) % classes
        rng = np.random.default_rng(0)
        x = np.eye(classes)[labels] + 1e-4 * rng.normal(size=(400, classes))
        seen = raw(
            x.astype(np.float32),
            labels,
            num_classes=classes,
            noise=least,
            bias_correction=None,
        )
        np.testing.assert_allclose(seen.mi, bounds[1], rtol=1e-4)


@pytest.mark.parametrize("noise", [0.099, _logdet._MUCH_NOISE])
@pytest.mark.parametrize("far", [1.0, 1e4])
def test_noise_serves_collinear_and_constant_columns_with_a_ridge_or_without(
    noise, far
):
    z, labels = class_data()
    z = z + far * labels[:, None]
    x = np.c_[z, z @ np.ones((3, 3)), 0 * z + 0.1].astype(np.float32)
    seen = raw(x, labels, num_classes=4, noise=noise, bias_correction=None)
    means = np.stack([x[labels == c].mean(0, dtype=float) for c in range(4)])[labels]
    within, whole = (np.cov(a.T, bias=True) for a in (x - means, x.astype(float)))
    added = noise**2 * np.trace(whole) * np.eye(9)
    wanted = np.subtract(*(np.linalg.slogdet(s + added)[1] for s in (whole, within)))
    np.testing.assert_allclose(seen.mi, wanted / 2, rtol=2e-5)


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
