"""Layers that rest: against an optimizer that never sees them, and XLA's own count."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from optax import contrib

from optax_mi import (
    average_params,
    eval_params,
    freezable,
    label_by_layer,
    label_by_path,
    mi_decay,
    stop_gradients,
)

PARAMS = {
    "body": {"w": jnp.ones((3, 4)), "b": jnp.ones(4)},
    "head": {"w": jnp.ones((4, 2))},
}
GRADS = jax.tree.map(lambda p: 0.1 * jnp.ones_like(p), PARAMS)
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS["body"])

OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adamw": optax.adamw(0.1),
    "clipped": optax.chain(optax.clip(0.05), optax.adam(0.1)),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "masked": optax.masked(
        optax.adam(0.1), {"body": {"w": True, "b": False}, "head": True}
    ),
    "partition": optax.partition(
        {"body": optax.adam(0.1), "head": optax.sgd(0.1, momentum=0.9)},
        label_by_layer(),
    ),
    "accumulated": optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    "adafactor": optax.adafactor(0.1),
    "lion": optax.lion(0.1),
    "muon": contrib.muon(0.1),
    "schedule-free": contrib.schedule_free_adamw(0.1),
}


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def of_body(state):
    """The parts of a state that are of the body, counts aside."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [
        leaf
        for path, leaf in leaves
        if any(getattr(key, "key", None) == "body" for key in path)
        and not jax.tree_util.keystr(path).endswith(".count")
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_what_rests_stays_and_its_state_waits(optimizer):
    tx = freezable(optimizer, label_by_layer())
    update = jax.jit(tx.update, static_argnames="frozen")
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        updates, state = update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    before, waits = params, of_body(state)
    for _ in range(4):
        updates, state = update(GRADS, state, params, frozen=("body",))
        equal(updates["body"], ZEROS)
        params = optax.apply_updates(params, updates)
    equal(params["body"], before["body"])
    equal(of_body(state), waits)
    assert not np.array_equal(params["head"]["w"], before["head"]["w"])


def test_the_rest_trains_as_if_alone():
    tx, alone = freezable(optax.adam(0.1), label_by_layer()), optax.adam(0.1)
    params, state = PARAMS, tx.init(PARAMS)
    head, head_state = PARAMS["head"], alone.init(PARAMS["head"])
    for _ in range(5):
        updates, state = tx.update(GRADS, state, params, frozen=("body",))
        params = optax.apply_updates(params, updates)
        updates, head_state = alone.update(GRADS["head"], head_state, head)
        head = optax.apply_updates(head, updates)
    equal(params["head"], head)


def test_without_frozen_it_is_the_optimizer():
    tx, plain = freezable(optax.adamw(0.1), label_by_layer()), optax.adamw(0.1)
    state = plain.init(PARAMS)
    equal(tx.init(PARAMS), state)
    for frozen in ((), [], frozenset()):
        equal(
            tx.update(GRADS, state, PARAMS, frozen=frozen),
            plain.update(GRADS, state, PARAMS),
        )


def test_what_is_averaged_rests_at_its_average():
    optimizer = optax.chain(optax.sgd(0.1, momentum=0.9), average_params())
    tx = freezable(optimizer, label_by_layer())
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(5):
        updates, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    average = eval_params(state, params)
    assert not np.allclose(average["body"]["w"], params["body"]["w"])
    for _ in range(3):
        updates, state = tx.update(GRADS, state, params, frozen=("body",))
        params = optax.apply_updates(params, updates)
        for part, mean in zip(
            jax.tree.leaves(params["body"]),
            jax.tree.leaves(average["body"]),
            strict=True,
        ):
            np.testing.assert_allclose(part, mean, rtol=1e-6)
    equal(eval_params(state, params)["body"], average["body"])


def test_other_keywords_reach_the_optimizer():
    tx = freezable(
        optax.chain(optax.sgd(1.0), mi_decay(0.1, num_classes=2)), label_by_layer()
    )
    y = jnp.arange(8) % 2
    updates, _ = tx.update(
        GRADS, tx.init(PARAMS), frozen=("body",), outputs=jnp.eye(2)[y], labels=y
    )
    np.testing.assert_allclose(updates["head"]["w"], -0.01)


class Deep(nn.Module):
    """Three layers of the same size."""

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = nn.tanh(nn.Dense(64)(x))
        return x


def flops(frozen):
    model, x = Deep(), jnp.ones((128, 64))
    params = model.init(jax.random.key(0), x)["params"]

    def loss_fn(params):
        params = stop_gradients(params, label_by_layer(), frozen)
        return model.apply({"params": params}, x).sum()

    cost = jax.jit(jax.grad(loss_fn)).lower(params).compile().cost_analysis()
    return cost["flops"] / (2 * 128 * 64 * 64)


def test_the_backward_pass_ends_before_the_first_layer_that_trains():
    # Of three products forward: each layer's gradient is one more, and so is what goes
    # back through each but the first that trains.
    counts = [flops(tuple(f"Dense_{i}" for i in range(n))) for n in range(3)]
    np.testing.assert_allclose(counts, [3 + 5, 3 + 3, 3 + 1], rtol=0.05)


def test_a_layer_between_others_cuts_only_its_own_gradient():
    np.testing.assert_allclose(flops(("Dense_1",)), 3 + 4, rtol=0.05)


def test_gradients_of_the_others_are_the_same():
    model, x = Deep(), jax.random.normal(jax.random.key(1), (8, 64))
    params = model.init(jax.random.key(0), x)["params"]

    def loss_fn(params, frozen):
        params = stop_gradients(
            params, label_by_path({"_[01]/": "a", ".*": "b"}), frozen
        )
        return model.apply({"params": params}, x).sum()

    whole, part = (jax.grad(loss_fn)(params, frozen) for frozen in ((), ("a",)))
    equal(whole["Dense_2"], part["Dense_2"])
    assert not any(np.any(g) for g in jax.tree.leaves(part["Dense_1"]))


class Net(nnx.Module):
    """Two layers in nnx."""

    def __init__(self, rngs):
        self.body = nnx.Linear(3, 4, rngs=rngs)
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.tanh(self.body(x)))


def test_it_serves_nnx():
    model, x = Net(nnx.Rngs(0)), jnp.ones((5, 3))
    tx = freezable(optax.chain(optax.adam(0.1), average_params()), label_by_layer())
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @functools.partial(nnx.jit, static_argnames="frozen")
    def step(model, optimizer, frozen):
        def loss_fn(model):
            params = nnx.state(model, nnx.Param)
            nnx.update(model, stop_gradients(params, label_by_layer(), frozen))
            return model(x).sum()

        optimizer.update(model, nnx.grad(loss_fn)(model), frozen=frozen)

    before = jax.tree.map(jnp.copy, nnx.state(model))
    step(model, optimizer, ("body",))
    equal(nnx.state(model)["body"], before["body"])
    assert not np.array_equal(model.head.kernel[...], before["head"]["kernel"][...])
    step(model, optimizer, ())
    assert not np.array_equal(model.body.kernel[...], before["body"]["kernel"][...])


@pytest.mark.parametrize(
    ("frozen", "error", "text"),
    [
        ("body", TypeError, "collection of groups, got 'body'"),
        (1, TypeError, "collection of groups, got 1"),
        (("torso",), ValueError, r"\['torso'\]: param_labels names \['body', 'head'\]"),
    ],
)
def test_wrong_groups_are_refused(frozen, error, text):
    tx = freezable(optax.sgd(0.1), label_by_layer())
    with pytest.raises(error, match=text):
        tx.update(GRADS, tx.init(PARAMS), frozen=frozen)
    with pytest.raises(error, match=text):
        stop_gradients(PARAMS, label_by_layer(), frozen)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="optimizer must be a GradientTransformation"):
        freezable(optax.sgd, label_by_layer())
    with pytest.raises(TypeError, match=r"Call it: label_by_layer\(\)"):
        freezable(optax.sgd(0.1), label_by_layer)
    with pytest.raises(TypeError, match=r"Call it: label_by_layer\(\)"):
        stop_gradients(PARAMS, label_by_layer, ())


def test_params_are_asked_for_where_they_are_averaged():
    optimizer = optax.chain(optax.sgd(0.1), average_params())
    tx = freezable(optimizer, label_by_layer())
    with pytest.raises(ValueError, match="params"):
        tx.update(GRADS, tx.init(PARAMS), frozen=("body",))
