"""A hundred thousand steps are as good as the first."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import mi_decay, mi_diagnostics
from optax_mi.estimators import contingency
from tests import reference

STEPS, BATCH = 100_000, 256
LABELS = jnp.arange(BATCH) % 4
# Every eighth of the predictions is of another class.
OUTPUTS = jnp.where(jnp.arange(BATCH) % 8 == 0, (LABELS + 1) % 4, LABELS)
SIGNAL = {"outputs": OUTPUTS, "labels": LABELS}
PARAMS = {"w": jnp.ones(3)}


def make(steps_per_epoch):
    decay = mi_decay(
        0.1, 0.01, estimator=contingency(num_classes=4), steps_per_epoch=steps_per_epoch
    )
    return optax.chain(optax.sgd(1.0, momentum=0.9), decay)


def types(tree):
    return jax.tree.map(jax.typeof, tree)


@pytest.mark.parametrize("steps_per_epoch", [99, STEPS])
def test_a_long_scan_counts_every_sample_and_its_state_stays_small(steps_per_epoch):
    tx = make(steps_per_epoch)

    @jax.jit
    def train(state):
        def step(state, _):
            return tx.update(PARAMS, state, PARAMS, **SIGNAL)[1], None

        return jax.lax.scan(step, state, length=STEPS)[0]

    start = tx.init(PARAMS)
    state = train(start)
    assert types(state) == types(start)
    decay = state[1]
    assert decay.num_updates == STEPS
    assert decay.num_epochs == STEPS // steps_per_epoch
    assert decay.held == 0
    seen = mi_diagnostics(state)["all"]
    # More than a float32 can count one by one, where the epoch is all there is.
    assert seen.num_samples == BATCH * steps_per_epoch
    table = np.zeros((4, 4))
    np.add.at(table, (np.asarray(LABELS), np.asarray(OUTPUTS)), 1)
    np.testing.assert_allclose(seen.mi, reference.mutual_information(table), rtol=1e-5)
    # It learns nothing more: from one epoch on, the rate falls to its lower bound.
    assert seen.learning_rate == np.float32(0.1 if decay.num_epochs == 1 else 0.01)
    # The open epoch holds its own samples and no others.
    left = tx.init(PARAMS)
    for _ in range(STEPS % steps_per_epoch):
        left = jax.jit(tx.update)(PARAMS, left, PARAMS, **SIGNAL)[1]
    chex.assert_trees_all_equal(
        decay.estimator_state,
        left[1].estimator_state,
    )


def test_steps_called_one_by_one_leave_nothing_behind():
    tx = make(10)

    @jax.jit(donate_argnums=(0, 1))
    def step(params, state):
        updates, state = tx.update(params, state, params, **SIGNAL)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.copy, PARAMS)
    params, state = step(params, tx.init(PARAMS))
    alive = sum(array.nbytes for array in jax.live_arrays())
    for _ in range(3000):
        params, state = step(params, state)
    assert sum(array.nbytes for array in jax.live_arrays()) == alive
    assert step._cache_size() == 1
    assert state[1].num_epochs == 300
