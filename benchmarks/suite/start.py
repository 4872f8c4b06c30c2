"""Networks that have been trained before: where fine-tuning starts."""

import functools
from typing import Any

import jax
import numpy as np
import optax

from suite.data import centre, pixels
from suite.nets import MLP

PIXELS = MLP((64, 64), 32)
STEPS, BATCH, RATE = 2000, 128, 3e-3


@functools.lru_cache(maxsize=16)
def trained_on_china(seed: int) -> Any:
    """The parameters of `PIXELS` after 2000 steps on `pixels`, a net a seed.

    AdamW, with a cosine from a fixed learning rate. The same object each time.
    """
    x, y = pixels(seed).train
    rows = np.random.default_rng([seed, 4]).integers(0, len(x), (STEPS, BATCH))
    return jax.device_get(_fit(x, y, rows, jax.random.key(seed)))


@jax.jit
def _fit(x: jax.Array, y: jax.Array, order: jax.Array, key: jax.Array) -> Any:
    tx = optax.adamw(optax.cosine_decay_schedule(RATE, len(order)))

    def step(carry: Any, rows: jax.Array) -> tuple[Any, None]:
        params, state = carry

        def loss_fn(params: Any) -> jax.Array:
            logits: Any = PIXELS.apply(params, centre(x[rows]))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows])
            return losses.mean()

        updates, state = tx.update(jax.grad(loss_fn)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    params = PIXELS.init(key, centre(x[:1]))
    return jax.lax.scan(step, (params, tx.init(params)), order)[0][0]
