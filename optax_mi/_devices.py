"""Accumulators of batches that are split over the devices of `shard_map` or `pmap`."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from optax_mi.estimators import MIEstimator
from optax_mi.estimators.arithmetic import _sums, varying_axes


def check_same_on_all_devices(
    before: chex.ArrayTree, after: chex.ArrayTree, asked: bool = True
) -> None:
    """Raises if an accumulator differs between devices, or, if `asked`, may differ."""
    new = sorted(varying_axes(after) - varying_axes(before))
    if new:
        raise ValueError(
            f"The batch differs between devices along the mesh axes {new}, so each "
            f"would get a learning rate of its own: pass axis_name={tuple(new)}."
        )
    axes = _manual_axes() if asked else ()
    # If JAX tracks what varies between devices, an axis index counts as varying.
    if axes and not varying_axes(jax.lax.axis_index(axes[0])):
        # pmap gives an unnamed axis a name that starts with "_".
        named = not axes[0].startswith("_")
        cure = f"axis_name={axes}" if named else "the axis_name that you give to pmap"
        raise ValueError(
            "Inside jax.pmap, or jax.shard_map with check_vma=False, mi_decay cannot "
            "tell whether the batch is the same on all devices. If it is not, each "
            f"would get a learning rate of its own: pass {cure}, the axes that it is "
            "split over; axis_name=() says that it is the same."
        )


def update_across(
    estimator: MIEstimator,
    state: Any,
    extra_args: dict[str, Any],
    axis_name: str | tuple[str, ...],
) -> Any:
    """The accumulator with the batches of all devices, the same on every device."""
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    told = {name for name in names if _is_told(name)}
    empty = estimator.init()
    part = _sums.of_a_batch(empty) if estimator.additive else empty
    part = estimator.update(part, **extra_args)
    varying = varying_axes(part)
    # Along an axis on which nothing differs, all devices have copies of one part.
    split = tuple(name for name in names if name in varying or name not in told)
    if beyond := sorted(varying - varying_axes(state) - {*names}):
        raise ValueError(
            f"The batch differs between devices along the mesh axes {beyond}, and "
            f"axis_name={axis_name!r} omits them, so each would get a learning rate of "
            f"its own: pass axis_name={(*split, *beyond)}."
        )
    if estimator.additive:
        return _sums.add_across(state, part, split)
    if split:
        part = merge_across(estimator, part, split)
    return estimator.merge(state, part)


def _is_told(name: str) -> bool:
    """Whether JAX tracks what differs between devices along an axis.

    Raises:
      ValueError: the axis does not exist.
    """
    try:
        return name in varying_axes(jax.lax.axis_index(name))
    except NameError as error:
        axes = _manual_axes()
        cure = f"the axes are {list(axes)}."
        if not axes:
            cure = "outside of jax.shard_map and jax.pmap, as in jax.jit, leave it out."
        raise ValueError(f"axis_name={name!r} is not an axis here: {cure}") from error


def _manual_axes() -> tuple[str, ...]:
    """The axes of the enclosing `jax.shard_map` and `jax.pmap`."""
    return tuple(getattr(jax.sharding.get_abstract_mesh(), "manual_axes", ()))


def merge_across(
    estimator: MIEstimator, part: chex.ArrayTree, axis_name: str | tuple[str, ...]
) -> chex.ArrayTree:
    """The merged accumulators of all devices, the same on every device."""
    size = jax.lax.axis_size(axis_name)
    mine = jnp.arange(size) == jax.lax.axis_index(axis_name)

    def gather(x: jax.Array) -> jax.Array:
        # A sum over one-hot places. Unlike the result of all_gather, it counts as equal
        # on all devices, so the optimizer state stays replicated.
        here = mine.reshape((size,) + (1,) * x.ndim)
        return jax.lax.psum(jnp.where(here, x[None], jnp.zeros_like(x)), axis_name)

    parts = jax.tree.map(gather, part)

    def fold(i: jax.Array, merged: chex.ArrayTree) -> chex.ArrayTree:
        return estimator.merge(merged, jax.tree.map(lambda x: x[i], parts))

    return jax.lax.fori_loop(0, size, fold, estimator.init())
