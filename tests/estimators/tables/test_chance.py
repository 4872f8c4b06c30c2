"""What tables read by chance, and the MI adjusted for it, against outside truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

from optax_mi.estimators import binned_mi, contingency, plugin_mi, table_mi
from optax_mi.estimators.tables._chance import chance_of, group_shares
from tests import reference
from tests.estimators.tables.helpers import joint_counts, noisy_labels
from tests.helpers import accumulate, measure, read

slow = pytest.mark.slow
of_shares = jax.jit(chance_of)


def draw(num_classes, samples, confidence, knows=0.0, seed=0):
    """Logits and labels, float32 and int."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, samples)
    logits = confidence * rng.normal(size=(samples, num_classes))
    return (logits + knows * np.eye(num_classes)[labels]).astype(np.float32), labels


def exact_chance(table):
    """The mean over all tables of these margins, in nats."""
    table = table[table.sum(1) > 0][:, table.sum(0) > 0].astype(np.int64)
    return expected_mutual_information(table, int(table.sum()))


@pytest.mark.parametrize("skew", [False, True])
@pytest.mark.parametrize(
    ("num_classes", "samples"),
    [(2, 12), (2, 400), (10, 30), (10, 100), (10, 3000), (100, 3000), (100, 100_000)],
)
def test_of_hard_counts_is_scikit_learns(num_classes, samples, skew):
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, num_classes + 1)
    share = share / share.sum() if skew else None
    labels, outputs = rng.choice(num_classes, (2, samples), p=share)
    # Of one shape: what has no share does not matter.
    table = joint_counts(outputs, labels, 100)
    shares = [np.float32(table.sum(axis) / samples) for axis in (1, 0)]
    chance = of_shares(*shares, np.float32(samples))
    # Of few samples the formula is some 5 % too low, see docs/method.md.
    assert float(chance) == pytest.approx(exact_chance(table), rel=0.08)
    slow_chance = reference.chance(table, np.zeros((2, 100)), samples)
    assert float(chance) == pytest.approx(slow_chance, rel=1e-5)


# Batches of one shape, so that each of the two has two programs.
SOFT, HARD = (contingency(num_classes=10, soft=soft) for soft in (True, False))
ROWS = 128


def test_every_estimate_of_a_table_tells_its_chance():
    outputs, labels = noisy_labels(10, ROWS, correct=0.0)
    table = joint_counts(outputs, labels, 10)
    truth = reference.chance(table, np.zeros((2, 10)), ROWS)
    options = {"num_bins": 10, "num_classes": 10}
    certain = np.float32(200 * np.eye(10)[outputs])
    for estimate in (
        table_mi(table),
        plugin_mi(outputs, labels, num_classes=10),
        measure(HARD, certain, labels),
        measure(SOFT, certain, labels),
        binned_mi(np.float32(outputs), labels, **options),
        # Two columns are symbols that are sorted.
        binned_mi(np.float32(np.stack([outputs, outputs], 1)), labels, **options),
    ):
        # Symbols that are sorted have shares that are put together.
        assert float(estimate.chance) == pytest.approx(truth, rel=2e-3)


def test_many_shares_are_put_together_and_change_next_to_nothing():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.exponential(20, 1000))
    count = counts.sum()
    few, copies = group_shares(jnp.asarray(counts / count, jnp.float32), count)
    assert len(few) == 128
    # No share is lost, and a share of up to five samples is exact.
    assert copies.sum() == np.count_nonzero(counts)
    np.testing.assert_allclose(few @ copies, 1, rtol=1e-5)
    for n in range(1, 6):
        place = np.argmin(np.abs(few * count - n))
        np.testing.assert_allclose(few[place] * count, n, rtol=1e-5)
        assert copies[place] == np.sum(counts == n)
    # Weighted cells may hold less than a sample, and those of a long epoch millions.
    parts = np.geomspace(2**-7, 2**23, 1000)
    few, copies = group_shares(jnp.asarray(parts / count, jnp.float32), count)
    means = np.repeat(few * count, copies.astype(int))
    # The mean of a quarter of a doubling.
    np.testing.assert_allclose(means, parts, rtol=0.1)
    # What lies beyond the bins is in the first or the last.
    parts = np.array([2**-20, 2**27, 2**-10])
    few, copies = group_shares(jnp.asarray(parts / count, jnp.float32), count)
    assert (copies[0], copies[-1]) == (2, 1)
    np.testing.assert_allclose(few[-1] * count, 2**27, rtol=1e-6)
    outputs = np.full(4, 0.25, np.float32)
    grouped = of_shares(np.float32(counts / count), outputs, np.float32(count))
    spread = np.zeros((2, 4))
    truth = reference.chance(counts[:, None] * outputs, spread, count)
    assert float(grouped) == pytest.approx(truth, rel=2e-3)


def test_of_one_sample_or_one_class_nothing_varies():
    shares = np.float32([1, *[0] * 99])
    with jax.debug_nans(True):
        for count in (1, 40):
            assert chance_of(shares, shares, np.float32(count)) == 0
    # Probabilities in place of counts.
    half = np.float32([0.5, 0.5])
    assert of_shares(half, half, np.float32(1)) == 0


def test_a_label_may_have_less_than_a_sample():
    table, count = np.array([[0.1, 0.05], [1.5, 1.35]]), 3.0
    shares = [jnp.asarray(table.sum(axis) / count, jnp.float32) for axis in (1, 0)]
    truth = reference.chance(table, np.zeros((2, 2)), count)
    chance = of_shares(*shares, np.float32(count))
    np.testing.assert_allclose(chance, truth, rtol=1e-5)


def test_what_is_always_as_likely_has_no_chance_however_its_sums_round():
    for q in np.float32([[1, 1e-20], [0.7, 0.3]]):
        for step in (1 - 2**-20, 1 + 2**-20):
            spread = step * np.float32([q - q**2, -q * np.log(q)])
            chance = of_shares(np.float32([0.5, 0.5]), q, np.float32(100), spread)
            assert 0 <= chance < 1e-7


def test_adjusted_is_scikit_learns_adjusted_mutual_information():
    outputs, labels = noisy_labels(10, 300, seed=1, correct=0.5)
    table = joint_counts(outputs, labels, 10)
    estimate = table_mi(table)
    # Its normalizer "min" is the smaller entropy; ours is that of the labels.
    truth = (estimate.mi - exact_chance(table)) / (
        estimate.entropy - exact_chance(table)
    )
    assert float(estimate.adjusted) == pytest.approx(float(truth), abs=0.002)
    theirs = adjusted_mutual_info_score(labels, outputs)
    assert float(estimate.adjusted) == pytest.approx(theirs, abs=0.01)


SCALES = {"timid": 0.1, "confident": 3.0, "hard": 1.0, "ids": 1.0}


@pytest.mark.parametrize(
    ("num_classes", "samples", "draws", "kind"),
    [
        (10, ROWS, 500, "timid"),
        (10, ROWS, 500, "confident"),
        (10, ROWS, 500, "hard"),
        *(
            pytest.param(*size, kind, marks=slow)
            for size in ((2, 40, 2000), (10, ROWS, 500), (100, 3000, 12))
            for kind in SCALES
            if size[0] != 10 or kind == "ids"
        ),
    ],
)
def test_is_the_mean_of_what_independent_outputs_read(
    kind, num_classes, samples, draws
):
    estimator = HARD if kind == "hard" else SOFT
    if num_classes != 10:
        estimator = contingency(num_classes=num_classes, soft=kind != "hard")
    rng, seen = np.random.default_rng(0), []
    for _ in range(draws):
        labels = rng.integers(0, num_classes, samples)
        outputs = np.float32(SCALES[kind] * rng.normal(size=(samples, num_classes)))
        outputs = outputs.argmax(-1) if kind == "ids" else outputs
        one = measure(estimator, outputs, labels)
        seen.append((one.mi, one.chance, one.adjusted))
    mi, chance, adjusted = np.array(seen).T
    sigma = np.std(mi - chance) / np.sqrt(draws)
    # The formula may be 7 % off where samples are few, besides the noise of the mean.
    error = np.mean(mi) - np.mean(chance)
    assert abs(error) < 4 * sigma + 0.07 * np.mean(mi)
    assert sigma < 0.06 * np.mean(mi)
    tolerance = 4 * np.std(adjusted) / np.sqrt(draws)
    assert abs(np.mean(adjusted)) < tolerance + 0.1 * np.mean(chance)


@slow
@pytest.mark.parametrize(("samples", "knows"), [(1000, 2.0), (1000, 9.0), (300, 4.0)])
def test_few_samples_tell_what_many_do(samples, knows):
    """Where chance is a tenth of the entropy, U is near that of a million samples."""
    logits, labels = draw(10, 200_000, 1.5, knows)
    many = plugin_mi(logits, labels)
    parts = [
        plugin_mi(logits[i : i + samples], labels[i : i + samples])
        for i in range(0, 40 * samples, samples)
    ]
    values = np.array([part.adjusted for part in parts])
    sigma = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - many.adjusted) < 4 * sigma + 0.01
    plain = np.mean([part.mi / part.entropy for part in parts])
    assert plain >= values.mean()


IN_BUCKETS = {b: contingency(num_classes=7, buckets=b) for b in (None, 4)}


@pytest.mark.parametrize("confidence", [1e-3, 0.1, 1.0, 5.0, 50.0])
@pytest.mark.parametrize("buckets", IN_BUCKETS)
def test_the_sums_are_those_of_numpy(confidence, buckets):
    logits, labels = draw(7, 500, confidence)
    logits[:40, 3] = -np.inf
    labels[:9] = -1
    weights = np.random.default_rng(2).random(500).astype(np.float32)
    weights[20:30] = 0.0
    q = reference.softmax(logits.astype(float))
    if buckets:
        q = np.stack([q[:, b::buckets].sum(1) for b in range(buckets)], 1)
    w = np.where(labels >= 0, weights, 0.0).astype(float)[:, None]
    log_q = np.log(q, out=np.zeros_like(q), where=q > 0)
    truth = [(w * q * (1 - q)).sum(0), -(w * q * log_q).sum(0)]
    state = accumulate(IN_BUCKETS[buckets], logits, labels, weights, batches=4)
    spread = sum(np.asarray(part.spread, float) for part in state[:3])
    np.testing.assert_allclose(spread, truth, rtol=3e-6, atol=1e-6)
    # To first order (K - 1) / 2N times the sum of Var(q) / mean(q).
    w = w / w.sum()
    mean = (w * q).sum(0)
    ratio = ((w * (q - mean) ** 2).sum(0) / mean).sum()
    seen = read(IN_BUCKETS[buckets], state)
    first = (len(mean) - 1) / (2 * seen.num_samples) * ratio
    # What float32 leaves of nearly constant q is far below what MI is known to.
    assert float(seen.chance) == pytest.approx(first, rel=0.12, abs=1e-8)


SIX, ONES = contingency(num_classes=6), np.ones(300, np.float32)


def test_long_epochs_keep_the_chance():
    logits, labels = draw(6, 300, 2.0)
    state = accumulate(SIX, logits, labels, ONES)
    once = read(SIX, state)
    for _ in range(23):
        state = jax.jit(SIX.merge)(state, state)
    many = read(SIX, state)
    assert many.num_samples == 300 * 2.0**23 > 2**31
    # N times the chance does not depend on N, once there are many.
    truth = once.chance * 2.0**-23
    assert float(many.chance) == pytest.approx(float(truth), rel=0.02)
    assert abs(many.adjusted - once.mi / once.entropy) < 1e-6


def test_weights_dropped_rows_and_merge():
    logits, labels = draw(6, 600, 2.0)
    weights = np.where(np.arange(600) < 300, 1.0, 0.0).astype(np.float32)
    logits[400], labels[500] = np.nan, -1
    half = measure(SIX, logits[:300], labels[:300], ONES)
    for scale in (1.0, 1e-3, 1e6):
        seen = measure(SIX, logits, labels, scale * weights, batches=2)
        assert float(seen.chance) == pytest.approx(float(half.chance), rel=1e-4)
    # Weights that vary leave fewer samples: chance is larger by as much.
    weights = np.random.default_rng(0).exponential(size=300).astype(np.float32)
    uneven = measure(SIX, logits[:300], labels[:300], weights)
    factor = 300 / float(uneven.num_samples)
    assert factor > 1.5
    assert float(uneven.chance) == pytest.approx(factor * float(half.chance), rel=0.15)
    first = np.float32(np.arange(300) < 9)
    parts = [
        accumulate(SIX, logits[:300], labels[:300], used) for used in (first, 1 - first)
    ]
    merged = read(SIX, jax.jit(SIX.merge)(*parts))
    assert float(merged.chance) == pytest.approx(float(half.chance), rel=1e-5)


def test_hard_tables_carry_no_more_than_the_table():
    def high(**options):
        return jax.eval_shape(contingency(**options).init).high

    assert len(jax.tree.leaves(high(num_classes=3, soft=False))) == 2
    assert high(num_classes=3).spread.shape == (2, 3)
    assert high(num_classes=5, buckets=2).spread.shape == (2, 2)


@pytest.mark.parametrize("correction", ["miller_madow", "grassberger", "chao_shen"])
@pytest.mark.parametrize(
    ("num_classes", "samples"), [(5, 200), pytest.param(20, 600, marks=slow)]
)
def test_what_a_correction_leaves(correction, num_classes, samples):
    """Miller's leaves next to nothing of dense tables, Chao and Shen's nearly all."""
    rng = np.random.default_rng(3)
    pairs = rng.integers(0, num_classes, (60, 2, samples))
    tables = [joint_counts(*pair, num_classes) for pair in pairs]
    options = {"bias_correction": correction, "clip": False}
    seen = [table_mi(table, **options) for table in tables]
    mi, chance = np.array([(one.mi, one.chance) for one in seen]).T
    plain = np.mean([table_mi(table).chance for table in tables])
    sigma = np.std(mi) / np.sqrt(len(tables))
    left = max(np.mean(mi), 0.0)
    assert abs(np.mean(chance) - left) < 4 * sigma + 0.05 * plain
    if num_classes == 5:
        assert (np.mean(chance) > plain / 2) == (correction == "chao_shen")


def test_too_few_samples_to_tell():
    pair = table_mi(np.eye(2))
    assert np.isnan(pair.adjusted)
    assert np.isnan(pair.normalized)
    logits, labels = draw(100, 128, 4.0)
    assert np.isnan(plugin_mi(logits.argmax(1), labels, num_classes=100).adjusted)
    assert float(table_mi(2 * np.eye(2)).normalized) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("confidence", "knows", "most"),
    [
        # At independence the delta method's is sqrt(2) times as large.
        (0.1, 0.0, 1.6),
        (3.0, 0.0, 1.6),
        (0.1, 0.1, 1.25),
        (1.0, 2.0, 1.25),
        (4.0, 8.0, 1.25),
    ],
)
def test_std_error_of_soft_counts_is_their_spread(confidence, knows, most):
    draws, seen = 600, []
    for seed in range(draws):
        logits, labels = draw(6, 300, confidence, knows, seed)
        one = measure(SIX, logits, labels, ONES)
        seen.append((one.mi, one.std_error))
    mi, std_error = np.array(seen).T
    ratio = np.sqrt(np.mean(np.square(std_error))) / np.std(mi)
    noise = 4 / np.sqrt(2 * draws)
    assert (1 - noise) * 0.85 < ratio < (1 + noise) * most
