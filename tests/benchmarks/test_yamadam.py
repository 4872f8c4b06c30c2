"""YamAdam against its equations, one number at a time."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from suite.yamadam import yamadam


def scalar_steps(grads, eps):
    """The steps for gradients [T, N] of one array of params."""
    size = len(grads[0])
    m, v, s, h = ([0.0] * size for _ in range(4))
    beta, steps = 0.0, []
    for grad in grads:
        new = []
        for i, g in enumerate(grad):
            v[i] = beta * v[i] + (1 - beta) * (g - m[i]) ** 2
            m[i] = beta * m[i] + (1 - beta) * g
            s[i] = beta * s[i] + (1 - beta) * h[i] ** 2
            new.append(m[i] * math.sqrt((s[i] + eps) / (v[i] + eps)))
        ratio = (sum(map(abs, h)) + eps) / (sum(map(abs, new)) + eps)
        beta = 1 / (1 + math.exp(-ratio)) - eps
        h = new
        steps.append(list(h))
    return np.array(steps)


@pytest.mark.parametrize(("rate", "eps"), [(1.0, 1e-6), (0.5, 1e-4)])
def test_steps_are_those_of_the_equations_array_by_array(rate, eps):
    rng = np.random.default_rng(0)
    grads = {
        "a": rng.normal(size=(30, 4)) * [1, 1e-3, 10, 0],
        "b": rng.normal(size=(30, 1)) + 1,
    }
    tx = yamadam(rate, eps=eps)
    state = tx.init({name: jnp.zeros(g[0].shape) for name, g in grads.items()})
    update = jax.jit(tx.update)
    found = {"a": [], "b": []}
    for t in range(30):
        grad = {name: jnp.asarray(g[t], jnp.float32) for name, g in grads.items()}
        updates, state = update(grad, state)
        for name, u in updates.items():
            found[name].append(u)
    for name, g in grads.items():
        # One beta for every array: that of "a" is not that of "b".
        want = -rate * scalar_steps(g, eps)
        np.testing.assert_allclose(np.array(found[name]), want, rtol=2e-4, atol=1e-9)


def test_first_step_is_the_root_of_eps_along_the_sign():
    tx = yamadam()
    grad = jnp.array([3.0, -50.0, 0.0])
    updates, _ = tx.update(grad, tx.init(grad))
    np.testing.assert_allclose(updates, [-1e-3, 1e-3, 0], rtol=1e-5)


def test_trains_a_quadratic_whatever_its_scale():
    target = jnp.array([1.0, -2.0, 0.5])
    curvature = jnp.array([1.0, 10.0, 0.1])

    def run(scale):
        def loss(w):
            return scale * jnp.sum(curvature * (w - target) ** 2)

        tx = yamadam()

        def step(carry, _):
            w, state = carry
            updates, state = tx.update(jax.grad(loss)(w), state)
            return (optax.apply_updates(w, updates), state), None

        start = jnp.zeros(3)
        (w, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=2000)
        return w

    for scale in (1.0, 1000.0):
        np.testing.assert_allclose(run(scale), target, atol=0.02)
