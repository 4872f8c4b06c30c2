"""The cross-entropy bound against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import contingency, variational, variational_mi
from tests import reference
from tests.helpers import accumulate, measure, read

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture(name="data")
def _data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    logits = rng.normal(size=(600, 5)) + 3 * np.eye(5)[labels]
    return logits.astype(np.float32), labels


def test_equals_label_entropy_less_cross_entropy(data):
    logits, labels = data
    estimator = variational(num_classes=5)
    estimate = measure(estimator, logits, labels)
    pointwise = np.log(reference.softmax(logits.astype(float)))[range(600), labels]
    shares = np.bincount(labels) / 600
    truth = reference.entropy(shares) + pointwise.mean()
    np.testing.assert_allclose(estimate.mi, truth, rtol=1e-5)
    np.testing.assert_allclose(estimate.entropy, reference.entropy(shares), rtol=1e-6)
    spread = np.std(pointwise - np.log(shares)[labels]) / np.sqrt(600)
    np.testing.assert_allclose(estimate.std_error, spread, rtol=1e-4)


def test_bounds_the_information_of_a_calibrated_channel_from_below():
    # A symmetric channel, its posterior as the outputs: the bound is tight.
    posterior = np.full((2, 2), 0.2) + 0.6 * np.eye(2)
    x = np.repeat([0, 1], 50)
    y = np.concatenate([[0] * 40 + [1] * 10, [0] * 10 + [1] * 40])
    truth = np.log(2) - reference.entropy([0.8, 0.2])
    estimator = variational(num_classes=2)
    tight = measure(estimator, jnp.log(posterior[x]), y)
    np.testing.assert_allclose(tight.mi, truth, rtol=1e-5)
    loose = measure(estimator, 3 * jnp.log(posterior[x]), y)
    assert 0 <= loose.mi < truth


def test_is_never_negative_and_ignores_what_it_must():
    labels = np.array([0, 1, 0, 1, -1, 7, 0, 1])
    logits = np.array([[9, 0], [0, 9]] * 4, np.float32)[:, ::-1].copy()
    logits[6, 0], logits[7] = np.nan, [np.inf, 0]
    estimator = variational(num_classes=2)
    estimate = measure(estimator, logits, labels)
    assert estimate.mi == 0
    assert estimate.dropped == 4
    assert estimate.num_samples == 4
    # A true class that the network holds impossible has an infinite loss.
    certain = np.array([[-np.inf, 0.0], [0.0, 0.0]], np.float32)
    estimate = measure(estimator, certain, np.array([0, 1]))
    assert estimate.dropped == 1
    nothing = measure(estimator, logits, labels, np.zeros(8))
    assert nothing.dropped == 8
    assert nothing.num_samples == nothing.mi == nothing.entropy == 0


def test_merge_of_two_halves_equals_the_whole(data):
    logits, labels = data
    weights = np.random.default_rng(1).random(600).astype(np.float32)
    estimator = variational(num_classes=5)
    whole = measure(estimator, logits, labels, weights)
    parts = [
        accumulate(estimator, logits[s], labels[s], weights[s])
        for s in (slice(99), slice(99, None))
    ]
    merged = read(estimator, jax.jit(estimator.merge)(*parts))
    np.testing.assert_allclose(merged, whole, rtol=1e-5)


def test_a_vocabulary_of_fifty_thousand_takes_24_bytes_a_class():
    estimator = variational(num_classes=50_000)
    state = jax.eval_shape(estimator.init)
    assert (
        sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        <= 24 * 50_000 + 64
    )
    labels = np.arange(8) * 6000
    logits = jax.nn.one_hot(labels, 50_000) * 30.0
    estimate = measure(estimator, logits, labels)
    np.testing.assert_allclose(estimate.normalized, 1.0, atol=1e-5)


def test_agrees_with_the_joint_table_where_the_network_is_certain_and_right():
    labels = np.arange(40) % 4
    logits = 50 * np.eye(4, dtype=np.float32)[labels]
    ours, table = variational(num_classes=4), contingency(num_classes=4)
    np.testing.assert_allclose(
        measure(ours, logits, labels).mi,
        measure(table, logits, labels).mi,
        rtol=1e-6,
    )


def test_no_gradient_flows_through_the_estimate(data):
    logits, labels = data
    estimator = variational(num_classes=5)

    def mi(x):
        state = estimator.update(estimator.init(), outputs=x, labels=labels)
        return estimator.estimate(state).mi

    np.testing.assert_array_equal(jax.grad(mi)(logits), np.zeros_like(logits))


def test_one_shot_is_the_stream():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(400, 7)).astype(np.float32)
    labels = rng.integers(-1, 7, 400)
    weights = rng.random(400).astype(np.float32)
    streamed = measure(variational(num_classes=7), logits, labels, weights, batches=3)
    once = variational_mi(logits, labels, weights=weights, clip=False)
    # Random logits know nothing, so that the bound is below 0.
    assert streamed.mi == 0
    p = reference.softmax(logits.astype(float))
    used = labels >= 0
    share = np.bincount(labels[used], weights[used]) / weights[used].sum()
    loss = -np.log(p[np.arange(400), labels][used]) @ weights[used]
    truth = reference.entropy(share) - loss / weights[used].sum()
    assert float(once.mi) == pytest.approx(truth, rel=1e-4)
    assert float(once.dropped) == 400 - used.sum()
    with pytest.raises(ValueError, match="there are no samples"):
        variational_mi(np.zeros((0, 2), np.float32), np.zeros(0, int))
    with pytest.raises(ValueError, match="weights must have the shape"):
        variational_mi(logits, labels, weights=weights[:3])
