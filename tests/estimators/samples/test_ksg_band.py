"""Neighbours in the plane, by bands, against all distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.samples import _ksg_band
from tests.estimators.samples.helpers import KINDS, numbers_within, pairs

pytestmark = pytest.mark.usefixtures("strict")

SAMPLES = 600
# Some that are not there, at either end and inside.
VALID = np.ones(SAMPLES, bool)
VALID[[0, 7, 8, 300, 599]] = False


def compiled(k, algorithm):
    """With the module's constants as they are now."""

    def count(x, y, valid):
        x, y = (jnp.where(valid, a, jnp.inf) for a in (x, y))
        return _ksg_band.count_in_plane(x, y, k, algorithm == 2)

    return jax.jit(count)


def check(count, k, algorithm):
    for kind in KINDS:
        x, y = pairs(kind, SAMPLES)
        got = np.array(count(x, y, VALID))[:, VALID]
        wanted = numbers_within(x[VALID, None], y[VALID, None], k, algorithm)
        np.testing.assert_array_equal(got, wanted, err_msg=kind)


# Lists of k, and from 7 on bands that rows share.
@pytest.mark.parametrize(
    ("k", "algorithm"), [pytest.param(3, 1, marks=pytest.mark.slow), (7, 2)]
)
def test_counts_are_those_of_all_distances(k, algorithm):
    assert (k > _ksg_band._SHORT) == (k == 7)
    with jax.enable_x64(True):
        check(compiled(k, algorithm), k, algorithm)


@pytest.mark.parametrize("algorithm", [1, 2])
def test_bands_too_narrow_leave_it_to_the_other_passes(monkeypatch, algorithm):
    monkeypatch.setattr(_ksg_band, "_STRIP", 0.5)
    monkeypatch.setattr(_ksg_band, "_REACH", 1)
    monkeypatch.setattr(_ksg_band, "_BAND", 1.0)
    # All three passes are taken.
    assert np.sqrt(3 * SAMPLES) < SAMPLES // 4
    with jax.enable_x64(True):
        check(compiled(3, algorithm), 3, algorithm)
