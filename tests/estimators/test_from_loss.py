"""The bound on what is known that the loss alone tells."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from optax_mi import learning_rates, mi_decay, mi_diagnostics
from optax_mi.estimators import from_loss, plugin_entropy, variational
from tests.helpers import measure, read
from tests.whole.test_messages import NO_ARRAYS, NO_SETTINGS, faults

pytestmark = pytest.mark.usefixtures("strict")

H = math.log(3)
LOSSES = np.random.default_rng(0).uniform(0.1, 0.9, 12)


def after(estimator, losses, keyword="value", weights=None):
    """The estimate after so many batches, by one program."""
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(estimator.update, n=1))
    state = estimator.init()
    weights = [None] * len(losses) if weights is None else weights
    for loss, w in zip(losses, weights, strict=True):
        state = update(state, **{keyword: np.float32(loss)}, weights=w)
    return read(estimator, state)


@pytest.mark.parametrize("keyword", ["value", "loss"])
def test_the_bound_and_its_standard_error(keyword):
    seen = after(from_loss(H, keyword=keyword), LOSSES, keyword)
    np.testing.assert_allclose(seen.mi, H - LOSSES.mean(), rtol=1e-6)
    error = LOSSES.std(ddof=1) / math.sqrt(len(LOSSES))
    np.testing.assert_allclose(seen.std_error, error, rtol=1e-4)
    np.testing.assert_allclose(seen.entropy, H, rtol=1e-6)
    assert (seen.num_samples, seen.dropped, seen.chance) == (len(LOSSES), 0, 0)


def test_batches_count_as_much_as_their_weights():
    sizes = np.arange(1, len(LOSSES) + 1)
    weights = np.stack([np.arange(12) < n for n in sizes]).astype(np.float32)
    seen = after(from_loss(H), LOSSES, weights=weights)
    mean = np.average(LOSSES, weights=sizes)
    np.testing.assert_allclose(seen.mi, H - mean, rtol=1e-6)
    effective = sizes.sum() ** 2 / np.sum(sizes**2)
    np.testing.assert_allclose(seen.num_samples, effective, rtol=1e-6)
    nothing = after(from_loss(H), LOSSES[:1], weights=np.zeros((1, 12), np.float32))
    assert (nothing.num_samples, nothing.dropped) == (0, 1)
    assert nothing.mi == 0


def test_it_is_what_the_variational_bound_is():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (8, 30))
    logits = rng.normal(size=(8, 30, 3)) + 2 * np.eye(3)[labels]
    logits = logits.astype(np.float32)
    bound = measure(variational(num_classes=3), logits, labels)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(1)
    seen = after(from_loss(plugin_entropy(labels)), np.asarray(losses))
    np.testing.assert_allclose(seen.mi, bound.mi, rtol=1e-5)


def test_losses_that_are_not_finite_are_dropped_and_counted():
    seen = after(from_loss(H), [0.5, math.nan, math.inf, -math.inf, 3e38, 0.7])
    np.testing.assert_allclose(seen.mi, H - 0.6, rtol=1e-6)
    assert (seen.num_samples, seen.dropped) == (2, 4)
    none = after(from_loss(H), [math.nan])
    assert (none.num_samples, none.dropped) == (0, 1)


def test_an_untrained_network_reads_0_and_a_perfect_one_all():
    assert after(from_loss(H), [2.0, 1.5]).mi == 0
    assert after(from_loss(H), [0.0, -1e-4]).mi == np.float32(H)
    one = after(from_loss(H), [0.5])
    assert np.isnan(one.std_error)


def test_a_loss_below_0_is_not_a_cross_entropy():
    seen = after(from_loss(H), [0.5, -0.1, 0.5])
    assert np.isnan(seen.mi)
    # It is mistaken for nothing else.
    assert (seen.num_samples, seen.dropped) == (3, 0)


def test_merging_is_adding():
    estimator = from_loss(H)
    update = jax.jit(estimator.update)
    parts = []
    for losses in (LOSSES[:5], LOSSES[5:]):
        state = estimator.init()
        for loss in losses:
            state = update(state, value=np.float32(loss))
        parts.append(state)
    merged = read(estimator, estimator.merge(*parts))
    chex.assert_trees_all_close(merged, after(estimator, LOSSES), rtol=1e-5)


def test_each_device_may_have_a_loss_of_its_own():
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Auto,))
    tx = mi_decay(0.5, estimator=from_loss(H), axis_name="data", steps_per_epoch=3)

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P()
    )
    def step(state, losses):
        return tx.update((), state, value=losses[0])[1]

    state = tx.init(())
    for losses in LOSSES.reshape(3, 4).astype(np.float32):
        state = step(state, losses)
    seen = mi_diagnostics(state)["all"]
    np.testing.assert_allclose(seen.mi, H - LOSSES.mean(), rtol=1e-6)
    assert seen.num_samples == len(LOSSES)


def test_the_learning_rate_decays_in_a_scan_and_an_epoch_below_0_holds_it():
    tx = mi_decay(0.5, estimator=from_loss(H))
    losses = jnp.concatenate([jnp.geomspace(1.2, 0.2, 30), jnp.full(200, 0.2)])

    def step(state, value):
        _, state = tx.update((), state, value=value)
        return state, learning_rates(state)["all"]

    scan = jax.jit(lambda losses: jax.lax.scan(step, tx.init(()), losses)[1])
    rates = scan(losses)
    assert rates[20] > 0.49
    assert rates[-1] < 0.4
    assert set(np.asarray(scan(losses - 2.0))) == {np.float32(0.5)}


def test_what_it_refuses():
    update = from_loss(H).update
    state = from_loss(H).init()
    with pytest.raises(ValueError, match=r"value must be a scalar, got shape \(3,\)"):
        update(state, value=jnp.ones(3))
    with pytest.raises(TypeError, match="value must be real, got dtype complex64"):
        update(state, value=jnp.complex64(1.0))
    with pytest.raises(TypeError, match="weights must be real, got dtype complex64"):
        update(state, value=0.5, weights=jnp.ones(3, jnp.complex64))
    for entropy in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="entropy must be positive and finite"):
            from_loss(entropy)
    with pytest.raises(ValueError, match="keyword must be 'value' or 'loss', got"):
        from_loss(H, keyword="elbo")
    tx = mi_decay(0.5, estimator=from_loss(H, keyword="loss"))
    with pytest.raises(TypeError, match=r"missing loss.*tx\.update\(grads.*loss=\.\."):
        tx.update((), tx.init(()), outputs=0.5)


def test_whatever_is_passed_the_error_names_it():
    estimator = from_loss(H)

    def update(name, value):
        given = {"value": 0.5, name: value}
        return jax.eval_shape(lambda: estimator.update(estimator.init(), **given))

    loss = functools.partial(update, "value")
    assert faults(NO_ARRAYS, loss, "value") == {}
    weights = functools.partial(update, "weights")
    values = {kind: x for kind, x in NO_ARRAYS.items() if kind != "None"}
    assert faults(values, weights, "weights") == {}
    values = NO_SETTINGS | {"None": None, "array": np.ones(3)}
    assert faults(values, from_loss, "entropy") == {}


def test_the_other_keyword_is_named():
    tx = mi_decay(0.3, estimator=from_loss(1.1))
    with pytest.raises(TypeError, match=r"from_loss\(\.\.\., keyword='loss'\)"):
        tx.update((), tx.init(()), loss=0.3)
