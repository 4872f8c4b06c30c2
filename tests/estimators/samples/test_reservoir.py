"""The uniform sample of an epoch: who is in it, how often, and what a merge keeps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from optax_mi.estimators import MIEstimate
from optax_mi.estimators.inputs import check_kind
from optax_mi.estimators.samples._reservoir import sampled

SIZE = 32
KIND = check_kind(1, 2, None)


def mean_of(x, y, valid):
    """Not an MI: the sample's mean, and how many."""
    del y
    count = jnp.sum(valid, dtype=jnp.float32)
    nothing = jnp.zeros(())
    return MIEstimate(
        jnp.sum(jnp.where(valid, x[:, 0], 0.0)), nothing, count, nothing, nothing
    )


ESTIMATOR = sampled(KIND, SIZE, mean_of)
update = jax.jit(ESTIMATOR.update)


def feed(state, start, batches, batch):
    """Updates with the numbers from `start` on, as x."""
    for i in range(batches):
        numbers = start + i * batch + jnp.arange(batch)
        state = update(
            state, outputs=numbers[:, None].astype(float), labels=numbers % 2
        )
    return state


def start_from(seed):
    """Other random numbers than those of other seeds."""
    return ESTIMATOR.init()._replace(updates=seed * 1000)


def kept(state):
    return np.asarray(state.x)[: int(min(state.seen, SIZE)), 0].astype(int)


@pytest.mark.usefixtures("strict")
def test_a_short_epoch_is_kept_whole():
    state = feed(ESTIMATOR.init(), 0, 3, 10)
    np.testing.assert_array_equal(kept(state), np.arange(30))
    np.testing.assert_array_equal(state.y[:30], np.arange(30) % 2)
    assert jax.jit(ESTIMATOR.estimate)(state).num_samples == 30


def test_every_sample_is_kept_as_often():
    runs, total = 2000, 120
    states = jax.vmap(lambda s: feed(start_from(s), 0, 6, 20))(jnp.arange(runs))
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


@pytest.mark.parametrize(("first", "second"), [(2, 4), (1, 1), (0, 2)])
def test_a_merge_draws_from_both_as_from_their_union(first, second):
    runs, batch = 1500, 20

    def one(seed):
        mine = feed(start_from(seed), 0, first, batch)
        theirs = feed(start_from(seed + runs), first * batch, second, batch)
        return ESTIMATOR.merge(mine, theirs)

    states = jax.jit(jax.vmap(one))(jnp.arange(runs))
    total = (first + second) * batch
    assert np.all(states.seen == total)
    numbers = np.asarray(states.x)[:, : min(total, SIZE), 0].astype(int)
    assert np.all(np.diff(np.sort(numbers, 1), axis=1) > 0)
    np.testing.assert_array_equal(numbers % 2, states.y[:, : min(total, SIZE)])
    from_first = np.sum(numbers < first * batch, 1)
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
    x = jnp.array([[0.0], [1.0], [jnp.nan], [3.0], [4.0]])
    labels = jnp.array([0, 1, 0, -1, 1])
    weights = jnp.array([1.0, 0.0, 1.0, 1.0, 0.5])
    state = update(ESTIMATOR.init(), outputs=x, labels=labels, weights=weights)
    np.testing.assert_array_equal(kept(state), [0, 4])
    estimate = jax.jit(ESTIMATOR.estimate)(state)
    assert (estimate.num_samples, estimate.dropped) == (2, 3)


def test_counters_are_held_at_the_largest_int32():
    most = 2**31 - 1
    full = feed(ESTIMATOR.init(), 0, 2, 20)
    full = full._replace(seen=jnp.int32(most - 5), updates=jnp.int32(most))
    state = feed(full, 0, 1, 20)
    assert state.seen == state.updates == most
    assert jax.jit(ESTIMATOR.merge)(full, full).seen == most
    # The next batch has a chance of 32 in 2**31 a sample.
    np.testing.assert_array_equal(kept(state), kept(full))


@pytest.mark.usefixtures("strict")
def test_scans_with_types_that_stay_and_flattens_leading_axes():
    def step(state, numbers):
        x = numbers[..., None].astype(jnp.float32)
        return ESTIMATOR.update(state, outputs=x, labels=numbers % 2), None

    numbers = jnp.arange(240).reshape(12, 4, 5)
    scanned, _ = jax.jit(lambda s: jax.lax.scan(step, s, numbers))(ESTIMATOR.init())
    one_by_one = feed(ESTIMATOR.init(), 0, 12, 20)
    np.testing.assert_array_equal(scanned.x, one_by_one.x)
    merged = jax.eval_shape(ESTIMATOR.merge, scanned, scanned)
    assert jax.tree.map(jax.typeof, merged) == jax.tree.map(jax.typeof, scanned)


def test_real_labels():
    estimator = sampled(check_kind(2, None, 1), 8, mean_of)
    x = jnp.arange(12.0).reshape(6, 2)
    state = estimator.update(estimator.init(), outputs=x, labels=x[:, 0])
    np.testing.assert_array_equal(state.y[:6, 0], x[:, 0])
    bad = estimator.update(state, outputs=x, labels=x[:, :1] * jnp.nan)
    assert (bad.seen, bad.dropped) == (6, 6)


def test_the_same_on_an_explicit_mesh():
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Explicit,))
    numbers = jnp.arange(80)
    alone = update(
        ESTIMATOR.init(), outputs=numbers[:, None].astype(float), labels=numbers % 2
    )
    with jax.set_mesh(mesh):
        spread = jax.device_put(numbers, jax.P("data"))
        state = jax.jit(
            lambda s, n: ESTIMATOR.update(
                s, outputs=n[:, None].astype(float), labels=n % 2
            )
        )(ESTIMATOR.init(), spread)
    np.testing.assert_array_equal(alone.x, state.x)
