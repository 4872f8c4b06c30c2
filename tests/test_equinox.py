"""The outputs of layers of equinox networks."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import label_by_layer, layerwise_mi_decay, learning_rates
from optax_mi.equinox import capture_layers
from optax_mi.estimators import gaussian

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (5, 3))
MLP = eqx.nn.MLP(3, 2, width_size=4, depth=2, key=KEY)


class Tokens(eqx.Module):
    """Layers for single tokens, vmapped within the network, one in another."""

    embed: eqx.nn.Linear
    blocks: dict
    tail: eqx.nn.Sequential

    def __init__(self, key):
        self.embed = eqx.nn.Linear(3, 4, key=key)
        self.blocks = {"norm": eqx.nn.LayerNorm(4), "none": eqx.nn.Identity()}
        self.tail = eqx.nn.Sequential([eqx.nn.Linear(4, 4, key=key)])

    def __call__(self, x):
        h = jax.vmap(self.embed)(x)
        h = jax.vmap(jax.vmap(self.blocks["none"]))(jax.vmap(self.blocks["norm"])(h))
        return jax.vmap(self.tail)(h) @ self.embed.weight


class Jitted(eqx.Module):
    layer: eqx.nn.Linear

    @eqx.filter_jit
    def __call__(self, x):
        return self.layer(x)


class Scanned(Jitted):
    def __call__(self, x):
        step = lambda h, _: (self.layer(h), None)  # noqa: E731
        return jax.lax.scan(step, x, None, length=2)[0]


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda f: f, eqx.filter_jit], ids=["eager", "jit"])
def test_under_vmap_jit_and_grad(wrap):
    def loss_fn(model):
        apply = lambda x: capture_layers(model, x, layers=["layers/0", "layers/2"])  # noqa: E731
        logits, seen = jax.vmap(apply)(X)
        return jnp.sum(logits**2), (logits, seen)

    grads, (logits, seen) = wrap(eqx.filter_grad(loss_fn, has_aux=True))(MLP)
    close(logits, jax.vmap(MLP)(X))
    close(seen["layers/0"], jax.vmap(MLP.layers[0])(X))
    close(seen["layers/2"], logits)
    plain = eqx.filter_grad(lambda model: jnp.sum(jax.vmap(model)(X) ** 2))(MLP)
    jax.tree.map(close, grads, plain)


def test_layers_vmapped_within_the_network():
    model = Tokens(KEY)
    x = jax.random.normal(KEY, (5, 7, 3))
    layers = {
        "a": "embed",
        "b": "blocks/norm",
        "c": "blocks/none",
        "d": "tail/layers/0",
    }
    layers["e"] = "tail"

    def loss_fn(model):
        outputs, seen = jax.vmap(lambda x: capture_layers(model, x, layers=layers))(x)
        return jnp.sum(outputs), (outputs, seen)

    grads, (outputs, seen) = eqx.filter_grad(loss_fn, has_aux=True)(model)
    close(outputs, jax.vmap(model)(x))
    embedded = jax.vmap(jax.vmap(model.embed))(x)
    close(seen["a"], embedded)
    close(seen["b"], jax.vmap(jax.vmap(model.blocks["norm"]))(embedded))
    close(seen["c"], seen["b"])
    close(seen["d"], seen["e"])
    close(seen["d"] @ model.embed.weight, outputs)
    plain = eqx.filter_grad(lambda model: jnp.sum(jax.vmap(model)(x)))(model)
    jax.tree.map(close, grads, plain)


def test_layers_with_a_state():
    def make(key):
        norm = eqx.nn.BatchNorm(4, axis_name="batch", mode="batch")
        return eqx.nn.Sequential([eqx.nn.Linear(3, 4, key=key), norm])

    model, state = eqx.nn.make_with_state(make)(KEY)
    apply = lambda x: capture_layers(model, x, state, layers=["layers/1"])  # noqa: E731
    (outputs, _), seen = jax.vmap(apply, axis_name="batch", out_axes=0)(X)
    close(seen["layers/1"][0], outputs)
    close(outputs.mean(0), np.zeros(4))


def test_the_last_call_is_kept():
    class Twice(eqx.Module):
        layer: eqx.nn.Lambda

        def __call__(self, x):
            return self.layer(self.layer(x)) + 1.0

    outputs, seen = capture_layers(
        Twice(eqx.nn.Lambda(lambda x: 2.0 * x)), jnp.float32(1.0), layers=["layer"]
    )
    assert (outputs, seen["layer"]) == (5.0, 4.0)


def test_the_names_are_those_of_params():
    params = eqx.filter(MLP, eqx.is_inexact_array)
    label = label_by_layer(depth=2)
    names = sorted({*jax.tree.leaves(label(params))})
    assert names == ["layers/0", "layers/1", "layers/2"]
    hidden = names[:2]
    tx = optax.chain(
        optax.sgd(1.0),
        layerwise_mi_decay(
            dict.fromkeys(hidden, gaussian(features=4, num_classes=2)),
            lr_max=0.1,
            default=gaussian(features=2, num_classes=2),
            param_labels=label,
        ),
    )

    def step(model, state):
        def loss_fn(model):
            apply = lambda x: capture_layers(model, x, layers=hidden)  # noqa: E731
            outputs, seen = jax.vmap(apply)(X)
            return jnp.sum(outputs**2), (outputs, seen)

        grads, (outputs, seen) = eqx.filter_grad(loss_fn, has_aux=True)(model)
        params = eqx.filter(model, eqx.is_inexact_array)
        updates, state = tx.update(
            *(grads, state, params),
            outputs=outputs,
            activations=seen,
            labels=jnp.arange(5) % 2,
        )
        return eqx.apply_updates(model, updates), state

    _, state = eqx.filter_eval_shape(step, MLP, tx.init(params))
    assert {*learning_rates(state)} == {"layers/0", "layers/1", "default"}


def test_what_it_refuses():
    for layers in ("layers/0", [0], None):
        with pytest.raises(TypeError, match="layers must be a list of paths"):
            capture_layers(MLP, X[0], layers=layers)
    with pytest.raises(TypeError, match="model must be an equinox module, got"):
        capture_layers(lambda x: x, X[0], layers=["layers/0"])
    with pytest.raises(ValueError, match=r"no module, \['layers/3'\].*'layers/2'\]"):
        capture_layers(MLP, X[0], layers=["layers/0", "layers/3"])
    layer = eqx.nn.Linear(3, 3, key=KEY)
    for model in (Jitted(layer), Scanned(layer)):
        for run in (lambda f: f, eqx.filter_grad):
            with pytest.raises(ValueError, match=r"no output to keep, \['layer'\]"):
                run(lambda m: capture_layers(m, X[0], layers=["layer"])[0].sum())(model)


class Twice(eqx.Module):
    layer: eqx.nn.Linear
    named: dict
    again: Callable = eqx.field(static=True)

    def __call__(self, x):
        return self.again(self.layer, self.named["a/b"](self.layer(x)))


def twice(again):
    layer = eqx.nn.Linear(3, 3, key=KEY)
    return Twice(layer, {"a/b": eqx.nn.Identity()}, again)


def test_the_last_of_several_calls():
    model = twice(lambda layer, h: layer(h))
    outputs, seen = capture_layers(model, X[0], layers=["layer", "named/a/b"])
    close(seen["layer"], outputs)
    close(seen["named/a/b"], model.layer(X[0]))


def test_a_later_call_that_cannot_be_kept_is_an_error():
    for again in (
        lambda layer, h: jax.checkpoint(lambda h: layer(h))(h),
        lambda layer, h: jax.lax.scan(lambda h, _: (layer(h), None), h, None, 2)[0],
    ):
        with pytest.raises(
            ValueError, match=r"\['layer'\]: .*checkpoint, scan or cond"
        ):
            capture_layers(twice(again), X[0], layers=["layer"])
