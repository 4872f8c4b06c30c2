"""Momentum that is annealed, against its recurrence and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from suite.annealed_momentum import annealed_momentum, demon_schedule


def updates_of(tx, grads):
    """What the transformation makes of gradients [T, N]."""
    state = tx.init(jnp.zeros(grads.shape[1:]))
    return jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], state, grads)[1]


def gradients(steps):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(steps, 3)), jnp.float32)


def test_updates_are_those_of_the_recurrence_also_past_the_last_step():
    rate, steps, momentum = 0.3, 20, 0.9
    grads = gradients(steps + 3)
    want, v = [], np.zeros(3)
    for t, g in enumerate(np.asarray(grads, np.float64)):
        left = max(1 - t / steps, 0)
        v = momentum * left / ((1 - momentum) + momentum * left) * v + g
        want.append(-rate * v)
    found = updates_of(annealed_momentum(rate, steps, momentum), grads)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_what_a_gradient_still_adds_falls_along_a_line():
    beta = jax.vmap(demon_schedule(100, 0.9))(jnp.arange(101))
    assert beta[0] == pytest.approx(0.9, rel=1e-5)
    np.testing.assert_allclose(beta / (1 - beta), np.linspace(9, 0, 101), atol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_is_sgd_where_there_is_nothing_to_anneal_yet(momentum):
    # The first 30 of so many updates leave no trace in float32.
    grads = gradients(30)
    found = updates_of(annealed_momentum(0.1, 2**30, momentum), grads)
    want = updates_of(optax.sgd(0.1, momentum=momentum), grads)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("steps", "momentum", "message"),
    [(0, 0.9, "steps is 0"), (9, 1.0, "momentum is 1"), (9, -0.1, "momentum is -0.1")],
)
def test_bad_arguments_are_named(steps, momentum, message):
    with pytest.raises(ValueError, match=message):
        annealed_momentum(0.1, steps, momentum)
