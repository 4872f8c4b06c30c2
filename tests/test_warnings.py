"""What a state tells of a run that goes wrong."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from optax_mi import mi_decay, mi_sgd, mi_warnings
from optax_mi._warnings import read
from optax_mi.estimators import contingency, from_loss, measured
from optax_mi.estimators._base import pack

TX = mi_decay(0.5, num_classes=4, steps_per_epoch=2)
GRADS = jnp.zeros(3)


def train(tx, labels, outputs=None, steps=2):
    """The state after some updates on one batch."""
    outputs = jnp.arange(32) % 4 if outputs is None else outputs
    state, update = tx.init(GRADS), jax.jit(tx.update)
    for _ in range(steps):
        _, state = update(GRADS, state, outputs=outputs, labels=labels)
    return state


def crafted(tx=TX, **fields):
    """A state with some of its fields set."""
    state = tx.init(GRADS)
    estimate = state.estimate._replace(
        **{k: fields.pop(k) for k in [*fields] if k in state.estimate._fields}
    )
    state = state._replace(estimate=pack(estimate), **fields)
    return jax.tree.map(lambda x: jnp.asarray(x), state)


GOOD = {"mi": 1.0, "entropy": 1.38, "num_samples": 64.0, "dropped": 0.0}


@pytest.mark.parametrize(
    "state",
    [
        crafted(),
        crafted(num_updates=99, updates_in_epoch=99),
        crafted(num_updates=500, num_epochs=9, held=4, **GOOD),
        crafted(num_updates=500, num_epochs=9, **{**GOOD, "dropped": 64.0}),
        crafted(num_updates=500, updates_in_epoch=500, joined=5),
    ],
    ids=["new", "young", "few held", "half of it padding", "joined at first"],
)
def test_nothing_is_said_where_all_is_well(state):
    assert mi_warnings(state) == []


def test_a_run_that_goes_well():
    labels = jnp.arange(32) % 4
    assert mi_warnings(train(TX, labels, steps=9)) == []


@pytest.mark.parametrize(
    ("state", "match"),
    [
        (
            crafted(num_updates=100, updates_in_epoch=100),
            r"No epoch has closed in 100 updates.*steps_per_epoch.*Leave it out",
        ),
        (
            crafted(num_updates=500, num_epochs=9, held=5, num_samples=jnp.nan),
            r"5 of 9 epochs were held.*num_samples=nan.*num_samples",
        ),
        (
            crafted(num_updates=9, num_epochs=1, held=1, **{**GOOD, "mi": jnp.inf}),
            r"1 of 1 epochs were held.*mi=inf and entropy=1\.38",
        ),
        (
            crafted(num_updates=9, num_epochs=1, held=1, **GOOD | {"entropy": jnp.nan}),
            r"entropy=nan",
        ),
        (
            crafted(num_updates=9, num_epochs=1, held=1, **GOOD),
            "earlier ones were not, or a rule of your own returns nan",
        ),
        (
            crafted(num_updates=500, num_epochs=9, **{**GOOD, "dropped": 65.0}),
            r"used 64 samples and dropped 65.*padding.*num_classes - 1",
        ),
        (
            crafted(num_updates=640, updates_in_epoch=640, joined=6),
            r"has 640 updates, and goes on.*variational.*buckets.*steps_per_epoch",
        ),
        (
            crafted(
                mi_decay(1.0, estimator=measured(1.0)),
                num_updates=100,
                num_epochs=30,
                held=30,
            ),
            r"No measurement has come in 100 updates: .*pass a number as mi",
        ),
    ],
)
def test_what_goes_wrong_is_said(state, match):
    (said,) = mi_warnings(state)
    assert re.search(match, said)


def losses(*values):
    """The state of a run whose losses these are, over and over."""
    tx = mi_decay(0.5, estimator=from_loss(1.0))
    state, update = tx.init(GRADS), jax.jit(tx.update)
    for step in range(100):
        _, state = update(GRADS, state, value=values[step % len(values)])
    return mi_warnings(state)


def test_losses_that_are_no_cross_entropy():
    assert losses(0.9, 0.2) == losses(0.0) == []
    (below,) = losses(-0.5, 0.5)
    assert "a loss was below 0, which a cross-entropy never is" in below
    (none,) = losses(jnp.nan)
    assert "the last epoch had no valid loss, and dropped 8. Losses must be" in none
    (above,) = losses(30.0)
    assert above.startswith("The loss is above H(Y), 1 nats, after 100 updates")


def test_labels_without_a_class():
    (said,) = mi_warnings(train(TX, 4 + jnp.arange(32) % 4))
    assert "the last had no valid sample, and dropped 64. Labels must be" in said


def test_a_few_samples_of_many_classes():
    tx = mi_decay(0.5, estimator=contingency(num_classes=400, soft=False))
    state, update = tx.init(GRADS), jax.jit(tx.update)
    for ids in np.random.default_rng(0).integers(0, 400, (33, 40), np.int32):
        _, state = update(GRADS, state, outputs=ids, labels=ids)
    (said,) = mi_warnings(state)
    assert said.startswith("The open epoch has 33 updates, and goes on")


def test_measurements_that_came_now_and_then():
    tx = mi_decay(1.0, estimator=measured(1.0))
    state = crafted(tx, num_updates=500, num_epochs=30, held=29, **GOOD)
    assert mi_warnings(state) == []


def test_groups_are_named_unless_it_is_all_of_them():
    late, good = crafted(num_updates=100), crafted(num_updates=1)
    (said,) = mi_warnings({"a": late, "b": good, "c": (late,)})
    assert said.startswith("a, c: No epoch has closed")
    (said,) = mi_warnings({"a": late, "c": late})
    assert said.startswith("No epoch has closed")


def test_copies_are_looked_at_one_by_one():
    copies = jax.tree.map(
        lambda *parts: jnp.stack(parts), crafted(num_updates=100), crafted()
    )
    (said,) = mi_warnings(copies)
    assert "in 100 updates" in said


def test_without_a_state_it_says_so():
    for state in (optax.adam(1e-3).init(GRADS), {"w": GRADS}, None):
        (said,) = mi_warnings(state)
        assert said.startswith("There is no state of mi_decay here")


def test_train_states_and_states_in_numpy():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, mi_sgd(0.5, num_classes=2), wrt=nnx.Param)
    assert mi_warnings(optimizer) == []
    assert mi_warnings(jax.device_get(optimizer.opt_state)) == []


def test_what_it_cannot_read():
    with pytest.raises(TypeError, match=r"opt_state is traced.*outside of jit"):
        jax.jit(mi_warnings)(TX.init(GRADS))
    with pytest.raises(TypeError, match=r"opt_state must be a state.*transformation"):
        mi_warnings(TX)


def test_numbers_are_those_of_the_state():
    state = crafted(num_updates=7, num_epochs=2, held=1, joined=3, **GOOD)
    (reading,) = read(state)
    assert (reading.num_updates, reading.num_epochs) == (7, 2)
    assert (reading.held, reading.joined, reading.measures) == (1, 3, False)
    np.testing.assert_allclose(reading.estimate[:2], [1.0, 1.38])


def test_losses_that_turn_negative_are_named_at_once():
    tx = mi_decay(0.3, estimator=from_loss(1.1))
    state = tx.init(())
    for loss in np.linspace(1.0, -2.0, 100, dtype=np.float32):
        _, state = tx.update((), state, value=loss)
    assert 2 * state.held < state.num_epochs
    (said,) = mi_warnings(state)
    assert said.startswith("The last epoch was held: a loss was below 0")


def test_losses_that_are_mostly_dropped():
    tx = mi_decay(0.3, estimator=from_loss(1.1), steps_per_epoch=10)
    state = tx.init(())
    for loss in [0.5, *[np.nan] * 9]:
        _, state = tx.update((), state, value=loss)
    assert mi_warnings(state)[0].startswith(
        "The last epoch used 1 losses and dropped 9"
    )
