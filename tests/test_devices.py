"""Accumulators across the devices of a mesh: merged in order, or refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from optax_mi import mi_decay
from optax_mi._devices import (
    check_same_on_all_devices,
    merge_across,
    update_across,
)
from optax_mi.estimators import MIEstimator, contingency, gaussian

# Accumulators that are matrices, merged by their product: the order shows in it.
PRODUCT = MIEstimator(
    init=lambda: {"product": jnp.eye(2, dtype=jnp.int32)},
    update=lambda state, **_: state,
    estimate=lambda state: state,
    merge=lambda a, b: {"product": a["product"] @ b["product"]},
)
PARTS = np.random.default_rng(0).integers(-2, 3, (8, 2, 2))


def mesh(*shape):
    return jax.make_mesh(shape, ("x", "y")[: len(shape)], (AxisType.Auto,) * len(shape))


def shard_map(function, devices):
    """Over parts of the first axis, with a result that is the same everywhere."""
    split, whole = jax.P(devices.axis_names), jax.P()
    return jax.shard_map(function, mesh=devices, in_specs=split, out_specs=whole)


@pytest.mark.parametrize("shape", [(8,), (4, 2)])
def test_parts_are_merged_in_the_order_of_the_devices(shape):
    devices = mesh(*shape)

    def merged(part):
        return merge_across(PRODUCT, {"product": part[0]}, devices.axis_names)

    got = jax.jit(shard_map(merged, devices))(jnp.asarray(PARTS, jnp.int32))
    np.testing.assert_array_equal(got["product"], np.linalg.multi_dot(PARTS))
    assert got["product"].dtype == jnp.int32


def test_a_batch_over_one_axis_of_two_is_merged_over_that():
    def merged(part):
        return merge_across(PRODUCT, {"product": part[0]}, "y")

    step = jax.shard_map(
        merged, mesh=mesh(4, 2), in_specs=jax.P("y"), out_specs=jax.P()
    )
    got = jax.jit(step)(jnp.asarray(PARTS[:2], jnp.int32))
    np.testing.assert_array_equal(got["product"], PARTS[0] @ PARTS[1])


def test_what_came_to_differ_is_refused_by_the_names_of_its_axes():
    devices = mesh(4, 2)

    def step(batch):
        state = {"sum": jnp.zeros(()), "count": jnp.zeros(())}
        check_same_on_all_devices(state, {**state, "count": state["count"] + 1})
        differs = {**state, "sum": state["sum"] + batch.sum()}
        # It may differ if it did before.
        check_same_on_all_devices(differs, differs)
        # That it is the same everywhere was said, and is not so.
        with pytest.raises(ValueError, match=r"axes \['x', 'y'\]"):
            check_same_on_all_devices(state, differs, asked=False)
        check_same_on_all_devices(state, differs)

    with pytest.raises(
        ValueError, match=r"axes \['x', 'y'\].*pass axis_name=\('x', 'y'\)\."
    ):
        jax.eval_shape(shard_map(step, devices), jnp.ones(8))
    # Outside of any shard_map there is nothing that could differ.
    check_same_on_all_devices({"sum": jnp.zeros(())}, {"sum": jnp.ones(())})


ESTIMATORS = {
    "added": contingency(num_classes=3),
    "merged": gaussian(features=3, num_classes=3),
}


def samples_seen(kind, axis_name, devices, split, check_vma=True):
    """How many samples of 16 are counted."""
    estimator, labels = ESTIMATORS[kind], jnp.arange(16) % 3

    def step(state, outputs, labels):
        seen = {"outputs": outputs, "labels": labels}
        state = update_across(estimator, state, seen, axis_name)
        return estimator.estimate(state).num_samples

    whole, part = jax.P(), jax.P(split)
    step = jax.shard_map(
        step,
        mesh=devices,
        in_specs=(whole, part, part),
        out_specs=whole,
        check_vma=check_vma,
    )
    return jax.jit(step)(estimator.init(), jax.nn.one_hot(labels, 3), labels)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_axes_that_a_batch_is_split_over_are_named_in_full(kind):
    with pytest.raises(
        ValueError, match=r"\['x'\], and axis_name='y' .*pass axis_name=\('y', 'x'\)\."
    ):
        samples_seen(kind, "y", mesh(4, 2), ("x", "y"))
    with pytest.raises(ValueError, match=r"pass axis_name=\('x',\)\."):
        samples_seen(kind, "y", mesh(4, 2), "x")


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_an_axis_that_is_not_there(kind, check_vma):
    with pytest.raises(
        ValueError, match=r"'z' is not an axis here: the axes are \['x', 'y'\]"
    ):
        samples_seen(kind, ("x", "z"), mesh(4, 2), "x", check_vma)


def test_an_axis_outside_of_any_shard_map():
    tx = mi_decay(0.3, num_classes=3, axis_name="x")
    with pytest.raises(ValueError, match=r"'x' is not an axis here: outside.*leave it"):
        jax.jit(tx.update)((), tx.init(()), outputs=jnp.eye(3), labels=jnp.arange(3))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_copies_of_a_part_count_once(kind):
    for axis_name, split in ((("x", "y"), "x"), ("x", ())):
        assert samples_seen(kind, axis_name, mesh(4, 2), split) == 16


@pytest.mark.parametrize("devices", [2, 8])
def test_sums_of_parts_are_the_sum_of_the_batch(devices):
    """Whole numbers, also where a part is folded on its way."""
    estimator = contingency(num_classes=3, soft=False)
    rng = np.random.default_rng(0)
    outputs, labels = rng.integers(0, 3, (2, 5, 16 * devices))

    def step(state, outputs, labels):
        seen = {"outputs": outputs, "labels": labels}
        return update_across(estimator, state, seen, "x")

    split, whole = jax.P("x"), jax.P()
    across = jax.jit(
        jax.shard_map(
            step,
            mesh=mesh(devices),
            in_specs=(whole, split, split),
            out_specs=whole,
        )
    )
    many = one = estimator.init()
    for x, y in zip(outputs, labels, strict=True):
        many = across(many, x, y)
        one = estimator.update(one, outputs=x, labels=y)
    chex.assert_trees_all_equal(jax.device_get(many), jax.device_get(one))


def unchecked(step):
    return jax.shard_map(
        step, mesh=mesh(2), in_specs=jax.P("x"), out_specs=jax.P(), check_vma=False
    )


@pytest.mark.parametrize("spread", [unchecked, jax.pmap], ids=["shard_map", "pmap"])
def test_where_it_cannot_be_told_the_axes_are_asked_for(spread):
    labels = np.arange(8).reshape(2, 4) % 2

    def run(axis_name):
        tx = mi_decay(0.3, num_classes=2, steps_per_epoch=1, axis_name=axis_name)

        def step(labels):
            labels = labels.ravel()
            _, state = tx.update((), tx.init(()), outputs=labels, labels=labels)
            return state.current_lr

        return spread(step)(labels)

    with pytest.raises(ValueError, match=r"jax\.pmap, or .* axis_name=\(\) says"):
        run(None)
    assert np.all(run(()) > 0)
