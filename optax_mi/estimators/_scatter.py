"""Sums of rows by label: table[c] = sum of rows[n] over the n with labels[n] = c.

A scatter-add costs O(N K) and is the fast form on the CPU. On accelerators it adds
floats in no fixed order, so sums that must be reproducible go through a product with
the one-hot labels there: O(N C K), on the matrix unit.
"""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def scatter_rows(rows: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """Sums rows [..., K] by labels [...] into [num_classes, K], by scatter-add.

    The labels must be in range.
    """
    table = jnp.zeros((num_classes, rows.shape[-1]), rows.dtype)
    return table.at[labels].add(
        rows, mode="promise_in_bounds", out_sharding=_replicated(rows)
    )


def scatter_pairs(
    ids: jax.Array, labels: jax.Array, weights: jax.Array, num_classes: int
) -> jax.Array:
    """Sums weights [...] by (labels, ids) into [num_classes, num_classes]."""
    table = jnp.zeros((num_classes, num_classes), weights.dtype)
    return table.at[labels, ids].add(
        weights, mode="promise_in_bounds", out_sharding=_replicated(weights)
    )


def contract_rows(rows: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """What `scatter_rows` computes, by a product with the one-hot labels."""
    one_hot = jax.nn.one_hot(labels, num_classes, dtype=rows.dtype)
    samples = tuple(range(labels.ndim))
    return jax.lax.dot_general(
        one_hot,
        rows,
        ((samples, samples), ((), ())),
        # The default precision of accelerators would round the rows to bfloat16.
        precision=jax.lax.Precision.HIGHEST,
        out_sharding=_replicated(rows),
    )


def _replicated(array: jax.Array) -> NamedSharding | None:
    """The sharding of a sum over `array` on an explicit mesh, None elsewhere."""
    sharding = jax.typeof(array).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:
        return NamedSharding(sharding.mesh, PartitionSpec())
    return None
