"""One-shot plug-in MI of arrays and tables, against scikit-learn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score

from optax_mi.estimators import contingency, plugin_entropy, plugin_mi, table_mi
from optax_mi.estimators.arithmetic._blocks import BLOCK
from optax_mi.estimators.tables import _plugin_mi
from tests import reference
from tests.estimators.tables.helpers import (
    CORRECTIONS,
    joint_counts,
    noisy_labels,
    slow_entropy,
    slow_mi,
)
from tests.helpers import measure

slow = pytest.mark.slow
LONG = 2 * BLOCK + 17


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("num_classes", "samples", "dtype"),
    [
        # Few samples of many cells are read where they lie; many, from the table.
        (300, 1000, "float64"),
        (300, 1000, "float32"),
        (10, LONG, "float64"),
        (10, LONG, "float32"),
        (10, 1000, "float32"),
        *(
            pytest.param(num_classes, samples, dtype, marks=slow)
            for num_classes in (2, 10, 300)
            for samples in (1, LONG)
            for dtype in ("float32", "float64")
            if (num_classes, samples) != (10, LONG)
        ),
    ],
)
def test_equals_scikit_learn(num_classes, samples, dtype):
    outputs, labels = noisy_labels(num_classes, samples)
    truth = mutual_info_score(labels, outputs)
    with jax.enable_x64(dtype == "float64"):
        estimate = plugin_mi(outputs, labels, num_classes=num_classes)
    assert estimate.mi.dtype == dtype
    # Rounding of some hundred thousand cells of at most 1e-5 each.
    close = {"rel": 1e-12, "abs": 1e-12} if dtype == "float64" else {"rel": 2e-6}
    assert float(estimate.mi) == pytest.approx(truth, **{"abs": 1e-6, **close})
    assert float(estimate.num_samples) == samples


# What each does is in test_entropies; here it is that each form does what it is told.
@pytest.mark.parametrize(
    "correction",
    [
        pytest.param(None, marks=slow),
        "grassberger",
        pytest.param("miller_madow", marks=slow),
        pytest.param("chao_shen", marks=slow),
    ],
)
def test_corrections_equal_their_formulas(correction):
    outputs, labels = noisy_labels(12, 60)
    table = joint_counts(outputs, labels, 12)
    truth = slow_mi(table, correction)
    entropy = slow_entropy(table.sum(1), correction)
    options = {"bias_correction": correction, "clip": False}
    with jax.enable_x64(True):
        got = plugin_mi(outputs, labels, soft=False, **options)
        from_table = table_mi(table, **options)
        alone = plugin_entropy(labels, bias_correction=correction)
    for estimate in (got, from_table):
        assert float(estimate.mi) == pytest.approx(truth, rel=1e-9, abs=1e-12)
        assert float(estimate.entropy) == pytest.approx(entropy, rel=1e-9)
    assert float(alone) == pytest.approx(entropy, rel=1e-9, abs=1e-12)
    estimator = contingency(num_classes=12, soft=False, bias_correction=correction)
    streamed = measure(estimator, outputs, labels, batches=2)
    clipped = min(max(truth, 0.0), entropy)
    assert streamed.mi == pytest.approx(clipped, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    "correction",
    ["chao_shen", *(pytest.param(c, marks=slow) for c in CORRECTIONS[:2])],
)
def test_a_correction_lowers_the_bias(correction):
    """Independent labels: the truth is 0, and the plug-in reads (C - 1)**2 / 2N."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 10, (400, 2, 300))
    corrected = [
        plugin_mi(*pair, num_classes=10, bias_correction=correction, clip=False).mi
        for pair in pairs
    ]
    plain = np.mean([mutual_info_score(*pair) for pair in pairs])
    assert plain == pytest.approx(81 / 600, rel=0.2)
    # Chao and Shen's is made for cells never seen, and over-corrects where all are.
    share = 0.5 if correction == "chao_shen" else 0.25
    assert abs(np.mean(corrected)) < share * plain


def test_std_error_is_the_spread():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, (400, 500))
    outputs = np.where(rng.random((400, 500)) < 0.7, labels, 0)
    pairs = zip(outputs, labels, strict=True)
    estimates = [plugin_mi(*pair, num_classes=4) for pair in pairs]
    mi, std_error = np.array([(one.mi, one.std_error) for one in estimates]).T
    # The spread of 400 values is known to 1 / sqrt(800), 3.5 %; that is 4 of them.
    assert std_error.mean() == pytest.approx(mi.std(), rel=0.14)


def test_probabilities_and_weights_equal_the_slow_reference():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(5), 3000)
    logits = np.float32(np.log(p))
    labels = rng.integers(-1, 6, 3000)
    weights = np.float32(rng.integers(0, 4, 3000) / 2)
    table = reference.joint_table(p, labels, 5, weights)
    got = plugin_mi(logits, labels, weights=weights)
    truth = reference.mutual_information(table)
    # Near 0, what is left of sums of probabilities, each rounded by 6e-8 of it.
    assert float(got.mi) == pytest.approx(truth, abs=4 * 2.0**-23)
    hard = reference.joint_table(np.eye(5)[p.argmax(1)], labels, 5, weights)
    got = plugin_mi(logits, labels, weights=weights, soft=False)
    truth = reference.mutual_information(hard)
    assert float(got.mi) == pytest.approx(truth, rel=1e-4)
    ids = plugin_mi(p.argmax(1), labels, num_classes=5, weights=weights)
    assert float(ids.mi) == pytest.approx(truth, rel=1e-4)


@pytest.mark.usefixtures("strict")
def test_what_cannot_be_used_is_dropped_and_counted():
    outputs = np.array([0, 1, 2, 3, -1, 0, 1, 7])
    labels = np.array([0, 1, 2, -1, 2, 0, 4, 1])
    mask = np.array([True] * 5 + [False] + [True] * 2)
    got = plugin_mi(outputs, labels, num_classes=4, weights=mask)
    assert float(got.dropped) == 5
    assert float(got.num_samples) == 3
    assert float(got.mi) == pytest.approx(math.log(3), rel=1e-6)
    nothing = plugin_mi(outputs, labels, num_classes=4, weights=np.zeros(8, bool))
    assert nothing.mi == nothing.entropy == nothing.num_samples == 0
    assert np.isnan(nothing.std_error)


def test_one_class_is_nothing_to_know_and_unique_labels_are_all_known():
    labels = np.zeros(50, int)
    assert float(plugin_mi(labels, labels, num_classes=50).mi) == 0
    unique = np.arange(50)
    got = plugin_mi(unique, unique)
    assert float(got.mi) == pytest.approx(math.log(50), rel=1e-6)
    assert float(got.mi) == pytest.approx(float(got.entropy), rel=1e-6)
    # As much as any other labels, each seen once, would have told.
    assert np.isnan(got.normalized)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), correct=st.floats(0, 1))
def test_properties(seed, correct):
    outputs, labels = noisy_labels(6, 200, seed, correct)
    shuffle = np.random.default_rng(seed).permutation

    def mi(x, y, **options):
        return float(plugin_mi(x, y, num_classes=6, **options).mi)

    value = mi(outputs, labels)
    close = pytest.approx(value, abs=2e-6)
    assert mi(labels, outputs) == close
    assert mi(shuffle(6)[outputs], shuffle(6)[labels]) == close
    order = shuffle(200)
    assert mi(outputs[order], labels[order]) == close
    limit = min(float(plugin_entropy(v, num_classes=6)) for v in (outputs, labels))
    assert 0 <= value <= limit + 2e-6
    # Data processing: the function of an id knows no more than the id.
    assert mi(outputs // 2, labels) <= value + 2e-6
    assert mi(outputs, labels, buckets=3) <= value + 2e-6


@pytest.mark.parametrize("soft", [True, False])
def test_buckets_are_classes_modulo_their_number(soft):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 11, 480)
    logits = (3 * np.eye(11)[labels] + rng.normal(size=(480, 11))).astype(np.float32)
    p = (
        reference.softmax(logits.astype(float))
        if soft
        else np.eye(11)[logits.argmax(1)]
    )
    table = np.zeros((4, 4))
    for row, label in zip(p, labels, strict=True):
        for i, share in enumerate(row):
            table[label % 4, i % 4] += share
    truth = reference.mutual_information(table)
    got = plugin_mi(logits, labels, soft=soft, buckets=4)
    assert float(got.mi) == pytest.approx(truth, rel=1e-5)
    estimator = contingency(num_classes=11, soft=soft, buckets=4)
    # A batch of sentences of five tokens.
    tokens = (logits.reshape(96, 5, 11), labels.reshape(96, 5))
    streamed = measure(estimator, *tokens, batches=4)
    assert streamed.mi == pytest.approx(truth, rel=1e-5)
    assert streamed.entropy == pytest.approx(stats.entropy(table.sum(1)), rel=1e-5)


def test_fifty_thousand_classes_in_buckets():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 50_000, 20_000)
    outputs = np.where(rng.random(20_000) < 0.5, labels, 0)
    got = plugin_mi(outputs, labels, num_classes=50_000, buckets=64)
    truth = mutual_info_score(labels % 64, outputs % 64)
    assert float(got.mi) == pytest.approx(truth, abs=1e-5)


def test_normalised_form_of_scikit_learn():
    outputs, labels = noisy_labels(6, 200)
    mean = (plugin_entropy(outputs) + plugin_entropy(labels)) / 2
    truth = normalized_mutual_info_score(labels, outputs)
    assert float(plugin_mi(outputs, labels).mi / mean) == pytest.approx(truth, rel=1e-5)


def test_a_binary_symmetric_channel():
    """Closed form: ln 2 - h(0.1), in a table of probabilities."""
    joint = np.array([[0.45, 0.05], [0.05, 0.45]])
    truth = math.log(2) - stats.entropy([0.1, 0.9])
    assert float(table_mi(joint).mi) == pytest.approx(truth, rel=1e-6)
    # Counts, in a table that is not square.
    rectangular = table_mi([[1, 0, 1], [0, 2, 0]])
    assert float(rectangular.mi) == pytest.approx(math.log(2), rel=1e-6)
    assert float(table_mi([[1, -1], [np.nan, 1]]).dropped) == 2


def test_transforms_and_compiles_once():
    outputs, labels = noisy_labels(6, 200)
    rows = np.stack([outputs, labels])
    each = jax.vmap(lambda x: plugin_mi(x, labels, num_classes=6).mi)(rows)
    alone = [plugin_mi(x, labels, num_classes=6).mi for x in rows]
    np.testing.assert_allclose(each, alone, rtol=1e-6)
    on_device = jnp.asarray(outputs), jnp.asarray(labels)
    plugin_mi(*on_device, num_classes=6)
    with jax.log_compiles(False), jax.no_tracing():
        plugin_mi(*on_device, num_classes=6)
        plugin_mi(outputs, labels, num_classes=6)
    gradient = jax.jit(jax.grad(lambda x: plugin_mi(x, labels, num_classes=6).mi))
    assert not np.any(gradient(np.eye(6)[outputs]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plugin_mi(jnp.zeros(0, int), jnp.zeros(0, int)), "no samples"),
        (lambda: plugin_mi([], []), r"outputs has shape \(0,\): there are no samples"),
        (lambda: plugin_mi(jnp.zeros((0, 3)), [0, 1]), r"outputs has shape \(0, 3\): "),
        (lambda: plugin_entropy([]), r"labels has shape \(0,\): there are no samples"),
        (lambda: plugin_mi([0, 1], [0.0, 1.0]), "labels must be integers"),
        (lambda: plugin_mi([0, 1], [0, 1, 2]), "must have the shape of labels"),
        (lambda: plugin_mi(2 * jnp.eye(3), [0, 1]), "a last axis of num_classes"),
        (lambda: plugin_mi([0, 1], [-1, -1]), "labels must have an element"),
        (lambda: plugin_mi([0], [0], weights=[1, 1]), r"weights must have the shape"),
        (lambda: plugin_mi([0], [0], num_classes=0), "num_classes must be at least 1"),
        (lambda: plugin_mi(jnp.ones((2, 1)), [0, 0]), "not logits of two classes"),
        (lambda: plugin_mi([0], [0], num_classes=50_000), "buckets=1024"),
        (lambda: plugin_mi([0], [0], num_classes=4, buckets=5), "buckets must be at"),
        (
            lambda: plugin_mi([0], [0], bias_correction="nsb"),
            "must be None, 'miller_madow', 'grassberger' or",
        ),
        (
            lambda: plugin_mi(2 * jnp.eye(2), [0, 1], bias_correction="grassberger"),
            "pass soft=False",
        ),
        (lambda: jax.jit(plugin_mi)([0, 1], [0, 1]), "num_classes is needed inside"),
        (lambda: table_mi([1, 2]), "joint must be a table"),
        (lambda: table_mi([[1j]]), "joint must be real"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_table_is_compiled_as_one_program():
    _plugin_mi._table_mi.clear_cache()
    for joint in ([[3, 1], [0, 4]], np.ones((2, 2), np.int32)):
        table_mi(joint)
    assert _plugin_mi._table_mi._cache_size() == 1
