"""The mesh axes of a `jax.shard_map` over which arrays differ between devices."""

import chex
import jax


def varying_axes(tree: chex.ArrayTree) -> set[str]:
    """The axes over which any array of a tree may differ between devices."""
    axes: set[str] = set()
    for leaf in jax.tree.leaves(tree):
        kind = jax.typeof(leaf)
        # The attribute of JAX's type is called `vma` up to version 0.9.
        manual = getattr(kind, "manual_axis_type", None)
        axes |= kind.vma if manual is None else manual.varying
    return axes


def vary_like(array: jax.Array, like: jax.Array) -> jax.Array:
    """Marks the array as one that may differ over the axes over which `like` may."""
    axes = tuple(sorted(varying_axes(like) - varying_axes(array)))
    if not axes:
        return array
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(array, axes, to="varying")
    # JAX 0.8.1 has only this function.
    return jax.lax.pvary(array, axes)  # pyright: ignore[reportAttributeAccessIssue]
