"""MI of binned vectors, against scikit-learn on bins that NumPy made."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import binned_mi
from tests.estimators.tables.helpers import (
    activations,
    bins_of_rows,
    joint_counts,
    slow_binned_mi,
    slow_mi,
)

ROWS, CLASSES = 3000, 5
ENDS = {"low": -1.0, "high": 2.5}


def measure(x, labels, weights=None, num_bins=4, **options):
    return binned_mi(
        x, labels, weights=weights, num_bins=num_bins, num_classes=CLASSES, **options
    )


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("columns", "dtype", "ends"),
    [
        (None, "float32", {}),
        (None, "float32", ENDS),
        (3, "float64", {}),
        (40, "float32", {}),
        *(
            pytest.param(*cell, marks=pytest.mark.slow)
            for cell in (
                *((None, "float64", {}), (None, "float64", ENDS)),
                *((3, "float32", {}), (3, "float32", ENDS), (3, "float64", ENDS)),
                *((40, "float64", {}), (40, "float64", ENDS), (40, "float32", ENDS)),
            )
        ),
    ],
)
def test_equals_the_table_of_patterns(columns, dtype, ends):
    x, labels = activations(ROWS, columns, dtype)
    with jax.enable_x64(dtype == "float64"):
        got = measure(x, labels, **ends)
    # One column is summed up in a table, in float32 as all are.
    assert got.mi.dtype == ("float32" if columns is None else dtype)
    close = 1e-12 if got.mi.dtype == np.float64 else 5e-6
    truth = slow_binned_mi(x, labels, 4, **ends)
    assert float(got.mi) == pytest.approx(truth, abs=close)


@pytest.mark.parametrize("columns", [None, 3])
def test_ends_that_leave_out_every_value_are_nan(columns):
    x, labels = activations(ROWS, columns)
    high = x.max() + 1
    assert np.isnan(measure(x, labels, low=high, high=high + 1).mi)
    # One sample within, in one column, is a table of one sample within.
    assert np.isfinite(measure(x, labels, low=x.max(), high=high).mi)
    assert measure(x, np.full(ROWS, -1), low=high, high=high + 1).mi == 0


def test_ends_may_be_given_by_column():
    x, labels = activations(ROWS, 3)
    low, high = x.min(0), x.max(0)
    got = measure(x, labels, low=low, high=high)
    truth = slow_binned_mi(x, labels, 4)
    assert float(got.mi) == pytest.approx(truth, abs=5e-6)


def test_uniform_noise_has_a_closed_form():
    """Y on 4 levels a unit apart, and noise half a unit wide: all is known."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, ROWS)
    ends = {"num_bins": 8, "low": 0.0, "high": 4.0}
    got = measure(np.float32(labels + rng.uniform(0, 0.5, ROWS)), labels, **ends)
    assert float(got.mi) == pytest.approx(float(got.entropy), rel=1e-6)
    # Noise a unit and a half wide: a third of it falls on the next level's first half.
    labels = labels % 2
    got = measure(np.float32(labels + rng.uniform(0, 1.5, ROWS)), labels, **ends)
    truth = 2 / 3 * math.log(2)
    assert abs(float(got.mi) - truth) < 4 * float(got.std_error)


def test_a_correction_is_that_of_the_table():
    x, labels = activations(300, 2)
    options = {"bias_correction": "grassberger", "clip": False}
    got = measure(x, labels, num_bins=3, **options)
    _, symbols = np.unique(bins_of_rows(x, 3), axis=0, return_inverse=True)
    truth = slow_mi(joint_counts(symbols.ravel(), labels, 9), "grassberger")
    assert float(got.mi) == pytest.approx(truth, abs=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["miller_madow", "grassberger"])
def test_a_correction_lowers_the_bias(correction):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 100, 2)).astype(np.float32)
    labels = rng.integers(0, 3, (300, 100))

    def raw(correction):
        options = {"num_bins": 3, "bias_correction": correction, "clip": False}
        pairs = zip(x, labels, strict=True)
        return np.mean([measure(*pair, **options).mi for pair in pairs])

    assert abs(raw(correction)) < 0.3 * raw(None)


def test_std_error_is_the_spread():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, (400, 300))
    x = np.float32(rng.normal(size=(400, 300, 2)) + labels[..., None])
    options = {"num_bins": 2, "low": -2.0, "high": 4.0}
    seen = [measure(*pair, **options) for pair in zip(x, labels, strict=True)]
    mi, std_error = np.array([(one.mi, one.std_error) for one in seen]).T
    # 400 values tell a spread to 3.5 %; that is 4 of them.
    assert std_error.mean() == pytest.approx(mi.std(), rel=0.14)


@pytest.mark.parametrize("columns", [1, 3])
def test_weights_are_repetitions_and_what_cannot_be_used_is_counted(columns):
    x, labels = activations(ROWS, columns)
    # Bins from the smallest to the largest value of those that are used.
    x[0, 0], x[1, -1], x[2], labels[2] = np.nan, np.inf, 1e30, -1
    weights = np.random.default_rng(4).integers(0, 3, ROWS)
    used = (weights > 0) & (np.arange(ROWS) > 2)
    x[~used] = np.where(np.isfinite(x[~used]), -1e30, x[~used])
    got = measure(x, labels, weights.astype(np.float32))
    again = np.repeat(np.arange(ROWS), weights * used)
    truth = slow_binned_mi(x[again], labels[again], 4)
    assert float(got.mi) == pytest.approx(truth, abs=5e-6)
    assert float(got.dropped) == ROWS - used.sum()
    nothing = measure(x, labels, np.zeros(ROWS, np.float32))
    assert nothing.mi == nothing.entropy == nothing.num_samples == 0
    assert np.isnan(nothing.std_error)


@pytest.mark.parametrize("columns", [1, 3])
def test_a_constant_column_and_one_class_know_nothing(columns):
    x, labels = activations(ROWS, columns)
    ones = np.ones(ROWS, np.float32)
    constant = measure(np.full_like(x, 3.0), labels, ones)
    assert float(constant.mi) == pytest.approx(0, abs=1e-6)
    alone = measure(x, 0 * labels, ones)
    assert alone.mi == alone.entropy == 0


def test_vmap_over_columns_is_a_loop_and_nothing_compiles_anew():
    x, labels = (jnp.asarray(a) for a in activations(ROWS, 3))
    columns = [jnp.asarray(column) for column in np.array(x).T]
    measure(columns[0], labels)
    with jax.no_tracing():
        alone = [measure(column, labels).mi for column in columns]
    each = jax.vmap(lambda c: measure(c, labels).mi, in_axes=1)(x)
    np.testing.assert_allclose(each, alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binned_mi(jnp.ones((2, 2, 2)), [0, 1]), r"outputs must have the sha"),
        (lambda: binned_mi(jnp.ones((2, 0)), [0, 1]), r"outputs must have the shape"),
        (lambda: binned_mi([1.0, 2.0], [0, 1, 2]), r"outputs must .* \[3, d\]"),
        (lambda: binned_mi([1.0, 2.0], [0.0, 1.0]), "labels must be integers"),
        (lambda: binned_mi([1.0, 2.0], [0, 1], num_bins=1), "num_bins must be at"),
        (lambda: binned_mi([1.0], [0], low=1, high=1), "high must be finite and more"),
        (lambda: binned_mi([1.0], [0], low=[1, 2]), "one for each of the 1 columns"),
        (lambda: binned_mi([1.0], [0], weights=[[1]]), "weights must have the shape"),
        (
            lambda: binned_mi([1.0], [0], bias_correction="no"),
            "must be None, 'miller_madow', 'grassberger' or",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
