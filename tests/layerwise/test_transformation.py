"""Every layer's learning rate is the one that its own activations make."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from optax_mi import (
    label_by_layer,
    layerwise_mi_decay,
    learning_rates,
    mi_decay,
    mi_diagnostics,
    reduce_activations,
)
from optax_mi.estimators import contingency, gaussian, variational
from optax_mi.rules import proportional_rule, residual_rule
from tests.contract import LABELS, NOISE, NUM_CLASSES, logits, scattered

PARAMS = {
    "conv": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
    "dense": {"kernel": jnp.ones((3, 2), jnp.bfloat16)},
    "norm": {"scale": jnp.ones(2)},
}
ESTIMATORS = {
    "conv": contingency(num_classes=NUM_CLASSES),
    "dense": variational(num_classes=NUM_CLASSES),
}
PAIRS = gaussian(features=2, label_features=2)
EVERY = ("conv", "dense", "default")
LR_MAX = {"conv": 0.5, "dense": 0.25, "default": 0.125}
SETTINGS = {
    "estimators": ESTIMATORS,
    "param_labels": label_by_layer(),
    "lr_max": LR_MAX,
    "lr_min": 0.01,
    "steps_per_epoch": 2,
    "default": contingency(num_classes=NUM_CLASSES),
}


def make(**changes):
    return layerwise_mi_decay(**{**SETTINGS, **changes})


def signal(knowledge=1.0):
    """Layers that know unlike much; one that no estimator asks for."""
    return {
        "activations": {
            "conv": logits(0.5 * knowledge),
            "dense": logits(0.3 * knowledge),
            "other": jnp.ones(3),
        },
        "outputs": logits(0.2 * knowledge),
        "labels": LABELS,
    }


def types(tree):
    return jax.tree.map(jax.typeof, tree)


def assert_equal(tree, other):
    chex.assert_trees_all_equal(tree, other)


def test_each_group_is_a_lone_mi_decay_on_its_own_activations():
    every = {
        "conv": contingency(num_classes=NUM_CLASSES),
        "dense": gaussian(features=2, num_classes=NUM_CLASSES),
        "default": variational(num_classes=NUM_CLASSES),
    }
    default = every["default"]
    tx = make(estimators={g: every[g] for g in ESTIMATORS}, default=default)
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    lone = {
        group: mi_decay(LR_MAX[group], 0.01, estimator=estimator, steps_per_epoch=2)
        for group, estimator in every.items()
    }
    ours = {"conv": "conv", "dense": "dense", "norm": "default"}
    states = {group: tx.init(()) for group, tx in lone.items()}
    updates_of = {group: jax.jit(tx.update) for group, tx in lone.items()}
    weights = jnp.ones(len(LABELS)).at[3].set(0.0)
    for step in range(8):
        knowledge = 0.2 + 0.1 * (step // 4)
        seen = signal(knowledge)
        seen["activations"]["dense"] = scattered(knowledge)["outputs"]
        updates, state = update(PARAMS, state, PARAMS, weights=weights, **seen)
        outputs = {**seen["activations"], "default": seen["outputs"]}
        for layer, group in ours.items():
            alone, states[group] = updates_of[group](
                PARAMS[layer],
                states[group],
                outputs=outputs[group],
                labels=LABELS,
                weights=weights,
            )
            assert_equal(updates[layer], alone)
    assert_equal(
        learning_rates(state), {group: s.current_lr for group, s in states.items()}
    )
    seen = mi_diagnostics(state)
    assert list(seen) == sorted(EVERY)
    assert len({float(d.mi) for d in seen.values()}) == 3
    assert all(d.learning_rate < LR_MAX[group] for group, d in seen.items())
    assert all(d.num_samples == 2 * 15 and d.epoch == 4 for d in seen.values())


def test_bounds_and_first_rates_by_group():
    low = {"conv": 0.1, "dense": 0.02, "default": None}
    first = {"conv": 0.4, "dense": None, "default": 0.1}
    tx = make(lr_min=low, init_lr=first, rule=proportional_rule(), steps_per_epoch=1)
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    expected = {"conv": 0.4, "dense": 0.25, "default": 0.1}
    assert {g: float(lr) for g, lr in learning_rates(state).items()} == pytest.approx(
        expected
    )
    for _ in range(3):
        # All is known.
        seen = signal(99.0)
        _, state = update(PARAMS, state, PARAMS, **seen)
    expected = {"conv": 0.1, "dense": 0.02, "default": 0.00125}
    assert {g: float(lr) for g, lr in learning_rates(state).items()} == pytest.approx(
        expected, rel=1e-3
    )


def test_one_number_serves_every_group():
    rates = learning_rates(make(lr_max=0.5).init(PARAMS))
    assert rates == dict.fromkeys(EVERY, 0.5)


def test_scans_and_goes_on_from_its_leaves():
    tx = make()

    @jax.jit
    def train(state):
        def step(state, _):
            updates, state = tx.update(PARAMS, state, PARAMS, **signal())
            return state, updates

        return jax.lax.scan(step, state, length=3)

    state, _ = train(tx.init(PARAMS))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    restored = jax.tree.unflatten(jax.tree.structure(tx.init(PARAMS)), leaves)
    assert_equal(train(restored), train(state))
    assert learning_rates(state)["conv"] == 0.5


def test_init_takes_params_without_leaves():
    tx = make()
    assert types(tx.init({})) == types(tx.init(PARAMS))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.masked(
            tx, {"conv": False, "dense": True, "norm": {"scale": True}}
        ),
        lambda tx: optax.partition(
            {"ours": tx, "theirs": optax.sgd(1.0), "nobody": tx},
            {"conv": "theirs", "dense": "ours", "norm": "ours"},
        ),
    ],
)
def test_a_wrapper_may_hide_a_group(wrap):
    tx = wrap(make())
    updates, state = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS, **signal())
    assert np.all(np.abs(updates["conv"]["bias"]) == 1.0)
    assert np.all(updates["dense"]["kernel"] == 0.25)
    assert len(learning_rates(state)) in (3, 6)


def test_a_prefix_of_the_params_labels_them_without_a_default():
    labels = {"conv": "conv", "dense": "dense", "norm": "conv"}
    tx = make(param_labels=labels, default=None, lr_max={"conv": 0.5, "dense": 0.25})
    seen = signal()
    del seen["outputs"]
    updates, state = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), **seen)
    assert np.all(updates["norm"]["scale"] == 0.5)
    assert list(learning_rates(state)) == ["conv", "dense"]


def test_a_reduced_activation_goes_with_the_first_labels():
    tx = make(
        estimators={"dense": ESTIMATORS["dense"]},
        lr_max=0.5,
        steps_per_epoch=1,
        max_rows=10,
    )
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    seen = signal() | {"weights": jnp.ones(16).at[0].set(0.0)}
    rows = seen["activations"]["dense"]
    cut = update(PARAMS, state, **{**seen, "activations": {"dense": rows[:10]}})[1]
    weights = seen["weights"].at[10:].set(0.0)
    same = update(PARAMS, state, **{**seen, "weights": weights})[1]
    cut, same = (mi_diagnostics(s)["dense"] for s in (cut, same))
    assert cut.num_samples == same.num_samples == 9
    assert cut.dropped == 1
    np.testing.assert_allclose(cut.mi, same.mi, rtol=1e-5)
    assert cut.mi > 0


def test_a_batch_on_an_explicit_mesh():
    tx = make(steps_per_epoch=1)
    want = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS, **signal())[1]
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        seen = signal()
        del seen["activations"]["other"]
        seen = jax.tree.map(lambda x: jax.device_put(x, jax.P("x")), seen)
        wide = jnp.tile(seen["activations"]["dense"][:, None], (1, 4, 1))
        seen["activations"]["dense"] = reduce_activations(wide)

        params = jax.device_put(PARAMS, jax.P())
        state = jax.jit(tx.init)(params)
        before = types(state)
        _, state = jax.jit(tx.update)(params, state, params, **seen)
        assert types(state) == before
        for group, lr in learning_rates(state).items():
            np.testing.assert_allclose(lr, learning_rates(want)[group], rtol=1e-5)
            np.testing.assert_allclose(
                mi_diagnostics(state)[group].mi, mi_diagnostics(want)[group].mi, 1e-4
            )


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        (
            {"estimators": contingency(num_classes=3)},
            TypeError,
            "estimators must be a mapping",
        ),
        (
            {"estimators": {**ESTIMATORS, "norm": gaussian}},
            TypeError,
            r"estimators\['norm'\] must be a MIEstimator.*call it: gaussian\(",
        ),
        ({"default": contingency}, TypeError, "default must be a MIEstimator.*call it"),
        (
            {"estimators": {**ESTIMATORS, "default": contingency(num_classes=3)}},
            ValueError,
            "estimators has a group 'default'.*rename it",
        ),
        (
            {"lr_max": {"conv": 0.5, "dens": 0.5}},
            ValueError,
            r"lr_max must be .*\['conv', 'dense', 'default'\].*\['conv', 'dens'\]",
        ),
        ({"lr_min": {"conv": 0.1}}, ValueError, "lr_min must be one number"),
        (
            {"lr_min": 0.2},
            ValueError,
            r"lr_min must be .* at most lr_max\['default'\]=0.125, got lr_min=0.2",
        ),
        ({"lr_max": -1.0}, ValueError, "lr_max must be positive.*, got lr_max=-1.0"),
        (
            {"lr_max": {**LR_MAX, "dense": -1.0}},
            ValueError,
            r"lr_max\['dense'\] must be positive.*, got lr_max\['dense'\]=-1.0",
        ),
        (
            {"lr_max": {**LR_MAX, "conv": optax.linear_schedule(1.0, 0.5, 9)}},
            TypeError,
            r"lr_max\['conv'\] must be a number.*hyperparams\(layerwise_mi_decay\)\(lr",
        ),
        (
            {"init_lr": {"conv": 0.4, "dense": 0.3, "default": None}},
            ValueError,
            r"init_lr\['dense'\] must be at least lr_min=0.01 and at most lr_max\['de",
        ),
        (
            {"estimators": {**ESTIMATORS, "conv": PAIRS}, "rule": residual_rule()},
            ValueError,
            r"infinite for the real labels of estimators\['conv'\]:",
        ),
        ({"default": PAIRS, "rule": residual_rule()}, ValueError, "labels of default:"),
        ({"max_rows": 0}, ValueError, "max_rows must be at least 1"),
        ({"max_rows": jnp.int32(8)}, TypeError, "max_rows sets.*inject_hyperparams"),
        ({"estimators": {0: ESTIMATORS["conv"]}}, TypeError, "group, a string, to MI"),
        (
            {"estimators": {}, "default": None},
            ValueError,
            "estimators must have a grou",
        ),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1"),
    ],
)
def test_wrong_arguments(changes, error, match):
    with pytest.raises(error, match=match):
        make(**changes)


def test_parameters_and_groups_that_do_not_fit():
    lr_max = {"conv": 0.5, "dense": 0.5}
    with pytest.raises(
        ValueError,
        match=r"parameters of \['norm'\]: param_labels names "
        r"\['conv', 'dense', 'norm'\], and the groups are \['conv', 'dense'\]\. Add",
    ):
        make(default=None, lr_max=lr_max).init(PARAMS)
    with pytest.raises(
        ValueError,
        match=r"groups \['default'\] have no parameters: the groups are "
        r"\['conv', 'default', 'dense'\], and param_labels names \['conv', 'dense'\]",
    ):
        make().init({"conv": PARAMS["conv"], "dense": PARAMS["dense"]})


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        (None, TypeError, "param_labels must be a pytree of group names.*got None"),
        (np.ones(3), TypeError, "param_labels must be a pytree.*got array"),
        (label_by_layer, TypeError, r"Call it: label_by_layer\(\)"),
        (lambda params: None, TypeError, "param_labels must be a pytree.*got None"),
        ({}, ValueError, "param_labels must have the structure.*dense"),
        ({"conv": "conv"}, ValueError, "param_labels must have the structure.*dense"),
    ],
)
def test_labels_that_do_not_fit_the_params(labels, error, match):
    with pytest.raises(error, match=f"(?s){match}"):
        make(param_labels=labels).init(PARAMS)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"activations": None}, TypeError, "activations must be a mapping.*NoneType"),
        (
            {"activations": {"conv": logits()}},
            ValueError,
            r"activations must have the group 'dense', got \['conv'\]\. Pass",
        ),
        (
            {"activations": {"conv": logits(), "dense": NOISE}},
            ValueError,
            r"activations\['dense'\] must.*num_classes.*\(16, 2\).*=4",
        ),
        (
            {"activations": {"conv": logits(), "dense": logits()[:8]}},
            ValueError,
            r"activations\['dense'\] has 8 rows for 16 labels",
        ),
    ],
)
def test_activations_that_do_not_fit(changes, error, match):
    tx = make()
    with pytest.raises(error, match=match):
        jax.eval_shape(tx.update, PARAMS, tx.init(PARAMS), **(signal() | changes))


@pytest.mark.parametrize(
    ("state", "got"),
    [
        ((), "a tuple"),
        ({"conv": 0}, "a dict"),
        (make(default=None, lr_max=0.5).init({}), r"those of \['conv', 'dense'\]"),
    ],
)
def test_states_of_something_else(state, got):
    match = rf"groups \['conv', 'dense', 'default'\], got {got}\. .*restore_state\("
    with pytest.raises(TypeError, match=match):
        make().update(PARAMS, state, PARAMS, **signal())


@pytest.mark.parametrize("name", ["activations", "labels", "outputs"])
def test_missing_signals_are_named(name):
    tx = make()
    seen = signal()
    del seen[name]
    with pytest.raises(TypeError, match=f"missing {name}"):
        jax.eval_shape(tx.update, PARAMS, tx.init(PARAMS), **seen)
