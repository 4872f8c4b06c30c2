"""The cross-entropy bound against its definition."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import contingency, variational
from tests import reference
from tests.helpers import accumulate, measure, read

pytestmark = pytest.mark.usefixtures("strict")

# One shape of batches, and weights, for all tests that can.
ROWS, CLASSES = 200, 5
ONES = np.ones(ROWS, np.float32)
ESTIMATOR = variational(num_classes=CLASSES)


def data(batches=1):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, batches * ROWS)
    logits = rng.normal(size=(len(labels), CLASSES)) + 3 * np.eye(CLASSES)[labels]
    weights = rng.random(len(labels)).astype(np.float32)
    return logits.astype(np.float32), labels, weights


def test_equals_label_entropy_less_cross_entropy():
    logits, labels, _ = data()
    estimate = measure(ESTIMATOR, logits, labels, ONES)
    pointwise = np.log(reference.softmax(logits.astype(float)))[range(ROWS), labels]
    shares = np.bincount(labels) / ROWS
    truth = reference.entropy(shares) + pointwise.mean()
    np.testing.assert_allclose(estimate.mi, truth, rtol=1e-5)
    np.testing.assert_allclose(estimate.entropy, reference.entropy(shares), rtol=1e-6)
    spread = np.std(pointwise - np.log(shares)[labels]) / np.sqrt(ROWS)
    np.testing.assert_allclose(estimate.std_error, spread, rtol=1e-4)


def test_bounds_the_information_of_a_calibrated_channel_from_below():
    # A symmetric channel, its posterior as the outputs: the bound is tight.
    posterior = np.full((2, 2), 0.2) + 0.6 * np.eye(2)
    x = np.repeat([0, 1], 100)
    y = np.repeat([0, 1, 0, 1], [80, 20, 20, 80])
    truth = np.log(2) - reference.entropy([0.8, 0.2])
    logits = np.full((ROWS, CLASSES), -np.inf, np.float32)
    logits[:, :2] = np.log(posterior[x])
    tight = measure(ESTIMATOR, logits, y, ONES)
    np.testing.assert_allclose(tight.mi, truth, rtol=1e-5)
    loose = measure(ESTIMATOR, 3 * logits, y, ONES)
    assert 0 <= loose.mi < truth


def test_is_never_negative_and_ignores_what_it_must():
    labels = np.arange(ROWS) % 2
    logits = -9 * np.eye(CLASSES, dtype=np.float32)[labels]
    labels[4:6] = [-1, CLASSES]
    logits[6, 0], logits[7] = np.nan, np.inf
    # A true class that the network holds impossible has an infinite loss.
    logits[8, labels[8]] = -np.inf
    estimate = measure(ESTIMATOR, logits, labels, ONES)
    assert estimate.mi == 0
    assert estimate.dropped == 5
    assert estimate.num_samples == ROWS - 5
    nothing = measure(ESTIMATOR, logits, labels, 0 * ONES)
    assert nothing.dropped == ROWS
    assert nothing.num_samples == nothing.mi == nothing.entropy == 0


def test_merge_of_two_parts_equals_the_whole():
    logits, labels, weights = data(batches=3)
    whole = measure(ESTIMATOR, logits, labels, weights, batches=3)
    parts = [
        accumulate(ESTIMATOR, logits[s], labels[s], weights[s], batches)
        for s, batches in ((slice(ROWS), 1), (slice(ROWS, None), 2))
    ]
    merged = read(ESTIMATOR, jax.jit(ESTIMATOR.merge)(*parts))
    chex.assert_trees_all_close(merged, whole, rtol=1e-5)


def test_a_vocabulary_of_fifty_thousand_takes_24_bytes_a_class():
    estimator = variational(num_classes=50_000)
    state = jax.eval_shape(estimator.init)
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert size <= 24 * 50_000 + 64
    labels = np.arange(8) * 6000
    logits = np.zeros((8, 50_000), np.float32)
    logits[range(8), labels] = 30
    estimate = measure(estimator, logits, labels)
    np.testing.assert_allclose(estimate.normalized, 1.0, atol=1e-5)


def test_agrees_with_the_joint_table_where_the_network_is_certain_and_right():
    labels = np.arange(ROWS) % CLASSES
    logits = 50 * np.eye(CLASSES, dtype=np.float32)[labels]
    table = contingency(num_classes=CLASSES)
    np.testing.assert_allclose(
        measure(ESTIMATOR, logits, labels, ONES).mi,
        measure(table, logits, labels, ONES).mi,
        rtol=1e-6,
    )


def test_no_gradient_flows_through_the_estimate():
    logits, labels, _ = data()

    def mi(x):
        state = ESTIMATOR.update(ESTIMATOR.init(), outputs=x, labels=labels)
        return ESTIMATOR.estimate(state).mi

    slope = jax.jit(jax.grad(mi))(logits)
    np.testing.assert_array_equal(slope, jnp.zeros_like(logits))


def test_classes_are_at_least_two():
    with pytest.raises(ValueError, match=r"num_classes must be at least 2, got .*=1"):
        variational(num_classes=1)


def test_logits_far_from_0_lose_no_loss():
    """No float32 near 1e9 has the ln 5 that is each sample's loss."""
    _, labels, _ = data()
    far = np.full((ROWS, CLASSES), 1e9, np.float32)
    assert measure(ESTIMATOR, far, labels, ONES).mi == 0
    far[np.arange(ROWS), labels] += 64
    seen = measure(ESTIMATOR, far, labels, ONES)
    np.testing.assert_allclose(seen.mi, seen.entropy, rtol=1e-6)
