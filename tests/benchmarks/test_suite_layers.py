"""The layers that the suite measures, and what was tried with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from suite import candidates
from suite.layers import apply_and_see, hidden_layers
from suite.methods import METHODS, Setting
from suite.nets import CNN, MLP, ResNet, Transformer

from optax_mi.estimators import MIEstimate
from optax_mi.flax import capture_layers
from optax_mi.rules import DecayRule

IMAGES, TOKENS = np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 5), np.int32)


@pytest.mark.parametrize(
    ("model", "x", "layers"),
    [
        (MLP((64, 16), 10), IMAGES, {"Dense_0": 32, "Dense_1": 16}),
        (CNN(10), IMAGES, {"PatchConv_0": 8, "PatchConv_1": 16}),
        (
            ResNet(10, (8, 16)),
            IMAGES,
            {"Dense_0": 16} | {f"PatchConv_{i}": 8 + 8 * (i > 2) for i in range(5)},
        ),
        (
            Transformer(11),
            TOKENS,
            {"Dense_0": 32, "Dense_1": 32, "MultiHeadDotProductAttention_0": 32},
        ),
    ],
)
def test_the_last_layer_and_those_without_a_kernel_follow_the_outputs(model, x, layers):
    labels = np.zeros(x.shape[: 2 if x is TOKENS else 1], np.int32)
    assert hidden_layers(model, x, labels) == layers


def test_every_token_is_a_row_beside_its_label():
    model = Transformer(11, width=8)
    x = jax.random.randint(jax.random.key(0), (2, 5), 0, 11)
    labels = jnp.arange(10).reshape(2, 5)

    @jax.jit
    def both():
        variables = model.init(jax.random.key(1), x)
        kept = capture_layers(model, variables, x, layers=["Dense_1"])
        return kept, apply_and_see(model, variables, x, labels, ["Dense_1"])

    (want, kept), (outputs, seen) = both()
    np.testing.assert_array_equal(outputs, want)
    for n in range(2):
        for t in range(5):
            row = 5 * n + t
            assert seen["labels"][row] == labels[n, t]
            np.testing.assert_array_equal(seen["outputs"][row], want[n, t])
            ours, theirs = seen["activations"]["Dense_1"][row], kept["Dense_1"][n, t]
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_gained_sees_what_came_after_the_first_epoch():
    echo = DecayRule(
        init=lambda: jnp.float32(0),
        update=lambda state, estimate, lr, **_: (estimate.mi, state + 1),
    )
    rule = candidates.gained(echo)
    state = rule.init()
    for mi, want in ((0.5, 0.0), (0.75, 0.25), (0.25, 0.0), (2.0, 1.5)):
        estimate = MIEstimate(*(jnp.float32(v) for v in (mi, 2.0, 10.0, 0.1, 0.0)))
        seen, state = rule.update(state, estimate, jnp.float32(1.0))
        assert seen == want
    assert state[1] == 4


@pytest.mark.parametrize(
    ("method", "hidden", "last"),
    [
        (METHODS["mi sgd layer-wise"], 0.1, 0.1),
        (candidates.within_network(candidates.log_time), 0.1, 0.1),
        (candidates.scaled_layers(0.5), 0.05, 0.1),
    ],
)
def test_what_each_layer_is_scaled_by_before_anything_is_measured(method, hidden, last):
    params = {"params": {"Dense_0": {"kernel": 1.0}, "Dense_1": {"kernel": 1.0}}}
    params = jax.tree.map(jnp.float32, params)
    tx = method.make(Setting(0.1, 100, 10, 3, {"Dense_0": 4}))

    @jax.jit
    def first():
        h = jnp.ones((6, 4))
        seen = {"activations": {"Dense_0": h}, "outputs": h[:, :3]}
        labels = jnp.arange(6) % 3
        return tx.update(params, tx.init(params), params, labels=labels, **seen)[0]

    updates = first()["params"]
    assert updates["Dense_0"]["kernel"] == pytest.approx(-hidden)
    assert updates["Dense_1"]["kernel"] == pytest.approx(-last)
