"""Totals that float32 alone would lose."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import _sums

pytestmark = pytest.mark.usefixtures("strict")


def exact(total):
    return Fraction(float(total.high)) + Fraction(float(total.low))


def test_ones_keep_counting_past_two_to_the_24():
    start = _sums.add(_sums.zeros(()), jnp.float32(2.0**24))
    total = jax.jit(
        lambda s: jax.lax.fori_loop(0, 1001, lambda _, s: _sums.add(s, jnp.ones(())), s)
    )(start)
    assert exact(total) == 2**24 + 1001
    # What the plain sum does, so that this test is known to be able to fail.
    assert jnp.float32(2.0**24) + jnp.ones(()) == 2.0**24


def test_counts_are_exact_for_an_epoch_of_two_to_the_31_samples():
    batch = jnp.float32(3_000_001.0)
    total = jax.lax.fori_loop(0, 800, lambda _, s: _sums.add(s, batch), _sums.zeros(()))
    assert exact(total) == 800 * 3_000_001 > 2**31


def test_fractions_are_unbiased_over_a_long_epoch():
    values = np.random.default_rng(0).random(1000, np.float32)
    rounds = 300

    def run(i, total):
        return _sums.add(total, jnp.asarray(values)[i % 1000])

    total = jax.jit(lambda: jax.lax.fori_loop(0, rounds * 1000, run, _sums.zeros(())))()
    truth = rounds * sum(map(Fraction, values.astype(float)))
    assert abs(exact(total) / truth - 1) < 1e-12
    plain = np.cumsum(np.tile(values, rounds), dtype=np.float32)[-1]
    assert abs(float(plain) / float(truth) - 1) > 1e-6


def test_merge_equals_one_long_sum():
    values = np.random.default_rng(1).random((2, 500), np.float32) * 1e4
    halves = []
    for half in values:
        total = _sums.zeros(())
        for value in half:
            total = _sums.add(total, jnp.asarray(value))
        halves.append(total)
    merged = _sums.merge(*halves)
    truth = sum(map(Fraction, values.ravel().astype(float)))
    assert abs(exact(merged) / truth - 1) < 1e-12
