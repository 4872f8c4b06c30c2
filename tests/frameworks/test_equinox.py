"""A network in equinox trains as it does without."""

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

from optax_mi import mi_decay
from tests.frameworks.plain import INPUTS, LABELS, STEPS, losses_of, rate_of, train


@pytest.mark.slow
def test_as_without_equinox():
    tx = optax.chain(optax.adam(0.1), mi_decay(1.0, num_classes=3))
    model = eqx.nn.Linear(3, 3, key=jax.random.key(0))
    params, rate = train(tx, {"w": model.weight.T, "b": model.bias})
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))
    traces = []

    @eqx.filter_jit
    def step(model, state):
        traces.append(1)

        def loss_fn(model):
            logits = jax.vmap(model)(INPUTS)
            return losses_of(logits).mean(), logits

        grads, logits = eqx.filter_grad(loss_fn, has_aux=True)(model)
        arrays = eqx.filter(model, eqx.is_inexact_array)
        seen = {"outputs": logits, "labels": LABELS}
        updates, state = tx.update(grads, state, arrays, **seen)
        return eqx.apply_updates(model, updates), state

    for _ in range(STEPS):
        model, state = step(model, state)
    assert len(traces) == 1
    assert rate_of(state) < 0.95
    np.testing.assert_allclose(rate_of(state), rate, rtol=1e-4)
    np.testing.assert_allclose(model.weight.T, params["w"], rtol=1e-3, atol=1e-4)
