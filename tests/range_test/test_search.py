"""What a range test is asked for, and what it makes of it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import LRRangeResult
from optax_mi.estimators import contingency
from tests.range_test.small import ESTIMATOR, START, X, Y, gradient, loss_fn, run


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
            r"model_state like the one given, int32\[\], got float32\[\]",
        ),
        ({"optimizer": optax.sgd(0.1)}, TypeError, "optimizer must make.*optax.adamw"),
    ],
)
def test_wrong_arguments(overrides, error, match):
    with pytest.raises(error, match=match):
        run(**overrides)
