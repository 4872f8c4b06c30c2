"""A network in Haiku trains as it does without."""

import haiku as hk
import jax
import numpy as np
import optax
import pytest

from optax_mi import label_by_layer, mi_decay
from tests.frameworks.plain import INPUTS, LABELS, STEPS, losses_of, rate_of, train


@pytest.mark.slow
def test_as_without_haiku():
    tx = optax.chain(optax.adam(0.1), mi_decay(1.0, num_classes=3))
    net = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(3)(x)))
    params = net.init(jax.random.key(0), INPUTS)
    assert label_by_layer()(params) == {"linear": {"b": "linear", "w": "linear"}}
    plain, rate = train(tx, params["linear"])
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        def loss_fn(params):
            logits = net.apply(params, INPUTS)
            return losses_of(logits).mean(), logits

        grads, logits = jax.grad(loss_fn, has_aux=True)(params)
        seen = {"outputs": logits, "labels": LABELS}
        updates, state = tx.update(grads, state, params, **seen)
        return optax.apply_updates(params, updates), state

    for _ in range(STEPS):
        params, state = step(params, state)
    assert step._cache_size() == 1
    assert rate_of(state) < 0.95
    np.testing.assert_allclose(rate_of(state), rate, rtol=1e-4)
    np.testing.assert_allclose(params["linear"]["w"], plain["w"], rtol=1e-3, atol=1e-4)
