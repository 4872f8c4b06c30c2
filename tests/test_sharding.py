"""The same batch gives the same estimate however it is spread over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

from optax_mi import (
    DecayRule,
    contingency,
    measured,
    mi_decay,
    mi_diagnostics,
    variational,
)

STEPS, BATCH, CLASSES = 6, 32, 5
RNG = np.random.default_rng(0)
LABELS = RNG.integers(-1, CLASSES, (STEPS, BATCH))
LOGITS = (
    RNG.normal(size=(STEPS, BATCH, CLASSES)) + 2 * np.eye(CLASSES + 1)[LABELS][..., :-1]
).astype(np.float32)
GRADS = jnp.ones(4)


def decay_by_knowledge(state, estimate, learning_rate, **_):
    """Moves the learning rate at every epoch, so that any difference shows in it."""
    return learning_rate * (1.0 - 0.5 * estimate.normalized), state


def make(estimator, **kwargs):
    rule = DecayRule(lambda: (), decay_by_knowledge)
    return mi_decay(0.5, estimator=estimator, steps_per_epoch=2, rule=rule, **kwargs)


def plain(estimator, **kwargs):
    tx = make(estimator, **kwargs)

    def update(state, logits, labels):
        return tx.update(GRADS, state, outputs=logits, labels=labels)[1]

    return tx, update


def spread(update, mesh, batch):
    """The update in a shard_map, each device with its part of the batch."""
    return jax.shard_map(
        update, mesh=mesh, in_specs=(jax.P(), batch, batch), out_specs=jax.P()
    )


def run(update, state, place):
    seen = []
    for logits, labels in zip(LOGITS, LABELS, strict=True):
        state = update(state, place(logits), place(labels))
        seen.append(jax.device_get(mi_diagnostics(state)["all"]))
    return seen


def assert_same(seen, truth):
    for got, want in zip(seen, truth, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert (got.count, got.dropped) == (want.count, want.dropped)


@pytest.fixture(name="truth", scope="module", params=["soft", "hard", "variational"])
def _truth(request):
    estimator = {
        "soft": contingency(CLASSES),
        "hard": contingency(CLASSES, soft=False),
        "variational": variational(CLASSES),
    }[request.param]
    tx, update = plain(estimator)
    seen = run(jax.jit(update), tx.init(GRADS), lambda x: x)
    assert seen[-1].dropped > 0
    assert seen[-1].mi > 0
    assert seen[-1].learning_rate < 0.5
    return estimator, seen


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_batches_under_jit(truth, axis_type):
    estimator, want = truth
    tx, update = plain(estimator)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        state = jax.device_put(tx.init(GRADS), NamedSharding(mesh, jax.P()))

        def place(x):
            return jax.device_put(x, NamedSharding(mesh, jax.P("x")))

        assert_same(run(jax.jit(update), state, place), want)


def test_shard_map_with_an_axis_name(truth):
    estimator, want = truth
    tx, update = plain(estimator, axis_name="x")
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    mapped = spread(update, mesh, jax.P("x"))
    assert_same(run(jax.jit(mapped), tx.init(GRADS), lambda x: x), want)


def test_shard_map_over_two_axes(truth):
    estimator, want = truth
    tx, update = plain(estimator, axis_name=("x", "y"))
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    batch = jax.P(("x", "y"))
    mapped = spread(update, mesh, batch)
    assert_same(run(jax.jit(mapped), tx.init(GRADS), lambda x: x), want)


def test_shard_map_without_an_axis_name_is_an_error():
    tx, update = plain(contingency(CLASSES))
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    mapped = spread(update, mesh, jax.P("x"))
    with pytest.raises(ValueError, match=r"axes \['x'\].*pass axis_name=\('x',\)"):
        mapped(tx.init(GRADS), LOGITS[0], LABELS[0])


def test_shard_map_takes_a_measurement():
    tx = mi_decay(0.5, estimator=measured(1.0), steps_per_epoch=1, axis_name="x")
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    update = jax.jit(
        jax.shard_map(
            lambda state, mi: tx.update(GRADS, state, mi=mi)[1],
            mesh=mesh,
            in_specs=(jax.P(), jax.P()),
            out_specs=jax.P(),
        )
    )
    state = tx.init(GRADS)
    for mi in (0.75, jnp.nan, 0.75):
        state = update(state, jnp.float32(mi))
    seen = mi_diagnostics(state)["all"]
    assert (seen.mi, seen.held) == (0.75, 1)
    assert seen.learning_rate < 0.5
