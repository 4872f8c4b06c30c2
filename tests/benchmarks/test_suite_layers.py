"""The layers that the suite measures, and what was tried with them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import research
from suite import candidates, layer_study
from suite.layers import apply_and_see, hidden_layers
from suite.methods import Setting, ours
from suite.nets import CNN, MLP, ResNet, Transformer

from optax_mi.estimators import MIEstimate, contingency, gaussian
from optax_mi.flax import capture_layers
from optax_mi.rules import log_time_rule

IMAGES, TOKENS = np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 5), np.int32)


@pytest.mark.parametrize(
    ("model", "x", "layers"),
    [
        (MLP((64, 16), 10), IMAGES, {"Dense_0": 32, "Dense_1": 16}),
        (CNN(10), IMAGES, {"PatchConv_0": 8, "PatchConv_1": 16}),
        (
            ResNet(10, (8, 16)),
            IMAGES,
            {"Dense_0": 16} | {f"PatchConv_{i}": 8 + 8 * (i > 2) for i in range(5)},
        ),
        (
            Transformer(11),
            TOKENS,
            {"Dense_0": 32, "Dense_1": 32, "MultiHeadDotProductAttention_0": 32},
        ),
    ],
)
def test_the_last_layer_and_those_without_a_kernel_follow_the_outputs(model, x, layers):
    labels = np.zeros(x.shape[: 2 if x is TOKENS else 1], np.int32)
    assert hidden_layers(model, x, labels) == layers


def test_every_token_is_a_row_beside_its_label():
    model = Transformer(11, width=8)
    x = jax.random.randint(jax.random.key(0), (2, 5), 0, 11)
    labels = jnp.arange(10).reshape(2, 5)

    @jax.jit
    def both():
        variables = model.init(jax.random.key(1), x)
        kept = capture_layers(model, variables, x, layers=["Dense_1"])
        return kept, apply_and_see(model, variables, x, labels, ["Dense_1"])

    (want, kept), (outputs, seen) = both()
    np.testing.assert_array_equal(outputs, want)
    for n in range(2):
        for t in range(5):
            row = 5 * n + t
            assert seen["labels"][row] == labels[n, t]
            np.testing.assert_array_equal(seen["outputs"][row], want[n, t])
            ours, theirs = seen["activations"]["Dense_1"][row], kept["Dense_1"][n, t]
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def slow_slopes(readings, steps_per_epoch):
    """Share of H(Y) gained since the first epoch, an e-fold of time."""
    first, last = readings[0], readings[-1]
    time = math.log(len(readings) * steps_per_epoch) - math.log(steps_per_epoch)
    return (last - first) / time if len(readings) > 1 else 0.0


def slow_shares(slopes, power):
    """Each layer's share, one after the other."""
    floored = [max(slope, 0) + 0.01 for slope in slopes]
    middle = math.prod(floored) ** (1 / len(floored))
    held = [min(max(value / middle, 0.5), 2.0) for value in floored]
    middle = math.prod(held) ** (1 / len(held))
    return [(value / middle) ** power for value in held]


def test_slopes_are_gains_since_the_first_epoch_an_e_fold_of_time():
    rule = candidates.slope_rule()
    state, readings = rule.init(), []
    for epoch, mi in enumerate((0.5, 0.75, 0.25, 1.5), start=1):
        estimate = MIEstimate(*(jnp.float32(v) for v in (mi, 2.0, 10.0, 0.1, 0.0)))
        rate, state = rule.update(state, estimate, 0.3, step=jnp.int32(7 * epoch))
        readings.append(mi / 2.0)
        assert rate == 0.3
        assert state.slope == pytest.approx(slow_slopes(readings, 7), abs=1e-6)


@pytest.mark.parametrize("power", [1.0, -1.0])
@pytest.mark.parametrize(
    "slopes", [(0.0, 0.0), (0.1, 0.12, 0.11), (-1.0, 0.0, 0.02, 0.9), (0.3, 0.1)]
)
def test_shares_differ_and_their_geometric_mean_does_not(slopes, power):
    shares = candidates.shares_by_gain(jnp.array(slopes), power)
    np.testing.assert_allclose(shares, slow_shares(slopes, power), rtol=1e-5)
    assert np.prod(shares) == pytest.approx(1.0, rel=1e-5)
    rising = np.argsort(slopes, kind="stable")
    assert (power * np.diff(shares[rising]) >= 0).all()


LAYERS = {"Dense_0": 4, "Dense_1": 3}
SETTING = Setting(0.1, 100, 2, 3, LAYERS)


def start(seed=0):
    rng = np.random.default_rng(seed)
    layers = {
        f"Dense_{i}": {"kernel": jnp.float32(rng.normal(size=2))} for i in range(3)
    }
    return {"params": layers}


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_each_layer_has_its_share_of_the_network_s_learning_rate():
    """Against the estimators themselves, fed an epoch at a time."""
    params = start()
    tx = candidates.in_shares(-1.0).make(SETTING)
    whole = ours("", log_time_rule).make(SETTING)
    estimators = {
        layer: gaussian(features=columns, num_classes=3, noise=0.25)
        for layer, columns in LAYERS.items()
    } | {"default": contingency(num_classes=3)}
    update, update_whole = jax.jit(tx.update), jax.jit(whole.update)
    state, state_whole = tx.init(params), whole.init(params)
    rng = np.random.default_rng(1)
    labels = jnp.arange(30) % 3
    signal = np.eye(4)[labels]
    readings = {layer: [] for layer in estimators}
    for step in range(8):
        known = {"Dense_0": 0.2 * step, "Dense_1": 0.02 * step, "default": 0.8 * step}
        h = {
            layer: jnp.float32(rng.normal(size=(30, 4)) + scale * signal)
            for layer, scale in known.items()
        }
        h["Dense_1"] = h["Dense_1"][:, :3]
        outputs = h.pop("default")[:, :3]
        seen = {"outputs": outputs, "labels": labels}
        if step % 2 == 0:
            inner = {layer: each.init() for layer, each in estimators.items()}
        for layer, each in estimators.items():
            own = h.get(layer, outputs)
            inner[layer] = each.update(inner[layer], outputs=own, labels=labels)
            if step % 2 == 1:
                normalized = each.estimate(inner[layer]).normalized
                readings[layer].append(float(normalized))
        if step == 0:
            shares = [1.0, 1.0, 1.0]
        elif step % 2 == 1:
            slopes = [slow_slopes(seen, 2) for seen in readings.values()]
            shares = slow_shares(slopes, -1.0)
        updates, state = update(params, state, params, activations=h, **seen)
        want, state_whole = update_whole(params, state_whole, params, **seen)
        for i, share in enumerate(shares):
            kernel = (
                tree["params"][f"Dense_{i}"]["kernel"] for tree in (updates, want)
            )
            np.testing.assert_allclose(next(kernel), share * next(kernel), rtol=1e-3)
    assert max(shares) > 1.5
    assert min(shares) < 0.7


def fixed_rates(params, trial=0.1, **options):
    """The learning rate of each layer before anything is measured."""
    method = candidates.in_fixed_shares(**options)
    tx = method.make(SETTING._replace(trial=trial))
    grads = jax.tree.map(jnp.ones_like, params)
    seen = {"labels": jnp.arange(6) % 3, "outputs": jnp.ones((6, 3))}
    updates, _ = tx.update(grads, tx.init(params), params, **seen)
    layers = updates["params"].values()
    return np.array([-float(layer["kernel"][0]) for layer in layers])


def test_fixed_shares_go_by_depth():
    rates = fixed_rates(start(), power=1.0)
    np.testing.assert_allclose(rates, [0.2, 0.1, 0.05], rtol=1e-6)
    rates = fixed_rates(start(), power=-1.0)
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.2], rtol=1e-6)


def test_shuffled_shares_have_an_order_for_each_start_at_all_learning_rates():
    rates = [fixed_rates(start(s), power=1.0, shuffled=True) for s in range(5)]
    assert len({tuple(np.argsort(each)) for each in rates}) > 1
    for each in rates:
        np.testing.assert_allclose(np.sort(each), [0.05, 0.1, 0.2], rtol=1e-6)
    tenfold = fixed_rates(start(4), 1.0, power=1.0, shuffled=True)
    np.testing.assert_allclose(tenfold, 10 * rates[4], rtol=1e-6)


def test_layers_are_judged_by_pairs_of_runs_at_the_same_learning_rate():
    def row(*losses):
        return {"rates": [0.1, 0.2, 0.4], "valid_loss": losses, "test_loss": losses}

    rows = {
        layer_study.WHOLE: row([4.0, 2.0], [1.0, 2.0], [5.0, 5.0]),
        layer_study.CHOSEN: row([2.0, 1.0], [1.1, 2.4], [5.0, None]),
        "late": row([4.0, 2.0], [1.0, 2.0], [10.0, 20.0]),
    }
    own = layer_study.change(rows, layer_study.CHOSEN)
    mean = math.sqrt(1.1 * 1.2)
    error = mean * math.log(1.2 / 1.1) / 2
    np.testing.assert_allclose(own[:2], [[-50, 0], [100 * mean - 100, 100 * error]])
    assert own[2][0] == math.inf
    mean, error = 8 ** (1 / 6), 8 ** (1 / 6) * math.log(2) / 6
    near = layer_study.change(rows, "late", near=True)
    np.testing.assert_allclose(near, [[100 * mean - 100, 100 * error]])
    rows["task"] = rows["late"]
    text = research.as_markdown("layers", {"task, sgd": rows})
    late = f"{100 * mean - 100:+.1f} ± {100 * error:.1f}"
    assert f"| task, sgd | diverged | {late} | {late} |" in text
    assert "| task, sgd | -50.0 ± 0.0 | +14.9 ± 5.0 | diverged |" in text
    (axes, *_) = layer_study.draw({"task, sgd": rows}).axes
    drawn = axes.containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, [-50, 100 * math.sqrt(1.1 * 1.2) - 100, np.nan])


def test_nothing_is_said_of_a_learning_rate_at_which_the_whole_network_diverges():
    def row(*losses):
        return {"rates": [0.1, 0.2], "valid_loss": losses, "test_loss": losses}

    rows = {
        layer_study.WHOLE: row([1.0, 2.0], [1.0, None]),
        layer_study.CHOSEN: row([1.0, 2.0], [1.0, 2.0]),
    }
    assert np.isnan(layer_study.change(rows, layer_study.CHOSEN)[1]).all()
    text = layer_study.as_markdown({"task, sgd": rows})
    assert "| task, sgd | +0.0 ± 0.0 | - |" in text
