"""linen's TrainState with eyes, and nnx as it is."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.linen.fp8_ops import OVERWRITE_WITH_GRADIENT
from flax.training.train_state import TrainState

from optax_mi import average_params, eval_params, learning_rates, mi_diagnostics, mi_sgd
from optax_mi.flax import MITrainState, recompute_batch_stats

X = jax.random.normal(jax.random.key(0), (30, 4))
LABELS = jnp.arange(30) % 3


def make_tx():
    return mi_sgd(0.3, momentum=0.9, num_classes=3, steps_per_epoch=5)


class Net(nn.Module):
    """A network with state of its own."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
        return nn.Dense(3)(nn.relu(x))


class BatchNormState(MITrainState):
    batch_stats: dict


def loss_of(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


def test_trains_a_network_with_batch_norm_in_one_compilation():
    model = Net()
    variables = model.init(jax.random.key(1), X)
    state = BatchNormState.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        tx=make_tx(),
    )

    @jax.jit
    def train_step(state):
        def loss_fn(params):
            logits, new = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                X,
                mutable=["batch_stats"],
            )
            return loss_of(logits), (logits, new["batch_stats"])

        grads, (logits, stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        return state.apply_gradients(
            grads=grads,
            extra_args={"outputs": logits, "labels": LABELS},
            batch_stats=stats,
        )

    first = state
    for _ in range(100):
        state = train_step(state)
    assert train_step._cache_size() == 1
    assert state.step == 100
    assert state.tx is first.tx
    seen = mi_diagnostics(state)["all"]
    assert seen.epoch == 20
    assert seen.normalized > 0.7
    assert learning_rates(state)["all"] < 0.3
    before, after = (s.batch_stats["BatchNorm_0"]["mean"] for s in (first, state))
    assert not np.allclose(before, after)


def test_equals_flax_where_there_are_no_extra_args():
    model = nn.Dense(3)
    params = model.init(jax.random.key(1), X)["params"]
    states = [
        kind.create(apply_fn=model.apply, params=params, tx=optax.adam(0.1))
        for kind in (TrainState, MITrainState)
    ]
    grads = jax.tree.map(jnp.ones_like, params)
    theirs, ours = (s.apply_gradients(grads=grads) for s in states)
    chex.assert_trees_all_equal(theirs.params, ours.params)
    chex.assert_trees_all_equal(theirs.opt_state, ours.opt_state)
    assert ours.step == theirs.step == 1


def test_keeps_the_overwrite_with_gradient_path():
    params = {"params": {"w": jnp.ones(3)}, OVERWRITE_WITH_GRADIENT: {"scale": 1.0}}
    state = MITrainState.create(apply_fn=None, params=params, tx=make_tx())
    grads = {"params": {"w": jnp.ones(3)}, OVERWRITE_WITH_GRADIENT: {"scale": 7.0}}
    state = state.apply_gradients(
        grads=grads, extra_args={"outputs": LABELS, "labels": LABELS}
    )
    assert state.params[OVERWRITE_WITH_GRADIENT] == {"scale": 7.0}
    np.testing.assert_allclose(state.params["params"]["w"], 0.7, rtol=1e-6)


def test_a_replaced_transformation_stays_replaced():
    other = optax.sgd(0.1)
    state = MITrainState.create(
        apply_fn=None, params={"w": jnp.ones(2)}, tx=optax.sgd(0.2)
    )
    assert state.apply_gradients(grads={"w": jnp.ones(2)}, tx=other).tx is other


def test_missing_extra_args_are_named():
    state = MITrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=make_tx())
    with pytest.raises(TypeError, match=r"missing outputs and labels.*extra_args="):
        state.apply_gradients(grads={"w": jnp.ones(2)})
    with pytest.raises(TypeError, match="missing labels"):
        state.apply_gradients(grads={"w": jnp.ones(2)}, extra_args={"outputs": LABELS})
    # flax's own train state cannot pass them: it fails, and does not train blindly.
    blind = TrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=make_tx())
    with pytest.raises(TypeError, match="flax's TrainState"):
        blind.apply_gradients(grads={"w": jnp.ones(2)})


def test_nnx_optimizer_forwards_the_signal():
    model = nnx.Sequential(
        nnx.Linear(4, 16, rngs=nnx.Rngs(0)),
        nnx.relu,
        nnx.Linear(16, 3, rngs=nnx.Rngs(1)),
    )
    optimizer = nnx.Optimizer(model, make_tx(), wrt=nnx.Param)

    def loss_fn(model):
        logits = model(X)
        return loss_of(logits), logits

    @nnx.jit
    def train_step(model, optimizer):
        grads, logits = nnx.grad(loss_fn, has_aux=True)(model)
        optimizer.update(model, grads, outputs=logits, labels=LABELS)

    for _ in range(10):
        train_step(model, optimizer)
    seen = mi_diagnostics(optimizer)["all"]
    assert seen.epoch == 2
    assert seen.num_samples == 150
    assert seen.mi > 0


BATCHES = [X[:10], X[10:20] * 2, X[20:] - 1]


class TwoNorms(nn.Module):
    """Norms of different momentum, one set at construction and one at the call."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(momentum=0.3, use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.Dense(3)(x))
        return nn.BatchNorm(momentum=0.9999, name="last")(x, not train)


def moments_of_two_norms(batches, kernel, bias):
    """Those of the norms of `TwoNorms`, batch by batch, in float64."""
    seen = []
    for x in np.asarray(batches, np.float64):
        h = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        h = h @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
        seen.append([x.mean(0), x.var(0), h.mean(0), h.var(0)])
    return [np.mean(moments, 0) for moments in zip(*seen, strict=True)]


@pytest.mark.parametrize("old", [1.0, np.nan])
def test_batch_stats_are_the_mean_over_the_batches(old):
    model = TwoNorms()
    variables = model.init(jax.random.key(0), X, train=False)
    stats = jax.tree.map(lambda x: jnp.full_like(x, old), variables["batch_stats"])
    new = recompute_batch_stats(
        model,
        iter(BATCHES),
        variables={"params": variables["params"], "batch_stats": stats},
        train=False,
    )
    got = [
        new[norm][name] for norm in ("BatchNorm_0", "last") for name in ("mean", "var")
    ]
    dense = variables["params"]["Dense_0"]
    want = moments_of_two_norms(BATCHES, dense["kernel"], dense["bias"])
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert jax.tree.structure(new) == jax.tree.structure(variables["batch_stats"])
    assert model.apply({**variables, "batch_stats": new}, X, train=False).shape


class NnxNorms(nnx.Module):
    """The same in nnx."""

    def __init__(self, rngs):
        self.first = nnx.BatchNorm(4, momentum=0.3, rngs=rngs)
        self.rest = nnx.List([nnx.Linear(4, 3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])
        self.last = nnx.BatchNorm(3, momentum=0.9999, rngs=rngs)

    def __call__(self, x, last_as_stored=None):
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return self.last(x, last_as_stored)


def test_batch_stats_of_nnx_are_the_same():
    model = NnxNorms(nnx.Rngs(0))
    model.eval()
    others = nnx.Any(nnx.Param, nnx.RngCount)
    kept = jax.tree.map(jnp.copy, nnx.state(model, others))
    assert recompute_batch_stats(model, BATCHES) is model
    norms = (model.first, model.last)
    got = [stat[...] for norm in norms for stat in (norm.mean, norm.var)]
    dense = model.rest[0]
    want = moments_of_two_norms(BATCHES, dense.kernel[...], dense.bias[...])
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    # Nothing else has changed, and it evaluates as before.
    chex.assert_trees_all_equal(kept, nnx.state(model, others))
    assert [norm.momentum for norm in norms] == [0.3, 0.9999]
    assert all(norm.use_running_average for norm in norms)
    np.testing.assert_array_equal(model(X), model(X))


class OtherStats(nn.Module):
    """A norm, and a statistic that is not of one."""

    @nn.compact
    def __call__(self, x):
        seen = self.variable("batch_stats", "seen", lambda: jnp.zeros(()))
        seen.value += 1
        return nn.BatchNorm(use_running_average=True)(x)


def test_other_statistics_stay_and_each_shape_compiles_once():
    model = OtherStats()
    variables = {
        "params": {"BatchNorm_0": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}},
        "batch_stats": {
            "seen": jnp.float32(7),
            "BatchNorm_0": {"mean": jnp.zeros(4), "var": jnp.ones(4)},
        },
    }
    from optax_mi.flax import _linen_stats

    before = _linen_stats._cache_size()
    for _ in range(2):
        new = recompute_batch_stats(model, BATCHES, variables=variables)
    assert _linen_stats._cache_size() == before + 1
    assert new["seen"] == 7
    want = np.mean([np.mean(x, 0) for x in BATCHES], 0)
    np.testing.assert_allclose(new["BatchNorm_0"]["mean"], want, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda: (TwoNorms(), BATCHES), TypeError, "variables of a linen module: pass"),
        (lambda: (len, BATCHES), TypeError, "neither|must be a linen or an nnx module"),
        (lambda: (NnxNorms(nnx.Rngs(0)), []), ValueError, "batches is empty"),
        (
            lambda: (nnx.Linear(4, 2, rngs=nnx.Rngs(0)), BATCHES),
            ValueError,
            "called no BatchNorm",
        ),
    ],
)
def test_batch_stats_that_cannot_be_are_an_error(arguments, error, message):
    with pytest.raises(error, match=message):
        recompute_batch_stats(*arguments())
    with pytest.raises(TypeError, match="variables are for linen"):
        recompute_batch_stats(NnxNorms(nnx.Rngs(0)), BATCHES, variables={})


def test_a_norm_that_is_told_to_use_what_it_has_is_named():
    with pytest.raises(
        ValueError, match=r"'last' was not called, or called with use_r"
    ):
        recompute_batch_stats(NnxNorms(nnx.Rngs(0)), BATCHES, last_as_stored=True)


def test_averaged_weights_need_statistics_of_their_own():
    """At a constant learning rate the average is the better network, normed right."""
    model = Net()
    variables = model.init(jax.random.key(1), X)
    means = 1.5 * jax.random.normal(jax.random.key(2), (3, 4))
    x = means[LABELS] + jax.random.normal(jax.random.key(3), (40, 30, 4))
    state = BatchNormState.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        tx=optax.chain(optax.sgd(1.0), average_params()),
    )

    @jax.jit
    def train_step(state, x):
        def loss_fn(params):
            logits, new = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                x,
                mutable=["batch_stats"],
            )
            return loss_of(logits), new["batch_stats"]

        grads, stats = jax.grad(loss_fn, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads, batch_stats=stats)

    for i in range(200):
        state = train_step(state, x[i % 20])
    averaged = {"params": eval_params(state), "batch_stats": state.batch_stats}
    own = recompute_batch_stats(model, x[:20], variables=averaged, train=False)

    def test_loss(variables):
        logits = jax.vmap(lambda x: model.apply(variables, x, train=False))(x[20:])
        return jnp.mean(jax.vmap(loss_of)(logits))

    raw = test_loss({"params": state.params, "batch_stats": state.batch_stats})
    borrowed, right = test_loss(averaged), test_loss({**averaged, "batch_stats": own})
    assert right < borrowed
    assert right < raw
