"""Sums over samples, one block at a time, so that temporary arrays stay small."""

from collections.abc import Callable
from typing import Any

import jax

# Counts of a block of this length are exact in float32, and its columns fit in cache.
BLOCK = 2**16


def block_of_rows(columns: int) -> int:
    """The number of rows of a block of 16 MB in float32."""
    return max(1, 64 * BLOCK // columns)


def over_blocks(
    add: Callable[..., Any], state: Any, arrays: tuple[Any, ...], block: int = BLOCK
) -> Any:
    """Calls `add(state, *parts)` for each block of rows; the last may be shorter.

    All arrays but the first may be None.
    """
    samples = len(arrays[0])
    whole = samples // block

    def step(i: jax.Array, state: Any) -> Any:
        def cut(array: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(array, i * block, block)

        return add(state, *jax.tree.map(cut, arrays))

    if whole:
        state = jax.lax.fori_loop(0, whole, step, state)
    if samples % block:
        state = add(state, *jax.tree.map(lambda a: a[whole * block :], arrays))
    return state
