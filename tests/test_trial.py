"""A few updates on random gradients, of sizes that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import mi_decay
from optax_mi._trial import Trial

PARAMS = {
    "w": jnp.ones((5, 3)),
    "b": np.zeros(7, np.float32),
    "step": jnp.zeros((), int),
}
SEEN = {"outputs": 4 * jnp.eye(2), "labels": jnp.arange(2)}


@pytest.fixture(scope="module")
def trial():
    tx = optax.chain(
        optax.MultiSteps(optax.sgd(0.5), 3).gradient_transformation(),
        optax.scale_by_schedule(lambda count: jnp.where(count < 90, 1.0, 0.25)),
        mi_decay(0.5, 0.125, num_classes=2, steps_per_epoch=100),
    )
    return Trial(tx, PARAMS, {**SEEN, "unused": None, "name": "text"})


def test_updates_are_as_large_as_they_are(trial):
    outcome = trial.run(trial.init, scale=8.0)
    # Leaves are in the order of their names; two of eight updates are not all zeros.
    assert outcome.num_steps == 8
    assert outcome.sizes.shape == (2, 3)
    norms = [np.linalg.norm(trial.grads[name]) for name in ("b", "w")]
    np.testing.assert_allclose(outcome.given[[0, 2]], 8 * np.array(norms), rtol=1e-6)
    assert outcome.given[1] == 0
    np.testing.assert_allclose(outcome.sizes[-1], 0.25 * outcome.given, rtol=1e-5)
    assert outcome.states["all"].num_updates == 8
    # Fewer may be asked for, and more are tried until one is not all zeros.
    assert trial.run(trial.init, 1.0, 2).num_steps == 2


def test_a_state_is_changed_in_the_fields_that_are_named(trial):
    changed = trial.changed(
        current_lr={"all": 0.2}, num_updates=40, updates_in_epoch=40
    )
    ours = changed[-1]
    assert (ours.current_lr, ours.num_updates, ours.updates_in_epoch) == (
        np.float32(0.2),
        40,
        40,
    )
    before, after = (jax.tree.map(jnp.shape, s) for s in (trial.init, changed))
    assert before == after
    assert trial.run(changed, 1.0).states["all"].num_updates == 48
    halved = trial.run(changed, 1.0)
    np.testing.assert_allclose(halved.sizes[-1], 0.1 * halved.given, rtol=1e-5)


def test_schedules_are_put_forward(trial):
    outcome = trial.run(trial.later(100), scale=1.0)
    np.testing.assert_allclose(outcome.sizes[0], 0.0625 * outcome.given, rtol=1e-5)
    assert Trial(mi_decay(1.0, num_classes=2), PARAMS, SEEN).later(3) is None


def test_groups_with_params_are_told_from_those_without():
    chain = optax.chain(mi_decay(1.0, num_classes=2), optax.adam(1e-3))
    groups = {"all": chain, "none": chain, "bare": mi_decay(1.0, num_classes=2)}
    trial = Trial(optax.partition(groups, {"w": "all"}), {"w": jnp.ones(2)}, SEEN)
    assert [trial.has_moments(group) for group in groups] == [True, False, False]


def test_params_of_every_kind():
    params = {
        "complex": jnp.ones(2, complex),
        "half": jnp.ones(2, jnp.float16),
        "flags": jnp.ones(2, bool),
        "number": 1.0,
        "shape": jax.ShapeDtypeStruct((2,), jnp.bfloat16),
    }
    random = Trial(optax.identity(), params, {}).params
    for name, x in random.items():
        assert x.dtype == jnp.result_type(params[name])
        assert x.shape == jnp.shape(params[name])
    assert len({complex(x.ravel()[0]) for x in random.values()}) == 5
