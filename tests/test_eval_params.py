"""Where `eval_params` finds averages, and how it puts them together."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.linen.fp8_ops import OVERWRITE_WITH_GRADIENT
from flax.training.train_state import TrainState

from optax_mi import average_params, eval_params
from optax_mi.flax import MITrainState
from tests.contract import CASES, WRAPPERS
from tests.test_average import PARAMS, updates_of


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_found_inside_every_wrapper(wrap):
    tx = wrap(CASES["average_params"])
    state = tx.init(PARAMS)
    for find in (eval_params, jax.jit(eval_params)):
        chex.assert_trees_all_equal(find(state, PARAMS), PARAMS)


def sgd(**kwargs):
    return optax.chain(optax.sgd(0.1), average_params(**kwargs))


def test_parts_are_put_together_and_gaps_are_the_params():
    labels = {"w": "slow", "b": "fast", "s": "raw"}
    groups = {"slow": sgd(power=1), "fast": sgd(), "raw": optax.sgd(0.1)}
    params, state = updates_of(optax.partition(groups, labels), [1.0, 2.0])
    average = eval_params(state, params)
    _, whole = updates_of(sgd(power=1), [1.0, 2.0])
    np.testing.assert_array_equal(average["w"], eval_params(whole)["w"])
    _, whole = updates_of(sgd(), [1.0, 2.0])
    np.testing.assert_array_equal(average["b"], eval_params(whole)["b"])
    np.testing.assert_array_equal(average["s"], params["s"])
    assert average["w"][0, 0] != params["w"][0, 0]
    with pytest.raises(ValueError, match=r"some of the params only\. Pass the params"):
        eval_params(state)
    train_state = TrainState(0, None, params, None, state)
    chex.assert_trees_all_equal(eval_params(train_state), average)


def test_one_part_needs_the_params_too():
    masked = optax.masked(sgd(), {"w": True, "b": False, "s": False})
    state = masked.init(PARAMS)
    with pytest.raises(ValueError, match="Pass the params"):
        eval_params(state)
    np.testing.assert_array_equal(eval_params(state, PARAMS)["b"], PARAMS["b"])


@pytest.mark.parametrize("known", [True, False])
def test_what_is_kept_survives_a_step_that_donates_state_and_params(known):
    tx = optax.chain(optax.sgd(0.5), average_params())
    params = jnp.array([1.0, 2.0])

    def step(state, params):
        updates, state = tx.update(jnp.ones(2), state, params)
        return state, optax.apply_updates(params, updates)

    step = jax.jit(step, donate_argnums=(0, 1))
    state, params = step(tx.init(params), params)
    kept = eval_params(state, params) if known else eval_params(state)
    state, params = step(state, params)
    np.testing.assert_array_equal(kept, [0.5, 1.5])


def test_what_cannot_be_right_is_an_error():
    with pytest.raises(ValueError, match=r"average_params\(\) last in the chain"):
        eval_params(optax.adam(0.1).init(PARAMS), PARAMS)
    both = optax.chain(sgd(power=1), average_params()).init(PARAMS)
    with pytest.raises(ValueError, match=r"more than one average of b\..*state\[-1\]"):
        eval_params(both)
    assert eval_params(both[-1])["b"].shape == (3,)
    state = sgd().init(PARAMS)
    with pytest.raises(ValueError, match=r"average of s, which is not in params.* b\."):
        eval_params(state, {"w": PARAMS["w"], "b": PARAMS["b"]})
    with pytest.raises(ValueError, match=r"the shape \(3,\) of the average at b, got"):
        eval_params(state, {**PARAMS, "b": jnp.ones(4)})


def test_the_dtypes_are_those_of_the_params():
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    state = TrainState.create(apply_fn=None, params=params, tx=sgd())
    assert {x.dtype.name for x in jax.tree.leaves(eval_params(state))} == {"bfloat16"}
    alone = eval_params(state.opt_state)
    assert {x.dtype.name for x in jax.tree.leaves(alone)} == {"float32"}


def test_in_a_linen_train_state():
    model = nn.Dense(2)
    params = model.init(jax.random.key(0), jnp.ones((1, 3)))["params"]
    state = MITrainState.create(apply_fn=model.apply, params=params, tx=sgd(power=0))
    for _ in range(2):
        state = state.apply_gradients(grads=jax.tree.map(jnp.ones_like, params))
    want = jax.tree.map(lambda p: p - 0.15, params)
    for find in (eval_params, jax.jit(eval_params)):
        chex.assert_trees_all_close(find(state), want, rtol=1e-5)
    model.apply({"params": eval_params(state)}, jnp.ones((1, 3)))


def test_beside_what_a_linen_train_state_overwrites():
    scale = {"scale": jnp.ones(())}
    params = {"params": {"w": jnp.zeros(3)}, OVERWRITE_WITH_GRADIENT: scale}
    state = MITrainState.create(apply_fn=None, params=params, tx=sgd(power=0))
    grads = jax.tree.map(jnp.ones_like, params)
    for _ in range(2):
        state = state.apply_gradients(grads=grads)
    average = eval_params(state)
    assert average.keys() == params.keys()
    np.testing.assert_allclose(average["params"]["w"], -0.15, rtol=1e-6)


def test_in_nnx():
    model = nnx.Sequential(
        nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    )
    start = model.layers[0].kernel[...]
    optimizer = nnx.Optimizer(model, sgd(power=0), wrt=nnx.Param)
    grads = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    for _ in range(2):
        optimizer.update(model, grads)
    params = nnx.state(model, nnx.Param)
    for average in (
        eval_params(optimizer),
        eval_params(optimizer, params),
        eval_params(nnx.state(optimizer)),
        eval_params(nnx.state((model, optimizer)), params),
        eval_params(nnx.to_pure_dict(nnx.state(optimizer))),
    ):
        averaged = nnx.clone(model)
        nnx.update(averaged, average)
        kernel = averaged.layers[0].kernel
        assert isinstance(kernel, nnx.Param)
        np.testing.assert_allclose(kernel[...], start - 0.15, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.layers[0].kernel[...], start - 0.2, rtol=1e-5)
        assert averaged(jnp.ones((2, 3))).shape == (2, 4)
    same = jax.tree.structure(eval_params(optimizer, params))
    assert same == jax.tree.structure(params)
