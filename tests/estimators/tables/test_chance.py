"""What tables read by chance, and the MI adjusted for it, against outside truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

from optax_mi.estimators import (
    MIEstimate,
    binned_mi,
    contingency,
    plugin_mi,
    table_mi,
)
from optax_mi.estimators._base import no_estimate
from tests import reference
from tests.helpers import accumulate, measure, read


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


def skewed(num_classes):
    share = 1 / np.arange(1, num_classes + 1)
    return share / share.sum()


@pytest.mark.parametrize("skew", [False, True])
@pytest.mark.parametrize(
    ("num_classes", "samples"),
    [(2, 12), (2, 400), (10, 30), (10, 100), (10, 3000), (100, 3000), (100, 100_000)],
)
def test_of_hard_counts_is_scikit_learns(num_classes, samples, skew):
    rng = np.random.default_rng(0)
    share = skewed(num_classes) if skew else None
    labels, outputs = rng.choice(num_classes, (2, samples), p=share)
    table = reference.joint_table(np.eye(num_classes)[outputs], labels, num_classes)
    truth = exact_chance(table)
    for estimate in (
        table_mi(table),
        plugin_mi(outputs, labels, num_classes=num_classes),
        measure(contingency(num_classes=num_classes, soft=False), outputs, labels),
        measure(contingency(num_classes=num_classes), outputs, labels, batches=2),
        binned_mi(outputs.astype(float), labels, num_bins=num_classes),
        # Two columns are symbols that are sorted.
        binned_mi(np.stack([outputs, outputs], 1) * 1.0, labels, num_bins=num_classes),
    ):
        # Of few samples the formula is some 5 % too low, see docs/method.md.
        assert float(estimate.chance) == pytest.approx(truth, rel=0.08)
        assert float(estimate.chance) == pytest.approx(
            float(table_mi(table).chance), rel=2e-3
        )


def test_adjusted_is_scikit_learns_adjusted_mutual_information():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 300)
    outputs = np.where(rng.random(300) < 0.5, labels, rng.integers(0, 10, 300))
    table = reference.joint_table(np.eye(10)[outputs], labels, 10)
    estimate = table_mi(table)
    # Its normalizer "min" is the smaller entropy; ours is that of the labels.
    truth = (estimate.mi - exact_chance(table)) / (
        estimate.entropy - exact_chance(table)
    )
    assert float(estimate.adjusted) == pytest.approx(float(truth), abs=0.002)
    theirs = adjusted_mutual_info_score(labels, outputs)
    assert float(estimate.adjusted) == pytest.approx(theirs, abs=0.01)


@pytest.mark.parametrize("kind", ["timid", "confident", "hard", "ids"])
@pytest.mark.parametrize(
    ("num_classes", "samples", "draws"),
    [(2, 40, 2000), (10, 128, 500), (100, 3000, 12)],
)
def test_is_the_mean_of_what_independent_outputs_read(
    kind, num_classes, samples, draws
):
    estimator = contingency(num_classes=num_classes, soft=kind != "hard")
    scale = {"timid": 0.1, "confident": 3.0, "hard": 1.0, "ids": 1.0}[kind]

    def one(key):
        keys = jax.random.split(key)
        labels = jax.random.randint(keys[0], (samples,), 0, num_classes)
        logits = scale * jax.random.normal(keys[1], (samples, num_classes))
        outputs = logits.argmax(-1) if kind == "ids" else logits
        state = estimator.update(estimator.init(), outputs=outputs, labels=labels)
        seen = estimator.estimate(state)
        return seen.mi, seen.chance, seen.adjusted

    keys = jax.random.split(jax.random.key(0), draws)
    mi, chance, adjusted = jax.jit(lambda k: jax.lax.map(one, k, batch_size=4))(keys)
    sigma = np.std(mi - chance) / np.sqrt(draws)
    # The formula may be 7 % off where samples are few, besides the noise of the mean.
    error = np.mean(mi) - np.mean(chance)
    assert abs(error) < 4 * sigma + 0.07 * np.mean(mi)
    assert sigma < 0.06 * np.mean(mi)
    tolerance = 4 * np.std(adjusted) / np.sqrt(draws)
    assert abs(np.mean(adjusted)) < tolerance + 0.1 * np.mean(chance)


@pytest.mark.parametrize(("samples", "knows"), [(1000, 2.0), (1000, 9.0), (300, 4.0)])
def test_few_samples_tell_what_many_do(samples, knows):
    """Where chance is a tenth of the entropy, U is near that of a million samples."""
    logits, labels = draw(10, 200_000, 1.5, knows)
    many = plugin_mi(logits, labels)
    parts = [
        plugin_mi(x, y)
        for x, y in zip(
            np.split(logits[: 60 * samples], 60),
            np.split(labels[: 60 * samples], 60),
            strict=True,
        )
    ][:40]
    values = np.array([part.adjusted for part in parts])
    sigma = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - many.adjusted) < 4 * sigma + 0.01
    plain = np.mean([part.mi / part.entropy for part in parts])
    assert plain >= values.mean()


@pytest.mark.parametrize("confidence", [1e-3, 0.1, 1.0, 5.0, 50.0])
@pytest.mark.parametrize("buckets", [None, 4])
def test_the_sums_are_those_of_numpy(confidence, buckets):
    logits, labels = draw(7, 500, confidence)
    logits[:40, 3] = -np.inf
    labels[:9] = -1
    weights = np.random.default_rng(2).random(500).astype(np.float32)
    weights[20:30] = 0.0
    estimator = contingency(num_classes=7, buckets=buckets)
    q = reference.softmax(logits.astype(float))
    if buckets:
        q = np.stack([q[:, b::buckets].sum(1) for b in range(buckets)], 1)
    w = np.where(labels >= 0, weights, 0.0).astype(float)[:, None]
    log_q = np.log(q, out=np.zeros_like(q), where=q > 0)
    truth = [(w * q * (1 - q)).sum(0), -(w * q * log_q).sum(0)]
    state = accumulate(estimator, logits, labels, weights, batches=4)
    spread = sum(np.asarray(part.spread, float) for part in state[:3])
    np.testing.assert_allclose(spread, truth, rtol=3e-6, atol=1e-6)
    # To first order (K - 1) / 2N times the sum of Var(q) / mean(q).
    w = w / w.sum()
    mean = (w * q).sum(0)
    ratio = ((w * (q - mean) ** 2).sum(0) / mean).sum()
    seen = read(estimator, state)
    first = (len(mean) - 1) / (2 * seen.num_samples) * ratio
    # What float32 leaves of nearly constant q is far below what MI is known to.
    assert float(seen.chance) == pytest.approx(first, rel=0.12, abs=1e-8)


def test_long_epochs_keep_the_chance():
    logits, labels = draw(5, 400, 2.0)
    estimator = contingency(num_classes=5)
    state = accumulate(estimator, logits, labels)
    once = read(estimator, state)
    for _ in range(23):
        state = jax.jit(estimator.merge)(state, state)
    many = read(estimator, state)
    assert many.num_samples == 400 * 2.0**23 > 2**31
    # N times the chance does not depend on N, once there are many.
    truth = once.chance * 2.0**-23
    assert float(many.chance) == pytest.approx(float(truth), rel=0.02)
    assert abs(many.adjusted - once.mi / once.entropy) < 1e-6


def test_weights_dropped_rows_and_merge():
    logits, labels = draw(6, 600, 2.0)
    estimator = contingency(num_classes=6)
    weights = np.where(np.arange(600) < 300, 1.0, 0.0).astype(np.float32)
    logits[400], labels[500] = np.nan, -1
    half = measure(estimator, logits[:300], labels[:300])
    for scale in (1.0, 1e-3, 1e6):
        seen = measure(estimator, logits, labels, scale * weights)
        assert float(seen.chance) == pytest.approx(float(half.chance), rel=1e-4)
    # Weights that vary leave fewer samples: chance is larger by as much.
    weights = np.random.default_rng(0).exponential(size=300).astype(np.float32)
    uneven = measure(estimator, logits[:300], labels[:300], weights)
    factor = 300 / float(uneven.num_samples)
    assert factor > 1.5
    assert float(uneven.chance) == pytest.approx(factor * float(half.chance), rel=0.15)
    parts = [
        accumulate(estimator, logits[s], labels[s]) for s in (slice(9), slice(9, 300))
    ]
    merged = read(estimator, jax.jit(estimator.merge)(*parts))
    assert float(merged.chance) == pytest.approx(float(half.chance), rel=1e-5)


def test_hard_tables_carry_no_more_than_the_table():
    assert len(jax.tree.leaves(contingency(num_classes=3, soft=False).init().high)) == 2
    assert contingency(num_classes=3).init().high.spread.shape == (2, 3)
    assert contingency(num_classes=5, buckets=2).init().high.spread.shape == (2, 2)


@pytest.mark.parametrize("correction", ["miller_madow", "grassberger", "chao_shen"])
@pytest.mark.parametrize(("num_classes", "samples"), [(5, 200), (20, 600)])
def test_what_a_correction_leaves(correction, num_classes, samples):
    """Miller's leaves next to nothing of dense tables, Chao and Shen's nearly all."""
    tables = np.zeros((60, num_classes, num_classes))
    rng = np.random.default_rng(3)
    for table in tables:
        np.add.at(table, tuple(rng.integers(0, num_classes, (2, samples))), 1)

    def both(table):
        seen = table_mi(table, bias_correction=correction, clip=False)
        return seen.mi, seen.chance, table_mi(table).chance

    mi, chance, plain = jax.vmap(both)(tables)
    sigma = np.std(mi) / np.sqrt(len(tables))
    left = max(np.mean(mi), 0.0)
    assert abs(np.mean(chance) - left) < 4 * sigma + 0.05 * np.mean(plain)
    if num_classes == 5:
        most = np.mean(plain) / 2
        assert (np.mean(chance) > most) == (correction == "chao_shen")


def test_too_few_samples_to_tell():
    ids = np.arange(2)
    pair = plugin_mi(ids, ids)
    assert np.isnan(pair.adjusted)
    assert np.isnan(pair.normalized)
    logits, labels = draw(100, 128, 4.0)
    assert np.isnan(plugin_mi(logits.argmax(1), labels, num_classes=100).adjusted)
    four = plugin_mi(np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]))
    assert float(four.normalized) == pytest.approx(1.0, abs=1e-6)


def make(*fields):
    return MIEstimate(*(jnp.float32(x) for x in fields))


@pytest.mark.parametrize(
    ("fields", "adjusted", "normalized"),
    [
        ((0.6, 1.0, 9, 0.1, 0, 0.2), 0.5, 0.5),
        ((0.1, 1.0, 9, 0.1, 0, 0.2), -0.125, 0.0),
        ((0.5, 1.0, 9, 0.1, 0), 0.5, 0.5),
        ((0.8, 1.0, 9, 0.1, 0, 0.8), np.nan, np.nan),
        ((0.0, 0.0, 9, 0.1, 0, 0.0), 0.0, 0.0),
        ((0.5, np.inf, 9, 0.1, 0, 0.0), 1 - np.exp(-1), 1 - np.exp(-1)),
        ((-0.1, np.inf, 9, 0.1, 0, 0.0), 1 - np.exp(0.2), 0.0),
    ],
)
def test_the_share_of_what_chance_leaves(fields, adjusted, normalized):
    seen = make(*fields)
    np.testing.assert_allclose(seen.adjusted, adjusted, rtol=1e-5)
    np.testing.assert_allclose(seen.normalized, normalized, rtol=1e-5)


def test_the_default_is_an_array_of_a_strong_type():
    state = make(0.5, 1.0, 9, 0.1, 0)
    types = {jax.typeof(x) for x in jax.tree.leaves(state)}
    assert len(types) == 1
    assert jax.typeof(no_estimate().chance) in types


@pytest.mark.parametrize(
    ("confidence", "knows", "most"),
    [
        (0.1, 0.0, 1.6),
        (3.0, 0.0, 1.6),
        (0.1, 0.1, 1.25),
        (1.0, 2.0, 1.25),
        (4.0, 8.0, 1.25),
    ],
)
def test_std_error_of_soft_counts_is_their_spread(confidence, knows, most):
    """At independence the delta method's is sqrt(2) times as large."""
    estimator, draws = contingency(num_classes=5), 600

    def one(key):
        keys = jax.random.split(key)
        labels = jax.random.randint(keys[0], (300,), 0, 5)
        logits = confidence * jax.random.normal(keys[1], (300, 5))
        logits += knows * jax.nn.one_hot(labels, 5)
        state = estimator.update(estimator.init(), outputs=logits, labels=labels)
        return estimator.estimate(state)

    seen = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), draws))
    ratio = np.sqrt(np.mean(np.square(seen.std_error))) / np.std(seen.mi)
    noise = 4 / np.sqrt(2 * draws)
    assert (1 - noise) * 0.85 < ratio < (1 + noise) * most
