"""The uniform sample of an epoch: who is in it, how often, and what a merge keeps."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from optax_mi.estimators import MIEstimate
from optax_mi.estimators.inputs import check_kind
from optax_mi.estimators.samples._reservoir import sampled

SIZE, BATCH = 32, 12


def mean_of(x, y, valid):
    """Not an MI: the sample's mean, and how many."""
    del y
    count = jnp.sum(valid, dtype=jnp.float32)
    nothing = jnp.zeros(())
    return MIEstimate(
        jnp.sum(jnp.where(valid, x[:, 0], 0.0)), nothing, count, nothing, nothing
    )


ESTIMATOR = sampled(check_kind(1, 2, None), SIZE, mean_of)
update = jax.jit(ESTIMATOR.update)
merge = jax.jit(ESTIMATOR.merge)
estimate = jax.jit(ESTIMATOR.estimate)


def batch_of(numbers):
    return {"outputs": numbers[..., None].astype(jnp.float32), "labels": numbers % 2}


def feed(state, start, batches):
    """Updates with the numbers from `start` on, as x; compiled once for any of them."""

    def step(i, state):
        numbers = start + i * BATCH + jnp.arange(BATCH, dtype=jnp.int32)
        return ESTIMATOR.update(state, **batch_of(numbers))

    return jax.lax.fori_loop(0, batches, step, state)


def start_from(seed):
    """Other random numbers than those of other seeds."""
    return ESTIMATOR.init()._replace(updates=seed * 1000)


one = jax.jit(feed)
many = jax.jit(
    jax.vmap(lambda seed, *a: feed(start_from(seed), *a), in_axes=(0, None, None))
)
merge_many = jax.jit(jax.vmap(ESTIMATOR.merge))


def kept(state):
    return np.asarray(state.x)[: int(min(state.seen, SIZE)), 0].astype(int)


@pytest.mark.usefixtures("strict")
def test_a_short_epoch_is_kept_whole():
    state = one(ESTIMATOR.init(), 0, 2)
    np.testing.assert_array_equal(kept(state), np.arange(24))
    np.testing.assert_array_equal(state.y[:24], np.arange(24) % 2)
    assert estimate(state).num_samples == 24


def test_every_sample_is_kept_as_often():
    runs, total = 2000, 10 * BATCH
    states = many(jnp.arange(runs), 0, 10)
    assert np.all(states.seen == total)
    numbers = np.asarray(states.x)[:, :, 0].astype(int)
    # None twice in a sample.
    assert np.all(np.diff(np.sort(numbers, 1), axis=1) > 0)
    counts = np.bincount(numbers.ravel(), minlength=total)
    share = SIZE / total
    z = (counts - runs * share) / math.sqrt(runs * share * (1 - share))
    # A sample has a fixed size, so the counts correlate by -1 / (total - 1).
    chi = np.sum(z**2) * (total - 1) / total
    assert 0.001 < stats.chi2.sf(chi, total - 1) < 0.999
    np.testing.assert_array_equal(numbers % 2, states.y)


@pytest.mark.parametrize(("first", "second"), [(3, 7), (1, 1), (2, 2), (0, 3)])
def test_a_merge_draws_from_both_as_from_their_union(first, second):
    runs = 2000
    mine = many(jnp.arange(runs), 0, first)
    theirs = many(runs + jnp.arange(runs), first * BATCH, second)
    states = merge_many(mine, theirs)
    total = (first + second) * BATCH
    assert np.all(states.seen == total)
    numbers = np.asarray(states.x)[:, : min(total, SIZE), 0].astype(int)
    assert np.all(np.diff(np.sort(numbers, 1), axis=1) > 0)
    np.testing.assert_array_equal(numbers % 2, states.y[:, : min(total, SIZE)])
    from_first = np.sum(numbers < first * BATCH, 1)
    # Hypergeometric.
    draws, part = min(total, SIZE), first / (first + second)
    variance = draws * part * (1 - part) * (total - draws) / (total - 1)
    error = math.sqrt(variance / runs)
    assert abs(from_first.mean() - draws * part) <= 4 * error
    assert from_first.var() == pytest.approx(variance, rel=0.2)
    counts = np.bincount(numbers.ravel(), minlength=total)
    share = min(total, SIZE) / total
    limit = 4.5 * math.sqrt(runs * share * (1 - share))
    assert np.max(np.abs(counts - runs * share)) <= limit


def test_what_cannot_be_used_takes_no_place():
    x = np.arange(BATCH, dtype=np.float32)[:, None]
    x[2] = np.nan
    labels = np.array([0, 1, 0, -1, 1, 2, *[0] * 6])
    weights = np.array([1.0, 0.0, 1.0, 1.0, 0.5, *[1] * 3, *[0] * 4], np.float32)
    state = update(ESTIMATOR.init(), outputs=x, labels=labels, weights=weights)
    np.testing.assert_array_equal(kept(state), [0, 4, 6, 7])
    seen = estimate(state)
    assert (seen.num_samples, seen.dropped) == (4, 8)


def test_counters_are_held_at_the_largest_int32():
    most = 2**31 - 1
    full = one(ESTIMATOR.init(), 0, 4)
    full = full._replace(seen=jnp.int32(most - 5), updates=jnp.int32(most))
    state = one(full, 0, 1)
    assert state.seen == state.updates == most
    assert merge(full, full).seen == most
    # The next batch has a chance of 32 in 2**31 a sample.
    np.testing.assert_array_equal(kept(state), kept(full))


@pytest.mark.usefixtures("strict")
def test_scans_with_types_that_stay_and_flattens_leading_axes():
    def step(state, numbers):
        return ESTIMATOR.update(state, **batch_of(numbers)), None

    numbers = jnp.arange(8 * BATCH).reshape(8, 3, BATCH // 3)
    scanned, _ = jax.jit(lambda s: jax.lax.scan(step, s, numbers))(ESTIMATOR.init())
    chex.assert_trees_all_equal(scanned, one(ESTIMATOR.init(), 0, 8))
    merged = jax.eval_shape(ESTIMATOR.merge, scanned, scanned)
    assert jax.tree.map(jax.typeof, merged) == jax.tree.map(jax.typeof, scanned)


def test_real_labels():
    estimator = sampled(check_kind(2, None, 1), 8, mean_of)
    update = jax.jit(estimator.update)
    x = jnp.arange(12.0).reshape(6, 2)
    state = update(estimator.init(), outputs=x, labels=x[:, 0])
    np.testing.assert_array_equal(state.y[:6, 0], x[:, 0])
    bad = update(state, outputs=x, labels=x[:, 0] * jnp.nan)
    assert (bad.seen, bad.dropped) == (6, 6)


def test_the_same_on_an_explicit_mesh():
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Explicit,))
    # Places are drawn from the fourth batch on.
    before = one(ESTIMATOR.init(), 0, 4)
    batch = batch_of(4 * BATCH + jnp.arange(BATCH))
    alone = update(before, **batch)
    assert np.any(kept(alone) != kept(before))
    with jax.set_mesh(mesh):
        spread = jax.tree.map(lambda a: jax.device_put(a, jax.P("data")), batch)
        state = jax.jit(ESTIMATOR.update)(before, **spread)
    chex.assert_trees_all_equal(state, alone)
