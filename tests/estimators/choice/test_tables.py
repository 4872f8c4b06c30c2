"""Tables against the library's own, closed forms and permutations."""

import math

import numpy as np
import pytest

from optax_mi.estimators import plugin_mi
from optax_mi.estimators.choice._tables import symbols_mi

RNG = np.random.default_rng(0)


def test_a_full_table_is_that_of_the_library():
    joint = (np.eye(3) + 0.3) / (np.eye(3) + 0.3).sum()
    x, y = np.divmod(RNG.choice(9, 2000, p=joint.ravel()), 3)
    found, share = symbols_mi(x, y, RNG)
    expected = plugin_mi(x, y)
    assert share == pytest.approx(4 / 4000 / float(expected.entropy), rel=0.01)
    mi = float(expected.adjusted * expected.entropy)
    assert found.mi == pytest.approx(mi, abs=1e-3)
    error = float(expected.adjusted_std_error * expected.entropy)
    # Chance adds its own.
    variance = error**2 + 4 / (2 * 2000**2)
    assert found.variance == pytest.approx(variance, rel=0.02)
    assert found.freedom == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize(("rows", "columns", "samples"), [(100, 5, 300), (9, 9, 500)])
def test_a_sparse_table_of_unrelated_symbols_reads_nothing(rows, columns, samples):
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = (rng.integers(size, size=samples) for size in (rows, columns))
        found.append(symbols_mi(x, y, rng)[0])
    readings = np.array([one.mi for one in found])
    spread = readings.std()
    assert abs(readings.mean()) < 4 * spread / math.sqrt(40)
    # What the degrees of freedom say of the spread.
    claimed = np.mean([math.sqrt(one.freedom / 2) / samples for one in found])
    assert claimed == pytest.approx(spread, rel=0.4)


def test_a_sparse_table_of_related_symbols():
    x = RNG.integers(300, size=20_000)
    y = np.where(RNG.random(20_000) < 0.5, x, RNG.integers(300, size=20_000))
    found, _ = symbols_mi(x, y, np.random.default_rng(0))
    p, q = 0.5 + 0.5 / 300, 0.5 / 300
    truth = p * math.log(300 * p) + 299 * q * math.log(300 * q)
    assert found.mi == pytest.approx(truth, abs=0.25)


def test_too_few_samples_are_nan():
    x, y = RNG.integers(200, size=(2, 200))
    found, share = symbols_mi(x, y, RNG)
    assert share > 0.75
    assert math.isnan(found.mi)
    assert "too few" in found.why


def test_one_symbol_tells_nothing():
    found, share = symbols_mi(np.zeros(50, int), RNG.integers(3, size=50), RNG)
    assert (found.mi, share) == (0.0, 0.0)
