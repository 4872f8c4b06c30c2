"""Sums of rows by label: table[c] += sum of rows[n] over the n with labels[n] = c.

The CPU uses a scatter-add, O(N K). On accelerators a scatter-add has no fixed order, so
they use a product with the one-hot labels, O(N C K), for reproducible sums.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def scatter(
    table: jax.Array, index: tuple[jax.Array, ...], values: jax.Array
) -> jax.Array:
    """Adds values [..., *rest] into a table at indices [...], which are in range."""
    return table.at[index].add(
        values, mode="promise_in_bounds", out_sharding=_replicated(values)
    )


def contract(table: jax.Array, labels: jax.Array, rows: jax.Array) -> jax.Array:
    """Adds rows [..., K] by labels [...] into a table [C, K], as a matrix product."""
    one_hot = jax.nn.one_hot(labels, len(table), dtype=rows.dtype)
    samples = range(labels.ndim)
    return table + jax.lax.dot_general(
        one_hot,
        rows,
        ((samples, samples), ((), ())),
        # The default precision of accelerators would round the rows to bfloat16.
        precision=jax.lax.Precision.HIGHEST,
        out_sharding=_replicated(rows),
    )


def add_by_label(table: jax.Array, labels: jax.Array, rows: jax.Array) -> jax.Array:
    """Adds rows [..., K] by labels [...] into a table [C, K], in the platform's way."""
    return jax.lax.platform_dependent(
        table,
        labels,
        rows,
        cpu=_scatter_rows,
        default=contract,
    )


def _scatter_rows(table: jax.Array, labels: jax.Array, rows: jax.Array) -> jax.Array:
    return scatter(table, (labels,), rows)


def sum_by_label(labels: jax.Array, rows: jax.Array, num_classes: int) -> jax.Array:
    """Sums of rows [N, K] by labels [N], which are in range, as a table [C, K]."""
    if num_classes == 1:
        return jnp.sum(rows, 0, keepdims=True)
    table = jnp.zeros((num_classes, rows.shape[1]), rows.dtype)
    return add_by_label(table, labels, rows)


def take_by_label(table: jax.Array, labels: jax.Array) -> jax.Array:
    """Rows [N, K] of a table [C, K] at labels [N], which are in range."""
    sharding = jax.typeof(labels).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:
        sharding = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec, None))
    else:
        sharding = None
    return table.at[labels].get(mode="promise_in_bounds", out_sharding=sharding)


def weighted_sum(weights: jax.Array, rows: jax.Array) -> jax.Array:
    """Sum of rows [N, K] times weights [N], [1, K], without a copy of the rows."""
    return _cross(weights[:, None], rows)


def weighted_total(weights: jax.Array, rows: jax.Array) -> jax.Array:
    """Sum of rows [..., K] times weights [...], [K], by a product, which is faster."""
    samples = range(weights.ndim)
    return jax.lax.dot_general(
        weights,
        rows,
        ((samples, samples), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        out_sharding=_replicated(rows),
    )


def gram(rows: jax.Array) -> jax.Array:
    """Sum of the outer products of rows [N, K] with themselves, [K, K]."""
    samples, columns = rows.shape
    # The product is symmetric, so one off-diagonal block is enough. For few rows or
    # columns, one whole product takes less time than assembling blocks.
    if columns <= 512 or samples < 2 * columns:
        return _cross(rows, rows)
    return gram_of_pair(*jnp.split(rows, [columns // 2], 1))


def gram_of_pair(left: jax.Array, right: jax.Array) -> jax.Array:
    """`gram` of rows [N, K] and [N, L] side by side, [K + L, K + L]."""
    between = _cross(left, right)
    return jnp.block([[gram(left), between], [between.T, gram(right)]])


def _cross(left: jax.Array, right: jax.Array) -> jax.Array:
    """Sum of the outer products of rows [N, K] and [N, L], [K, L]."""
    return jax.lax.dot_general(
        left,
        right,
        (((0,), (0,)), ((), ())),
        # The default precision of accelerators would round the rows to bfloat16.
        precision=jax.lax.Precision.HIGHEST,
        out_sharding=_replicated(right),
    )


def replicate(tree: Any) -> Any:
    """Replicates arrays on every device of their explicit mesh."""

    def spread(array: jax.Array) -> jax.Array:
        sharding = _replicated(array)
        return array if sharding is None else jax.sharding.reshard(array, sharding)

    return jax.tree.map(spread, tree)


def _replicated(array: jax.Array) -> NamedSharding | None:
    """The sharding of a sum over `array` on an explicit mesh; None on other meshes."""
    sharding = jax.typeof(array).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:
        return NamedSharding(sharding.mesh, PartitionSpec())
    return None
