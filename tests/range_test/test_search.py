"""The range test: every copy trains as it would alone, and the bounds follow."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import LRRangeResult, lr_range_test
from optax_mi.estimators import contingency, gaussian
from optax_mi.range_test._result import Runs, find_bounds
from optax_mi.range_test._runs import _train_all

KEY = jax.random.key(0)
ESTIMATOR = contingency(num_classes=3)
X = np.random.default_rng(0).normal(size=(2, 30, 4)).astype(np.float32)
Y = np.argmax(X[..., :3] + 0.3 * X[::-1, :, :3], -1).astype(np.int32)
START = jnp.zeros((4, 3))


def loss_fn(w, batch):
    x, y = batch
    logits = x @ w
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, {"outputs": logits, "labels": y}


def run(**overrides):
    settings = {
        "params": START,
        "batches": (X[:1], Y[:1]),
        "estimator": ESTIMATOR,
        "lr_low": 1e-3,
        "lr_high": 100.0,
        "num": 8,
        "num_steps": 20,
        "key": KEY,
    }
    settings |= overrides
    loss = settings.pop("loss_fn", loss_fn)
    return lr_range_test(
        loss, settings.pop("params"), settings.pop("batches"), **settings
    )


@pytest.fixture(scope="module")
def result():
    return run()


gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
accumulate, estimate = jax.jit(ESTIMATOR.update), jax.jit(ESTIMATOR.estimate)


def train_alone(schedule, optimizer, windows, steps):
    """One run in a plain loop on the only batch: MI and mean loss of each window."""
    tx = optimizer(schedule)
    params, state, seen = START, tx.init(START), []
    update = jax.jit(tx.update)
    for _ in range(windows):
        sums, losses = ESTIMATOR.init(), []
        for _ in range(steps):
            (loss, extra), grads = gradient(params, (X[0], Y[0]))
            sums = accumulate(sums, **extra)
            losses.append(float(loss))
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
        measured = estimate(sums)
        seen.append((float(measured.mi), float(measured.std_error), np.mean(losses)))
    return np.array(seen)


@pytest.mark.parametrize(
    "optimizer",
    [optax.sgd, functools.partial(optax.sgd, momentum=0.9), optax.adamw],
    ids=["sgd", "momentum", "adamw"],
)
def test_every_copy_trains_as_it_would_alone(optimizer):
    found = run(optimizer=optimizer)
    np.testing.assert_allclose(found.learning_rates, np.geomspace(1e-3, 100, 8))
    for i in (0, 3, 5):
        rate = float(found.learning_rates[i])
        mi, error, loss = train_alone(rate, optimizer, 2, 10)[-1]
        assert found.mi[i, 0] == pytest.approx(mi, abs=1e-5)
        assert found.std_error[i, 0] == pytest.approx(error, abs=1e-5)
        assert found.loss[i, 0] == pytest.approx(loss, rel=1e-5)
    untrained = train_alone(0.0, optimizer, 1, 1)[0, 0]
    assert found.chance[0] == pytest.approx(untrained, abs=1e-6)


def test_a_ramp_is_one_run_through_all_learning_rates():
    found = run(mode="ramp", num_steps=24)
    rates = jnp.asarray(found.learning_rates, jnp.float32)
    alone = train_alone(lambda count: rates[count // 3], optax.sgd, 8, 3)
    np.testing.assert_allclose(found.mi[:, 0], alone[:, 0], atol=1e-4)
    np.testing.assert_allclose(found.loss[:, 0], alone[:, 2], rtol=1e-3)
    assert found.chance.shape == (1,)
    assert found.num_steps == 24


def test_runs_diverge_where_a_quadratic_does():
    x, y = X[0], X[0] @ np.ones(4, np.float32) + 0.1 * X[1, :, 0]
    # Gradient descent on mean((x w - y)^2) is stable below 2 / the largest curvature.
    limit = 2 / np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()

    def squares(w, batch):
        outputs = batch[0] @ w
        return jnp.mean((outputs - batch[1]) ** 2), {
            "outputs": outputs[:, None],
            "labels": batch[1][:, None],
        }

    found = run(
        loss_fn=squares,
        params=jnp.zeros(4),
        batches=(x[None], y[None]),
        estimator=gaussian(features=1, label_features=1),
        lr_low=limit / 2**4.5,
        lr_high=limit * 2**4.5,
        num=10,
        num_steps=200,
    )
    np.testing.assert_array_equal(found.diverged[:, 0], found.learning_rates > limit)
    assert np.isnan(found.mi[found.diverged]).all()
    assert np.isfinite(found.mi[~found.diverged]).all()
    assert np.isposinf(found.entropy[~found.diverged]).all()
    assert found.lr_max < limit
    assert "above which runs diverge" in found.lr_max_reason
    assert "diverged: 5 learning rates" in str(found)


def test_chunks_change_nothing(result):
    again = run(num_seeds=2)
    compiled = _train_all._cache_size()
    ticks = []
    chunked = run(
        num_seeds=2, max_parallel=8, progress=lambda *done: ticks.append(done)
    )
    assert chunked.to_json() == again.to_json()
    assert _train_all._cache_size() == compiled
    assert ticks == [(i, ticks[-1][1]) for i in range(1, ticks[-1][1] + 1)]
    # Narrower ones only round otherwise.
    narrow = run(max_parallel=3)
    np.testing.assert_allclose(narrow.mi[:6], result.mi[:6], atol=1e-4)


def test_double_precision_reaches_every_copy():
    with jax.enable_x64(True):
        found = run(
            params=jnp.zeros((4, 3), jnp.float64),
            batches=(X[:1].astype(np.float64), Y[:1]),
            num_seeds=2,
        )
        # Seeds are alike, but not trained by the same thread.
        compiled = _train_all._cache_size()
        run(params=START.astype(jnp.float64), batches=(X[:1].astype(float), Y[:1]))
        assert _train_all._cache_size() == compiled
    np.testing.assert_array_equal(found.mi[:, 0], found.mi[:, 1])


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


LRS = np.geomspace(1e-4, 1.0, 9)


def judge(mi, std_error=0.01, loss=None, chance=0.0):
    mi = np.asarray(mi, float).reshape(9, -1)
    loss = np.ones_like(mi) if loss is None else np.reshape(loss, mi.shape)
    runs = Runs(mi, np.full_like(mi, std_error), np.full_like(mi, 2.0), loss)
    seeds = mi.shape[1]
    start = Runs(*(np.full(seeds, value) for value in (chance, 0.0, 2.0, 1.0)))
    return find_bounds(LRS, runs, start, mode="parallel", num_steps=100)


def test_bounds_of_a_curve():
    found = judge([0, 0.02, 0.1, 0.5, 1.0, 0.995, 0.98, 0.995, 0])
    # 0.98 loses too much, so that what comes after it counts no more.
    assert (found.lr_min, found.lr_max) == (LRS[2], LRS[5] / math.sqrt(2))
    assert "a margin below 0.0316, above which 2.0% is lost" in found.lr_max_reason
    # With a standard error of 0.04, 0.1 is no longer above chance.
    assert judge([0, 0.02, 0.1, 0.5, 1, 1, 0, 0, 0], 0.04).lr_min == LRS[3]
    # An estimator without a standard error leaves the share of the largest gain.
    assert judge([0, 0.005, 0.1, 0.5, 1, 1, 0, 0, 0], math.nan).lr_min == LRS[2]
    # A bound may be as bad as float32 can say, and as uncertain.
    assert judge([0, -math.inf, 0.1, 0.5, 1, 1, 0, 0, 0], math.inf).lr_max is None
    # What the network knows untrained is no gain.
    assert judge([0.4, 0.4, 0.4, 0.5, 1, 1, 0.4, 0, 0], chance=0.4).lr_min == LRS[3]


def test_spread_over_seeds():
    mi = np.zeros((9, 2))
    mi[2:5, 0], mi[3:7, 1] = 1.0, 1.0
    found = judge(mi)
    np.testing.assert_allclose(found.lr_max_by_seed * math.sqrt(2), LRS[[4, 6]])
    np.testing.assert_allclose(found.lr_min_by_seed, LRS[[2, 3]])
    assert found.lr_max == pytest.approx(LRS[4] / math.sqrt(2))
    assert "lr_max 0.00707 (0.00707 to 0.0707 over seeds)" in str(found)
    # A learning rate is lost where one seed diverges.
    loss = np.ones((9, 2))
    loss[4, 1] = 4.1
    found = judge(mi, loss=loss)
    assert found.diverged.sum() == 1
    assert found.lr_max == pytest.approx(LRS[3] / math.sqrt(2))
    assert "above which runs diverge" in found.lr_max_reason


@pytest.mark.parametrize(
    ("curve", "bounds", "reason"),
    [
        ({"mi": [0.01] * 9}, (None, None), "no learning rate learns"),
        ({"mi": [1.0] * 9}, (None, None), "1 nats gained at 0.0001, the most: lower"),
        ({"mi": np.arange(9)}, (None, LRS[1]), "no less up to lr_high=1: raise it"),
        (
            {"mi": [1, 1, 2, 2, 0, 0, 0, 0, 0]},
            (LRS[3] / math.sqrt(2), None),
            "a margin below 0.00316, above which 100.0% is lost",
        ),
        (
            # One learning rate that learns: both bounds are the same.
            {"mi": [0, 0, 0, 2, -5, 0, 0, 0, 0]},
            (LRS[3] / math.sqrt(2), LRS[3] / math.sqrt(2)),
            "above which all of it is lost",
        ),
        (
            {"mi": [1.0] * 9, "loss": [math.nan] * 9},
            (None, None),
            "diverged everywhere above lr_low=0.0001",
        ),
    ],
)
def test_bounds_are_not_invented(curve, bounds, reason):
    found = judge(**curve)
    assert (found.lr_max, found.lr_min) == bounds
    assert reason in found.lr_max_reason
    assert "lr_max" in str(found)
    assert found.lr_min or found.lr_min_reason


def test_a_loss_that_is_nan_from_the_start_says_so():
    found = run(params=jnp.full((4, 3), math.nan))
    assert found.lr_max is None
    assert "not finite before any training" in found.lr_max_reason
    assert found.diverged.all()


def test_json_keeps_everything(result):
    again = LRRangeResult.from_json(result.to_json())
    for name, value in vars(result).items():
        np.testing.assert_array_equal(getattr(again, name), value)
        assert type(getattr(again, name)) is type(value)
    assert str(again) == str(result)
    lost = judge([1.0] * 9, math.nan, loss=[math.inf] * 9)
    again = LRRangeResult.from_json(lost.to_json())
    assert again.lr_max is None
    assert np.isnan(again.lr_max_by_seed).all()
    with pytest.raises(ValueError, match="not the JSON of an LRRangeResult: it lacks"):
        LRRangeResult.from_json('{"lr_max": 0.1}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[0.1, 0.2]", r"expected an object, got '\[0.1, 0.2\]'"),
        ("3", "expected an object, got '3'"),
        ("null", "expected an object, got 'null'"),
        ('{"lr_max": 0.1', "Expecting ',' delimiter: line 1 column 15"),
        ("", "Expecting value: line 1 column 1"),
    ],
)
def test_what_is_not_its_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        LRRangeResult.from_json(text)


@pytest.mark.parametrize("value", [{"a": 1}, "x", [[1.0], [1.0, 2.0]]])
def test_json_with_something_else_for_an_array_names_it(result, value):
    content = json.loads(result.to_json()) | {"mi": value}
    with pytest.raises(ValueError, match="not the JSON of an LRRangeResult: mi: "):
        LRRangeResult.from_json(json.dumps(content))


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
        ({"batches": ()}, ValueError, r"batches must be a pytree.*got shapes \[\]"),
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
