"""Tables of codes against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from optax_mi.estimators.tables import codes_mi


# Tables that are counted, and one whose cells are many more than the samples.
@pytest.mark.parametrize("size", [2, 7, 200])
def test_equals_scikit_learn(size):
    rng = np.random.default_rng(0)
    x, noise = rng.integers(0, size, (2, 500)).astype(np.int32)
    y = np.where(rng.random(500) < 0.5, x, noise)
    truth = mutual_info_score(x, y)
    np.testing.assert_allclose(codes_mi(x, y, size, size), truth, rtol=1e-12)
    np.testing.assert_allclose(codes_mi(x, 0 * x, size, 1), 0.0, atol=1e-12)


def test_cells_beyond_32_bits():
    x = np.arange(100_000, dtype=np.int32)
    got = codes_mi(x, x[::-1].copy(), len(x), len(x))
    np.testing.assert_allclose(got, np.log(len(x)), rtol=1e-12)
