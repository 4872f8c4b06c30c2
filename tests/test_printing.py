"""States in print."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from optax_mi import average_params, mi_decay
from optax_mi._printing import brief, python_number
from optax_mi.estimators import gaussian

PARAMS = {"w": jnp.ones((2, 3))}


def test_a_state_prints_its_numbers_and_not_its_table():
    tx = mi_decay(0.3, num_classes=100)
    text = repr(tx.init(PARAMS))
    assert "\n" not in text
    assert text.startswith("MIDecayState(num_updates=0, ")
    assert "current_lr=0.3, " in text
    assert "mi=nan, entropy=nan, num_samples=0.0, " in text
    assert "float32[100,100]" in text
    assert "Array(" not in text


def test_inside_other_states():
    tx = optax.chain(optax.sgd(1.0, momentum=0.9), mi_decay(0.3, num_classes=100))
    assert "float32[100,100]" in repr(tx.init(PARAMS))
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    text = repr(optimizer.opt_state)
    assert "num_updates=0, " in text
    assert len(text) < 5000


def test_an_infinite_entropy():
    labels = jnp.arange(8.0)[:, None]
    tx = mi_decay(
        0.3, estimator=gaussian(features=1, label_features=1), steps_per_epoch=1
    )
    _, state = tx.update(PARAMS, tx.init(PARAMS), outputs=labels, labels=labels)
    assert "entropy=inf" in repr(state)


def test_shapes_and_tracers():
    tx = optax.chain(mi_decay(0.3, num_classes=7), average_params())
    shapes = jax.eval_shape(tx.init, PARAMS)
    assert "current_lr=float32[]" in repr(shapes)
    assert "float32[7,7]" in repr(shapes)

    def show(params):
        text = brief(tx.init(params)[0])
        assert "current_lr=" in text
        return params

    jax.jit(show)(PARAMS)


@pytest.mark.parametrize(
    ("leaf", "number"),
    [
        (jnp.float32(0.1), float(np.float32(0.1))),
        (np.float64(0.1), 0.1),
        (jnp.bfloat16(0.5), 0.5),
        (jnp.int32(3), 3),
        (jnp.bool_(True), True),
        (2, 2),
    ],
)
def test_a_scalar_is_a_python_number(leaf, number):
    found = python_number(leaf)
    assert found == number
    assert type(found) is type(number)


def test_an_array_stays_what_it_is():
    array = jnp.ones(2)
    assert python_number(array) is array
