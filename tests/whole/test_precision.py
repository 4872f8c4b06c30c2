"""Every precision, with and without x64, and epochs longer than float32 can count."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi import mi_decay, mi_diagnostics
from optax_mi.estimators import contingency, measured, variational
from tests import reference
from tests.helpers import measure

SAMPLES, CLASSES = 24, 4
LABELS = np.arange(SAMPLES) % CLASSES
EYE = np.eye(CLASSES)
LOGITS = {
    "plain": np.random.default_rng(0).normal(size=(SAMPLES, CLASSES)) + EYE[LABELS],
    "+-1e4, right": 1e4 * (2 * EYE[LABELS] - 1),
    "+-1e4, often wrong": 1e4 * (2 * EYE[LABELS // 2] - 1),
    "one class": np.tile(1e4 * EYE[2], (SAMPLES, 1)),
    "all equal to 1e4": np.full((SAMPLES, CLASSES), 1e4),
    "all equal to -1e4": np.full((SAMPLES, CLASSES), -1e4),
    "apart by the last bit": 1.0 + EYE[LABELS] * 2.0**-7,
}
PRECISIONS = [
    (dtype, x64)
    for x64 in (False, True)
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
    if x64 or dtype != jnp.float64
]


def bound(logits, labels):
    """What `variational` estimates, in float64."""
    shares = np.bincount(labels) / len(labels)
    top = logits.max(-1, keepdims=True)
    log_q = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    h = reference.entropy(shares)
    return min(max(h + np.mean(log_q[np.arange(len(labels)), labels]), 0.0), h)


ESTIMATORS = (
    contingency(num_classes=CLASSES),
    contingency(num_classes=CLASSES, soft=False),
    variational(num_classes=CLASSES),
)


@jax.jit
def update_each(logits, labels):
    """The accumulators of each estimator, of each logits [sets, samples, classes]."""
    return jax.lax.map(
        lambda x: [e.update(e.init(), outputs=x, labels=labels) for e in ESTIMATORS],
        logits,
    )


@jax.jit
@jax.vmap
def estimate_each(states):
    return [e.estimate(s) for e, s in zip(ESTIMATORS, states, strict=True)]


@pytest.mark.parametrize(("dtype", "x64"), PRECISIONS)
def test_logits_of_any_precision(dtype, x64):
    """The estimate is that of the logits as they are, in all their digits."""
    with jax.enable_x64(x64):
        logits = jnp.asarray(np.stack(list(LOGITS.values())), dtype)
        labels = jnp.asarray(LABELS)
        assert logits.dtype == dtype
        assert (labels.dtype == jnp.int64) == x64
        states = update_each(logits, labels)
        estimates = estimate_each(states)
        dtypes = {leaf.dtype for leaf in jax.tree.leaves((states, estimates))}
        assert dtypes == {jnp.dtype("float32"), jnp.dtype("int32")}
        estimates = jax.device_get(estimates)
        exact = np.asarray(logits).astype(float)
    for i, rows in enumerate(exact):
        soft = reference.softmax(rows)
        tables = [
            reference.joint_table(p, LABELS, CLASSES)
            for p in (soft, EYE[np.argmax(rows, -1)])
        ]
        truth = [*map(reference.mutual_information, tables), bound(rows, LABELS)]
        for estimate, mi in zip(estimates, truth, strict=True):
            np.testing.assert_allclose(estimate.mi[i], mi, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(estimate.entropy[i], math.log(4), rtol=1e-6)
            assert estimate.num_samples[i] == SAMPLES
            assert estimate.dropped[i] == 0


@pytest.mark.parametrize("x64", [False, True])
def test_updates_of_every_precision_at_once(x64):
    """Each is its gradient times the learning rate, rounded to its own dtype."""
    dtypes = [dtype for dtype, with_x64 in PRECISIONS if with_x64 == x64]
    numbers = np.random.default_rng(0).normal(size=50)
    with jax.enable_x64(x64):
        # Bounds and measurements are of any precision too.
        tx = mi_decay(
            np.float64(0.3), 0.003, estimator=measured(1.0), steps_per_epoch=2
        )
        grads = {str(i): jnp.asarray(numbers, dtype) for i, dtype in enumerate(dtypes)}
        state, update = tx.init(grads), jax.jit(tx.update)
        mi = jnp.asarray(1.0, dtypes[-1])
        for _ in range(4):
            updates, state = update(grads, state, grads, mi=mi)
        assert update._cache_size() == 1
        leaves = {leaf.dtype for leaf in jax.tree.leaves(state)}
        assert leaves == {jnp.dtype("float32"), jnp.dtype("int32")}
        rate = np.asarray(state.current_lr)
        assert 0.003 <= rate < 0.3
        for grad, got in zip(grads.values(), updates.values(), strict=True):
            assert got.dtype == grad.dtype
            wide = np.result_type(grad.dtype, np.float32)
            product = np.asarray(grad).astype(wide) * rate.astype(wide)
            np.testing.assert_array_equal(got, product.astype(grad.dtype))


@pytest.mark.parametrize("make", [contingency, variational])
def test_labels_and_logits_beyond_32_bits_are_dropped(make):
    with jax.enable_x64(True):
        labels = np.array([0, 1, 2**32, 2**32 + 1, -(2**32), 2**63 - 1, 2, 3])
        logits = 2.0 * EYE[np.arange(8) % CLASSES]
        logits[6, 0] = 1e300
        estimator = make(num_classes=CLASSES)
        estimate = measure(estimator, logits, labels)
        assert (estimate.num_samples, estimate.dropped) == (3, 5)


def exact(total, leaf):
    """A leaf of a long sum, without a rounding."""
    parts = [np.asarray(leaf(part), float) for part in total[:3]]
    return sum(np.vectorize(Fraction)(part) for part in parts)


def test_soft_counts_are_exact_rational_numbers_over_two_to_the_31_samples():
    # Of 4 classes 1, 2 or 4 are not masked: probabilities of 1, 1/2 and 1/4.
    alive = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]], bool)
    rng = np.random.default_rng(0)
    # Odd numbers of batches and of samples, so that totals have many bits.
    rows, labels = rng.integers(0, 4, (7, 13)), rng.integers(-1, 4, (7, 13))
    weights = rng.choice([0.0, 0.25, 1.0, 3.0], (7, 13))
    logits = np.where(alive[rows], 1e4, -np.inf).astype(np.float32)
    estimator, doublings = contingency(num_classes=4), 15

    def feed(state, times):
        def one(i, state):
            i = i % 7
            return estimator.update(
                state,
                outputs=jnp.asarray(logits)[i],
                labels=jnp.asarray(labels)[i],
                weights=jnp.asarray(weights, jnp.float32)[i],
            )

        return jax.lax.fori_loop(0, times, one, state)

    @jax.jit
    def run():
        # Past a fold or two; then what many such would have; then on from there; and
        # twice that, of which some is in the low part and some is yet to fold.
        state = feed(estimator.init(), 7 * 1000)
        state = jax.lax.fori_loop(
            0, doublings, lambda _, s: estimator.merge(s, s), state
        )
        state = feed(state, 7 * 1001 + 3)
        state = estimator.merge(state, state)
        return state, estimator.estimate(state)

    state, estimate = jax.device_get(run())
    table = np.full((4, 4), Fraction(0))
    dropped = 0
    for i in range(7):
        times = 2 * (1000 * 2**doublings + 1001 + (i < 3))
        for row, label, weight in zip(rows[i], labels[i], weights[i], strict=True):
            if label < 0 or weight == 0:
                dropped += times
                continue
            share = Fraction(int(4 * weight), 4 * int(alive[row].sum()))
            table[label] += times * share * alive[row].astype(int)
    assert 7 * 13 * 1000 * 2**doublings > 2**31
    assert np.all(exact(state, lambda part: part.joint) == table)
    totals = exact(state, lambda part: part.totals)
    assert (totals[0], totals[2]) == (table.sum(), dropped)
    truth = reference.mutual_information(table.astype(float))
    # Read in float32, as a sum of terms of either sign.
    np.testing.assert_allclose(estimate.mi, truth, atol=1e-6)


def test_soft_counts_of_any_probabilities_against_rational_arithmetic():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(300, 64, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (300, 64))
    estimator = contingency(num_classes=3)

    @jax.jit
    def run(logits, labels):
        def step(state, batch):
            outputs, labels = batch
            return estimator.update(state, outputs=outputs, labels=labels), None

        # As if 2**31 samples came before, in one cell.
        state = estimator.init()
        before = state.high.joint.at[0, 0].set(2.0**31)
        state = state._replace(high=state.high._replace(joint=before))
        return jax.lax.scan(step, state, (logits, labels))[0]

    table = exact(run(logits, labels), lambda part: part.joint)
    truth = np.full((3, 3), Fraction(0))
    truth[0, 0] = Fraction(2**31)
    probabilities = reference.softmax(logits.astype(float)).reshape(-1, 3)
    for row, label in zip(probabilities, labels.ravel(), strict=True):
        truth[label] += np.vectorize(Fraction)(row)
    truth[0, 0] -= 2**31
    table[0, 0] -= 2**31
    # Until they are folded, these are summed in float32: a walk of so many roundings.
    errors = (table / truth - 1).astype(float)
    assert np.all(np.abs(errors) < math.sqrt(labels.size / 3) * 2.0**-24)


def test_an_epoch_of_two_to_the_31_samples_of_the_variational_bound():
    """An accumulator merged with itself, again and again, is that of twice as many."""
    estimator = variational(num_classes=CLASSES)
    weights = np.ones(SAMPLES).astype(np.float32)
    weights[0] = 0.0

    @jax.jit
    def run(outputs):
        def add(state):
            return estimator.update(
                state, outputs=outputs, labels=LABELS, weights=weights
            )

        once = add(estimator.init())
        many = jax.lax.fori_loop(0, 27, lambda _, s: estimator.merge(s, s), once)
        more = jax.lax.fori_loop(0, 5, lambda _, s: add(s), many)
        return [*map(estimator.estimate, (once, more))], more

    (once, more), state = jax.device_get(run(np.float32(LOGITS["plain"])))
    used, repeats = SAMPLES - 1, 2**27 + 5
    assert used * repeats > 2**31
    totals = exact(state, lambda part: part.totals)
    np.testing.assert_array_equal(totals, [used * repeats, used * repeats, repeats])
    assert once.mi > 0
    np.testing.assert_allclose(more.mi, once.mi, rtol=1e-5)
    np.testing.assert_allclose(
        more.std_error, once.std_error / math.sqrt(repeats), rtol=1e-4
    )


def test_a_run_of_more_than_two_to_the_31_updates():
    """All counters are held where int32 ends, and the decay goes on."""
    most = 2**31 - 1
    estimator = contingency(num_classes=CLASSES)
    tx = mi_decay(0.5, 0.01, estimator=estimator, steps_per_epoch=2)
    signal = {"outputs": jnp.float32(EYE[LABELS[:16]]), "labels": LABELS[:16]}

    @jax.jit
    def run(state):
        def step(state, _):
            _, state = tx.update(1.0, state, **signal)
            return state, (state, mi_diagnostics(state)["all"])

        # The open epoch has two thousand million samples already.
        seen = estimator.update(estimator.init(), **signal)
        seen = jax.lax.fori_loop(0, 27, lambda _, s: estimator.merge(s, s), seen)
        state = state._replace(estimator_state=seen)
        return jax.lax.scan(step, state, length=8)

    fresh = tx.init(())
    late = fresh._replace(
        num_updates=jnp.int32(most - 3),
        num_epochs=jnp.int32(most - 1),
        held=jnp.int32(most),
        rule_state=fresh.rule_state._replace(
            decided=jnp.int32(2**30),
            seen=jnp.int32(2**30),
            last=jnp.float32(1.0),
            recent_mean=jnp.float32(1.0),
            mean=jnp.float32(1.0),
            lowest=jnp.float32(0.0),
        ),
    )
    _, (states, seen) = jax.device_get(run(late))
    np.testing.assert_array_equal(
        states.num_updates, np.minimum(most, most - 3 + np.arange(1, 9))
    )
    np.testing.assert_array_equal(seen.epoch, [most - 1] + [most] * 7)
    assert np.all(seen.held == most)
    # Epochs after the long one are of their own two batches.
    counts = np.float32([2**31 + 32] * 2 + [32] * 5)
    np.testing.assert_array_equal(seen.num_samples[1:], counts)
    rates = seen.learning_rate
    assert np.all((rates >= 0.01) & (rates <= 0.5))
    # The first epoch to close spans half of all time, those later next to none of it.
    known = seen.normalized[1] + 2.0**-10 * (1 - seen.normalized[1])
    half = 0.5 * 2 ** (-0.8 * min(10 * known, 1))
    np.testing.assert_allclose(rates, [0.5] + [half] * 7, rtol=1e-4)
