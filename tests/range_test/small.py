"""A range test that takes a second, for the tests of its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_mi import lr_range_test
from optax_mi.estimators import contingency

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


gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
