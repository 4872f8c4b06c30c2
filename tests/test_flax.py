"""linen's TrainState with eyes, and nnx as it is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.linen.fp8_ops import OVERWRITE_WITH_GRADIENT
from flax.training.train_state import TrainState

from optax_mi import learning_rates, mi_diagnostics, mi_sgd
from optax_mi.flax import MITrainState

X = jax.random.normal(jax.random.key(0), (30, 4))
LABELS = jnp.arange(30) % 3


def make_tx():
    return mi_sgd(0.3, momentum=0.9, num_classes=3, steps_per_epoch=5)


class Net(nn.Module):
    """A network with state of its own."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
        return nn.Dense(3)(nn.relu(x))


class BatchNormState(MITrainState):
    batch_stats: dict


def loss_of(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


def test_trains_a_network_with_batch_norm_in_one_compilation():
    model = Net()
    variables = model.init(jax.random.key(1), X)
    state = BatchNormState.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        tx=make_tx(),
    )

    @jax.jit
    def train_step(state):
        def loss_fn(params):
            logits, new = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                X,
                mutable=["batch_stats"],
            )
            return loss_of(logits), (logits, new["batch_stats"])

        grads, (logits, stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        return state.apply_gradients(
            grads=grads,
            extra_args={"outputs": logits, "labels": LABELS},
            batch_stats=stats,
        )

    first = state
    for _ in range(100):
        state = train_step(state)
    assert train_step._cache_size() == 1
    assert state.step == 100
    assert state.tx is first.tx
    seen = mi_diagnostics(state)["all"]
    assert seen.epoch == 20
    assert seen.normalized > 0.7
    assert learning_rates(state)["all"] < 0.3
    before, after = (s.batch_stats["BatchNorm_0"]["mean"] for s in (first, state))
    assert not np.allclose(before, after)


def test_equals_flax_where_there_are_no_extra_args():
    model = nn.Dense(3)
    params = model.init(jax.random.key(1), X)["params"]
    states = [
        kind.create(apply_fn=model.apply, params=params, tx=optax.adam(0.1))
        for kind in (TrainState, MITrainState)
    ]
    grads = jax.tree.map(jnp.ones_like, params)
    theirs, ours = (s.apply_gradients(grads=grads) for s in states)
    jax.tree.map(np.testing.assert_array_equal, theirs.params, ours.params)
    jax.tree.map(np.testing.assert_array_equal, theirs.opt_state, ours.opt_state)
    assert ours.step == theirs.step == 1


def test_keeps_the_overwrite_with_gradient_path():
    params = {"params": {"w": jnp.ones(3)}, OVERWRITE_WITH_GRADIENT: {"scale": 1.0}}
    state = MITrainState.create(apply_fn=None, params=params, tx=make_tx())
    grads = {"params": {"w": jnp.ones(3)}, OVERWRITE_WITH_GRADIENT: {"scale": 7.0}}
    state = state.apply_gradients(
        grads=grads, extra_args={"outputs": LABELS, "labels": LABELS}
    )
    assert state.params[OVERWRITE_WITH_GRADIENT] == {"scale": 7.0}
    np.testing.assert_allclose(state.params["params"]["w"], 0.7, rtol=1e-6)


def test_a_replaced_transformation_stays_replaced():
    other = optax.sgd(0.1)
    state = MITrainState.create(
        apply_fn=None, params={"w": jnp.ones(2)}, tx=optax.sgd(0.2)
    )
    assert state.apply_gradients(grads={"w": jnp.ones(2)}, tx=other).tx is other


def test_missing_extra_args_are_named():
    state = MITrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=make_tx())
    with pytest.raises(TypeError, match=r"missing outputs and labels.*extra_args="):
        state.apply_gradients(grads={"w": jnp.ones(2)})
    with pytest.raises(TypeError, match="missing labels"):
        state.apply_gradients(grads={"w": jnp.ones(2)}, extra_args={"outputs": LABELS})
    # flax's own train state cannot pass them: it fails, and does not train blindly.
    blind = TrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=make_tx())
    with pytest.raises(TypeError, match="flax's TrainState"):
        blind.apply_gradients(grads={"w": jnp.ones(2)})


def test_nnx_optimizer_forwards_the_signal():
    model = nnx.Sequential(
        nnx.Linear(4, 16, rngs=nnx.Rngs(0)),
        nnx.relu,
        nnx.Linear(16, 3, rngs=nnx.Rngs(1)),
    )
    optimizer = nnx.Optimizer(model, make_tx(), wrt=nnx.Param)

    def loss_fn(model):
        logits = model(X)
        return loss_of(logits), logits

    @nnx.jit
    def train_step(model, optimizer):
        grads, logits = nnx.grad(loss_fn, has_aux=True)(model)
        optimizer.update(model, grads, outputs=logits, labels=LABELS)

    for _ in range(10):
        train_step(model, optimizer)
    seen = mi_diagnostics(optimizer)["all"]
    assert seen.epoch == 2
    assert seen.count == 150
    assert seen.mi > 0
