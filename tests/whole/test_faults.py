"""What goes wrong in training, at any step of it, and what is left of it afterwards."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import mi_decay, mi_diagnostics, mi_sgd
from optax_mi.estimators import contingency, measured, variational
from optax_mi.rules import log_time_rule, proportional_rule, residual_rule
from tests.contract import ESTIMATORS, NUM_CLASSES
from tests.helpers import read

STEPS, BATCH, CLASSES = 12, 8, 3
LABELS = np.arange(BATCH) % CLASSES
INPUTS = np.eye(4, dtype=np.float32)[LABELS]


class Fault(NamedTuple):
    """What it does to a train step, of which the plain one changes nothing."""

    loss: float = 1.0  # factor
    gradient: float = 0.0  # term
    logits: float = 0.0  # term, in what is measured alone
    labels: int = 0  # likewise
    weight: float = 1.0  # of every sample, likewise


NAN, INF = math.nan, math.inf
# All of these leave no valid sample in the batch.
OF_BATCH = {
    "logits nan": Fault(logits=NAN),
    "logits inf": Fault(logits=INF),
    "logits -inf": Fault(logits=-INF),
    "labels too large": Fault(labels=CLASSES),
    "labels negative": Fault(labels=-CLASSES),
    "weights zero": Fault(weight=0.0),
    "weights nan": Fault(weight=NAN),
    "weights negative": Fault(weight=-1.0),
}
OF_GRADIENT = {
    "loss nan": Fault(loss=NAN),
    "loss inf": Fault(loss=INF),
    "gradient nan": Fault(gradient=NAN),
    "gradient inf": Fault(gradient=-INF),
}
FAULTS = {"none": Fault(), **OF_BATCH, **OF_GRADIENT}
# The faulty steps of a run: each alone, or all.
WHEN = np.concatenate([np.eye(STEPS, dtype=bool), np.ones((1, STEPS), bool)])
EPOCHS = (1, 3)


def optimizer(wrapper, steps_per_epoch):
    ours = {"num_classes": CLASSES, "steps_per_epoch": steps_per_epoch}
    if wrapper == "mi_sgd":
        return mi_sgd(0.5, 0.01, momentum=0.5, **ours)
    if wrapper == "around it":
        return optax.apply_if_finite(mi_sgd(0.5, 0.01, momentum=0.5, **ours), STEPS)
    inner = optax.apply_if_finite(optax.sgd(1.0, momentum=0.5), STEPS)
    return optax.chain(inner, mi_decay(0.5, 0.01, **ours))


@functools.partial(jax.jit, static_argnames="wrapper")
def train(faults, when, epochs, wrapper):
    """Params and diagnostics after each step: [faults, when, epochs, step]."""

    def one(fault, faulty, steps_per_epoch):
        tx = optimizer(wrapper, steps_per_epoch)

        def step(carry, now):
            params, state = carry
            here = jax.tree.map(lambda f, p: jnp.where(now, f, p), fault, Fault())

            def loss_fn(params):
                logits = INPUTS @ params
                loss = optax.softmax_cross_entropy_with_integer_labels(logits, LABELS)
                return here.loss * loss.mean(), logits

            grads, logits = jax.grad(loss_fn, has_aux=True)(params)
            updates, state = tx.update(
                grads + here.gradient,
                state,
                params,
                outputs=logits + here.logits,
                labels=LABELS + here.labels,
                weights=jnp.full(BATCH, here.weight),
            )
            params = optax.apply_updates(params, updates)
            return (params, state), (params, mi_diagnostics(state)["all"])

        params = jnp.zeros((4, CLASSES))
        return jax.lax.scan(step, (params, tx.init(params)), faulty)[1]

    for axis in range(3):
        one = jax.vmap(one, [0 if axis == 2 - i else None for i in range(3)])
    return one(faults, when, epochs)


def runs(wrapper):
    """From each fault to its params, whether they are finite, and its diagnostics."""
    faults = Fault(*(np.array(x) for x in zip(*FAULTS.values(), strict=True)))
    params, seen = jax.device_get(train(faults, WHEN, np.array(EPOCHS), wrapper))
    finite = np.all(np.isfinite(params), axis=(-1, -2))
    return {
        name: (params[i], finite[i], jax.tree.map(lambda x, i=i: x[i], seen))
        for i, name in enumerate(FAULTS)
    }


@pytest.mark.parametrize("wrapper", ["mi_sgd", "around it", "within"])
def test_a_fault_at_any_step(wrapper):
    every = runs(wrapper)
    good, all_finite, clean = every["none"]
    assert np.all(all_finite)
    assert np.all(clean.learning_rate[..., -1] < 0.5)
    assert not np.any(clean.dropped)
    assert not np.any(clean.held)
    for name, (params, finite, seen) in every.items():
        assert np.all((seen.learning_rate >= 0.01) & (seen.learning_rate <= 0.5)), name
        assert np.all(np.diff(seen.learning_rate) <= 0), name
        if name in OF_BATCH:
            check_batches(params, finite, seen, good, clean)
        elif name in OF_GRADIENT:
            check_gradients(wrapper, finite, seen, clean)


def check_batches(params, finite, seen, good, clean):
    """The faulty batch is missing from its epoch and from nothing else."""
    assert np.all(finite)
    np.testing.assert_array_equal(seen.epoch, clean.epoch)
    for i, length in enumerate(EPOCHS):
        faulty = WHEN.reshape(len(WHEN), -1, length).sum(-1)
        ends = slice(length - 1, None, length)
        np.testing.assert_array_equal(seen.dropped[:, i, ends], BATCH * faulty)
        np.testing.assert_array_equal(
            seen.num_samples[:, i, ends], BATCH * (length - faulty)
        )
        held = np.cumsum(faulty == length, -1)
        np.testing.assert_array_equal(seen.held[:, i, ends], held)
        # Until its epoch ends nothing of it shows.
        for at in range(STEPS):
            before = at - at % length + length - 1
            np.testing.assert_allclose(
                params[at, i, :before], good[at, i, :before], rtol=1e-5, atol=1e-6
            )
    # A run of faults alone: the learning rate that it began with, for ever.
    assert np.all(seen.learning_rate[-1] == 0.5)
    assert np.all(seen.learning_rate[:-1, :, -1] < 0.5)


def check_gradients(wrapper, finite, seen, clean):
    """Gradients go through as they are; what they do to the params is seen."""
    faulty = np.maximum.accumulate(WHEN, -1)[:, None, :]
    if wrapper == "mi_sgd":
        np.testing.assert_array_equal(finite, np.broadcast_to(~faulty, finite.shape))
        # The batch was good; all those that follow are of nan, and held.
        late = np.maximum(0, np.cumsum(faulty[:, 0], -1) - 1)
        np.testing.assert_array_equal(seen.held[:, 0], late)
        np.testing.assert_array_equal(seen.dropped[:, 0], BATCH * (late > 0))
        return
    assert np.all(finite)
    assert not np.any(seen.held)
    assert not np.any(seen.dropped)
    if wrapper == "within":
        np.testing.assert_array_equal(seen.epoch, clean.epoch)
    else:
        # Neither the gradient nor the batch reaches what is wrapped.
        counted = np.cumsum(~WHEN, -1)[:, None] // np.array(EPOCHS)[:, None]
        np.testing.assert_array_equal(seen.epoch, counted)
    assert np.all(seen.learning_rate[:-1, :, -1] < 0.5)


# One of each way to read a batch.
READERS = {
    "soft": (contingency(num_classes=NUM_CLASSES), ESTIMATORS["hard"][1]),
    **{
        name: ESTIMATORS[name]
        for name in ("ids", "variational", "binned", "gaussian-real", "kde")
    },
}


def spoiled(good):
    """A batch without samples, and batches of samples that cannot be used."""

    def fill(array):
        bad = jnp.nan if jnp.issubdtype(array.dtype, jnp.floating) else -1
        return jnp.full_like(array, bad)

    yield {name: array[:0] for name, array in good.items()}
    for name in good:
        yield {**good, name: fill(good[name])}
    yield {**good, "weights": jnp.zeros_like(good["weights"])}


@pytest.mark.parametrize(("estimator", "signal"), READERS.values(), ids=READERS)
def test_bad_batches_leave_no_trace_but_their_number(estimator, signal):
    update = jax.jit(estimator.update)
    good = {**signal, "weights": jnp.ones(len(signal["labels"]))}
    bad = list(spoiled(good))

    def feed(batches):
        state = estimator.init()
        for batch in batches:
            state = update(state, **batch)
        return state

    state = feed([good, *bad, good])
    messy, clean = (read(estimator, s) for s in (state, feed([good, good])))
    assert messy.dropped == len(signal["labels"]) * (len(bad) - 1)
    assert clean.dropped == 0
    assert clean.mi > 0
    np.testing.assert_allclose(messy[:4], clean[:4], rtol=1e-6)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    "estimator", [contingency(num_classes=3), variational(num_classes=3)]
)
def test_weights_that_overflow_spoil_their_epoch_alone(estimator):
    rule = log_time_rule(sharpness=0.0)  # These few samples leave doubt of any gain.
    tx = mi_decay(0.5, 0.01, estimator=estimator, steps_per_epoch=1, rule=rule)

    @jax.jit
    def update(state, weight):
        weights = jnp.full(BATCH, weight)
        logits = 4.0 * jax.nn.one_hot(LABELS, CLASSES)
        return tx.update(1.0, state, outputs=logits, labels=LABELS, weights=weights)[1]

    state, rates = tx.init(()), []
    # Their sum overflows, their squares do, their squares vanish.
    for weight in (1.0, 3e38, 1e30, 1e-30, 1.0):
        state = update(state, weight)
        rates.append(float(state.current_lr))
    first, *spoiled, last = rates
    assert spoiled == [first] * 3
    assert last < first == 0.5
    assert state.held == 3
    assert mi_diagnostics(state)["all"].num_samples == pytest.approx(BATCH)
    for part in (state.estimator_state, state.rule_state):
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(part))


@pytest.mark.parametrize(
    ("rule", "lowest"),
    [
        # By a power of time, or until it is less than a float can be.
        (log_time_rule(), 0.51 * 10_000**-0.8),
        (residual_rule(), 1e-20),
        (proportional_rule(), 1e-20),
    ],
)
def test_at_its_floor_for_ever(rule, lowest):
    floors = np.float32([0.1, 1e-3, 0.0])

    def run(low):
        tx = mi_decay(0.5, low, estimator=measured(1.0), steps_per_epoch=2, rule=rule)

        def step(state, _):
            update, state = tx.update(jnp.float32(-3.0), state, mi=1.0)
            return state, (state.current_lr, update)

        return jax.lax.scan(step, tx.init(()), length=20_000)

    state, (rates, updates) = jax.device_get(jax.jit(jax.vmap(run))(floors))
    assert np.all(np.diff(rates) <= 0)
    assert np.all(rates >= floors[:, None])
    assert np.all(rates[:2, 10_000:] == floors[:2, None])
    assert rates[2, -1] < lowest
    np.testing.assert_allclose(updates, -3.0 * rates, rtol=1e-6, atol=1e-36)
    assert np.all(state.num_epochs == 10_000)
    assert not np.any(state.held)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("steps_per_epoch", 0.0),
        ("steps_per_epoch", -5.0),
        ("steps_per_epoch", NAN),
        ("lr_max", NAN),
        ("lr_min", NAN),
        ("lr_max", INF),
        ("lr_min", -INF),
    ],
)
def test_a_schedule_that_fails_for_a_step(name, bad):
    """An epoch has one update at least, and a bound that is nan bounds nothing."""
    state, update = injected()
    good = {"lr_max": 0.5, "lr_min": 0.01, "steps_per_epoch": 2.0}
    rates = []
    for i in range(6):
        for key, value in {**good, name: bad if i == 2 else good[name]}.items():
            state.hyperparams[key] = jnp.float32(value)
        _, state = update(1.0, state, mi=1.0)
        rates.append(float(state.inner_state.current_lr))
    assert np.all(np.diff(rates) <= 0)
    assert 0.02 < rates[-1] < rates[0] == 0.5
    assert (int(state.inner_state.num_epochs), int(state.inner_state.held)) == (3, 0)


@functools.cache
def injected():
    tx = optax.inject_hyperparams(mi_decay, static_args=("estimator", "rule"))(
        0.5,
        0.01,
        estimator=measured(1.0),
        steps_per_epoch=2,
        rule=log_time_rule(rate=1.0),
    )
    return tx.init(()), jax.jit(tx.update)
