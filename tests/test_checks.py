"""Wrong input: the error names the argument, the value and the fix."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import estimators, mi_decay, mi_sgd
from optax_mi._checks import (
    check_int,
    check_number,
    check_rates,
    check_static_int,
    concrete,
    required_keywords,
)
from optax_mi.estimators import contingency, measured, plugin_mi, variational
from optax_mi.rules import residual_rule

LABELS = jnp.array([0, 1, 2])
LOGITS = jnp.eye(3)
OK = {"lr_max": 1.0, "num_classes": 3, "steps_per_epoch": 10}


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"lr_min": 2.0}, ValueError, r"lr_min must be .* at most lr_max=1, got.*2\.0"),
        ({"lr_min": -0.1}, ValueError, r"lr_min=-0\.1"),
        ({"lr_max": 0.0}, ValueError, r"lr_max must be positive.*lr_max=0\.0"),
        ({"lr_max": math.nan}, ValueError, "lr_max=nan"),
        ({"lr_max": "fast"}, TypeError, "lr_max must be a number, got 'fast'"),
        ({"init_lr": 1.5}, ValueError, r"init_lr must be .* lr_max=1, got.*1\.5"),
        ({"init_lr": 0.001}, ValueError, r"at least lr_min=0\.01"),
        ({"lr_min": 0.1, "init_lr": 0.05}, ValueError, r"at least lr_min=0\.1"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1"),
        ({"steps_per_epoch": 2.5}, TypeError, r"steps_per_epoch=2\.5"),
        ({"num_classes": 1}, ValueError, "num_classes must be at least 2.*=1"),
        ({"num_classes": 3.0}, TypeError, "num_classes must be an int"),
        ({"num_classes": True}, TypeError, "num_classes must be an int"),
        ({"lr_max": None}, TypeError, r"got None\. If lr_range_test .*print\(found\)"),
        (
            {"num_classes": None},
            ValueError,
            "num_classes and estimator.*neither",
        ),
        (
            {"estimator": variational(num_classes=3)},
            ValueError,
            "^Give exactly one .* got both: leave out num_classes=3, since the est"
            r"imator has its own\.$",
        ),
        ({"axis_name": ""}, TypeError, "axis_name must be the name .*axis_name=''"),
        ({"axis_name": ["x"]}, TypeError, r"a tuple of names, got axis_name=\['x'\]"),
        ({"axis_name": ("x", 3)}, TypeError, r"axis_name=\('x', 3\)"),
        ({"axis_name": ("x", "x")}, ValueError, "has a name twice"),
        (
            {"num_classes": None, "estimator": contingency},
            TypeError,
            r"estimator must be a MIEstimator.*call it: contingency\(",
        ),
        (
            {"num_classes": None, "estimator": plugin_mi},
            TypeError,
            r"got plugin_mi\. plugin_mi is for whole arrays: pass contingency\(",
        ),
        ({"rule": residual_rule}, TypeError, r"rule must be a DecayRule.*call it"),
        ({"rule": "cosine"}, TypeError, "rule must be a DecayRule.*got 'cosine'"),
    ],
)
@pytest.mark.parametrize("factory", [mi_decay, mi_sgd])
def test_arguments(factory, kwargs, error, match):
    with pytest.raises(error, match=match):
        factory(**{**OK, **kwargs})


@pytest.mark.parametrize("factory", [mi_decay, mi_sgd])
def test_nobody_but_the_user_knows_lr_max(factory):
    with pytest.raises(TypeError, match="argument: 'lr_max'"):
        factory(num_classes=3)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"momentum": "0.9"}, TypeError, "momentum must be a number, got '0.9'"),
        ({"momentum": 1.0}, ValueError, r"momentum must be in \[0, 1\).*momentum=1\.0"),
        ({"momentum": -0.1}, ValueError, r"momentum=-0\.1"),
        ({"momentum": 0.9, "nesterov": 1}, TypeError, "nesterov must be True or False"),
        ({"nesterov": True}, ValueError, "nesterov=True needs a momentum"),
    ],
)
def test_arguments_of_mi_sgd(kwargs, error, match):
    with pytest.raises(error, match=match):
        mi_sgd(**{**OK, **kwargs})


def test_momentum_may_move():
    tx = optax.inject_hyperparams(mi_sgd, static_args=("num_classes",))(
        1.0, num_classes=3, momentum=optax.constant_schedule(0.5), nesterov=True
    )
    assert float(tx.init(LOGITS).hyperparams["momentum"]) == 0.5


@pytest.mark.parametrize(
    "name", [name for name in estimators.__all__ if name.endswith("_mi")]
)
def test_what_takes_whole_arrays_has_a_partner_that_takes_batches(name):
    with pytest.raises(TypeError) as caught:
        mi_decay(1.0, estimator=getattr(estimators, name))
    # It can be written as it stands.
    call = str(caught.value).partition("for whole arrays: pass ")[2].removesuffix(".")
    numbers = {"C": 3, "d": 2, "m": 2, "h": 1.0, "a": 0.0, "b": 1.0}
    estimator = eval(call, {**vars(estimators), **numbers})
    assert isinstance(estimator, estimators.MIEstimator)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(1), np.ones(()), jnp.ones(())])
def test_numbers_of_every_kind_are_numbers(value):
    check_number("it", value, lambda x: x > 0, "positive")


@pytest.mark.parametrize("value", [True, "1", b"1", None, [1.0], np.ones(2)])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="it must be a number, got"):
        check_number("it", value, lambda x: True, "anything")


def test_what_is_traced_is_not_looked_at():
    def check(value):
        check_number("it", value, lambda x: False, "nothing")
        check_rates(value, 2.0, 3.0)
        return concrete(value) is None

    assert jax.jit(lambda x: jnp.asarray(check(x)))(1.0)
    assert concrete(np.float32(0.5)) == 0.5


def test_bounds_have_the_names_that_the_user_wrote():
    def written(name):
        return f"{name}[0]"

    with pytest.raises(
        ValueError, match=r"init_lr\[0\] .* lr_min\[0\]=0.1 .*lr_max\[0\]"
    ):
        check_rates(1.0, 0.1, 2.0, written)
    with pytest.raises(TypeError, match=r"since mi_decay\[0\] sets .*\)\(lr_min=sched"):
        check_rates(1.0, abs, None, written)


def test_ints_have_a_range_and_shapes_are_told_from_numbers():
    assert check_int("n", np.int64(3), 1) == 3
    assert type(check_static_int("n", np.int32(2**31 - 1), 1)) is int
    with pytest.raises(ValueError, match=r"n must be below 2\*\*31, got n=2147483648"):
        check_int("n", 2**31, 1)
    with pytest.raises(ValueError, match="n must be at least 1, got n=0"):
        check_int("n", jnp.int32(0), 1)
    with pytest.raises(TypeError, match=r"a Python int, got n=3\..*static_args=\('n',"):
        check_static_int("n", jnp.int32(3), 1)


def test_the_keywords_without_default_are_required():
    estimator = measured(1.0)
    assert required_keywords(estimator) == ("mi",)
    assert required_keywords(contingency(num_classes=3)) == ("outputs", "labels")


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_bounds_are_within_bounds(rate):
    mi_decay(lr_min=rate, init_lr=rate, **OK)


@pytest.mark.parametrize("make", [contingency, variational])
def test_num_classes_of_the_estimators(make):
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        make(num_classes=1)


def test_a_traced_num_classes_names_static_args():
    tx = optax.inject_hyperparams(mi_decay)(0.5, num_classes=3, steps_per_epoch=10)
    with pytest.raises(TypeError, match=r"static_args=\('num_classes',\)"):
        tx.init(LOGITS)


def test_bias_correction():
    with pytest.raises(ValueError, match="soft=False"):
        contingency(num_classes=3, bias_correction="miller_madow")
    with pytest.raises(ValueError, match="bias_correction='jackknife'"):
        contingency(num_classes=3, soft=False, bias_correction="jackknife")


@pytest.mark.parametrize("missing", [("outputs",), ("labels",), ("outputs", "labels")])
@pytest.mark.parametrize("jit", [True, False])
def test_missing_signals_are_named(missing, jit):
    tx = optax.chain(optax.sgd(1.0), mi_decay(**OK))
    update = jax.jit(tx.update) if jit else tx.update
    signal = {"outputs": LOGITS, "labels": LABELS}
    for name in missing:
        del signal[name]
    with pytest.raises(TypeError, match=" and ".join(missing)):
        update(LOGITS, tx.init(LOGITS), LOGITS, **signal)


def test_weights_by_other_names_are_told():
    tx, mask = mi_decay(**OK), jnp.ones(3)
    state, seen = tx.init(LOGITS), {"outputs": LOGITS, "labels": LABELS}
    for name in ("mask", "sample_weight"):
        with pytest.raises(TypeError, match=f"got {name}, whose name is weights here"):
            tx.update(LOGITS, state, **{name: mask}, **seen)
    # It may be for another transformation, or for an estimator of one's own.
    tx.update(LOGITS, state, mask=mask, weights=mask, **seen)
    tx.update(LOGITS, state, mask=None, **seen)
    tx = mi_decay(1.0, estimator=measured(1.0))
    tx.update(LOGITS, tx.init(LOGITS), mi=0.5, mask=mask)


@pytest.mark.parametrize("state", [None, (), optax.EmptyState()])
def test_a_state_of_something_else(state):
    tx = mi_decay(**OK)
    with pytest.raises(TypeError, match=r"state must be .*tx\.init\(params\) of this"):
        tx.update(LOGITS, state, outputs=LOGITS, labels=LABELS)


def test_a_wrapper_that_strips_the_signal_fails_loudly():
    inside = optax.MultiSteps(mi_sgd(**OK), 2).gradient_transformation()
    tx = optax.chain(optax.identity(), inside)
    with pytest.raises(TypeError, match="a wrapper strips them"):
        tx.update(LOGITS, tx.init(LOGITS), LOGITS, outputs=LOGITS, labels=LABELS)


def test_a_measured_signal_is_named():
    tx = mi_decay(1.0, estimator=measured(1.0), steps_per_epoch=1)
    with pytest.raises(TypeError, match=r"missing mi\. .*mi=\.\.\."):
        tx.update(LOGITS, tx.init(LOGITS), outputs=LOGITS, labels=LABELS)


@pytest.mark.parametrize("make", [contingency, variational])
@pytest.mark.parametrize(
    ("outputs", "labels", "weights", "error", "match"),
    [
        (np.zeros((3, 4)), LABELS, None, ValueError, r"num_classes.*\(3, 4\).*=3"),
        (np.zeros((2, 3)), LABELS, None, ValueError, r"\(3, 3\).*\(2, 3\)"),
        (np.zeros(3), LABELS, None, ValueError, "outputs must have the shape"),
        (LOGITS, LOGITS, None, TypeError, r"labels must be integers.*argmax\(-1\)"),
        (LOGITS, LABELS, np.ones(2), ValueError, r"weights.*\(3,\), got \(2,\)"),
        (LOGITS.astype(complex), LABELS, None, TypeError, "outputs must be real"),
    ],
)
def test_batches(make, outputs, labels, weights, error, match):
    estimator = make(num_classes=3)
    with pytest.raises(error, match=match):
        jax.eval_shape(
            lambda: estimator.update(
                estimator.init(), outputs=outputs, labels=labels, weights=weights
            )
        )


def test_class_ids_of_another_shape():
    estimator = contingency(num_classes=3)
    with pytest.raises(ValueError, match="class ids and must have the shape"):
        estimator.update(estimator.init(), outputs=LABELS[:2], labels=LABELS)


def test_a_batch_too_large_to_count_exactly():
    estimator = contingency(num_classes=3)
    many = jax.ShapeDtypeStruct((2**24 + 1,), jnp.int32)
    with pytest.raises(ValueError, match="more than 8388608 samples: split"):
        jax.eval_shape(
            lambda ids: estimator.update(estimator.init(), outputs=ids, labels=ids),
            many,
        )
