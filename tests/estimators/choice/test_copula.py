"""Copulas against scipy's entropies, closed forms, and samples of known truth."""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t

from optax_mi.estimators.choice import _ranks
from optax_mi.estimators.choice._copula import _Fit, _overstated, copula_mi


def student(rng, samples, correlation, freedom, d=1):
    """X and Y [N, d], and their information by scipy."""
    shape = np.eye(2 * d)
    for i in range(d):
        shape[i, d + i] = shape[d + i, i] = correlation
    both = multivariate_t(shape=shape, df=freedom, seed=rng)
    one = multivariate_t(shape=np.eye(d), df=freedom)
    return *np.split(both.rvs(samples), 2, 1), 2 * one.entropy() - both.entropy()


TIES = np.random.default_rng(9)


def ranks(x):
    return _ranks.ranks(x, TIES)


@pytest.mark.parametrize("warp", [lambda x: x, np.exp])
def test_gaussian_ranks(warp):
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 2000, 2))
    found = copula_mi(ranks(warp(x)), ranks(0.8 * x + 0.6 * noise))
    assert found.method == "Gaussian copula"
    assert found.freedom == 4
    assert abs(found.mi + 2 * math.log(0.6)) < 3 * math.sqrt(found.variance)
    # The variance of the delta method is the sum of squared correlations over N.
    assert found.variance == pytest.approx(2 * 0.8**2 / 2000, rel=0.2)


@pytest.mark.parametrize(("correlation", "freedom"), [(0.0, 2.0), (0.7, 3.0)])
def test_student_ranks(correlation, freedom):
    rng = np.random.default_rng(2)
    x, y, truth = student(rng, 3000, correlation, freedom, 2)
    found = copula_mi(ranks(x), ranks(y))
    assert found.method.startswith("Student t copula")
    assert abs(found.mi - truth) < 3 * math.sqrt(found.variance)


def test_chance_is_taken_off():
    rng = np.random.default_rng(3)
    found = [
        copula_mi(*(ranks(rng.normal(size=(200, 8))) for _ in "xy")) for _ in range(40)
    ]
    mean = np.mean([one.mi for one in found])
    # 64 degrees of freedom are worth 0.16 nats.
    assert abs(mean) < 0.015
    assert {one.method for one in found} == {"Gaussian copula"}


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_what_ranks_cannot_tell_is_a_lower_bound(noise):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1000, 3))
    y = np.exp(x[:, 1:2]) + noise * rng.normal(size=(1000, 1))
    found = copula_mi(ranks(x), ranks(y))
    assert found.at_least
    assert found.mi == pytest.approx(math.log(100))


def test_tails_of_both_sides_apart_are_no_information():
    # Each side is Student's, of its own scale: a copula of both has a common one.
    rng = np.random.default_rng(8)
    x, y = (
        rng.normal(size=(3000, 4)) / np.sqrt(rng.chisquare(2, (3000, 1))) for _ in "xy"
    )
    found = copula_mi(ranks(x), ranks(y))
    assert found.mi < 0.01


def test_columns_that_repeat_tell_no_more_than_they_do():
    rng = np.random.default_rng(9)
    zeros = rng.random(4000) < 0.7
    x, y = (np.where(zeros, 0.0, rng.exponential(size=4000))[:, None] for _ in "xy")
    bit = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    found = copula_mi(ranks(x), ranks(y))
    assert 0.1 < found.mi < bit + 2 * math.sqrt(found.variance)


def test_more_rows_than_the_degrees_of_freedom_are_chosen_on():
    rng = np.random.default_rng(5)
    x, y, truth = student(rng, 10_000, 0.5, 2.0)
    found = copula_mi(ranks(x), ranks(y))
    assert abs(found.mi - truth) < 3 * math.sqrt(found.variance)


@pytest.mark.parametrize("freedom", [math.inf, 3.0])
def test_what_is_made_up_is_the_mean_over_pairs(freedom):
    rng = np.random.default_rng(6)
    z = rng.normal(size=(40, 3))
    scatter = np.corrcoef(rng.normal(size=(9, 3)).T)

    def density(columns):
        shape = scatter[np.ix_(columns, columns)]
        if math.isinf(freedom):
            return multivariate_normal(cov=shape).logpdf
        return multivariate_t(shape=shape, df=freedom).logpdf

    f = np.empty((40, 40))
    for i in range(40):
        for j in range(40):
            both = np.r_[z[i, :2], z[j, 2:]]
            f[i, j] = density([0, 1, 2])(both) - density([0, 1])(both[:2])
            f[i, j] -= density([2])(both[2:])
    used = np.ones((40, 40)) if math.isfinite(freedom) else 1 - np.eye(40)
    means = [np.sum(np.exp(f) * used, a) / np.sum(used, a) for a in (0, 1)]
    expected = max(min(np.mean(np.log(mean)) for mean in means), 0.0)
    found = _overstated(z, 2, _Fit(freedom, scatter, 0.0))
    assert found == pytest.approx(expected, abs=1e-9)


def test_one_bit_in_many_columns_is_one_bit():
    rng = np.random.default_rng(7)
    bit = rng.integers(2, size=2000)
    x, y = (3 * bit[:, None] + rng.normal(size=(2000, 10)) for _ in "xy")
    found = copula_mi(ranks(x), ranks(y))
    # The Gaussian copula alone reads some 1.3 nats.
    assert 0.3 < found.mi < math.log(2) + 2 * math.sqrt(found.variance)
