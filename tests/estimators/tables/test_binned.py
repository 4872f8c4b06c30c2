"""The table of binned vectors of an epoch, against bins that NumPy made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import binned
from tests.estimators.tables.helpers import activations, slow_binned_mi
from tests.helpers import accumulate, measure, read

ROWS, BATCHES = 3000, 3
RANGE = {"num_classes": 5, "low": -1.0, "high": 3.0, "num_bins": 4}
# 64 patterns in 131072 buckets: the hashes do not meet.
ESTIMATOR = binned(**RANGE, buckets=2**17)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("columns", [None, 3])
def test_equals_the_table_of_patterns(columns):
    x, labels = activations(ROWS, columns)
    streamed = measure(ESTIMATOR, x, labels, batches=BATCHES)
    truth = slow_binned_mi(x, labels, 4, -1.0, 3.0)
    np.testing.assert_allclose(streamed.mi, truth, atol=5e-6)
    assert (streamed.num_samples, streamed.dropped) == (ROWS, 0)
    assert streamed.std_error > 0
    parts = [
        accumulate(ESTIMATOR, x[part], labels[part], batches=batches)
        for part, batches in ((slice(0, 1000), 1), (slice(1000, None), 2))
    ]
    merged = read(ESTIMATOR, jax.jit(ESTIMATOR.merge)(*parts))
    np.testing.assert_allclose(merged.mi, streamed.mi, rtol=1e-5)


def test_patterns_that_share_a_bucket_lower_the_information():
    x, labels = activations(ROWS, 3)
    few = measure(binned(**RANGE, buckets=2), x, labels, batches=BATCHES).mi
    assert 0 < few < slow_binned_mi(x, labels, 4, -1.0, 3.0)
    assert few <= np.log(2)
    # Of one column no more than buckets: its bins are hashed too.
    x, labels = activations(ROWS, None)
    few = measure(binned(**RANGE, buckets=2), x, labels, batches=BATCHES).mi
    assert 0 < few < slow_binned_mi(x, labels, 4, -1.0, 3.0)


def test_a_correction_is_made():
    x, labels = activations(300, 3)
    options = {**RANGE, "bias_correction": "miller_madow"}
    estimator = binned(**options, buckets=2**10)
    plain = binned(**RANGE, buckets=2**10)
    state = accumulate(estimator, x, labels)
    corrected, uncorrected = read(estimator, state).mi, read(plain, state).mi
    assert 0 < corrected < uncorrected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high": -1.0}, "high must be finite and more than low=-1"),
        ({"buckets": 1}, "buckets must be at least 2"),
        ({"num_bins": 1}, "num_bins must be at least 2"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        (
            {"bias_correction": "nsb"},
            "bias_correction must be None, 'miller_madow', 'grassberger' or",
        ),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        binned(**{**RANGE, **options})


def test_a_batch_that_does_not_fit():
    labels = jnp.zeros(2, int)
    with pytest.raises(ValueError, match=r"outputs must have the shape \[2, d\]"):
        ESTIMATOR.update(ESTIMATOR.init(), outputs=jnp.ones((3, 2)), labels=labels)
