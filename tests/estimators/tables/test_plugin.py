"""MI of joint tables, and of samples in them, against NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from optax_mi.estimators.tables._plugin import (
    delta_estimate,
    gathered_estimate,
    plugin_estimate,
)
from tests.estimators.tables.helpers import (
    CORRECTIONS,
    joint_counts,
    noisy_labels,
    slow_entropy,
    slow_mi,
)

pytestmark = pytest.mark.usefixtures("strict")

SAMPLES, CLASSES = 200, 6
NOTHING = np.float32(0)
of_table = jax.jit(plugin_estimate, static_argnames=("bias_correction", "clip"))
of_samples = jax.jit(gathered_estimate, static_argnames="clip")


def pointwise(outputs, labels, table):
    """What each sample tells, in nats."""
    p = table / table.sum()
    shares = p[labels, outputs], p.sum(1)[labels], p.sum(0)[outputs]
    both, label, output = (np.log(share) for share in shares)
    return both - label - output


def test_mi_and_its_error_are_the_mean_and_spread_of_what_samples_tell():
    outputs, labels = noisy_labels(CLASSES, SAMPLES)
    table = joint_counts(outputs, labels, CLASSES)
    got = of_table(np.float32(table), np.float32(SAMPLES), np.float32(7))
    told = pointwise(outputs, labels, table)
    np.testing.assert_allclose(got.mi, told.mean(), rtol=1e-6)
    np.testing.assert_allclose(got.std_error, told.std() / SAMPLES**0.5, rtol=1e-5)
    np.testing.assert_allclose(got.entropy, stats.entropy(table.sum(1)), rtol=1e-6)
    assert (got.num_samples, got.dropped) == (SAMPLES, 7)
    # Probabilities do as well, and the number of samples is another matter.
    shares = of_table(np.float32(table / SAMPLES), np.float32(50), np.float32(0))
    np.testing.assert_allclose(shares.mi, got.mi, rtol=1e-6)
    np.testing.assert_allclose(shares.std_error, 2 * got.std_error, rtol=1e-5)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_correction_takes_off_what_it_does_and_leaves_the_rest_to_chance(correction):
    outputs, labels = noisy_labels(CLASSES, SAMPLES, correct=0.1)
    table = np.float32(joint_counts(outputs, labels, CLASSES))
    options = {"count": np.float32(SAMPLES), "dropped": NOTHING, "clip": False}
    plain = of_table(table, **options)
    got = of_table(table, bias_correction=correction, **options)
    np.testing.assert_allclose(got.mi, slow_mi(table, correction), atol=2e-6)
    wanted = slow_entropy(table.sum(1), correction)
    np.testing.assert_allclose(got.entropy, wanted, rtol=2e-6)
    left = max(plain.chance - (plain.mi - got.mi), 0)
    np.testing.assert_allclose(got.chance, left, atol=1e-6)


def test_an_empty_table_tells_nothing():
    got = of_table(np.zeros((CLASSES, CLASSES), np.float32), NOTHING, np.float32(3))
    assert (got.mi, got.entropy, got.num_samples, got.dropped) == (0, 0, 0, 3)
    assert got.chance == 0
    assert np.isnan(got.std_error)


@pytest.mark.parametrize("confidence", [0.0, 0.3, 3.0, 100.0])
def test_probabilities_vary_less_than_single_outputs(confidence):
    """Between labels as they are; within, by what is left of single outputs' spread."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, SAMPLES)
    logits = confidence * (
        rng.normal(size=(SAMPLES, CLASSES)) + np.eye(CLASSES)[labels]
    )
    q = np.exp(logits - logits.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    table = np.stack([q[labels == y].sum(0) for y in range(CLASSES)])
    p = table / SAMPLES
    entropies = -np.sum(q * np.log(np.where(q > 0, q, 1)), 0)
    spread = np.stack([np.sum(q * (1 - q), 0), entropies])
    got = of_table(
        np.float32(table), np.float32(SAMPLES), NOTHING, None, True, np.float32(spread)
    )
    told = np.log(p / p.sum(1, keepdims=True) / p.sum(0))
    of_label = np.sum(p * told, 1) / p.sum(1)
    between = p.sum(1) @ (of_label - np.sum(p * told)) ** 2
    within = np.sum(p * (told - of_label[:, None]) ** 2)
    # Of single outputs of these means; and of the probabilities themselves.
    single = p.sum(0) - np.sum(p**2 / p.sum(1, keepdims=True), 0)
    less = np.mean(q * (1 - q), 0)
    share = 1 - np.sum(less / p.sum(0)) / np.sum(single / p.sum(0))
    truth = np.sqrt((between + share * within) / SAMPLES)
    np.testing.assert_allclose(got.std_error, truth, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(got.mi, np.sum(p * told), rtol=1e-5, atol=1e-6)


def gathered(outputs, labels, **options):
    table = joint_counts(outputs, labels, CLASSES) / SAMPLES
    margins = table.sum(1), table.sum(0)
    shares = np.full(SAMPLES, 1 / SAMPLES), table[labels, outputs]
    p, share, margins = jax.tree.map(np.float32, (*shares, margins))
    numbers = np.float32(SAMPLES), np.float32(2)
    return of_samples(p, (labels, outputs), share, margins, *numbers, **options)


def test_samples_tell_what_their_table_does():
    outputs, labels = noisy_labels(CLASSES, SAMPLES)
    table = np.float32(joint_counts(outputs, labels, CLASSES))
    wanted = of_table(table, np.float32(SAMPLES), np.float32(2))
    got = gathered(outputs, labels)
    # Shares that are nearly the same are put together for the chance.
    chex.assert_trees_all_close(got._replace(chance=wanted.chance), wanted, rtol=1e-5)
    np.testing.assert_allclose(got.chance, wanted.chance, rtol=2e-3)
    corrected = gathered(outputs, labels, entropies=np.float32([2, 2, 3.5]), clip=False)
    np.testing.assert_allclose([corrected.mi, corrected.entropy], [0.5, 2], rtol=1e-6)
    left = max(wanted.chance - (wanted.mi - 0.5), 0)
    np.testing.assert_allclose(corrected.chance, left, rtol=2e-3, atol=1e-6)


def test_samples_of_weight_0_may_have_any_label():
    outputs, labels = noisy_labels(CLASSES, SAMPLES)
    table = joint_counts(outputs, labels, CLASSES) / SAMPLES
    share = np.append(table[labels, outputs], [0.0, 0.3])
    p = np.append(np.full(SAMPLES, 1 / SAMPLES), [0.0, 0.0])
    cells = np.append(labels, [CLASSES, CLASSES]), np.append(outputs, [0, 0])
    margins = np.float32(table.sum(1)), np.float32(table.sum(0))
    numbers = np.float32(SAMPLES), np.float32(2)
    got = of_samples(np.float32(p), cells, np.float32(share), margins, *numbers)
    chex.assert_trees_all_close(got, gathered(outputs, labels), rtol=1e-6)


@pytest.mark.parametrize(
    ("mi", "clip", "wanted"),
    [(-0.5, True, 0.0), (1.5, True, 1.0), (-0.5, False, -0.5), (0.5, True, 0.5)],
)
def test_an_estimate_is_clipped_to_the_entropy_if_asked_for(mi, clip, wanted):
    numbers = (jnp.float32(x) for x in (mi, 1.0, 4.0, 16.0, 2.0))
    got = delta_estimate(*numbers, clip)
    assert (got.mi, got.std_error, got.chance) == (wanted, 0.5, 0)
