"""Sums block by block against sums in one go."""

import chex
import jax
import jax.numpy as jnp
import pytest

from optax_mi.estimators.arithmetic import BLOCK, block_of_rows, over_blocks

pytestmark = pytest.mark.usefixtures("strict")


def order_of(samples, block, weights=None):
    """A number that tells the order in which rows came, and of how many calls."""
    rows = jnp.arange(1, samples + 1, dtype=jnp.int32)
    lengths = []

    def add(state, part, weights):
        lengths.append(len(part))
        if weights is not None:
            part = part * weights
        # As digits: base 31 tells every order of rows apart, modulo 2**32.
        for i in range(len(part)):
            state = 31 * state + part[i].astype(jnp.uint32)
        return state

    got = over_blocks(add, jnp.uint32(0), (rows, weights), block)
    return int(got), lengths


@pytest.mark.parametrize(
    ("samples", "block", "traced"),
    [(3, 4, [3]), (4, 4, [4]), (9, 4, [4, 1]), (8, 4, [4]), (0, 4, [])],
)
def test_every_row_comes_once_and_in_order(samples, block, traced):
    wanted = 0
    for row in range(1, samples + 1):
        wanted = (31 * wanted + row) % 2**32
    got, lengths = order_of(samples, block)
    assert got == wanted
    # Whole blocks are one loop, however many there are.
    assert sorted(set(lengths), reverse=True) == traced


def test_arrays_go_along_and_may_be_none():
    weights = jnp.arange(9, dtype=jnp.int32) % 2
    got, _ = order_of(9, 4, weights)
    wanted = 0
    for row in range(9):
        wanted = (31 * wanted + (row + 1) * (row % 2)) % 2**32
    assert got == wanted


def test_by_default_counts_of_a_block_are_exact_in_float32():
    def add(state, part):
        chex.assert_shape(part, (BLOCK,))
        return state + jnp.sum(part)

    total = jax.jit(lambda x: over_blocks(add, jnp.float32(0), (x,)))
    assert total(jnp.ones(2 * BLOCK)) == 2 * BLOCK < 2**24


@pytest.mark.parametrize("columns", [1, 10, 50_000, 2**23])
def test_a_block_of_rows_takes_16_megabytes_or_one_row(columns):
    rows = block_of_rows(columns)
    bytes_of_row = 4 * columns
    assert isinstance(rows, int)
    assert rows == 1 or 1 <= rows * bytes_of_row <= 2**24
    assert (rows + 1) * bytes_of_row > 2**24
