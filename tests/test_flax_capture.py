"""Activations come out of the one forward pass, of linen and of nnx."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from optax_mi import (
    label_by_layer,
    label_by_path,
    layerwise_mi_decay,
    learning_rates,
    mi_diagnostics,
    reduce_activations,
)
from optax_mi.estimators import gaussian, variational
from optax_mi.flax import MITrainState, capture_layers

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(24, 6, 6, 2)), jnp.float32)
LABELS = jnp.arange(24) % 3


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Conv(4, (3, 3))(x)
        self.sow("intermediates", "theirs", x)
        return nn.relu(nn.BatchNorm(use_running_average=not train)(x))


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        return nn.Dense(3)(Block()(x, train).mean((1, 2)))


class NNXBlock(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.conv(x)))


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([NNXBlock(rngs)])
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.blocks[0](x).mean((1, 2)))


@pytest.fixture(name="variables", scope="module")
def _variables():
    return Net().init(jax.random.key(0), X)


@pytest.mark.parametrize("mutable", [None, False, "batch_stats", ["batch_stats"]])
def test_linen_outputs_are_those_of_the_plain_call(variables, mutable):
    kwargs = {} if mutable is None else {"mutable": mutable}
    args = (variables, X, bool(mutable))
    outputs, activations = capture_layers(
        Net(), *args, layers=["Block_0", "Block_0/Conv_0"], **kwargs
    )
    chex.assert_trees_all_equal(outputs, Net().apply(*args, **kwargs))
    block = variables["params"]["Block_0"]
    conv = nn.Conv(4, (3, 3)).apply({"params": block["Conv_0"]}, X)
    np.testing.assert_array_equal(activations["Block_0/Conv_0"], conv)
    assert activations["Block_0"].shape == (24, 6, 6, 4)
    assert (activations["Block_0"] >= 0).all()


def test_sown_intermediates_stay_where_they_are_asked_for(variables):
    layers, asked = ["Dense_0"], ["intermediates"]
    (_, updated), _ = capture_layers(
        Net(), variables, X, False, layers=layers, mutable=asked
    )
    assert "theirs" in updated["intermediates"]["Block_0"]


def test_nnx_outputs_are_those_of_the_plain_call():
    model = NNXNet(nnx.Rngs(0))
    want = model(X)
    layers = {"first": "blocks/0", "conv": "blocks/0/conv"}
    outputs, activations = capture_layers(model, X, layers=layers)
    np.testing.assert_array_equal(outputs, want)
    np.testing.assert_array_equal(activations["conv"], model.blocks[0].conv(X))
    assert activations["first"].shape == (24, 6, 6, 4)
    assert not nnx.state(model, nnx.Intermediate)


def test_nnx_classes_that_inherit_their_call_need_one_of_their_own():
    class Inherits(nnx.Linear):
        pass

    class Calls(nnx.Linear):
        def __call__(self, x):
            return super().__call__(x)

    x, rngs = jnp.ones((3, 2)), nnx.Rngs(0)
    # The class whose method is called is captured as well.
    layers = [nnx.Linear(2, 2, rngs=rngs), Calls(2, 2, rngs=rngs)]
    outputs, activations = capture_layers(
        nnx.Sequential(*layers), x, layers=["layers/1"]
    )
    np.testing.assert_array_equal(activations["layers/1"], outputs)
    model = nnx.Sequential(Inherits(2, 2, rngs=rngs))
    with pytest.raises(ValueError, match=r"\['layers/0'\].*returns super\(\)"):
        capture_layers(model, x, layers=["layers/0"])


def test_a_module_called_twice_shows_its_last_call():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(2, name="tied")
            return dense(dense(x))

    x = jnp.ones((3, 2))
    variables = Twice().init(jax.random.key(0), x)
    outputs, activations = capture_layers(Twice(), variables, x, layers=["tied"])
    np.testing.assert_array_equal(activations["tied"], outputs)


def test_layers_that_cannot_be_captured(variables):
    for layers in ("Block_0", {"Block_0": gaussian(features=4, num_classes=3)}):
        with pytest.raises(TypeError, match=r"layers must be a list of paths.*Block_0"):
            capture_layers(Net(), variables, X, False, layers=layers)
    with pytest.raises(ValueError, match=r"\['Conv_0'\].*'Block_0/Conv_0', 'Dense_0'"):
        capture_layers(Net(), variables, X, False, layers=["Conv_0", "Dense_0"])
    with pytest.raises(ValueError, match=r"\['Norm_0'\].*'Dense_0'"):
        capture_layers(Net(), variables, X, layers=["Norm_0"], mutable=["batch_stats"])
    with pytest.raises(ValueError, match=r"\['conv'\].*'blocks/0/conv'.*'head'"):
        capture_layers(NNXNet(nnx.Rngs(0)), X, layers=["conv"])
    for given in ((X,), ()):
        with pytest.raises(
            TypeError, match=r"takes the variables.*\{'params': params\}"
        ):
            capture_layers(Net(), *given, layers=["Dense_0"])
    with pytest.raises(TypeError, match="model must be a linen or an nnx module, got"):
        capture_layers(Net().apply, variables, X, layers=["Dense_0"])


def loss_of(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


def products(step, *args):
    """Convolutions and matrix products with N rows in a program."""
    text = str(jax.make_jaxpr(step)(*args))
    return text.count("conv_general_dilated["), text.count("dot_general[")


def test_linen_trains_by_layer_in_one_forward_pass(variables):
    model = Net()
    tx = optax.chain(
        optax.sgd(1.0, momentum=0.9),
        layerwise_mi_decay(
            {"Block_0": gaussian(features=4, num_classes=3)},
            label_by_layer(),
            lr_max=0.1,
            steps_per_epoch=5,
            default=variational(num_classes=3),
        ),
    )

    class State(MITrainState):
        batch_stats: dict

    state = State.create(
        apply_fn=model.apply,
        params=variables["params"],
        tx=tx,
        batch_stats=variables["batch_stats"],
    )

    def loss_fn(params, stats, capture):
        args = ({"params": params, "batch_stats": stats}, X)
        if capture:
            (logits, new), activations = capture_layers(
                model, *args, layers=["Block_0"], mutable=["batch_stats"]
            )
            activations = reduce_activations(activations)
        else:
            logits, new = model.apply(*args, mutable=["batch_stats"])
            activations = None
        return loss_of(logits), (logits, new["batch_stats"], activations)

    def gradient(state, capture):
        return jax.grad(loss_fn, has_aux=True)(state.params, state.batch_stats, capture)

    plain = products(lambda s: gradient(s, False), state)
    assert plain == products(lambda s: gradient(s, True), state)
    assert min(plain) > 0

    @jax.jit
    def train_step(state):
        grads, (logits, stats, activations) = gradient(state, True)
        seen = {"activations": activations, "outputs": logits, "labels": LABELS}
        return state.apply_gradients(grads=grads, extra_args=seen, batch_stats=stats)

    # What a step hands on is the state alone, in which no activation has room.
    before = jax.tree.map(jax.typeof, state)
    assert max(leaf.size for leaf in jax.tree.leaves(before)) < 24 * 6 * 6 * 4
    for _ in range(40):
        state = train_step(state)
    assert jax.tree.map(jax.typeof, state) == before
    assert train_step._cache_size() == 1
    seen = mi_diagnostics(state)
    assert list(seen) == ["Block_0", "default"]
    assert all(d.epoch == 8 and 0 < d.normalized < 1 for d in seen.values())


def test_nnx_trains_by_layer():
    model = NNXNet(nnx.Rngs(0))
    tx = layerwise_mi_decay(
        {"conv": gaussian(features=4, num_classes=3)},
        label_by_path({"conv/": "conv", ".*": "rest"}),
        lr_max={"conv": 0.1, "default": 0.2},
        steps_per_epoch=2,
        default=variational(num_classes=3),
    )
    optimizer = nnx.Optimizer(
        model, optax.chain(optax.sgd(1.0, 0.9), tx), wrt=nnx.Param
    )
    layers = {"conv": "blocks/0/conv"}

    def loss_fn(model):
        logits, activations = capture_layers(model, X, layers=layers)
        return loss_of(logits), (logits, reduce_activations(activations))

    @nnx.jit
    def train_step(model, optimizer):
        grads, (logits, activations) = nnx.grad(loss_fn, has_aux=True)(model)
        optimizer.update(
            model, grads, activations=activations, outputs=logits, labels=LABELS
        )
        return logits

    assert learning_rates(optimizer) == {"conv": 0.1, "default": 0.2}
    first = loss_of(train_step(model, optimizer))
    for _ in range(9):
        logits = train_step(model, optimizer)
    assert loss_of(logits) < first
    seen = mi_diagnostics(optimizer)
    assert all(d.epoch == 5 and d.num_samples == 48 for d in seen.values())
    assert seen["conv"].mi > 0
