"""Accumulators whose batch is spread over the devices of a `jax.shard_map`."""

import chex
import jax
import jax.numpy as jnp

from optax_mi.estimators import MIEstimator
from optax_mi.estimators.arithmetic import varying_axes


def check_same_on_all_devices(before: chex.ArrayTree, after: chex.ArrayTree) -> None:
    """Raises if an accumulator came to differ between the devices of a shard_map."""
    new = sorted(varying_axes(after) - varying_axes(before))
    if new:
        raise ValueError(
            f"The batch differs between devices along the mesh axes {new}, so each "
            f"would get a learning rate of its own: pass axis_name={tuple(new)}."
        )


def merge_across(
    estimator: MIEstimator, part: chex.ArrayTree, axis_name: str | tuple[str, ...]
) -> chex.ArrayTree:
    """The accumulator of every device's part, the same on all of them."""
    size = jax.lax.axis_size(axis_name)
    mine = jnp.arange(size) == jax.lax.axis_index(axis_name)

    def gather(x: jax.Array) -> jax.Array:
        # A sum over one-hot places: unlike all_gather's, its result counts as equal
        # on all devices, so the optimizer state stays replicated.
        here = mine.reshape((size,) + (1,) * x.ndim)
        return jax.lax.psum(jnp.where(here, x[None], jnp.zeros_like(x)), axis_name)

    parts = jax.tree.map(gather, part)

    def fold(i: jax.Array, merged: chex.ArrayTree) -> chex.ArrayTree:
        return estimator.merge(merged, jax.tree.map(lambda x: x[i], parts))

    return jax.lax.fori_loop(0, size, fold, estimator.init())
