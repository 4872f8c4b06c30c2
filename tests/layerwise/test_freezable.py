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
from optax_mi.flax import MITrainState

PARAMS = {
    "body": {"w": jnp.ones((3, 4)), "b": jnp.ones(4)},
    "head": {"w": jnp.ones((4, 2))},
}
GRADS = jax.tree.map(lambda p: 0.1 * jnp.ones_like(p), PARAMS)

OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adamw": optax.adamw(0.1),
    "clipped": optax.chain(optax.clip(0.05), optax.adam(0.1)),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "accumulated": optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    "adafactor": optax.adafactor(0.1),
    "lion": optax.lion(0.1),
    "muon": contrib.muon(0.1),
    "sm3": optax.sm3(0.1),
    "flat": optax.flatten(optax.adam(0.1)),
    "scheduled": optax.adam(optax.linear_schedule(0.1, 0.0, 5)),
    "schedule-free": contrib.schedule_free_adamw(0.1),
}


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def gradients(number):
    """Of every parameter, others in each step."""
    for seed in range(number):
        rng = np.random.default_rng(seed)
        yield jax.tree.map(
            lambda p, rng=rng: rng.normal(size=p.shape).astype(np.float32), PARAMS
        )


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_group_trains_as_if_the_steps_it_rested_had_not_been(optimizer):
    """Against an optimizer of each group alone, which never sees those steps."""
    tx = freezable(optimizer, label_by_layer())
    update = jax.jit(tx.update, static_argnames="frozen")
    alone = jax.jit(optimizer.update)
    params, state = PARAMS, tx.init(PARAMS)
    own = {group: (part, optimizer.init(part)) for group, part in PARAMS.items()}
    rests = [(), (), ("body",), ("body",), ("body",), (), ("head",), (), ()]
    for frozen, grads in zip(rests, gradients(len(rests)), strict=True):
        updates, state = update(grads, state, params, frozen=frozen)
        params = optax.apply_updates(params, updates)
        for group, (part, part_state) in own.items():
            if group in frozen:
                assert not any(np.any(u) for u in jax.tree.leaves(updates[group]))
                continue
            change, part_state = alone(grads[group], part_state, part)
            own[group] = optax.apply_updates(part, change), part_state
    for group, (part, _) in own.items():
        for x, y in zip(
            jax.tree.leaves(params[group]), jax.tree.leaves(part), strict=True
        ):
            np.testing.assert_allclose(x, y, rtol=1e-6)


def test_what_rests_is_out_of_reach_of_nan():
    tx = freezable(optax.adam(0.1), label_by_layer())
    broken = {**GRADS, "body": jax.tree.map(lambda g: g * jnp.nan, GRADS["body"])}
    updates, state = tx.update(broken, tx.init(PARAMS), PARAMS, frozen=("body",))
    assert not any(np.isnan(u).any() for u in jax.tree.leaves((updates, state)))


def test_any_collection_of_groups_will_do():
    tx = freezable(optax.adamw(0.1), label_by_layer())
    state = tx.init(PARAMS)
    for frozen in ((), [], frozenset()):
        updates, _ = tx.update(GRADS, state, PARAMS, frozen=frozen)
        assert np.any(updates["body"]["w"])
    for frozen in (("body",), ["body"], {"body"}):
        updates, _ = tx.update(GRADS, state, PARAMS, frozen=frozen)
        assert not np.any(updates["body"]["w"])


@pytest.mark.parametrize(
    ("inner", "name"),
    [
        (mi_decay(0.1, num_classes=2), "mi_decay"),
        (average_params(), "average_params"),
    ],
)
def test_what_belongs_to_the_whole_network_goes_around(inner, name):
    tx = freezable(optax.chain(optax.sgd(1.0), inner), label_by_layer())
    with pytest.raises(ValueError, match=f"optimizer has {name} in it"):
        tx.init(PARAMS)


def test_decay_and_average_around_it():
    tx = optax.chain(
        freezable(optax.sgd(1.0), label_by_layer()),
        mi_decay(0.1, num_classes=2),
        average_params(),
    )
    y = jnp.arange(8) % 2
    seen = {"outputs": jnp.eye(2)[y], "labels": y}
    params, state = PARAMS, tx.init(PARAMS)
    updates, state = tx.update(GRADS, state, params, frozen=("body",), **seen)
    np.testing.assert_allclose(updates["head"]["w"], -0.01)
    params = optax.apply_updates(params, updates)
    equal(eval_params(state, params)["body"], PARAMS["body"])


@pytest.mark.parametrize(
    "labels",
    [
        {"body": "body", "head": "head"},
        {"body": {"w": "body", "b": "body"}, "head": "x"},
    ],
)
def test_labels_may_be_a_tree(labels):
    tx = freezable(optax.adam(0.1), labels)
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS, frozen=("body",))
    assert not np.any(updates["body"]["w"])
    assert np.any(updates["head"]["w"])


def test_an_outer_transformation_may_hide_parameters():
    mask = {"body": {"w": True, "b": False}, "head": {"w": True}}
    tx = optax.masked(freezable(optax.adam(0.1), label_by_layer()), mask)
    state = tx.init(PARAMS)
    updates, _ = tx.update(GRADS, state, PARAMS, frozen=("body",))
    assert not np.any(updates["body"]["w"])
    equal(updates["body"]["b"], GRADS["body"]["b"])


def test_a_train_state_passes_it_on():
    state = MITrainState.create(
        apply_fn=None,
        params=PARAMS,
        tx=freezable(optax.adam(0.1), label_by_layer()),
    )
    after = state.apply_gradients(grads=GRADS, extra_args={"frozen": ("body",)})
    equal(after.params["body"], PARAMS["body"])
    assert not np.array_equal(after.params["head"]["w"], PARAMS["head"]["w"])


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
    tx = optax.chain(freezable(optax.adam(0.1), label_by_layer()), average_params())
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
        ({"body": False}, TypeError, "collection of groups, got {'body': False}"),
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
