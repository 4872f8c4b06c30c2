"""Totals that float32 alone would lose."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic import _sums

pytestmark = pytest.mark.usefixtures("strict")


def exact(total):
    return sum(Fraction(float(part)) for part in total[:3])


def start(value=0.0):
    return _sums.zeros(jnp.zeros(()))._replace(high=jnp.float32(value))


def add(total, value, samples):
    return _sums.advance(total, total.recent + value, samples)


def repeat(total, value, samples, times):
    return jax.jit(
        lambda t: jax.lax.fori_loop(0, times, lambda _, t: add(t, value, samples), t)
    )(total)


def test_sums_of_nothing_are_zeros_of_shapes_alone_and_share_no_array():
    total = _sums.zeros({"a": jnp.ones(2, jnp.int32), "b": jnp.ones((), bool)})
    leaves = jax.tree.leaves(total[:3])
    for leaf, shape in zip(leaves, 3 * [(2,), ()], strict=True):
        assert (leaf.shape, leaf.dtype) == (shape, np.float32)
        assert not np.any(leaf)
    # A train step that donates its state may see none twice.
    assert len({id(leaf) for leaf in leaves}) == 6
    assert (total.pending, total.pending.dtype) == (0, np.int32)


def test_ones_keep_counting_past_two_to_the_24():
    total = repeat(start(2.0**25), jnp.ones(()), 1, 600_001)
    assert exact(total) == 2**25 + 600_001
    # What a plain sum does, so that this test is known to be able to fail.
    assert jnp.float32(2.0**25) + jnp.ones(()) == 2.0**25


@pytest.mark.parametrize("batch", [1_001, 3_000_001, _sums.MAX_BATCH])
def test_counts_are_exact_for_an_epoch_of_two_to_the_32_samples(batch):
    times = 2**32 // batch
    assert exact(repeat(start(), jnp.float32(batch), batch, times)) == times * batch


def test_the_largest_batch_is_exact_after_one_that_is_not_folded_yet():
    few = add(start(), jnp.float32(2**16 - 1), 2**16 - 1)
    assert few.pending > 0
    assert exact(add(few, jnp.float32(_sums.MAX_BATCH), _sums.MAX_BATCH)) == (
        2**16 - 1 + _sums.MAX_BATCH
    )


def test_a_batch_alone_stays_recent_however_large_it_is():
    part = add(_sums.of_a_batch(start()), jnp.float32(2**20), 2**20)
    assert part == _sums.LongSum(None, None, 2**20, 2**20)


def test_whole_numbers_are_exact_up_to_two_to_the_48():
    total = start()
    total = total._replace(high=jnp.float32(2.0**47))
    assert exact(repeat(total, jnp.float32(777.0), 777, 10_000)) == 2**47 + 7_770_000


def test_fractions_are_unbiased_over_a_long_epoch():
    samples, times = 128, 1_000_000
    values = np.random.default_rng(0).random(times, np.float32)

    @jax.jit
    def run(total, values):
        def one(total, value):
            return add(total, value, samples), None

        return jax.lax.scan(one, total, values)[0]

    truth = float(np.sum(values, dtype=np.float64))
    error = abs(float(exact(run(start(), values))) / truth - 1)
    plain = abs(float(np.cumsum(values, dtype=np.float32)[-1]) / truth - 1)
    # A window sums 512 values in float32: its rounding errors are of either sign.
    assert error < 1e-8
    assert plain > 1e-6


def test_value_is_the_total_with_and_without_a_fold():
    few = repeat(start(), jnp.float32(5.0), 5, 3)
    assert few.pending == 15
    assert _sums.value(few) == 15.0
    many = repeat(start(), jnp.float32(2.0**15), 2**15, 3)
    assert many.pending == 2**15
    assert _sums.value(many) == 3 * 2.0**15


def test_merge_equals_one_long_sum():
    values = np.random.default_rng(1).random((2, 500), np.float32) * 1e4

    @jax.jit
    def run(half):
        return jax.lax.scan(lambda t, v: (add(t, v, 2**12), None), start(), half)[0]

    halves = [run(half) for half in values]
    merged = _sums.merge(*halves)
    assert merged.pending == 0
    assert exact(merged) == exact(halves[0]) + exact(halves[1])
