"""The same small classifier in every framework, and without one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_mi import learning_rates

LABELS = jnp.arange(300) % 3
NOISE = np.random.default_rng(0).normal(size=(300, 3))
INPUTS = (2.0 * jax.nn.one_hot(LABELS, 3) + NOISE).astype(jnp.float32)
STEPS = 60


def losses_of(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS)


def train(tx, params, *, only_loss=False):
    """The params of a linear network after so many steps, and the learning rate."""

    def loss_fn(params):
        logits = INPUTS @ params["w"] + params["b"]
        return losses_of(logits).mean(), logits

    @jax.jit
    def step(params, state):
        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        seen = {"outputs": logits, "labels": LABELS}
        seen = {"value": loss} if only_loss else seen
        updates, state = tx.update(grads, state, params, **seen)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(STEPS):
        params, state = step(params, state)
    return params, rate_of(state)


def rate_of(state):
    (rate,) = learning_rates(state).values()
    return float(rate)
