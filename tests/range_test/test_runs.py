"""Every copy trains as it would alone, wherever it is computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi.estimators import gaussian
from optax_mi.range_test._programs import _programs
from tests.range_test.small import ESTIMATOR, START, X, Y, gradient, run

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


def test_chunks_change_nothing():
    again = run(num_seeds=2)
    compiled = len(_programs)
    ticks = []
    chunked = run(
        num_seeds=2, max_parallel=8, progress=lambda *done: ticks.append(done)
    )
    assert chunked.to_json() == again.to_json()
    assert len(_programs) == compiled
    assert ticks == [(i, ticks[-1][1]) for i in range(1, ticks[-1][1] + 1)]
    # Narrower ones only round otherwise.
    narrow = run(max_parallel=3)
    np.testing.assert_allclose(narrow.mi[:6], again.mi[:6, :1], atol=1e-4)


def test_double_precision_reaches_every_copy():
    with jax.enable_x64(True):
        found = run(
            params=jnp.zeros((4, 3), jnp.float64),
            batches=(X[:1].astype(np.float64), Y[:1]),
            num_seeds=2,
        )
        # Seeds are alike, but not trained by the same thread.
        compiled = len(_programs)
        run(params=START.astype(jnp.float64), batches=(X[:1].astype(float), Y[:1]))
        assert len(_programs) == compiled
    np.testing.assert_array_equal(found.mi[:, 0], found.mi[:, 1])
