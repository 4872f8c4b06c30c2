"""Entropies and their corrections against the formulas of the papers."""

import math
from functools import partial

import jax
import numpy as np
import pytest

from optax_mi.estimators.tables._entropies import check_bias_correction, entropy_of
from tests.estimators.tables.helpers import CORRECTIONS, grassberger, slow_entropy

pytestmark = pytest.mark.usefixtures("strict")

# Of one shape: empty cells do not matter.
RNG = np.random.default_rng(0)
CELLS = {
    "one sample": [1, *[0] * 11],
    "one cell": [40, *[0] * 11],
    "all single": [*[1] * 9, 0, 0, 0],
    "some single": [1, 1, 2, 3, 5, 8, 13, 0, 0, 0, 0, 1],
    "many": RNG.integers(0, 2000, 12),
    "large": [2**20, 2**18 + 1, 17, *[0] * 9],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("correction", [None, *CORRECTIONS])
def test_equals_the_formula_of_the_paper(correction, dtype):
    entropy = jax.jit(partial(entropy_of, bias_correction=correction))
    rtol = 1e-11 if dtype == "float64" else 2e-6
    with jax.enable_x64(dtype == "float64"):
        for name, cells in CELLS.items():
            count = np.sum(cells, dtype=dtype)
            got = entropy(np.asarray(cells, dtype) / count, count)
            assert got.dtype == dtype
            wanted = slow_entropy(cells, correction)
            np.testing.assert_allclose(got, wanted, rtol, atol=rtol, err_msg=name)
        # Of no samples it is 0.
        assert entropy(np.zeros(12, dtype), np.zeros((), dtype)) == 0


@pytest.mark.parametrize("correction", [None, *CORRECTIONS])
def test_neither_no_samples_nor_a_share_rounded_above_1_makes_a_nan(correction):
    entropy = partial(entropy_of, bias_correction=correction)
    with jax.debug_nans(True), jax.debug_infs(True):
        assert entropy(np.zeros(3, np.float32), np.float32(0)) == 0
        one, above = np.float32([[1, 0, 0], [1 + 2**-23, 0, 0]])
        pair = entropy(one, np.float32(40)), entropy(above, np.float32(40))
        np.testing.assert_allclose(*pair, atol=1e-6)


@pytest.mark.parametrize("correction", ["grassberger", "chao_shen"])
def test_weighted_cells_are_rounded_to_whole_numbers(correction):
    cells, count = np.array([3, 5, 1, 7]), np.float32(16)
    # 0.16 of a sample more in each; the probabilities stay as they are.
    shares = np.float32(cells / 16 + 0.01)
    if correction == "grassberger":
        wanted = np.log(16) - shares @ [grassberger(n) for n in cells]
    else:
        covered = (1 - 1 / 16) * shares
        wanted = -np.sum(covered * np.log(covered) / (1 - (1 - covered) ** 16))
    got = jax.jit(partial(entropy_of, bias_correction=correction))(shares, count)
    np.testing.assert_allclose(got, wanted, rtol=2e-6)


def test_a_uniform_distribution_has_the_logarithm_of_its_size():
    shares = np.full(12, 1 / 12, np.float32)
    got = entropy_of(shares, np.float32(120), None)
    np.testing.assert_allclose(got, math.log(12), rtol=1e-6)


@pytest.mark.parametrize("correction", [None, *CORRECTIONS])
def test_corrections_that_are_known(correction):
    check_bias_correction(correction)


@pytest.mark.parametrize("correction", ["nsb", True, 1])
def test_a_correction_that_is_not_known_is_told_those_that_are(correction):
    with pytest.raises(ValueError, match=r"None, 'miller_madow', .* got bias_c"):
        check_bias_correction(correction)
