"""Copies train as a plain loop would, on batches that none is judged by."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import average_params, eval_params, learning_rates, mi_decay
from optax_mi.range_test._copies import Copies, transformation
from optax_mi.range_test._race import Run
from optax_mi.range_test._runs import Data, Plan
from optax_mi.rules import capped_rule
from tests.range_test.small import ESTIMATOR, KEY, START, gradient, loss_fn

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 20, 4)).astype(np.float32)
Y = rng.integers(0, 3, size=(12, 20)).astype(np.int32)


def make(make_batch=None, eval_batches=None, batches=(X, Y), progress=None):
    plan = Plan(loss_fn, ESTIMATOR, optax.adam, None, make_batch, 1, 1, False)
    held = None if eval_batches is None else jax.tree.map(jnp.asarray, eval_batches)
    data = Data(START, None, jax.tree.map(jnp.asarray, batches), held)
    return Copies(plan, data, KEY, 40, progress)


def trained(copies, rate, *chunks):
    run = Run(rate, copies.start(rate))
    for updates in chunks:
        copies.train(run, updates)
    return run


def test_trains_and_judges_as_a_plain_loop():
    copies = make()
    run = trained(copies, 0.05, 5, 8)
    decay = mi_decay(0.05, estimator=ESTIMATOR)
    tx = optax.chain(optax.adam(1.0), decay, average_params())
    params, state, total = START, tx.init(START), 0.0
    for place in copies.order[:13]:
        (_, seen), grads = gradient(params, (X[place], Y[place]))
        updates, state = tx.update(grads, state, params, **seen)
        params = optax.apply_updates(params, updates)
        total += float(learning_rates(state)["all"])
    assert run.updates == [5, 13]
    assert run.lr_sums[-1] == pytest.approx(total, rel=1e-5)
    for weights, losses in zip(
        (eval_params(state), params), run.losses[-1], strict=True
    ):
        want = [loss_fn(weights, (X[i], Y[i]))[0] for i in copies.held]
        np.testing.assert_allclose(losses, want, rtol=1e-4)
    seen = copies.order[: len(copies.held)]
    want = np.mean([loss_fn(eval_params(state), (X[i], Y[i]))[0] for i in seen])
    assert copies.trained(run).mean() == pytest.approx(want, rel=1e-4)
    assert copies.trained(trained(copies, 0.05, 10)) is None  # each batch once


def test_nothing_that_is_judged_by_is_trained_on():
    copies = make()
    assert len(copies.held) == 2
    assert not set(copies.held) & set(copies.order)
    # Each pass takes each of the others once.
    assert set(copies.order[:10]) == set(range(12)) - set(copies.held)
    given = make(eval_batches=(X[:3], Y[:3]))
    assert set(given.order[:12]) == set(range(12))
    assert list(given.held) == [0, 1, 2]  # a chunk has three updates


def test_a_stream_is_judged_by_later_steps():
    def make_batch(key, step):
        x = jax.random.normal(key, (20, 4)) + step
        return x, jnp.zeros(20, jnp.int32)

    copies = make(make_batch, batches=None)
    assert copies.held.min() >= 40
    run = trained(copies, 0.01, 4)
    assert np.isfinite(run.losses[-1]).all()


def test_the_params_of_the_user_stay_as_they_were():
    before = np.array(START)
    trained(make(), 1.0, 3)
    np.testing.assert_array_equal(START, before)


def test_says_how_far_it_is():
    seen = []
    copies = make(progress=lambda *done: seen.append(done))
    trained(copies, 0.1, 3, 4)
    assert seen == [(3, 40), (7, 40)]


def test_refuses_too_few_batches_to_hold_some_out():
    with pytest.raises(ValueError, match=r"batches must be at least 4.*got 3"):
        make(batches=(X[:3], Y[:3]))


def test_a_limit_brings_the_lower_bound_to_zero():
    plan = make().plan
    labels = jnp.arange(30) % 3
    tx = transformation(plan, 0.5, 1.0)
    by_hand = optax.chain(
        optax.adam(1.0),
        mi_decay(0.5, 0.0, estimator=ESTIMATOR, rule=capped_rule(1.0)),
        average_params(),
    )
    states = [t.init(START) for t in (tx, by_hand)]
    for _ in range(20):
        states = [
            t.update(START + 1.0, s, START, outputs=labels, labels=labels)[1]
            for t, s in zip((tx, by_hand), states, strict=True)
        ]
    ours, theirs = (float(learning_rates(s)["all"]) for s in states)
    assert ours == theirs < 0.005
