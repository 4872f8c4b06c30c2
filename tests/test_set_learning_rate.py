"""A learning rate decided beside the optimizer, and written into its state."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

from optax_mi import learning_rates, mi_decay, set_learning_rate

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
ADAM = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)
LABELS = jnp.arange(64) % 4
SEEN = {"outputs": 3.0 * jax.nn.one_hot(LABELS, 4), "labels": LABELS}

AROUND = {
    "bare": ADAM,
    "chain": optax.chain(optax.clip_by_global_norm(1.0), ADAM),
    "named_chain": optax.named_chain(("clip", optax.clip(1.0)), ("adam", ADAM)),
    "MultiSteps": optax.MultiSteps(ADAM, 2),
    "apply_if_finite": optax.apply_if_finite(ADAM, 3),
    "masked": optax.masked(ADAM, {"w": True, "b": False}),
    "partition": optax.partition(
        {"ours": ADAM, "theirs": optax.adam(0.1)}, {"w": "ours", "b": "theirs"}
    ),
    "inside another": optax.inject_hyperparams(
        lambda factor: optax.chain(ADAM, optax.scale(factor))
    )(factor=2.0),
    "float16": optax.inject_hyperparams(optax.adam, hyperparam_dtype=jnp.float16)(0.1),
}


def moves(tx, state):
    """The updates of a first step, all gradients 1."""
    return tx.update(jax.tree.map(jnp.ones_like, PARAMS), state, PARAMS)[0]


@pytest.mark.parametrize("tx", AROUND.values(), ids=AROUND)
def test_it_is_found_and_all_else_is_kept(tx):
    state = tx.init(PARAMS)
    changed = set_learning_rate(state, 0.025)
    types = jax.tree.map(jax.typeof, state)
    assert jax.tree.map(jax.typeof, changed) == types
    before, after = jax.tree.leaves(state), jax.tree.leaves(changed)
    ((old, new),) = (
        (a, b)
        for a, b in zip(before, after, strict=True)
        if not np.array_equal(a, b, equal_nan=True)
    )
    np.testing.assert_allclose([old, new], [0.1, 0.025], rtol=1e-3)


def test_the_next_update_has_it():
    state = ADAM.init(PARAMS)
    ours = moves(ADAM, set_learning_rate(state, 0.025))
    chex.assert_trees_all_close(ours, jax.tree.map(lambda u: u / 4, moves(ADAM, state)))


def test_beside_the_optimizer_is_as_good_as_after_it():
    decay = mi_decay(0.5, num_classes=4, steps_per_epoch=2)
    chain = optax.chain(optax.sgd(1.0), decay)
    sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, opt_state, side):
        _, side = decay.update((), side, **SEEN)
        opt_state = set_learning_rate(opt_state, learning_rates(side)["all"])
        updates, opt_state = sgd.update(params, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, side

    @jax.jit
    def step_of_chain(params, state):
        updates, state = chain.update(params, state, params, **SEEN)
        return optax.apply_updates(params, updates), state

    params, opt_state, side = PARAMS, sgd.init(PARAMS), decay.init(())
    others, state = PARAMS, chain.init(PARAMS)
    for _ in range(8):
        params, opt_state, side = step(params, opt_state, side)
        others, state = step_of_chain(others, state)
        chex.assert_trees_all_close(params, others, rtol=1e-6)
        assert learning_rates(side) == learning_rates(state)
        rate = opt_state.hyperparams["learning_rate"]
        assert rate == learning_rates(side)["all"]
    assert rate < 0.4


def test_a_compiled_step_of_the_trainer_stays_compiled():
    update = jax.jit(ADAM.update)
    state = ADAM.init(PARAMS)
    for rate in (
        0.1,
        np.float64(0.05),
        jnp.float32(0.02),
        0,
        np.array(0.1, np.float16),
    ):
        _, state = update(PARAMS, set_learning_rate(state, rate), PARAMS)
    assert update._cache_size() == 1


def test_weak_types_and_numbers_of_python_and_numpy():
    state = ADAM.init(PARAMS)
    for rate in (0.1, jnp.asarray(0.1), np.float32(0.1)):
        given = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
        new = set_learning_rate(given, jnp.float32(0.5)).hyperparams["learning_rate"]
        assert new == 0.5
        assert jax.typeof(new) == jax.typeof(jnp.asarray(rate))


def test_train_states():
    state = TrainState.create(apply_fn=None, params=PARAMS, tx=ADAM)
    changed = set_learning_rate(state, 0.5)
    assert changed.opt_state.hyperparams["learning_rate"] == 0.5
    assert changed.params is not None

    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, ADAM, wrt=nnx.Param)
    changed = set_learning_rate(nnx.state(optimizer), 0.5)
    nnx.update(optimizer, changed)
    assert optimizer.opt_state.hyperparams["learning_rate"][...] == 0.5


def test_what_cannot_be_set():
    state = ADAM.init(PARAMS)
    with pytest.raises(TypeError, match=r"opt_state must be a state.*transformation"):
        set_learning_rate(ADAM, 0.1)
    with pytest.raises(ValueError, match=r"no learning_rate.*injected nothing"):
        set_learning_rate(optax.adam(0.1).init(PARAMS), 0.1)
    scale = optax.inject_hyperparams(optax.scale)(step_size=2.0)
    with pytest.raises(ValueError, match=r"no learning_rate.*injected step_size"):
        set_learning_rate(scale.init(PARAMS), 0.1)
    with pytest.raises(ValueError, match=r"2 learning rates, at 0, 1: pass the part"):
        set_learning_rate((state, state), 0.1)
    schedule = optax.cosine_decay_schedule(0.1, 100)
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=schedule)
    with pytest.raises(ValueError, match=r"of a schedule, which would overwrite"):
        set_learning_rate(tx.init(PARAMS), 0.1)
    whole = optax.inject_hyperparams(optax.sgd)(learning_rate=1)
    with pytest.raises(TypeError, match=r"dtype int32.*write 1\.0"):
        set_learning_rate(whole.init(PARAMS), 0.1)
    for rate in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="learning_rate must be at least 0 and"):
            set_learning_rate(state, rate)
    for rate in ({"all": 0.1}, None, "0.1", jnp.ones(2), optax.constant_schedule(0.1)):
        with pytest.raises(TypeError, match="learning_rate must be a number, got"):
            set_learning_rate(state, rate)


def test_an_nnx_optimizer_is_set_by_its_state():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, ADAM, wrt=nnx.Param)
    with pytest.raises(TypeError, match=r"optimizer\.opt_state = set_learning_rate"):
        set_learning_rate(optimizer, 0.5)
    optimizer.opt_state = set_learning_rate(optimizer.opt_state, 0.5)
    assert optimizer.opt_state.hyperparams["learning_rate"][...] == 0.5


def test_a_rate_that_the_dtype_of_the_state_cannot_hold():
    state = AROUND["float16"].init(PARAMS)
    for rate in (1e5, 10**30):
        with pytest.raises(ValueError, match=r"at most 6\.55e\+04, .* float16, got "):
            set_learning_rate(state, rate)
