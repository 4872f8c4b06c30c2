"""What is wrong is found before training, and nothing where nothing is."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import (
    average_params,
    check_setup,
    label_by_layer,
    layerwise_mi_decay,
    mi_decay,
    mi_sgd,
)
from optax_mi.estimators import contingency, gaussian, measured

PARAMS = {"a": {"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}, "c": {"w": jnp.ones((3, 3))}}
LABELS = jnp.arange(48) % 3
LOGITS = jax.random.normal(jax.random.key(0), (48, 3)) + 3 * jax.nn.one_hot(LABELS, 3)
SEEN = {"outputs": LOGITS, "labels": LABELS}


def decay(lr_max=1.0, **settings):
    return mi_decay(lr_max, num_classes=3, **settings)


def check(tx, **changed):
    return check_setup(tx, PARAMS, **{**SEEN, **changed})


def by_layer(first, second):
    return optax.partition({"a": first, "c": second}, label_by_layer())


RIGHT = {
    "a warm-up, clipped gradients and an average": lambda: optax.chain(
        optax.clip_by_global_norm(0.1),
        optax.sgd(optax.linear_schedule(0.0, 1.0, 500), momentum=0.9),
        decay(0.05),
        average_params(),
    ),
    "sizes relative to the params": lambda: optax.chain(
        optax.lars(1.0, momentum=0.9), decay(0.1), average_params()
    ),
    "everything around it": lambda: optax.apply_if_finite(
        optax.chain(
            optax.MultiSteps(
                optax.inject_hyperparams(optax.adamw)(3e-3), 10
            ).gradient_transformation(),
            optax.masked(decay(), {"a": True, "c": False}),
            optax.masked(optax.set_to_zero(), {"a": False, "c": True}),
            optax.masked(average_params(), {"a": True, "c": False}),
        ),
        3,
    ),
    "weight decay after, and params that are clipped": lambda: optax.chain(
        optax.sgd(1.0),
        decay(0.1),
        optax.add_decayed_weights(-1e-4),
        optax.keep_params_nonnegative(),
        average_params(),
    ),
    "learning without a schedule": lambda: optax.chain(
        optax.contrib.schedule_free_adamw(3e-3), decay()
    ),
    "matrices of orthogonal rows": lambda: optax.chain(
        optax.contrib.muon(1.0), decay(0.02)
    ),
    "signs, and bounds that move": lambda: optax.chain(
        optax.lion(1e-4),
        optax.inject_hyperparams(mi_decay, static_args="num_classes")(
            optax.linear_schedule(1.0, 0.5, 100), num_classes=3
        ),
    ),
    "a learning rate a layer": lambda: optax.chain(
        optax.sgd(1.0, momentum=0.9),
        layerwise_mi_decay(
            {"a": gaussian(features=3, num_classes=3, noise=0.25)},
            label_by_layer(),
            {"a": 0.3, "default": 0.05},
            default=contingency(num_classes=3),
        ),
    ),
    "groups with another optimizer, and without params": lambda: optax.partition(
        {"a": mi_sgd(0.1, num_classes=3), "c": optax.adam(1e-3), "none": decay()},
        label_by_layer(),
    ),
    "one learning rate for ever": lambda: optax.chain(
        optax.adam(3e-3), decay(lr_min=1)
    ),
}


# Each is compiled anew: the first two in every run, the others in the long one.
SOME = 2


def slow(cases, of=slice(SOME, None)):
    """The cases as parameters, some of them slow."""
    marked = [*cases][of]
    return [
        pytest.param(case, marks=pytest.mark.slow if case in marked else ())
        for case in cases
    ]


@pytest.mark.parametrize("case", slow(RIGHT))
def test_nothing_is_found_where_all_is_right(case):
    rows = {"a": np.asarray(LOGITS)}
    assert check(RIGHT[case](), activations=rows, num_steps=100) == []


def test_params_are_not_touched_and_their_shapes_are_enough():
    tx = mi_sgd(0.3, num_classes=3)
    nothing = jax.tree.map(lambda x: np.full_like(x, np.nan), PARAMS)
    kept = jax.tree.map(np.copy, nothing)
    for params in (nothing, jax.eval_shape(lambda: PARAMS)):
        assert check_setup(tx, params, **SEEN) == []
    jax.tree.map(np.testing.assert_array_equal, nothing, kept)


DIVIDE = {
    "adamw": optax.adamw(3e-3),
    "radam": optax.radam(1e-3),  # from its sixth update on
    "adagrad": optax.adagrad(0.1),  # by accumulators that do not begin at 0
    "clip": optax.chain(optax.clip_by_global_norm(1.0), optax.scale(-1.0)),
}


@pytest.mark.parametrize("case", slow(DIVIDE, slice(1, None)))
def test_a_learning_rate_without_effect(case):
    (found,) = check(optax.chain(decay(0.3), DIVIDE[case], average_params()))
    assert found.startswith("The learning rate of mi_decay has no effect")
    assert "Put mi_decay after it" in found


def test_a_learning_rate_without_effect_in_one_group():
    adam = optax.adam(1e-3)
    wrong, right = optax.chain(decay(), adam), optax.chain(adam, decay())
    (found,) = check(by_layer(right, wrong))
    assert found.startswith("c: The learning rate of mi_decay has no effect")


SCALED = {
    "adamw": optax.adamw(1e-3),
    "sgd": optax.sgd(0.1, momentum=0.9),
    "schedule": optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-3, 500, 1000)),
}


@pytest.mark.parametrize("case", slow(SCALED, slice(1, None)))
def test_a_learning_rate_that_is_given_twice(case):
    (found,) = check(optax.chain(SCALED[case], decay(0.1)))
    assert found.startswith("The learning rate is given twice")
    assert "lr_max=0.1" in found
    assert "mi_decay(1.0, ...)" in found


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"outputs": jax.nn.softmax(LOGITS)}, r"are probabilities, .* jnp\.log\("),
        ({"labels": LABELS + 1}, "from 1 to num_classes=3.*pass labels - 1"),
        ({"labels": np.asarray(LABELS + 1)}, "pass labels - 1"),
        ({"labels": LABELS + 7}, "dropped: they go from 7 to 9, and 3 classes"),
        ({"labels": 0 * LABELS - 1}, "Most labels are dropped"),
        ({"outputs": LOGITS * jnp.nan}, "unusable: the last had no valid.* 48"),
        ({"outputs": LOGITS.at[:40].set(jnp.nan)}, "83% of the samples are dropped"),
    ],
)
def test_a_batch_that_is_not_what_it_is_taken_for(changed, match):
    (found,) = check(mi_sgd(0.3, num_classes=3), **changed)
    assert re.search(match, found)


@pytest.mark.slow
@pytest.mark.parametrize("convert", [jnp.asarray, np.asarray])
def test_probabilities_of_few_digits(convert):
    few = convert(jax.nn.softmax(LOGITS).astype(jnp.bfloat16))
    (found,) = check(mi_sgd(0.3, num_classes=3), outputs=few)
    assert found.startswith("outputs are probabilities")


def test_padding_is_no_fault():
    padded = jnp.where(jnp.arange(48) < 40, -100, LABELS)
    assert check(mi_sgd(0.3, num_classes=3), labels=padded) == []


@pytest.mark.slow
def test_columns_of_a_layer_are_not_taken_for_classes():
    # Outputs of an estimator of vectors say nothing about the number of classes.
    few = mi_sgd(0.3, estimator=gaussian(features=3, num_classes=9))
    assert check(few, labels=3 + jnp.arange(48) % 6) == []
    assert check(few, labels=9 + LABELS)[0].startswith("The estimate is unusable")


@pytest.mark.slow
def test_an_estimator_of_ones_own_that_holds_for_ever():
    whole = contingency(num_classes=3)

    def estimate(state):
        return whole.estimate(state)._replace(num_samples=jnp.float32(jnp.nan))

    (found,) = check(mi_sgd(1.0, estimator=whole._replace(estimate=estimate)))
    assert "num_samples=nan. Weights must be from 1e-18 to 1e18" in found


@pytest.mark.slow
def test_what_is_measured_may_be_missing_in_a_step():
    tx = mi_sgd(1.0, estimator=measured(1.0))
    assert check_setup(tx, PARAMS, mi=jnp.float32(jnp.nan)) == []


def test_epochs_that_are_longer_than_the_run():
    tx = mi_sgd(0.3, num_classes=3, steps_per_epoch=1000)
    for num_steps in (4, 999):
        (found,) = check(tx, num_steps=num_steps)
        assert found.startswith(f"No epoch closes within num_steps={num_steps}")
    assert check(tx, num_steps=1000) == check(tx) == []


@pytest.mark.slow
def test_a_run_that_accumulates_gradients_has_fewer_updates():
    tx = optax.MultiSteps(mi_sgd(0.3, num_classes=3, steps_per_epoch=1000), 4)
    inside, length = check(tx, num_steps=3990)
    assert length.startswith("No epoch closes")
    assert check(tx, num_steps=4010) == [inside]


def test_batches_that_do_not_reach_mi_decay():
    tx = mi_sgd(0.3, num_classes=3)
    (found,) = check(optax.MultiSteps(tx, 4))
    assert found.startswith("Within optax.MultiSteps mi_decay sees only the last")
    assert "chain(optax.MultiSteps(optimizer, k).gradient_transformation(), mi" in found


@pytest.mark.slow
def test_a_multi_steps_of_one():
    assert check(optax.MultiSteps(mi_sgd(0.3, num_classes=3), 1)) == []


MISPLACED = {
    "before mi_decay": lambda: (optax.adam(1e-3), average_params(), decay()),
    "first": lambda: (average_params(), mi_sgd(0.3, num_classes=3)),
    "before weight decay": lambda: (
        optax.sgd(1.0),
        decay(0.1),
        optax.masked(average_params(), {"a": False, "c": True}),
        optax.add_decayed_weights(-1e-2),
    ),
}


@pytest.mark.parametrize("case", slow(MISPLACED, slice(1, None)))
def test_an_average_that_is_not_last(case):
    (found,) = check(optax.chain(*MISPLACED[case]()))
    assert found.startswith("average_params averages other params")
    assert "Put it last" in found


@pytest.mark.slow
def test_what_follows_an_average_may_leave_the_updates_as_they_are():
    tx = optax.chain(optax.adam(1e-3), decay(), average_params(), optax.identity())
    assert check(tx) == []


UPHILL = {
    "two optimizers": lambda: optax.chain(optax.adam(1e-3), mi_sgd(0.3, num_classes=3)),
    "and the other way": lambda: optax.chain(optax.sgd(0.1), optax.adam(1e-3), decay()),
    "none": lambda: optax.chain(optax.scale_by_adam(), decay(1e-3)),
}


@pytest.mark.parametrize("case", slow(UPHILL, slice(1, None)))
def test_updates_that_go_up_the_gradient(case):
    (found,) = check(UPHILL[case]())
    assert found.startswith("Updates go up the gradient, since an even number")


@pytest.mark.slow
def test_updates_of_some_params_that_go_up_the_gradient():
    tx = optax.masked(mi_sgd(0.3, num_classes=3), {"a": True, "c": False})
    (found,) = check(tx)
    assert found.startswith("Updates of c/w go up the gradient")
    (found,) = check(optax.masked(mi_sgd(0.3, num_classes=3), {"a": False, "c": True}))
    assert found.startswith("Updates of a/b, a/w go up the gradient")


def test_a_transformation_without_mi_decay():
    (found,) = check(optax.adam(1e-3))
    assert found.startswith("There is no state of mi_decay here")


def test_a_part_of_the_chain_that_takes_no_extra_arguments():
    sam = optax.contrib.sam(optax.sgd(1.0), optax.sgd(0.1))
    (found,) = check(optax.chain(sam, decay(0.3)))
    assert found.startswith("sam.transparent_update_fn takes no 'labels'")
    assert "optax.GradientTransformation(*that)" in found


@pytest.mark.slow
def test_that_part_can_be_told_to_take_none():
    sam = optax.contrib.sam(optax.sgd(1.0), optax.sgd(0.1))
    assert check(optax.chain(optax.GradientTransformation(*sam), decay(0.3))) == []


def test_an_estimator_that_takes_no_others():
    def update(state, *, outputs, labels):
        return state

    estimator = contingency(num_classes=3)._replace(update=update)
    (found,) = check(mi_decay(1.0, estimator=estimator), value=jnp.float32(0.0))
    assert found.startswith("The estimator takes no 'value'")
    assert "**extra_args" in found


def test_what_update_raises_is_found():
    inside = optax.MultiSteps(mi_sgd(0.3, num_classes=3), 2).gradient_transformation()
    (found,) = check(optax.chain(optax.identity(), inside))
    assert found.startswith("update() is missing outputs and labels.")
    (found,) = check(decay(), labels=None)
    assert found == "labels must be an array of numbers, got None."

    def update(updates, state, params=None, **extra_args):
        raise ValueError("no more\nof this")

    broken = optax.GradientTransformationExtraArgs(lambda params: (), update)
    (found,) = check(optax.chain(broken, decay()))
    assert found == "tx.update raises ValueError: no more"


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"tx": mi_sgd}, TypeError, "tx must be a transformation, such as mi_sgd"),
        (
            {"tx": decay(axis_name="data")},
            ValueError,
            "axis_name, .* check it .*'data'",
        ),
        ({"params": {}}, ValueError, r"params must be a pytree of arrays, got \{\}"),
        ({"params": ["w"]}, TypeError, "params must be .*, got a leaf 'w'"),
        ({"num_steps": 0}, ValueError, "num_steps must be at least 1"),
        ({"num_steps": 1.5}, TypeError, "num_steps must be an int"),
    ],
)
def test_arguments(changed, error, match):
    given = {"tx": decay(), "params": PARAMS, **changed}
    with pytest.raises(error, match=match):
        check_setup(given.pop("tx"), given.pop("params"), **given, **SEEN)
