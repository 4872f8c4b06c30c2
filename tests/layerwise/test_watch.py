"""Layers that share an accumulator read what each alone would."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from optax_mi import (
    label_by_layer,
    layerwise_mi_decay,
    learning_rates,
    mi_decay,
    mi_diagnostics,
)
from optax_mi.estimators import gaussian
from optax_mi.rules import proportional_rule
from tests.test_compilations import compilations

CLASSES, BATCH, STEPS = 3, 48, 3
COLUMNS = {"first": 5, "second": 8, "third": 8, "last": 2}
LR_MAX = {"first": 0.5, "second": 0.25, "third": 1.0, "last": 0.125}
NOISES = {"first": 0.25, "second": 0.25, "third": 0.25, "last": 0.25}
RULE = proportional_rule()
PARAMS = {layer: {"w": jnp.ones(2)} for layer in COLUMNS}


def estimators(noises=NOISES, **settings):
    return {
        layer: gaussian(
            features=d, num_classes=CLASSES, noise=noises.get(layer, 0.0), **settings
        )
        for layer, d in COLUMNS.items()
    }


def make(of=None, **settings):
    return layerwise_mi_decay(
        estimators() if of is None else of,
        label_by_layer(),
        LR_MAX,
        steps_per_epoch=STEPS,
        rule=RULE,
        **settings,
    )


def batches(number, seed=0):
    """Layers of unlike offset and spread, the last of which has learned early."""
    rng = np.random.default_rng(seed)
    for step in range(number):
        labels = rng.integers(-1, CLASSES, BATCH)  # -1 is dropped
        activations = {}
        for place, (layer, d) in enumerate(COLUMNS.items()):
            known = min(step / 6, 1.0) if layer != "last" else 1.0
            rows = rng.normal(size=(BATCH, d)) * 10.0**place + 30.0
            rows[:, 0] += 3.0 * 10.0**place * known * labels
            activations[layer] = rows.astype(np.float32)
        activations["first"][7, 1] = np.nan  # dropped in this layer alone
        activations["second"][:, 3] = 4.0  # a constant column
        weights = rng.random(BATCH).astype(np.float32)
        yield {"activations": activations, "labels": labels, "weights": weights}


def alone(layer, estimator, seen):
    """The diagnostics of a `mi_decay` of its own, at the end of every epoch."""
    tx = mi_decay(LR_MAX[layer], estimator=estimator, steps_per_epoch=STEPS, rule=RULE)
    state, update = tx.init(()), jax.jit(tx.update)
    for step, batch in enumerate(seen, 1):
        rows = batch["activations"][layer]
        _, state = update(
            (), state, outputs=rows, labels=batch["labels"], weights=batch["weights"]
        )
        if step % STEPS == 0:
            yield mi_diagnostics(state)["all"]


@pytest.mark.parametrize(
    "of",
    [
        estimators(),
        # Two and two that are alike.
        pytest.param(
            estimators(noises={"first": 0.25, "third": 0.25}), marks=pytest.mark.slow
        ),
        pytest.param(estimators(noises={}, shrinkage="oas"), marks=pytest.mark.slow),
    ],
)
def test_each_layer_is_a_lone_mi_decay_of_its_own_columns(of):
    tx, seen = make(of), list(batches(5 * STEPS))
    lone = {layer: list(alone(layer, of[layer], seen)) for layer in of}
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    for step, batch in enumerate(seen, 1):
        updates, state = update(PARAMS, state, PARAMS, **batch)
        if step % STEPS:
            continue
        for layer, ours in mi_diagnostics(state).items():
            for name, value in ours._asdict().items():
                np.testing.assert_allclose(
                    value,
                    getattr(lone[layer][step // STEPS - 1], name),
                    rtol=2e-4,
                    atol=2e-5,
                    err_msg=f"{layer} {name} {step}",
                )
            np.testing.assert_array_equal(updates[layer]["w"], ours.learning_rate)
    last = mi_diagnostics(state)
    assert all(d.epoch == 5 for d in last.values())
    assert last["last"].learning_rate < 0.95 * LR_MAX["last"]
    assert last["first"].dropped > last["third"].dropped > 0
    assert len({float(d.mi) for d in last.values()}) == len(COLUMNS)


def test_layers_of_another_number_of_rows_read_the_same():
    seen = list(batches(STEPS))
    cut = [
        {**s, "activations": {k: a[:16] for k, a in s["activations"].items()}}
        for s in seen
    ]
    mixed = [
        {**s, "activations": {**s["activations"], "last": c["activations"]["last"]}}
        for s, c in zip(seen, cut, strict=True)
    ]

    def run(seen):
        tx = make(max_rows=16)
        state, update = tx.init(PARAMS), jax.jit(tx.update)
        for batch in seen:
            _, state = update(PARAMS, state, PARAMS, **batch)
        return mi_diagnostics(state)

    whole, short, both = run(seen), run(cut), run(mixed)
    for layer in COLUMNS:
        like = short if layer == "last" else whole
        np.testing.assert_allclose(both[layer].mi, like[layer].mi, rtol=1e-4)
        assert both[layer].num_samples == like[layer].num_samples
    assert whole["last"].num_samples > short["last"].num_samples


def test_nothing_is_compiled_after_the_first_epoch_outside_jit():
    tx, seen = make(), list(batches(3 * STEPS))
    state = tx.init(PARAMS)
    for batch in seen[: 2 * STEPS]:
        _, state = tx.update(PARAMS, state, PARAMS, **batch)
    with compilations() as names:
        for batch in seen[2 * STEPS :]:
            _, state = tx.update(PARAMS, state, PARAMS, **batch)
    assert not names
    assert all(d.epoch == 3 for d in mi_diagnostics(state).values())


def test_labels_may_be_a_list_and_are_looked_at():
    tx, (seen,) = make(), batches(1)
    state = tx.init(PARAMS)
    _, want = tx.update(PARAMS, state, PARAMS, **seen, outputs="of another")
    listed = seen | {k: seen[k].tolist() for k in ("labels", "weights")}
    _, got = tx.update(PARAMS, state, PARAMS, **listed)
    chex.assert_trees_all_equal(got, want)
    from_one = seen | {"labels": np.maximum(seen["labels"], 0) + 1}
    with pytest.raises(ValueError, match="labels"):
        tx.update(PARAMS, state, PARAMS, **from_one)


@pytest.mark.parametrize("kind", ["explicit", "shard_map"])
def test_a_batch_over_devices(kind):
    seen = list(batches(2 * STEPS))
    axis = "x" if kind == "shard_map" else None
    tx, one = make(axis_name=axis), make()
    want, state = one.init(PARAMS), tx.init(PARAMS)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Explicit,))

    def step(state, batch):
        return tx.update(PARAMS, state, PARAMS, **batch)[1]

    if kind == "shard_map":
        step = jax.shard_map(
            step, mesh=mesh, in_specs=(jax.P(), jax.P("x")), out_specs=jax.P()
        )
    step, update = jax.jit(step), jax.jit(one.update)
    with jax.set_mesh(mesh):
        state = jax.device_put(state, jax.P())
        for batch in seen:
            state = step(state, jax.device_put(batch, jax.P("x")))
    for batch in seen:
        _, want = update(PARAMS, want, PARAMS, **batch)
    for layer, lr in learning_rates(state).items():
        np.testing.assert_allclose(lr, learning_rates(want)[layer], rtol=1e-4)
        got, wanted = (mi_diagnostics(s)[layer] for s in (state, want))
        np.testing.assert_allclose(got.mi, wanted.mi, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(got.num_samples, wanted.num_samples, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"first": jnp.ones((BATCH, 8))},
            r"activations\['first'\].* last axis of 5.*Give the estimator features=8",
        ),
        ({"second": jnp.ones((BATCH, 5))}, r"activations\['second'\].* last axis of 8"),
        ({"last": jnp.ones(BATCH)}, r"activations\['last'\].*\[48, 2\]"),
    ],
)
def test_errors_speak_of_a_layers_own_columns(changes, match):
    tx, (seen,) = make(), batches(1)
    seen["activations"] |= changes
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(tx.update, PARAMS, tx.init(PARAMS), **seen)


def test_a_function_of_the_users_own_is_called():
    plain = gaussian(features=5, num_classes=CLASSES, noise=0.25)

    def nothing(state, *, outputs, **seen):
        return plain.update(state, outputs=0.0 * outputs, **seen)

    of = {**estimators(), "first": plain._replace(update=nothing)}
    tx = make(of)
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    for batch in batches(STEPS):
        _, state = update(PARAMS, state, **batch)
    found = mi_diagnostics(state)
    assert found["first"].mi == 0.0
    assert found["last"].mi > 0.1


def test_a_state_of_narrower_layers_is_told():
    tx = make()
    narrow = gaussian(features=4, num_classes=CLASSES, noise=0.25)
    other = make(dict.fromkeys(COLUMNS, narrow))
    batch = next(iter(batches(1)))
    with pytest.raises(TypeError, match="as wide as that of the widest layer"):
        tx.update(PARAMS, other.init(PARAMS), **batch)
