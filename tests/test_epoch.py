"""When an epoch ends: told, left to itself, or too short to tell what is chance."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi import mi_decay, mi_diagnostics, mi_sgd
from optax_mi.estimators import (
    MIEstimate,
    contingency,
    gaussian,
    measured,
    nearest_neighbors,
)
from optax_mi.rules import DecayRule, residual_rule

ONE = jnp.ones(())


def run(tx, signals, steps):
    """Learning rate, epochs and joins after each of the updates, compiled as one."""

    def step(state, signal):
        _, state = tx.update(ONE, state, ONE, **signal)
        seen = mi_diagnostics(state)["all"]
        return state, (seen.learning_rate, seen.epoch, seen.joined)

    state = tx.init(ONE)
    last, seen = jax.jit(lambda s: jax.lax.scan(step, s, signals, length=steps))(state)
    return last, [np.asarray(x) for x in seen]


def epochs_alone(steps):
    """Where epochs end that nobody has told: slow and obvious."""
    ends, opened = [], 0
    for step in range(1, steps + 1):
        if step - opened >= max(1, opened // 10):
            ends.append(step)
            opened = step
    return ends


def test_without_steps_per_epoch_epochs_grow_to_a_tenth_of_the_time_before():
    labels = jnp.arange(64) % 2
    signal = {
        "outputs": labels[None].repeat(400, 0),
        "labels": labels[None].repeat(400, 0),
    }
    _, (rates, epochs, _) = run(mi_decay(1.0, 1e-4, num_classes=2), signal, 400)
    ends = 1 + np.flatnonzero(np.diff(epochs, prepend=0))
    np.testing.assert_array_equal(ends, epochs_alone(400))
    assert 20 < len(ends) < 70
    assert rates[-1] == pytest.approx(400**-0.8, rel=0.12)


@pytest.mark.parametrize("steps_per_epoch", [1, 3, None])
def test_an_epoch_goes_on_while_chance_could_read_half_of_the_entropy(steps_per_epoch):
    """Four samples an update, ten classes: b is known, and an epoch waits for it."""
    rng, estimator = np.random.default_rng(0), contingency(num_classes=10)
    labels = jnp.asarray(rng.integers(0, 10, (60, 4)))
    outputs = jnp.asarray(8 * rng.normal(size=(60, 4, 10)), jnp.float32)
    tx = mi_decay(1.0, num_classes=10, steps_per_epoch=steps_per_epoch)
    _, (_, epochs, joined) = run(tx, {"outputs": outputs, "labels": labels}, 60)

    step, opened, joins, closed, want = 0, 0, 0, 0, []
    state = estimator.init()
    update, estimate = jax.jit(estimator.update), jax.jit(estimator.estimate)
    for x, y in zip(outputs, labels, strict=True):
        step, state = step + 1, update(state, outputs=x, labels=y)
        length = steps_per_epoch or max(1, opened // 10)
        if (step - opened) >= length * 2**joins:
            seen = estimate(state)
            if seen.chance > seen.entropy / 2:
                joins += 1
            else:
                joins, closed, opened, state = 0, closed + 1, step, estimator.init()
        want.append((closed, joins))
    np.testing.assert_array_equal(np.stack([epochs, joined], 1), want)
    assert joined.max() > 0
    assert 0 < epochs[-1] < 20


def test_an_epoch_that_can_never_tell_holds_the_learning_rate():
    labels = jnp.tile(jnp.arange(64), (40, 1))  # every label once: all is chance
    signal = {"outputs": labels, "labels": labels}
    estimator = contingency(num_classes=64)
    tx = mi_decay(
        0.5,
        estimator=estimator._replace(
            estimate=lambda s: estimator.estimate(s)._replace(
                chance=jnp.float32(math.inf)
            )
        ),
        steps_per_epoch=1,
    )
    state, (rates, epochs, joined) = run(tx, signal, 40)
    assert set(rates) == {0.5}
    assert set(epochs) == {0}
    # After 1, 2, 4, 8, 16 and 32 updates.
    assert joined[-1] == 6
    assert int(state.updates_in_epoch) == 40


def test_a_rule_looks_once_as_soon_as_there_is_something_to_see():
    """After 1, 2, 4, ... updates; the first three have no label."""
    rule = DecayRule(
        init=lambda: (jnp.int32(0), jnp.float32(0)),
        update=lambda state, _, rate, **bounds: (rate, state),
        look=lambda state, estimate: (state[0] + 1, estimate.num_samples),
    )
    tx, blind = (
        mi_decay(0.5, num_classes=2, steps_per_epoch=20, rule=one)
        for one in (rule, rule._replace(look=None))
    )
    update, state = jax.jit(tx.update), tx.init(ONE)
    labels, seen = jnp.arange(64) % 2, [int(state.look_at)]
    for step in range(1, 10):
        given = labels if step > 3 else labels - 2
        _, state = update(ONE, state, ONE, outputs=labels, labels=given)
        seen.append(int(state.look_at))
    assert seen == [1, 2, 4, 4, *6 * [0]]
    assert state.rule_state == (1, 64)
    assert (state.num_epochs, state.updates_in_epoch) == (0, 9)
    assert blind.init(ONE).look_at == 0


@functools.partial(jax.jit, static_argnames=("num_classes", "samples", "told"))
def rate_of_ignorance(key, spread, steps_per_epoch, steps, num_classes, samples, told):
    """The learning rate after so many updates with outputs that are noise."""
    length = steps_per_epoch if told else None
    tx = mi_decay(1.0, num_classes=num_classes, steps_per_epoch=length)

    def step(i, state):
        keys = jax.random.split(jax.random.fold_in(key, i))
        outputs = spread * jax.random.normal(keys[0], (samples, num_classes))
        labels = jax.random.randint(keys[1], (samples,), 0, num_classes)
        return tx.update(ONE, state, ONE, outputs=outputs, labels=labels)[1]

    return jax.lax.fori_loop(0, steps, step, tx.init(ONE)).current_lr


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize(
    ("num_classes", "samples"),
    [
        (2, 32),
        (10, 128),
        (100, 64),
        pytest.param(1000, 256, marks=pytest.mark.slow),
    ],
)
def test_a_network_that_knows_nothing_keeps_its_learning_rate(
    num_classes, samples, told
):
    """At the end of 20 epochs, or of the steps that they would take; timid or not."""
    lengths = [1, 10] if told else [5]
    for steps_per_epoch, spread in itertools.product(lengths, (0.1, 5.0)):
        steps = min(20 * steps_per_epoch, 60 if num_classes == 1000 else 200)
        for key in jax.random.split(jax.random.key(num_classes), 4):
            rate = rate_of_ignorance(
                *(key, spread, steps_per_epoch, steps),
                num_classes=num_classes,
                samples=samples,
                told=told,
            )
            assert rate >= 0.9


@pytest.mark.parametrize("form", ["hard", "ids"])
def test_counts_and_class_ids_keep_it_too(form):
    tx = mi_decay(
        1.0, estimator=contingency(num_classes=10, soft=False), steps_per_epoch=5
    )
    keys = jax.random.split(jax.random.key(0))
    outputs = jax.random.normal(keys[0], (100, 64, 10))
    outputs = outputs.argmax(-1) if form == "ids" else outputs
    labels = jax.random.randint(keys[1], (100, 64), 0, 10)
    _, (rates, epochs, _) = run(tx, {"outputs": outputs, "labels": labels}, 100)
    assert rates[-1] >= 0.9
    assert epochs[-1] >= 5


def test_a_learning_rate_is_float32_whatever_it_is_given_as():
    with jax.enable_x64(True):
        wide = jnp.float64(0.25)
        tx = mi_decay(wide, wide / 10, init_lr=wide / 2, num_classes=2)
        assert tx.init(ONE).current_lr.dtype == np.float32


def test_what_is_not_chance_decays_at_once():
    """The same tables, of a network that knows a third."""
    tx = mi_decay(1.0, num_classes=10, steps_per_epoch=5)
    keys = jax.random.split(jax.random.key(0))
    labels = jax.random.randint(keys[0], (100, 64), 0, 10)
    known = jax.random.bernoulli(keys[1], 0.5, (100, 64, 1))
    outputs = 6.0 * known * jax.nn.one_hot(labels, 10)
    _, (rates, _, _) = run(tx, {"outputs": outputs, "labels": labels}, 100)
    assert 20**-0.8 <= rates[-1] < 0.6


def test_a_chance_of_the_users_own_is_taken():
    """Estimates of five fields have none; a sixth is subtracted."""
    five = MIEstimate(*(jnp.float32(x) for x in (0.4, 1.0, 100.0, 0.0, 0.0)))
    for chance, falls in ((0.0, True), (0.4, False), (0.6, False)):
        tx = mi_sgd(1.0, estimator=measured(), steps_per_epoch=1)
        seen = five if not chance else five._replace(chance=jnp.float32(chance))
        signal = jax.tree.map(lambda x: jnp.tile(x, 10), {"mi": seen})
        _, (rates, epochs, joined) = run(tx, signal, 10)
        assert (rates[-1] < 1) == falls
        # One measurement is all there is: waiting for more would bring none.
        assert joined[-1] == 0
        assert epochs[-1] == 10


@pytest.mark.parametrize(
    "estimator",
    [
        gaussian(features=2, label_features=1),
        nearest_neighbors(features=2, label_features=1),
    ],
    ids=["gaussian", "nearest_neighbors"],
)
def test_residual_rule_is_refused_for_real_labels(estimator):
    with pytest.raises(ValueError, match="infinite for the real labels"):
        mi_decay(1.0, estimator=estimator, rule=residual_rule())
    mi_decay(1.0, estimator=estimator)
    mi_decay(1.0, estimator=gaussian(features=2, num_classes=2), rule=residual_rule())
