"""MI of binned vectors, against scikit-learn on bins that NumPy made."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from optax_mi import mi_decay
from optax_mi.estimators import binned, binned_mi
from tests.helpers import accumulate, measure, read

N = 3000


def slow_mi(x, labels, num_bins, low=None, high=None):
    """Patterns of bins told apart as whole rows."""
    x = x.reshape(len(x), -1)
    low = x.min(0) if low is None else low
    high = x.max(0) if high is None else high
    bins = np.floor((x - low) / ((high - low) / num_bins)).astype(int)
    rows = np.clip(bins, 0, num_bins - 1)
    _, symbols = np.unique(rows, axis=0, return_inverse=True)
    return mutual_info_score(labels, symbols.ravel())


def activations(d, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, N)
    shape = (N,) if d is None else (N, d)
    shift = labels.reshape(-1, *[1] * (len(shape) - 1))
    return (rng.normal(size=shape) + 0.7 * shift).astype(dtype), labels


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("d", [None, 3, 40])
def test_equals_the_table_of_patterns(d):
    for dtype, close in ((np.float32, 5e-6), (np.float64, 1e-12)):
        with jax.enable_x64(dtype is np.float64):
            x, labels = activations(d, dtype)
            got = binned_mi(x, labels, num_bins=4)
            assert got.mi.dtype == dtype if d not in (None, 1) else True
            close = close if d not in (None, 1) else 5e-6
            assert float(got.mi) == pytest.approx(slow_mi(x, labels, 4), abs=close)
            ends = {"low": -1.0, "high": 2.5}
            got = binned_mi(x, labels, num_bins=4, **ends)
            truth = slow_mi(x, labels, 4, -1.0, 2.5)
            assert float(got.mi) == pytest.approx(truth, abs=close)


def test_uniform_noise_has_a_closed_form():
    """Y on 4 levels a unit apart, and noise half a unit wide: all is known."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, N)
    x = labels + rng.uniform(0, 0.5, N)
    got = binned_mi(x, labels, num_bins=8, low=0, high=4)
    assert float(got.mi) == pytest.approx(float(got.entropy), rel=1e-6)
    # Noise a unit and a half wide: a third of it falls on the next level's first half.
    x = labels % 2 + rng.uniform(0, 1.5, N)
    got = binned_mi(x, labels % 2, num_bins=5, low=0, high=2.5)
    truth = 2 / 3 * math.log(2)
    assert abs(float(got.mi) - truth) < 4 * float(got.std_error)


@pytest.mark.parametrize("correction", ["miller_madow", "grassberger"])
def test_a_correction_lowers_the_bias(correction):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 100, 2)).astype(np.float32)
    labels = jnp.asarray(rng.integers(0, 3, (300, 100)))

    def raw(correction):
        def one(x, y):
            return binned_mi(
                x, y, num_bins=3, num_classes=3, bias_correction=correction, clip=False
            ).mi

        return float(jax.vmap(one)(x, labels).mean())

    assert abs(raw(correction)) < 0.3 * raw(None)


def test_std_error_is_the_spread():
    rng = np.random.default_rng(3)
    labels = jnp.asarray(rng.integers(0, 3, (400, 300)))
    x = rng.normal(size=(400, 300, 2)) + np.asarray(labels)[..., None]
    got = jax.vmap(
        lambda x, y: binned_mi(x, y, num_bins=2, low=-2, high=4, num_classes=3)
    )(x.astype(np.float32), labels)
    # 400 values tell a spread to 3.5 %; that is 4 of them.
    assert float(got.std_error.mean()) == pytest.approx(float(got.mi.std()), rel=0.14)


def test_weights_are_repetitions_and_what_cannot_be_used_is_counted():
    for d in (1, 3):
        x, labels = activations(d)
        x[0, 0], x[1, -1], labels[2] = np.nan, np.inf, -1
        weights = np.random.default_rng(4).integers(0, 3, N)
        used = (weights > 0) & (np.arange(N) > 2)
        ends = {"num_bins": 5, "low": -1.0, "high": 3.0}
        got = binned_mi(x, labels, weights=weights.astype(float), **ends)
        again = np.repeat(np.arange(N), weights * used)
        truth = slow_mi(x[again], labels[again], 5, -1.0, 3.0)
        assert float(got.mi) == pytest.approx(truth, abs=5e-6)
        assert float(got.dropped) == N - used.sum()
        nothing = binned_mi(x, labels, weights=np.zeros(N, bool), **ends)
        assert (
            float(nothing.mi)
            == float(nothing.entropy)
            == float(nothing.num_samples)
            == 0
        )
        assert np.isnan(nothing.std_error)


def test_a_constant_column_and_one_class_know_nothing():
    labels = np.arange(20) % 2
    assert float(binned_mi(np.full(20, 3.0), labels).mi) == 0
    assert float(binned_mi(np.full((20, 2), 3.0), labels).mi) == pytest.approx(
        0, abs=1e-6
    )
    alone = binned_mi(np.arange(20.0), np.zeros(20, int))
    assert float(alone.mi) == float(alone.entropy) == 0


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("d", [None, 3])
def test_streaming_agrees_with_one_shot(d):
    x, labels = activations(d)
    estimator = binned(num_classes=5, low=-1.0, high=3.0, num_bins=4, buckets=2**17)
    streamed = measure(estimator, x, labels, batches=3)
    once = binned_mi(x, labels, num_bins=4, low=-1, high=3)
    # 64 patterns in 131072 buckets: the hashes of this seed do not meet.
    np.testing.assert_allclose(streamed.mi, once.mi, atol=5e-6)
    np.testing.assert_allclose(streamed.std_error, once.std_error, rtol=1e-4)
    halves = [
        accumulate(estimator, x[part], labels[part])
        for part in (slice(0, 1000), slice(1000, None))
    ]
    merged = read(estimator, jax.jit(estimator.merge)(*halves))
    np.testing.assert_allclose(merged.mi, streamed.mi, rtol=1e-5)
    few = binned(num_classes=5, low=-1.0, high=3.0, num_bins=4, buckets=2)
    assert measure(few, x, labels).mi <= streamed.mi + 1e-6


def test_it_drives_a_learning_rate():
    x, labels = activations(3)
    tx = mi_decay(
        1.0, estimator=binned(num_classes=5, low=-1.0, high=3.0), steps_per_epoch=1
    )
    state = tx.init(jnp.zeros(2))
    for _ in range(3):
        _, state = jax.jit(tx.update)(jnp.ones(2), state, outputs=x, labels=labels)
    assert 0 < float(state.current_lr) < 1


def test_vmap_over_columns_is_a_loop():
    x, labels = activations(3)
    each = jax.vmap(lambda c: binned_mi(c, labels).mi, in_axes=1)(x)
    alone = [float(binned_mi(c, labels).mi) for c in x.T]
    np.testing.assert_allclose(each, alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: binned_mi(jnp.ones((2, 2, 2)), [0, 1]),
            r"outputs must have the shape",
        ),
        (lambda: binned_mi(jnp.ones((2, 0)), [0, 1]), r"outputs must have the shape"),
        (lambda: binned_mi([1.0, 2.0], [0, 1, 2]), "outputs must have the shape"),
        (lambda: binned_mi([1.0, 2.0], [0.0, 1.0]), "labels must be integers"),
        (lambda: binned_mi([1.0, 2.0], [0, 1], num_bins=1), "num_bins must be at"),
        (lambda: binned_mi([1.0], [0], low=1, high=1), "high must be finite and more"),
        (lambda: binned_mi([1.0], [0], low=[1, 2]), "one for each of the 1 columns"),
        (lambda: binned_mi([1.0], [0], weights=[[1]]), "weights must have the shape"),
        (
            lambda: binned(num_classes=2, low=0.0, high=0.0),
            "high must be finite and more than low=0",
        ),
        (
            lambda: binned(num_classes=2, low=0.0, high=1.0, buckets=1),
            "buckets must be at least 2",
        ),
        (
            lambda: binned(num_classes=2, low=0, high=1).update(
                binned(num_classes=2, low=0, high=1).init(),
                outputs=jnp.ones((3, 2)),
                labels=jnp.zeros(2, int),
            ),
            r"outputs must have the shape \[2, d\]",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
