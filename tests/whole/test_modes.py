"""JAX's debug modes, and states that come as NumPy arrays."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import mi_decay, mi_diagnostics
from optax_mi.estimators import (
    binned_mi,
    gaussian_mi,
    kde_mi,
    ksg_mi,
    plugin_mi,
    ross_mi,
    variational_mi,
)
from optax_mi.rules import log_time_rule, proportional_rule, residual_rule
from tests.contract import CASES, ESTIMATORS

PARAMS = {"a": jnp.ones(3), "b": jnp.ones(2)}


def transformations():
    """The cases of the contract, and a decay by every other estimator and rule."""
    for name, case in CASES.items():
        yield name, case.make(), case.signal()
    for name, (estimator, signal) in ESTIMATORS.items():
        tx = mi_decay(0.3, estimator=estimator, steps_per_epoch=3)
        yield name, tx, signal
    for rule in (proportional_rule, residual_rule, log_time_rule):
        tx = mi_decay(0.3, num_classes=4, steps_per_epoch=3, rule=rule())
        yield rule.__name__, tx, CASES["mi_decay"].signal()


EVERY = {name: (tx, signal) for name, tx, signal in transformations()}
every = pytest.mark.parametrize(("tx", "signal"), EVERY.values(), ids=EVERY)


def train(tx, state, signal, steps=7):
    """Eager updates through two epochs."""
    for _ in range(steps):
        _, state = tx.update(PARAMS, state, PARAMS, **signal)
    return state


@every
def test_debug_modes_find_the_nan_of_the_user_and_none_of_ours(tx, signal):
    with jax.debug_nans(True), jax.debug_infs(True):
        state = train(tx, tx.init(PARAMS), signal)
        jax.jit(tx.update)(PARAMS, state, PARAMS, **signal)
        mi_diagnostics(state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_diagnostics_still_tell_what_was_not_measured():
    tx = mi_decay(0.3, num_classes=2, steps_per_epoch=2)
    with jax.debug_nans(True):
        seen = mi_diagnostics(tx.init(PARAMS))["all"]
    assert np.isnan(seen.mi)
    assert np.isnan(seen.normalized)


@every
def test_states_may_be_of_numpy(tx, signal):
    state = tx.init(PARAMS)
    ours = train(tx, state, signal, 4)
    theirs = train(tx, jax.device_get(state), signal, 4)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-6)


def test_a_state_through_bytes_goes_on():
    serialization = pytest.importorskip("flax.serialization")
    tx = optax.chain(optax.sgd(1.0), mi_decay(0.3, num_classes=4, steps_per_epoch=2))
    signal = CASES["mi_decay"].signal()
    state = train(tx, tx.init(PARAMS), signal, 3)
    restored = serialization.from_bytes(tx.init(PARAMS), serialization.to_bytes(state))
    chex.assert_trees_all_close(
        train(tx, state, signal, 2), train(tx, restored, signal, 2)
    )


RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 2)).astype(np.float32)
IDS = (X[:, 0] > 0).astype(np.int32)
ONE_SHOT = {
    "plugin": lambda: plugin_mi(X, IDS),
    "plugin of ids": lambda: plugin_mi(IDS, IDS),
    "variational": lambda: variational_mi(X, IDS),
    "binned": lambda: binned_mi(X, IDS, num_bins=3),
    "gaussian": lambda: gaussian_mi(X, IDS),
    "gaussian, real": lambda: gaussian_mi(X[:, :1], X[:, 1:]),
    "ross": lambda: ross_mi(X, IDS),
    "ross, line": lambda: ross_mi(X[:, 0], IDS),
    "ksg": lambda: ksg_mi(X[:, 0], X[:, 1]),
    "kde": lambda: kde_mi(X, IDS, bandwidth=0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("measure", ONE_SHOT.values(), ids=ONE_SHOT)
def test_one_shot_functions_run_without_jit(measure):
    compiled = measure()
    with jax.disable_jit():
        plain = measure()
    chex.assert_trees_all_close(plain, compiled, rtol=1e-4, atol=1e-5)


def test_an_epoch_without_data_is_of_no_entropy_and_not_of_less():
    tx = mi_decay(0.3, num_classes=4, steps_per_epoch=1)
    nothing = {"outputs": jnp.zeros((3, 4)), "labels": jnp.full(3, -1)}
    seen = train(tx, tx.init(PARAMS), nothing, 1).estimate
    assert (seen.mi, seen.entropy, seen.num_samples) == (0, 0, 0)
    assert not np.signbit(seen.entropy)
    assert not np.signbit(seen.mi)
