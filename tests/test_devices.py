"""Accumulators across the devices of a mesh: merged in order, or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from optax_mi._devices import check_same_on_all_devices, merge_across
from optax_mi.estimators import MIEstimator

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
        check_same_on_all_devices(state, differs)

    with pytest.raises(
        ValueError, match=r"axes \['x', 'y'\].*pass axis_name=\('x', 'y'\)\."
    ):
        jax.eval_shape(shard_map(step, devices), jnp.ones(8))
    # Outside of any shard_map there is nothing that could differ.
    check_same_on_all_devices({"sum": jnp.zeros(())}, {"sum": jnp.ones(())})
