"""The interval against its equation, and against what chance does."""

import math

import numpy as np
import pytest
from scipy.stats import ncx2

from optax_mi.estimators.choice._interval import Reading, interval


def reading(mi, variance, freedom=0.0):
    return Reading(mi, variance, freedom, "", "")


def test_ends_are_those_of_scipys_chi_square():
    samples, mi, freedom = 500, 0.1, 4.0
    read = mi + freedom / (2 * samples)
    variance = 1.5 * read / samples + freedom / (2 * samples**2)
    low, high = interval(reading(mi, variance, freedom), samples)
    scale = 4 * samples / 1.5
    square = freedom + scale * mi
    assert ncx2.sf(square, freedom, scale * low) == pytest.approx(0.025, rel=1e-6)
    assert ncx2.cdf(square, freedom, scale * high) == pytest.approx(0.025, rel=1e-6)


def test_what_chance_explains_leaves_zero_open():
    samples = 500
    low, high = interval(reading(0.0, 4e-6, 4.0), samples)
    assert low == 0.0
    assert 0.0 < high < 0.02


def test_far_from_chance_it_is_that_of_the_normal():
    mi, samples, freedom = 1.0, 20_000, 1.0
    variance = 0.8 / samples + freedom / (2 * samples**2)
    low, high = interval(reading(mi, variance, freedom), samples)
    half = 1.96 * math.sqrt(variance)
    assert low == pytest.approx(mi - half, abs=0.02 * half)
    assert high == pytest.approx(mi + half, abs=0.02 * half)


def test_without_freedom_it_is_that_of_the_normal():
    low, high = interval(reading(0.5, 0.01), 100)
    assert (low, high) == pytest.approx((0.304, 0.696), abs=1e-3)


def test_without_freedom_or_information_nothing_is_left_open():
    assert interval(reading(0.0, 0.0), 100) == (0.0, 0.0)


def test_a_reading_that_may_be_any_amount_more():
    low, high = interval(reading(2.0, 0.01)._replace(at_least=True), 100)
    assert low == pytest.approx(1.804, abs=1e-3)
    assert high == math.inf


@pytest.mark.parametrize("truth", [0.0, 0.002, 0.02, 0.1])
@pytest.mark.parametrize("freedom", [1, 9])
def test_holds_the_truth_of_a_chi_square(truth, freedom):
    # 2 N times a plug-in reading is a noncentral chi-square, near independence.
    samples, draws = 1000, 3000
    rng = np.random.default_rng(freedom)
    if truth:
        squares = rng.noncentral_chisquare(freedom, 2 * samples * truth, draws)
    else:
        squares = rng.chisquare(freedom, draws)
    held = 0
    for square in squares:
        mi = (square - freedom) / (2 * samples)
        variance = square / samples**2 + freedom / (2 * samples**2)
        low, high = interval(reading(mi, variance, freedom), samples)
        held += low <= truth <= high
    assert abs(held / draws - (0.95 if truth else 0.975)) < 0.015


def test_what_chance_may_read_leaves_zero_open():
    # Of a sparse table samples differ little: alone that would exclude 0.
    samples, freedom = 300, 400.0
    floor = freedom / (2 * samples**2)
    mi = 1.5 * math.sqrt(floor)
    low, high = interval(reading(mi, 0.0001 + floor, freedom), samples)
    assert low == 0.0
    assert high > mi
    assert interval(reading(2 * mi, 0.0001 + floor, freedom), samples)[0] > 0.0
