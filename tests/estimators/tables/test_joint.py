"""The accumulator of a joint table against NumPy's."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic import _sums
from optax_mi.estimators.inputs import Samples
from optax_mi.estimators.tables._joint import (
    add_ids,
    add_joint,
    check_table_size,
    empty_table,
    estimate_table,
)
from tests.estimators.tables.helpers import joint_counts, noisy_labels, slow_mi

pytestmark = pytest.mark.usefixtures("strict")


def test_an_empty_table_is_strong_float32_and_holds_a_spread_if_it_is_soft():
    hard, soft = empty_table(3, 4), empty_table(3, 4, soft=True)
    for part in hard[:3]:
        assert part.spread is None
        chex.assert_shape([part.joint, part.totals], [(3, 4), (3,)])
    for part in soft[:3]:
        chex.assert_shape(part.spread, (2, 4))
    for leaf in jax.tree.leaves((hard[:3], soft[:3])):
        assert jax.typeof(leaf).dtype == np.float32
        assert not jax.typeof(leaf).weak_type


def test_ids_go_to_the_cell_of_their_label_with_their_weight():
    ids, labels = noisy_labels(4, 60)
    weights = np.random.default_rng(0).integers(0, 3, 60).astype(np.float32)
    samples = Samples(jnp.asarray(ids), jnp.asarray(labels), jnp.asarray(weights))
    state = jax.jit(add_ids)(empty_table(4, 4), samples, samples.outputs)
    wanted = np.zeros((4, 4))
    np.add.at(wanted, (labels, ids), weights)
    joint, totals, _ = _sums.value(state)
    np.testing.assert_array_equal(joint, wanted)
    dropped = np.sum(weights == 0)
    np.testing.assert_array_equal(totals, [weights.sum(), (weights**2).sum(), dropped])
    assert state.pending == 60


def test_a_batch_adds_to_the_spread_or_leaves_it():
    samples = Samples(jnp.zeros(2), jnp.zeros(2, jnp.int32), jnp.ones(2))
    state = empty_table(3, 3, soft=True)
    table, part = np.eye(3, dtype=np.float32), np.ones((2, 3), np.float32)
    add = jax.jit(add_joint)
    twice = add(add(state, samples, table, part), samples, 2 * table, 2 * part)
    joint, totals, spread = _sums.value(add(twice, samples, 3 * table))
    np.testing.assert_array_equal(joint, 3 * np.eye(3))
    np.testing.assert_array_equal(spread, np.full((2, 3), 3))
    np.testing.assert_array_equal(totals, [6, 6, 0])


def test_the_estimate_is_that_of_the_counts():
    ids, labels = noisy_labels(4, 60)
    table = joint_counts(ids, labels, 4)
    samples = Samples(jnp.zeros(60), jnp.zeros(60, jnp.int32), jnp.ones(60))
    state = add_joint(empty_table(4, 4), samples, jnp.asarray(table, jnp.float32))
    read = jax.jit(estimate_table, static_argnums=(1, 2))
    for correction in (None, "miller_madow"):
        got = read(state, correction, False)
        np.testing.assert_allclose(got.mi, slow_mi(table, correction), rtol=1e-5)
    assert (got.num_samples, got.dropped) == (60, 0)


def test_cells_are_numbered_by_an_int32():
    check_table_size(46_340)
    with pytest.raises(ValueError, match=r"num_classes=46341 .* 2\.1e\+09 cells: pass"):
        check_table_size(46_341)
