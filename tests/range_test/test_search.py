"""What a range test is asked for, and what it makes of it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_wine

from optax_mi import LRRangeResult
from optax_mi.estimators import contingency
from tests.range_test.small import (
    ESTIMATOR,
    KEY,
    START,
    X,
    Y,
    gradient,
    loss_fn,
    run,
)

MOMENTUM = functools.partial(optax.sgd, momentum=0.9)


def test_a_key_gives_one_result_and_another_key_another():
    batches = (X, Y)
    first, same = (run(batches=batches, num_steps=21).to_json() for _ in range(2))
    assert first == same
    assert first != run(batches=batches, num_steps=21, key=jax.random.key(1)).to_json()
    assert LRRangeResult.from_json(first).num_steps == 22
    # Keys of the old style are as good.
    old = run(batches=batches, num_steps=21, key=jax.random.PRNGKey(0))
    assert old.mi.shape == (8, 1)


def test_callables_are_drawn_anew_for_each_seed_but_not_each_learning_rate():
    def init(key):
        return jax.random.normal(key, (4, 3))

    def draw(key, step):
        x = jax.random.normal(key, (30, 4))
        return x + 0.0 * step, jnp.argmax(x[:, :3], -1)

    found = run(params=init, batches=draw, num_seeds=2, lr_high=1e-1)
    # Before it learns, every copy of a seed sees the same with the same weights.
    np.testing.assert_allclose(found.mi[0], found.chance, atol=0.02)
    assert abs(found.chance[0] - found.chance[1]) > 0.02


def test_eval_batches_and_model_state():
    def counted(w, steps, batch):
        loss, extra = loss_fn(w, batch)
        # Beyond the tenth step the labels are lost.
        extra["weights"] = jnp.full(30, steps < 10, jnp.float32)
        return loss, (extra, steps + 1)

    trained = run(loss_fn=counted, model_state=jnp.zeros((), jnp.int32))
    assert (trained.mi == 0).all()
    assert trained.lr_max is None
    judged = run(eval_batches=(X[1:], Y[1:]))
    i = 5
    params = START
    for _ in range(20):
        params -= float(judged.learning_rates[i]) * gradient(params, (X[0], Y[0]))[1]
    sums = ESTIMATOR.update(ESTIMATOR.init(), outputs=X[1] @ params, labels=Y[1])
    assert judged.mi[i, 0] == pytest.approx(
        float(ESTIMATOR.estimate(sums).mi), abs=1e-5
    )


def test_a_loss_that_is_nan_from_the_start_says_so():
    found = run(params=jnp.full((4, 3), math.nan))
    assert found.lr_max is None
    assert "not finite before any training" in found.lr_max_reason
    assert found.diverged.all()


def edge_of(found):
    """Index of the learning rate below which lr_max has its margin."""
    (i,) = np.flatnonzero(np.isclose(found.learning_rates, found.lr_max * math.sqrt(2)))
    return i


def test_an_explosion_that_is_over_before_the_judged_half_ends_the_range():
    def exploding(w, steps, batch):
        loss, extra = loss_fn(w, batch)
        early = jnp.where(steps < 5, jax.lax.stop_gradient(jnp.sum(w**2)), 0.0)
        return loss + early, (extra, steps + 1)

    def mean_loss(rate):
        w, losses = START, []
        for i in range(20):
            (loss, _), grads = gradient(w, (X[0], Y[0]))
            losses.append(float(loss) + (float(jnp.sum(w**2)) if i < 5 else 0.0))
            w -= rate * grads
        return np.mean(losses)

    # The losses are those of training, whatever the network is judged by.
    found = run(
        loss_fn=exploding,
        model_state=jnp.zeros((), jnp.int32),
        eval_batches=(X[:1], Y[:1]),
    )
    i, rates = edge_of(found), np.float32(found.learning_rates)
    assert mean_loss(rates[i]) <= mean_loss(0.0) < mean_loss(rates[i + 1])
    assert found.loss[i + 1, 0] < mean_loss(0.0)
    assert found.mi[i + 1, 0] > found.mi[i, 0]
    assert "mean loss of a run is above that of an untr" in found.lr_max_reason


def test_a_window_of_a_ramp_is_held_against_its_own_batches_untrained():
    def rising(key, step):
        return X[0], Y[0], 1.0 * step

    def loss_that_rises(w, batch):
        loss, extra = loss_fn(w, batch[:2])
        return loss + batch[2], extra

    found = run(
        mode="ramp",
        optimizer=MOMENTUM,
        loss_fn=loss_that_rises,
        batches=rising,
        lr_low=1e-4,
        lr_high=1e3,
        num=15,
        num_steps=30,
    )
    i, rise = edge_of(found), 2 * np.arange(15) + 0.5
    losses = found.loss[:, 0] - rise
    # Logits of 0 for three classes.
    assert losses[i] <= math.log(3) < losses[i + 1]
    assert found.mi[i + 1, 0] > found.mi[i, 0]


WINE_X, WINE_Y = load_wine(return_X_y=True)
WINE_X = ((WINE_X - WINE_X.mean(0)) / WINE_X.std(0)).astype(np.float32)
ROWS = np.random.default_rng(0).permutation(len(WINE_X))[:174].reshape(6, 29)
WINE = WINE_X[ROWS], WINE_Y[ROWS].astype(np.int32)


def init_wine(key):
    keys = jax.random.split(key)
    return {
        "hidden": jax.random.normal(keys[0], (13, 64)) / math.sqrt(13),
        "bias": jnp.zeros(64),
        "out": jax.random.normal(keys[1], (64, 3)) / 8,
    }


def loss_of_wine(params, batch):
    hidden = jnp.tanh(batch[0] @ params["hidden"] + params["bias"])
    return loss_fn(params["out"], (hidden, batch[1]))


@jax.jit
def losses_of_wine(rate):
    """Training loss of eight seeds before and after 600 plain steps."""

    def step(params, i):
        batch = jax.tree.map(lambda x: jnp.asarray(x)[i % 6], WINE)
        grads, _ = jax.grad(loss_of_wine, has_aux=True)(params, batch)
        return jax.tree.map(lambda w, g: w - rate * g, params, grads), None

    def train(key):
        first = init_wine(key)
        last, _ = jax.lax.scan(step, first, jnp.arange(600))
        of_batches = jax.vmap(loss_of_wine, (None, 0))
        return [of_batches(params, WINE)[0].mean() for params in (first, last)]

    return jax.vmap(train)(jax.random.split(KEY, 8))


@pytest.mark.parametrize("lr_high", [1e5, 100.0])
def test_what_is_learned_by_heart_has_a_bound_that_trains(lr_high):
    found = run(
        loss_fn=loss_of_wine,
        params=init_wine,
        batches=WINE,
        lr_low=1e-4,
        lr_high=lr_high,
        num=24,
        num_steps=400,
    )
    before, after = losses_of_wine(found.lr_max)
    # One of them may break late; how many do depends on how sums are rounded.
    assert np.median(after) < 0.01 * np.median(before)
    assert after.mean() < 0.2 * before.mean()
    # A hundred times that ends at a huge loss, and knows as much.
    before, after = losses_of_wine(100 * found.lr_max)
    assert after.mean() > before.mean()


@pytest.mark.parametrize(
    "optimizer",
    [
        # Those of the other tests.
        *(
            pytest.param(made, marks=pytest.mark.slow)
            for made in (optax.sgd, MOMENTUM, optax.adamw)
        ),
        optax.adam,
        optax.lion,
        optax.contrib.muon,
    ],
    ids=["sgd", "momentum", "adamw", "adam", "lion", "muon"],
)
def test_every_optimizer_gets_a_bound_that_trains(optimizer):
    found = run(optimizer=optimizer, lr_low=1e-4, lr_high=1e3)
    tx = optimizer(found.lr_max)

    @jax.jit
    def last_loss():
        def step(carry, _):
            w, state = carry
            grads, _ = jax.grad(loss_fn, has_aux=True)(w, (X[0], Y[0]))
            updates, state = tx.update(grads, state, w)
            return (optax.apply_updates(w, updates), state), None

        (w, _), _ = jax.lax.scan(step, (START, tx.init(START)), length=50)
        return loss_fn(w, (X[0], Y[0]))[0]

    assert last_loss() < math.log(3)


def no_aux(w, batch):
    return loss_fn(w, batch)[0]


def no_labels(w, batch):
    loss, extra = loss_fn(w, batch)
    return loss, {"outputs": extra["outputs"]}


def losses_of_samples(w, batch):
    loss, extra = loss_fn(w, batch)
    return jnp.full(30, loss), extra


def other_state(w, state, batch):
    loss, extra = loss_fn(w, batch)
    return loss, (extra, state + 1.0)


@pytest.mark.parametrize(
    ("overrides", "error", "match"),
    [
        ({"lr_low": 0.0}, ValueError, r"lr_low must be positive.*lr_low=0\.0"),
        ({"lr_high": 1e-3}, ValueError, r"lr_high must be .*above lr_low=0\.001"),
        ({"lr_high": math.inf}, ValueError, "lr_high=inf"),
        ({"num": 7}, ValueError, "num must be at least 8, got num=7"),
        ({"num": 8.0}, TypeError, "num must be an int"),
        ({"mode": "fast"}, ValueError, "mode must be 'parallel' or 'ramp'.*'fast'"),
        ({"num_steps": 19}, ValueError, "at least 20 to judge.*num_steps=19"),
        ({"num_steps": 7, "mode": "ramp"}, ValueError, "at least 8 for num=8.*=7"),
        ({"num_seeds": 0}, ValueError, "num_seeds must be at least 1"),
        ({"max_parallel": 0}, ValueError, "max_parallel must be at least 1"),
        ({"estimator": contingency}, TypeError, "estimator must be a MIEstimator"),
        (
            {"batches": (X, Y[:1])},
            ValueError,
            r"batches must .*\(2, 30, 4\), \(1, 30\)",
        ),
        ({"batches": (X[:0], Y[:0])}, ValueError, r"batches must .*\(0, 30, 4\)"),
        (
            {"batches": ()},
            ValueError,
            r"batches must be a pytree of arrays.*got shapes \[\]",
        ),
        ({"eval_batches": (X, 1.0)}, ValueError, "eval_batches must be"),
        (
            {"eval_batches": (X, Y), "mode": "ramp"},
            ValueError,
            "eval_batches is for mode='parallel'",
        ),
        ({"loss_fn": no_aux}, TypeError, r"must return \(loss, extra_args\)"),
        ({"loss_fn": no_labels}, ValueError, "must return labels in extra_args"),
        ({"loss_fn": losses_of_samples}, ValueError, r"scalar loss, got shape \(30,\)"),
        (
            {"loss_fn": other_state, "model_state": jnp.zeros((), jnp.int32)},
            ValueError,
            r"model_state like the one passed, int32\[\], got float32\[\]",
        ),
        ({"optimizer": optax.sgd(0.1)}, TypeError, "optimizer must make.*optax.adamw"),
    ],
)
def test_wrong_arguments(overrides, error, match):
    with pytest.raises(error, match=match):
        run(**overrides)
