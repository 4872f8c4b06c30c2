"""The joint-table estimator against scikit-learn and the slow reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from optax_mi.estimators import contingency, table_mi
from optax_mi.estimators.arithmetic import _scatter
from tests import reference
from tests.helpers import accumulate, measure, read

pytestmark = pytest.mark.usefixtures("strict")


def table_of(state):
    """The joint table, in float64."""
    return sum(np.asarray(part.joint, float) for part in state[:3])


def noisy_channel(num_classes, samples, seed=0, correct=0.6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, samples)
    noise = rng.integers(0, num_classes, samples)
    return np.where(rng.random(samples) < correct, labels, noise), labels


@pytest.mark.parametrize("buckets", [2, 5])
def test_tables_of_few_and_of_all_buckets(buckets):
    state = jax.eval_shape(contingency(num_classes=5, buckets=buckets).init)
    assert state.high.joint.shape == (buckets, buckets)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: contingency(num_classes=5, buckets=1),
            ValueError,
            "buckets must be at least 2",
        ),
        (
            lambda: contingency(num_classes=5, buckets=6),
            ValueError,
            "buckets must be at most",
        ),
        (lambda: contingency(num_classes=5, buckets=2.5), TypeError, "buckets must be"),
        (lambda: contingency(num_classes=50_000), ValueError, "makes a table of 2.5e"),
    ],
)
def test_tables_that_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_first_of_equal_logits_is_the_prediction():
    logits = np.array([[1, 1, 0], [0, 2, 2], [3, 3, 3]], np.float32)
    state = accumulate(contingency(num_classes=3, soft=False), logits, np.arange(3))
    np.testing.assert_array_equal(table_of(state), np.eye(3)[[0, 1, 0]])


@pytest.mark.parametrize("num_classes", [2, 10, 100, 1000])
def test_hard_mi_equals_scikit_learn(num_classes):
    predicted, labels = noisy_channel(num_classes, 21_000)
    truth = mutual_info_score(labels, predicted)
    logits = np.eye(num_classes, dtype=np.float32)[predicted]
    estimator = contingency(num_classes=num_classes, soft=False)
    for outputs in (predicted, logits):
        estimate = measure(estimator, outputs, labels, batches=3)
        np.testing.assert_allclose(estimate.mi, truth, rtol=0, atol=1e-5)
        assert estimate.num_samples == 21_000
        assert estimate.dropped == 0


def test_entropy_and_normalized():
    predicted, labels = noisy_channel(7, 5000)
    estimator = contingency(num_classes=7)
    estimate = measure(estimator, predicted, labels)
    truth = reference.entropy(np.bincount(labels, minlength=7) / 5000)
    np.testing.assert_allclose(estimate.entropy, truth, rtol=1e-6)
    chance = table_mi(reference.joint_table(np.eye(7)[predicted], labels, 7)).chance
    share = (mutual_info_score(labels, predicted) - chance) / (truth - chance)
    np.testing.assert_allclose(estimate.normalized, share, rtol=1e-5)


# Of the same shapes as those of before, so that nothing compiles anew.
SOFT = {num_classes: contingency(num_classes=num_classes) for num_classes in (2, 5)}


@given(
    num_classes=st.sampled_from(list(SOFT)),
    samples=st.sampled_from([1, 40]),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_soft_mi_equals_the_slow_reference(num_classes, samples, scale, seed):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(samples, num_classes))).astype(np.float32)
    labels = rng.integers(-1, num_classes + 1, samples)
    weights = rng.integers(0, 3, samples).astype(np.float32) / 2
    table = reference.joint_table(
        reference.softmax(logits.astype(float)), labels, num_classes, weights
    )
    used = (labels >= 0) & (labels < num_classes) & (weights > 0)
    estimate = measure(SOFT[num_classes], logits, labels, weights)
    assert estimate.dropped == samples - used.sum()
    if not used.any():
        assert estimate.num_samples == 0
        assert estimate.mi == estimate.entropy == estimate.normalized == 0
        assert np.isnan(estimate.std_error)
        return
    np.testing.assert_allclose(
        estimate.mi, reference.mutual_information(table), rtol=1e-5, atol=2e-6
    )
    kish = weights[used].sum() ** 2 / (weights[used] ** 2).sum()
    np.testing.assert_allclose(estimate.num_samples, kish, rtol=1e-5)
    assert 0 <= estimate.mi <= estimate.entropy


def test_padding_zero_weights_and_unusable_outputs_are_dropped_and_counted():
    labels = np.array([0, 1, 2, -1, 3, 0, 1, 2, 0, 1])
    logits = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    logits[5, 1], logits[6, 0], logits[7] = np.nan, np.inf, -np.inf
    weights = np.ones(10, np.float32)
    weights[0], weights[8], weights[9] = 0.0, -1.0, np.nan
    for soft in (True, False):
        estimator = contingency(num_classes=3, soft=soft)
        messy = measure(estimator, logits, labels, weights)
        clean = measure(estimator, logits[1:3], labels[1:3])
        assert messy.dropped == 8
        assert messy.num_samples == 2
        np.testing.assert_allclose(messy.mi, clean.mi, rtol=1e-6)


def test_a_class_masked_by_minus_infinity_has_probability_zero():
    labels = np.array([0, 1, 0, 1])
    logits = np.array([[1, 0, -np.inf], [0, 2, -np.inf]] * 2, np.float32)
    estimator = contingency(num_classes=3)
    estimate = measure(estimator, logits, labels)
    two = contingency(num_classes=2)
    truth = measure(two, logits[:, :2], labels)
    assert estimate.dropped == 0
    np.testing.assert_allclose(estimate.mi, truth.mi, rtol=1e-6)


def test_an_unsigned_label_beyond_the_classes_is_dropped():
    for dtype in (np.uint8, np.uint32, np.int8):
        labels = np.array([0, 1, 120, 5], dtype)
        estimator = contingency(num_classes=3)
        assert measure(estimator, labels, labels).dropped == 2
    # 1000 classes do not fit into eight bits: no label can be too large.
    estimator = contingency(num_classes=1000)
    labels = np.array([0, 255], np.uint8)
    assert measure(estimator, labels, labels).dropped == 0


def test_leading_axes_are_flattened_together():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 6, 5)), rng.integers(0, 5, (4, 6))
    logits = logits.astype(np.float32)
    for soft in (True, False):
        estimator = contingency(num_classes=5, soft=soft)
        deep = measure(estimator, logits, labels)
        flat = measure(estimator, logits.reshape(24, 5), labels.ravel())
        np.testing.assert_allclose(deep, flat, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("soft", [True, False])
def test_merge_of_two_halves_equals_the_whole(soft):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(400, 4)), rng.integers(-1, 4, 400)
    weights = rng.random(400).astype(np.float32)
    logits = logits.astype(np.float32)
    estimator = contingency(num_classes=4, soft=soft)
    whole = measure(estimator, logits, labels, weights)
    halves = [
        accumulate(estimator, logits[s], labels[s], weights[s])
        for s in (slice(150), slice(150, None))
    ]
    merged = read(estimator, jax.jit(estimator.merge)(*halves))
    np.testing.assert_allclose(merged, whole, rtol=2e-6, atol=1e-6)
    alone = read(estimator, jax.jit(estimator.merge)(halves[0], estimator.init()))
    np.testing.assert_array_equal(alone, read(estimator, halves[0]))


def test_weights_count_as_repetitions_and_their_scale_is_free():
    predicted, labels = noisy_channel(3, 300)
    weights = np.random.default_rng(1).integers(0, 4, 300)
    truth = mutual_info_score(np.repeat(labels, weights), np.repeat(predicted, weights))
    estimator = contingency(num_classes=3, soft=False)
    for scale in (1.0, 1e-3, 1e6):
        w = (scale * weights).astype(np.float32)
        estimate = measure(estimator, predicted, labels, w)
        np.testing.assert_allclose(estimate.mi, truth, atol=1e-6)
        kish = weights.sum() ** 2 / (weights**2).sum()
        np.testing.assert_allclose(estimate.num_samples, kish, rtol=1e-6)


def test_miller_madow_equals_its_formula_and_lowers_the_bias():
    predicted, labels = noisy_channel(10, 400, correct=0.0)
    table = reference.joint_table(np.eye(10)[predicted], labels, 10)
    corrected = contingency(num_classes=10, soft=False, bias_correction="miller_madow")
    estimate = measure(corrected, predicted, labels)
    used = [np.count_nonzero(t) for t in (table.sum(1), table.sum(0), table)]
    truth = mutual_info_score(labels, predicted) + (used[0] + used[1] - used[2] - 1) / (
        2 * 400
    )
    np.testing.assert_allclose(estimate.mi, max(truth, 0), atol=1e-6)
    # The classes are independent: what the plug-in reads is all bias.
    assert estimate.mi < 0.3 * mutual_info_score(labels, predicted)


def test_miller_madow_keeps_a_perfect_predictor_perfect():
    labels = np.arange(30) % 10
    estimator = contingency(num_classes=10, soft=False, bias_correction="miller_madow")
    estimate = measure(estimator, labels, labels)
    np.testing.assert_allclose(estimate.normalized, 1.0, rtol=1e-6)
    np.testing.assert_allclose(estimate.mi, np.log(10) + 9 / 60, rtol=1e-6)


def test_std_error_is_the_spread_of_hard_estimates():
    estimator = contingency(num_classes=4, soft=False)

    def one(key):
        keys = jax.random.split(key, 3)
        labels = jax.random.randint(keys[0], (500,), 0, 4)
        noise = jax.random.randint(keys[1], (500,), 0, 4)
        keep = jax.random.bernoulli(keys[2], 0.7, (500,))
        state = estimator.update(
            estimator.init(), outputs=jnp.where(keep, labels, noise), labels=labels
        )
        return estimator.estimate(state)

    draws = 1000
    estimates = jax.vmap(one)(jax.random.split(jax.random.key(0), draws))
    spread = np.std(estimates.mi)
    # The relative error of a standard deviation from n normal draws is 1/sqrt(2 n).
    tolerance = 4 / np.sqrt(2 * draws)
    np.testing.assert_allclose(np.mean(estimates.std_error), spread, rtol=tolerance)


def test_one_class_only_is_zero_information_not_nan():
    estimator = contingency(num_classes=3)
    estimate = measure(estimator, np.zeros(9, int), np.zeros(9, int))
    assert estimate.mi == estimate.entropy == estimate.normalized == 0
    assert estimate.num_samples == 9


@pytest.mark.parametrize("soft", [True, False])
def test_counts_stay_exact_past_two_to_the_24_samples(soft):
    estimator = contingency(num_classes=2, soft=soft)
    labels = np.array([0] * 3 + [1] * 5)
    state = accumulate(estimator, labels, labels)
    doublings = 24
    for _ in range(doublings):
        state = jax.jit(estimator.merge)(state, state)
    for _ in range(3):
        state = estimator.update(state, outputs=labels, labels=labels)
    times = 2**doublings + 3
    np.testing.assert_array_equal(table_of(state), np.diag([3.0 * times, 5.0 * times]))
    np.testing.assert_allclose(
        estimator.estimate(state).mi, reference.entropy([3 / 8, 5 / 8]), rtol=1e-6
    )


def test_soft_counts_are_unbiased_past_two_to_the_24_samples():
    estimator = contingency(num_classes=2)
    labels = jnp.array([0, 1])
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
    state = estimator.update(estimator.init(), outputs=logits, labels=labels)
    once = read(estimator, state)
    for _ in range(24):
        state = jax.jit(estimator.merge)(state, state)
    state = jax.lax.fori_loop(
        0,
        1000,
        lambda _, s: estimator.update(s, outputs=logits, labels=labels),
        state,
    )
    # Had the last thousand batches been lost, the total would be 2**24 batches.
    assert abs(table_of(state).sum() - 2 * (2.0**24 + 1000)) < 10
    np.testing.assert_allclose(estimator.estimate(state).mi, once.mi, rtol=1e-6)


def test_no_gradient_flows_through_the_estimate():
    estimator = contingency(num_classes=3)
    labels = jnp.array([0, 1, 2])

    def mi(logits):
        state = estimator.update(estimator.init(), outputs=logits, labels=labels)
        return estimator.estimate(state).mi

    assert mi(jnp.eye(3)) > 0
    np.testing.assert_array_equal(jax.grad(mi)(jnp.eye(3)), np.zeros((3, 3)))


def test_the_two_ways_to_sum_rows_by_label_agree():
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.random((3, 50, 7)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 7, (3, 50)), jnp.int32)
    table = jnp.asarray(rng.random((7, 7)), jnp.float32)
    truth = np.array(table)
    np.add.at(truth, np.asarray(labels).ravel(), np.asarray(rows).reshape(-1, 7))
    scattered = _scatter.scatter(table, (labels,), rows)
    np.testing.assert_allclose(scattered, truth, rtol=1e-6)
    np.testing.assert_allclose(_scatter.contract(table, labels, rows), truth, rtol=1e-6)


def test_vmaps_over_networks():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 30, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 30)
    for soft in (True, False):
        estimator = contingency(num_classes=3, soft=soft)

        def mi(outputs, estimator=estimator):
            state = estimator.update(estimator.init(), outputs=outputs, labels=labels)
            return estimator.estimate(state).mi

        each = jax.jit(mi)
        np.testing.assert_allclose(
            jax.jit(jax.vmap(mi))(logits), [each(x) for x in logits], rtol=1e-5
        )
