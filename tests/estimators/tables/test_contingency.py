"""The joint-table estimator against scikit-learn and the slow reference."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from optax_mi.estimators import contingency
from tests import reference
from tests.helpers import accumulate, measure, read

pytestmark = pytest.mark.usefixtures("strict")

slow = pytest.mark.slow
# Batches of so many rows, with weights: an estimator's programs serve all that take it.
ROWS, CLASSES = 40, 5
ONES = np.ones(ROWS, np.float32)
SOFT = contingency(num_classes=CLASSES)
HARD = contingency(num_classes=CLASSES, soft=False)
either = pytest.mark.parametrize("estimator", [SOFT, HARD], ids=["soft", "hard"])


def table_of(state):
    """The joint table, in float64."""
    return sum(np.asarray(part.joint, float) for part in state[:3])


def noisy_channel(num_classes, samples, seed=0, correct=0.6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, samples)
    noise = rng.integers(0, num_classes, samples)
    return np.where(rng.random(samples) < correct, labels, noise), labels


def logits_and_labels(seed=0, rows=ROWS, num_classes=CLASSES, scale=1.0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(rows, num_classes))).astype(np.float32)
    return logits, rng.integers(-1, num_classes + 1, rows), rng


def slow_mi(estimator, logits, labels, weights=ONES):
    """Of the rows that are usable."""
    q = reference.softmax(np.where(np.isnan(logits), np.inf, logits).astype(float))
    if estimator is HARD:
        q = np.where(np.isfinite(q), np.eye(q.shape[1])[logits.argmax(1)], np.nan)
    table = reference.joint_table(q, labels, q.shape[1], weights)
    return reference.mutual_information(table)


@pytest.mark.parametrize("buckets", [2, 5])
def test_tables_of_few_and_of_all_buckets(buckets):
    state = jax.eval_shape(contingency(num_classes=5, buckets=buckets).init)
    assert state.high.joint.shape == (buckets, buckets)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_classes": 1}, ValueError, "num_classes must be at least 2"),
        ({"buckets": 1}, ValueError, "buckets must be at least 2"),
        ({"buckets": 6}, ValueError, "buckets must be at most num_classes=5, got .*=6"),
        ({"buckets": 2.5}, TypeError, "buckets must be an int"),
        ({"num_classes": 50_000}, ValueError, "makes a table of 2.5e"),
        ({"bias_correction": "grassberger"}, ValueError, "pass soft=False with it"),
        ({"bias_correction": "jackknife"}, ValueError, "bias_correction='jackknife'"),
    ],
)
def test_tables_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        contingency(**{"num_classes": 5, **options})


def test_the_first_of_equal_logits_is_the_prediction():
    logits = np.zeros((ROWS, CLASSES), np.float32)
    logits[0, :2], logits[1, 1:3], logits[2] = 1, 2, 3
    used = np.float32(np.arange(ROWS) < 3)
    state = accumulate(HARD, logits, np.arange(ROWS) % 3, used)
    np.testing.assert_array_equal(table_of(state)[:3, :3], np.eye(3)[[0, 1, 0]])
    assert table_of(state).sum() == 3


@pytest.mark.parametrize(
    "num_classes", [*(pytest.param(c, marks=slow) for c in (2, 10, 100)), 1000]
)
def test_hard_mi_equals_scikit_learn(num_classes):
    predicted, labels = noisy_channel(num_classes, 6_000)
    truth = mutual_info_score(labels, predicted)
    logits = np.eye(num_classes, dtype=np.float32)[predicted]
    estimator = contingency(num_classes=num_classes, soft=False)
    for outputs in (predicted, logits):
        estimate = measure(estimator, outputs, labels, batches=3)
        np.testing.assert_allclose(estimate.mi, truth, rtol=0, atol=1e-5)
        assert estimate.num_samples == 6_000
        assert estimate.dropped == 0


@either
def test_entropy_and_normalized_of_ids(estimator):
    predicted, labels = noisy_channel(CLASSES, 10 * ROWS)
    estimate = measure(estimator, predicted, labels, np.tile(ONES, 10), batches=10)
    shares = np.bincount(labels) / len(labels)
    entropy = reference.entropy(shares)
    np.testing.assert_allclose(estimate.entropy, entropy, rtol=1e-6)
    table = reference.joint_table(np.eye(CLASSES)[predicted], labels, CLASSES)
    chance = reference.chance(table, np.zeros((2, CLASSES)), len(labels))
    share = (mutual_info_score(labels, predicted) - chance) / (entropy - chance)
    np.testing.assert_allclose(estimate.normalized, share, rtol=1e-5)


# Of the same shapes as those of before, so that nothing compiles anew.
ESTIMATORS = {2: contingency(num_classes=2), CLASSES: SOFT}


@given(
    num_classes=st.sampled_from(list(ESTIMATORS)),
    samples=st.sampled_from([1, ROWS]),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_soft_mi_equals_the_slow_reference(num_classes, samples, scale, seed):
    logits, labels, rng = logits_and_labels(seed, ROWS, num_classes, scale)
    weights = rng.integers(0, 3, ROWS).astype(np.float32) / 2
    weights[samples:] = 0
    used = (labels >= 0) & (labels < num_classes) & (weights > 0)
    estimate = measure(ESTIMATORS[num_classes], logits, labels, weights)
    assert estimate.dropped == ROWS - used.sum()
    if not used.any():
        assert estimate.num_samples == 0
        assert estimate.mi == estimate.entropy == estimate.normalized == 0
        assert np.isnan(estimate.std_error)
        return
    truth = slow_mi(SOFT, logits, labels, weights)
    np.testing.assert_allclose(estimate.mi, truth, rtol=1e-5, atol=2e-6)
    kish = weights[used].sum() ** 2 / (weights[used] ** 2).sum()
    np.testing.assert_allclose(estimate.num_samples, kish, rtol=1e-5)
    assert 0 <= estimate.mi <= estimate.entropy


@either
def test_padding_zero_weights_and_unusable_outputs_are_dropped_and_counted(estimator):
    logits, labels, _ = logits_and_labels()
    labels[:10] = [0, 1, 2, -1, CLASSES, 0, 1, 2, 0, 1]
    logits[5, 1], logits[6, 0], logits[7] = np.nan, np.inf, -np.inf
    # One class may be masked.
    logits[8, 2] = -np.inf
    weights = ONES.copy()
    weights[0], weights[1], weights[2] = 0.0, -1.0, np.nan
    estimate = measure(estimator, logits, labels, weights)
    used = (labels >= 0) & (labels < CLASSES)
    used[[0, 1, 2, 5, 6, 7]] = False
    assert estimate.dropped == ROWS - used.sum()
    assert estimate.num_samples == used.sum()
    truth = slow_mi(estimator, logits[used], labels[used])
    np.testing.assert_allclose(estimate.mi, truth, rtol=1e-5)


def test_a_class_masked_by_minus_infinity_has_probability_zero():
    logits, _, rng = logits_and_labels()
    labels = rng.integers(0, 2, ROWS)
    logits[:, 2:] = -np.inf
    masked = measure(SOFT, logits, labels, ONES)
    assert masked.dropped == 0
    truth = slow_mi(SOFT, logits[:, :2], labels)
    np.testing.assert_allclose(masked.mi, truth, rtol=1e-5)


@either
def test_leading_axes_are_flattened_together(estimator):
    logits, labels, rng = logits_and_labels()
    weights = rng.random(ROWS).astype(np.float32)
    flat = measure(estimator, logits, labels, weights)
    shapes = ((4, 10, CLASSES), (4, 10), (4, 10))
    deep = [
        a.reshape(s) for a, s in zip((logits, labels, weights), shapes, strict=True)
    ]
    chex.assert_trees_all_close(measure(estimator, *deep), flat, rtol=1e-6, atol=1e-7)


@either
def test_merge_of_two_parts_equals_the_whole(estimator):
    logits, labels, rng = logits_and_labels(3, 10 * ROWS)
    weights = rng.random(10 * ROWS).astype(np.float32)
    whole = measure(estimator, logits, labels, weights, batches=10)
    parts = [
        accumulate(estimator, logits[s], labels[s], weights[s], batches)
        for s, batches in ((slice(4 * ROWS), 4), (slice(4 * ROWS, None), 6))
    ]
    merge = jax.jit(estimator.merge)
    merged = read(estimator, merge(*parts))
    chex.assert_trees_all_close(merged, whole, rtol=2e-6, atol=1e-6)
    alone = read(estimator, merge(parts[0], estimator.init()))
    chex.assert_trees_all_equal(alone, read(estimator, parts[0]))


def test_weights_count_as_repetitions_and_their_scale_is_free():
    predicted, labels = noisy_channel(CLASSES, ROWS)
    weights = np.random.default_rng(1).integers(0, 4, ROWS)
    truth = mutual_info_score(np.repeat(labels, weights), np.repeat(predicted, weights))
    kish = weights.sum() ** 2 / (weights**2).sum()
    for scale in (1.0, 1e-3, 1e6):
        w = (scale * weights).astype(np.float32)
        estimate = measure(HARD, predicted, labels, w)
        np.testing.assert_allclose(estimate.mi, truth, atol=1e-6)
        np.testing.assert_allclose(estimate.num_samples, kish, rtol=1e-6)


CORRECTED = contingency(num_classes=10, soft=False, bias_correction="miller_madow")


def test_miller_madow_equals_its_formula_and_lowers_the_bias():
    predicted, labels = noisy_channel(10, 400, correct=0.0)
    table = reference.joint_table(np.eye(10)[predicted], labels, 10)
    estimate = measure(CORRECTED, predicted, labels)
    used = [np.count_nonzero(t) for t in (table.sum(1), table.sum(0), table)]
    truth = mutual_info_score(labels, predicted) + (used[0] + used[1] - used[2] - 1) / (
        2 * 400
    )
    np.testing.assert_allclose(estimate.mi, max(truth, 0), atol=1e-6)
    # The classes are independent: what the plug-in reads is all bias.
    assert estimate.mi < 0.3 * mutual_info_score(labels, predicted)


def test_miller_madow_keeps_a_perfect_predictor_perfect():
    labels = np.arange(400) % 10
    estimate = measure(CORRECTED, labels, labels)
    np.testing.assert_allclose(estimate.normalized, 1.0, rtol=1e-6)
    np.testing.assert_allclose(estimate.mi, np.log(10) + 9 / 800, rtol=1e-6)


def test_std_error_is_the_spread_of_hard_estimates():
    draws, samples = 600, 400
    estimates = [
        measure(HARD, *noisy_channel(CLASSES, samples, seed, correct=0.7))
        for seed in range(draws)
    ]
    mi, std_error = np.array([(one.mi, one.std_error) for one in estimates]).T
    # The relative error of a standard deviation from n normal draws is 1/sqrt(2 n).
    tolerance = 4 / np.sqrt(2 * draws)
    np.testing.assert_allclose(np.mean(std_error), np.std(mi), rtol=tolerance)


@either
def test_one_class_only_is_zero_information_not_nan(estimator):
    nothing, (logits, *_) = np.zeros(ROWS, int), logits_and_labels()
    for outputs in (nothing, logits):
        estimate = measure(estimator, outputs, nothing, ONES)
        assert estimate.mi == estimate.entropy == estimate.normalized == 0
        assert estimate.num_samples == ROWS


@either
def test_counts_stay_exact_past_two_to_the_24_samples(estimator):
    labels = np.array([0] * 3 + [1] * 37)
    batch = {"outputs": labels, "labels": labels, "weights": ONES}
    update, merge = jax.jit(estimator.update), jax.jit(estimator.merge)
    state = update(estimator.init(), **batch)
    doublings = 24
    for _ in range(doublings):
        state = merge(state, state)
    for _ in range(3):
        state = update(state, **batch)
    times = 2**doublings + 3
    counts = np.diag([3.0 * times, 37.0 * times])
    np.testing.assert_array_equal(table_of(state)[:2, :2], counts)
    truth = reference.entropy([3 / 40, 37 / 40])
    np.testing.assert_allclose(read(estimator, state).mi, truth, rtol=1e-6)


def test_soft_counts_are_unbiased_past_two_to_the_24_samples():
    labels = jnp.arange(ROWS) % CLASSES
    logits = 3 * jax.nn.one_hot(labels, CLASSES)
    batch = {"outputs": logits, "labels": labels, "weights": jnp.asarray(ONES)}
    state = jax.jit(SOFT.update)(SOFT.init(), **batch)
    once = read(SOFT, state)
    for _ in range(24):
        state = jax.jit(SOFT.merge)(state, state)
    state = jax.lax.fori_loop(0, 1000, lambda _, s: SOFT.update(s, **batch), state)
    # Had the last thousand batches been lost, the total would be 2**24 batches.
    assert abs(table_of(state).sum() - ROWS * (2.0**24 + 1000)) < 10 * ROWS
    np.testing.assert_allclose(read(SOFT, state).mi, once.mi, rtol=1e-6)


def test_no_gradient_flows_through_the_estimate():
    logits, labels, _ = logits_and_labels()

    @jax.jit
    def slope(logits):
        def mi(logits):
            state = SOFT.update(SOFT.init(), outputs=logits, labels=labels)
            return SOFT.estimate(state).mi

        return jax.grad(mi)(logits)

    np.testing.assert_array_equal(slope(logits), 0 * logits)


@either
def test_vmaps_over_networks(estimator):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, ROWS, CLASSES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, ROWS)

    def mi(outputs):
        batch = {"outputs": outputs, "labels": labels, "weights": ONES}
        return estimator.estimate(estimator.update(estimator.init(), **batch)).mi

    loop = [measure(estimator, one, labels, ONES).mi for one in logits]
    np.testing.assert_allclose(jax.jit(jax.vmap(mi))(logits), loop, rtol=1e-5)
