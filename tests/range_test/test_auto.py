"""What `auto` finds for networks, and what it says of wrong arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits, load_wine

from optax_mi import auto, eval_params
from optax_mi.estimators import gaussian
from optax_mi.range_test._programs import _programs
from tests.range_test.small import KEY, START, X, Y, loss_fn

XS, YS = (np.concatenate([part] * 3) for part in (X, Y))


def digits(rows=1600):
    """Standardized, in batches of 32."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:rows]
    x = (x[order] / 8 - 1).astype(np.float32)
    return x.reshape(-1, 32, 64), y[order].astype(np.int32).reshape(-1, 32)


def mlp(widths, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(widths))
    return [
        (jax.random.normal(key, (a, b)) / np.sqrt(a), jnp.zeros(b))
        for key, a, b in zip(keys, widths, widths[1:], strict=False)
    ]


def mlp_loss(params, batch):
    h, y = batch
    for i, (w, b) in enumerate(params):
        h = (jnp.tanh(h) if i else h) @ w + b
    losses = optax.softmax_cross_entropy_with_integer_labels(h, y)
    return losses.mean(), {"outputs": h, "labels": y}


def train(tx, params, batches, passes):
    """The params, their average, and the training loss before and after."""
    state = tx.init(params)

    @jax.jit
    def run(params, state):
        def step(carry, batch):
            params, state = carry
            (loss, seen), grads = jax.value_and_grad(mlp_loss, has_aux=True)(
                params, batch
            )
            updates, state = tx.update(grads, state, params, value=loss, **seen)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, (params, state), batches)

    losses = []
    for _ in range(passes):
        (params, state), seen = run(params, state)
        losses.append(float(seen.mean()))
    return eval_params(state, params), losses


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd,
        functools.partial(optax.sgd, momentum=0.9),
        optax.adam,
        optax.adamw,
        optax.lion,
        optax.contrib.muon,
    ],
    ids=["sgd", "momentum", "adam", "adamw", "lion", "muon"],
)
@pytest.mark.slow
def test_trains_with_any_optimizer(optimizer):
    batches, params = digits(), mlp((64, 32, 10))
    found = auto(
        mlp_loss,
        params,
        batches,
        num_classes=10,
        optimizer=optimizer,
        num_updates=150,
        key=KEY,
    )
    assert found.num_updates <= 150
    averaged, _ = train(found.tx, params, batches, 6)
    rows = jax.tree.map(np.concatenate, batches)
    loss, seen = mlp_loss(averaged, rows)
    assert loss < 0.2 * mlp_loss(params, rows)[0]
    assert np.mean(seen["outputs"].argmax(-1) == rows[1]) > 0.9


def test_wine_by_heart_under_plain_sgd():
    """A network with which the range test went for a thousand times too much."""
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:170]
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)[order].reshape(10, 17, 13)
    batches, params = (x, y[order].astype(np.int32).reshape(10, 17)), mlp((13, 64, 3))
    found = auto(
        mlp_loss,
        params,
        batches,
        num_classes=3,
        optimizer=optax.sgd,
        num_updates=100,
        key=KEY,
    )
    _, losses = train(found.tx, params, batches, 40)
    assert losses[-1] < 0.1
    assert max(losses) <= losses[0] < 1.2


def test_few_rows_get_a_limit_and_a_stream_none():
    x, y = digits(160)
    wrong = np.random.default_rng(1).random(y.shape) < 0.3
    y = np.where(wrong, (y + 3) % 10, y)
    params, how = mlp((64, 64, 10)), {"num_classes": 10, "num_updates": 200, "key": KEY}
    few = auto(mlp_loss, params, (x, y), **how)
    assert few.lr_sum_max is not None
    assert "memorizes" in few.lr_sum_reason
    assert "capped_rule" in few.recipe()
    w = jax.random.normal(jax.random.key(5), (64, 10))

    def stream(key, step):
        x = jax.random.normal(key, (32, 64))
        return x, (x @ w).argmax(-1)

    many = auto(mlp_loss, params, stream, **how)
    assert many.lr_max is not None
    assert many.lr_sum_max is None
    assert many.lr_sum_reason.startswith("no batch was seen twice")


def test_labels_of_chance_teach_nothing():
    rng = np.random.default_rng(3)
    batches = rng.normal(size=(8, 64, 4)).astype("f4"), rng.integers(0, 3, (8, 64))
    found = auto(loss_fn, START, batches, num_classes=3, num_updates=60, key=KEY)
    assert found.lr_max is None
    assert "no learning rate learns" in str(found)
    with pytest.raises(ValueError, match="no learning rate: no learning rate learns"):
        _ = found.tx


def test_training_that_breaks_is_no_learning():
    spoilt = XS.copy()
    spoilt[:, 0, 0] = 1.0
    spoilt[4, 0, 0] = np.nan
    how = {"eval_batches": (X, Y), "num_classes": 3, "num_updates": 60, "key": KEY}
    found = auto(loss_fn, START, (spoilt, YS), **how)
    assert found.lr_max is None
    assert "diverged" in found.lr_max_reason


def test_the_same_key_gives_the_same_and_nothing_is_compiled_twice():
    how = {"num_classes": 3, "num_updates": 60, "key": KEY}
    first = auto(loss_fn, START, (XS, YS), **how)
    compiled = set(_programs)
    second = auto(loss_fn, START, (XS, YS), **how)
    assert set(_programs) == compiled
    assert first.lr_max == second.lr_max
    for one, other in zip(first.runs, second.runs, strict=True):
        np.testing.assert_array_equal(one.loss, other.loss)


def test_batch_statistics_of_nnx():
    model = nnx.Sequential(
        nnx.Linear(4, 8, rngs=nnx.Rngs(0)),
        nnx.BatchNorm(8, rngs=nnx.Rngs(0)),
        nnx.Linear(8, 3, rngs=nnx.Rngs(1)),
    )
    graph, params, statistics = nnx.split(model, nnx.Param, ...)

    def nnx_loss_fn(params, statistics, batch):
        x, y = batch
        model = nnx.merge(graph, params, statistics, copy=True)
        logits = model(x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        _, _, statistics = nnx.split(model, nnx.Param, ...)
        return loss, ({"outputs": logits, "labels": y}, statistics)

    x = jax.random.normal(KEY, (8, 32, 4))
    found = auto(
        nnx_loss_fn,
        params,
        (x, x[..., :3].argmax(-1)),
        model_state=statistics,
        num_classes=3,
        num_updates=60,
        key=KEY,
    )
    optimizer = nnx.Optimizer(model, found.tx, wrt=nnx.Param)
    assert 0 < found.lr_max < 10
    assert optimizer is not None


def test_a_regression():
    x = jax.random.normal(KEY, (10, 32, 4))

    def loss_fn(w, batch):
        x, y = batch
        outputs = x @ w
        return optax.l2_loss(outputs, y).mean(), {"outputs": outputs, "labels": y}

    batches = x, x @ jnp.array([1.0, -1.0, 0.5, 0.0])
    estimator = gaussian(features=1, label_features=1)
    found = auto(
        loss_fn, jnp.zeros(4), batches, estimator=estimator, num_updates=60, key=KEY
    )
    assert 0.001 < found.lr_max < 10
    assert np.isinf(found.entropy)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"num_updates": 59}, ValueError, "at least 60.*num_updates=59"),
        ({"num_updates": 1e3}, TypeError, "num_updates"),
        ({"batches": (XS[:2], YS[:2])}, ValueError, "at least 4.*got 2"),
        ({"num_classes": None}, ValueError, "exactly one of num_classes and estimator"),
        ({"optimizer": optax.adamw(1e-3)}, TypeError, "optimizer must make"),
        ({"key": 0}, TypeError, "key must be a key"),
        ({"loss_fn": 3}, TypeError, "loss_fn must be a function"),
        ({"progress": 3}, TypeError, "progress must be a function"),
        ({"params": START * jnp.nan}, ValueError, "not finite before any training"),
        ({"eval_batches": (X[0], Y[0])}, ValueError, "eval_batches must have an axis"),
        ({"model_state": ()}, (TypeError, ValueError), "loss_fn"),
    ],
)
def test_wrong_arguments(changes, error, reason):
    given = {
        "loss_fn": loss_fn,
        "params": START,
        "batches": (XS, YS),
        "num_classes": 3,
        "num_updates": 60,
        "key": KEY,
    }
    given |= changes
    with pytest.raises(error, match=reason):
        auto(given.pop("loss_fn"), given.pop("params"), given.pop("batches"), **given)
