"""Whatever is passed in place of an argument, the error names it, in words of ours."""

import importlib
import inspect
import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_mi
from optax_mi import estimators, mi_decay, mi_sgd, rules
from tests.range_test.small import loss_fn, run

# What JAX and NumPy say of their own functions.
FOREIGN = re.compile(
    "Error interpreting|is not a valid|2- or 3-|abstract array|inhomogeneous"
    "|truth value|hashable|not iterable|Expected a callable|pytree structure"
)


class Odd:
    """No number, and no array."""


NO_ARRAYS = {
    "None": None,
    "dict": {"a": np.zeros(3)},
    "text": "abc",
    "texts": ["a", "b", "c"],
    "ragged": [[1, 2], [3]],
    "function": lambda step: 0.1,
    "object": Odd(),
    "nothings": (None, None),
    "set": {1, 2},
    "array of texts": np.array(["a", "b", "c"]),
    "array of objects": np.array([None, 1, 2], object),
    "dates": np.array(["2020-01-01"] * 3, "datetime64[D]"),
    "spans": np.arange(3).astype("timedelta64[s]"),
    "records": np.zeros(3, [("a", float)]),
}
NO_SETTINGS = {
    **{name: NO_ARRAYS[name] for name in ("dict", "text", "ragged", "object")},
    "array of objects": NO_ARRAYS["array of objects"],
    "array": np.ones(3),
    "complex": 1j,
}

VECTORS = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
IDS = np.arange(12) % 3
# Of each estimator its settings and a batch, of each function of whole arrays arrays.
SETTINGS = {
    "contingency": {"num_classes": 2},
    "variational": {"num_classes": 2},
    "gaussian": {"features": 2, "num_classes": 3},
    "nearest_neighbors": {"features": 2, "label_features": 2},
    "kde": {"features": 2, "num_classes": 3, "bandwidth": 1.0},
    "binned": {"num_classes": 3, "low": 0.0, "high": 1.0},
}
BATCHES = dict.fromkeys(SETTINGS, (VECTORS, IDS)) | {
    "nearest_neighbors": (VECTORS, VECTORS)
}
WHOLE = {
    "plugin_mi": (VECTORS, IDS),
    "variational_mi": (VECTORS, IDS),
    "gaussian_mi": (VECTORS, IDS),
    "ross_mi": (VECTORS, IDS),
    "ksg_mi": (VECTORS, VECTORS),
    "kde_mi": (VECTORS, IDS),
    "binned_mi": (VECTORS, IDS),
    "table_mi": (np.ones((2, 2)),),
    "plugin_entropy": (IDS,),
}


def told(call, name):
    """What is wrong with what a call raised, if anything is."""
    try:
        got = call()
    except (TypeError, ValueError) as error:
        said = str(error)
        return None if name in said and not FOREIGN.search(said) else repr(error)
    return f"no error, but {got!r:.60}"


def faults(values, call, name):
    """From what was passed to what was wrong with the answer."""
    answers = {kind: told(partial(call, x), name) for kind, x in values.items()}
    return {kind: answer for kind, answer in answers.items() if answer}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("argument", ["outputs", "labels", "weights"])
def test_batches(name, argument):
    estimator = getattr(estimators, name)(**SETTINGS[name])
    seen = dict(zip(("outputs", "labels"), BATCHES[name], strict=True))

    def update(value):
        given = seen | {argument: value}
        return jax.eval_shape(lambda: estimator.update(estimator.init(), **given))

    values = {
        k: v for k, v in NO_ARRAYS.items() if (argument, k) != ("weights", "None")
    }
    assert faults(values, update, argument) == {}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_arrays(name):
    function = getattr(estimators, name)
    parameters = [*inspect.signature(function).parameters]
    bandwidth = {"bandwidth": 1.0} if "bandwidth" in parameters else {}
    arrays = dict(zip(parameters, WHOLE[name], strict=False))
    optional = [a for a in ("weights", "mask") if a in parameters]
    found = {}
    for argument in [*arrays, *optional]:

        def call(value, argument=argument):
            given = {**arrays, argument: value}
            positional = [given.pop(name) for name in arrays]
            return function(*positional, **bandwidth, **given)

        values = {
            k: v for k, v in NO_ARRAYS.items() if argument in arrays or k != "None"
        }
        found |= {argument: faults(values, call, argument)}
    assert not any(found.values()), found


def settings_of(module, defaults):
    """Every setting of the functions of a module, as (function, settings, name)."""
    for name, given in defaults.items():
        function = getattr(module, name)
        for setting in inspect.signature(function).parameters:
            yield pytest.param(function, given, setting, id=f"{name}-{setting}")


TRANSFORMATION = {"lr_max": 0.3, "num_classes": 3}
FACTORIES = [
    *settings_of(estimators, SETTINGS | {"measured": {}}),
    *settings_of(
        rules,
        {name: {} for name in ("log_time_rule", "residual_rule", "proportional_rule")},
    ),
    *(
        pytest.param(mi_decay, TRANSFORMATION, name, id=f"mi_decay-{name}")
        for name in ("lr_max", "lr_min", "init_lr", "steps_per_epoch", "num_classes")
    ),
    pytest.param(mi_decay, {"lr_max": 0.3}, "estimator", id="mi_decay-estimator"),
    pytest.param(mi_decay, TRANSFORMATION, "rule", id="mi_decay-rule"),
    *settings_of(optax_mi, {"average_params": {}, "label_by_layer": {}}),
]


@pytest.mark.parametrize(("factory", "given", "name"), FACTORIES)
def test_settings(factory, given, name):
    values = NO_SETTINGS | {"function": NO_ARRAYS["function"]}
    if name in ("low", "high"):  # One for each column.
        del values["array"]
    assert faults(values, lambda value: factory(**given | {name: value}), name) == {}


@pytest.mark.parametrize("name", WHOLE)
def test_settings_of_whole_arrays(name):
    function, arrays = getattr(estimators, name), WHOLE[name]
    bandwidth = {"bandwidth": 1.0} if name == "kde_mi" else {}
    found = {}
    for setting in [*inspect.signature(function).parameters][len(arrays) :]:

        def call(value, setting=setting):
            return function(*arrays, **bandwidth | {setting: value})

        values = dict(NO_SETTINGS)
        if setting in ("low", "high"):  # One for each column.
            del values["array"]
        found |= {setting: faults(values, call, setting)}
    assert not any(found.values()), found


def test_layers():
    def reduce(value):
        return optax_mi.reduce_activations(value)

    # A pytree of arrays may be a dict.
    values = {k: v for k, v in NO_ARRAYS.items() if k not in ("dict", "ragged")}
    assert faults(values, reduce, "activations") == {}
    for name in ("features", "max_rows", "seed"):

        def set_to(value, name=name):
            return optax_mi.reduce_activations(VECTORS, **{name: value})

        assert faults(NO_SETTINGS, set_to, name) == {}
    assert faults(NO_ARRAYS, optax_mi.label_by_path, "groups") == {}


@pytest.mark.parametrize(
    "name", ["loss_fn", "params", "batches", "eval_batches", "model_state", "optimizer"]
)
def test_what_a_range_test_trains(name):
    values = NO_ARRAYS if name in ("loss_fn", "params") else NO_SETTINGS
    if name == "model_state":
        values = {"text": "abc", "object": Odd()}
    elif name != "optimizer":
        values = {k: v for k, v in values.items() if k not in ("array", "complex")}
    # What is not looked into before loss_fn is called is named as an argument of it.
    said = name.removesuffix("es")
    assert faults(values, lambda value: run(**{name: value}), said) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("estimator", "lr_low", "lr_high", "num", "mode", "num_seeds", "num_steps"),
        *("max_parallel", "progress", "key"),
    ],
)
def test_settings_of_a_range_test(name):
    assert faults(NO_SETTINGS, lambda value: run(**{name: value}), name) == {}


def test_a_loss_that_raises_or_returns_nothing_else():
    def missing(params, batch):
        return loss_fn(params, batch["images"])

    with pytest.raises(TypeError, match=r"loss_fn raises TypeError: .*\(params, batch"):
        run(loss_fn=missing)
    with pytest.raises(TypeError, match=r"params = float32\[3,4\], batch = ") as caught:
        run(params=jnp.zeros((3, 4)))
    assert caught.value.__cause__ is not None
    with pytest.raises(TypeError, match=r"must return \(loss, extra_args\)"):
        run(loss_fn=lambda params, batch: loss_fn(params, batch)[0])
    with pytest.raises(
        TypeError, match="params must be real, got leaves of dtype int32"
    ):
        run(params=jnp.zeros((4, 3), int))
    with pytest.raises(TypeError, match=r"as loss_fn\(params, model_state, batch\)"):
        run(model_state=jnp.zeros(()))
    with pytest.raises(TypeError, match=r"batches raises .* as batches\(key, step\)"):
        run(batches=lambda key: key)


STATES = {
    "learning_rates": "opt_state",
    "log_values": "opt_state",
    "mi_diagnostics": "opt_state",
    "mi_warnings": "opt_state",
    "eval_params": "state",
}


@pytest.mark.parametrize("name", STATES)
def test_a_transformation_is_no_state(name):
    function, argument = getattr(optax_mi, name), STATES[name]
    for tx in (mi_sgd(0.3, num_classes=2), optax.MultiSteps(optax.sgd(0.1), 2)):
        with pytest.raises(TypeError, match=rf"{argument} must be a state, .*itself"):
            function(tx)


@pytest.mark.parametrize("bound", ["lr_max", "lr_min", "init_lr"])
def test_bounds_that_are_schedules(bound):
    schedule = optax.cosine_decay_schedule(0.3, 100)
    match = rf"{bound} must be a number.*inject_hyperparams\(mi_decay\)\({bound}=sched"
    for factory in (mi_decay, mi_sgd):
        with pytest.raises(TypeError, match=match):
            factory(**TRANSFORMATION | {bound: schedule})


@pytest.mark.parametrize("name", ["contingency", "variational", "gaussian", "kde"])
def test_axes_in_another_order_are_told_how_to_be_turned(name):
    settings = SETTINGS[name] | {"num_classes": 3}
    settings |= {"features": 3} if "features" in settings else {}
    estimator = getattr(estimators, name)(**settings)

    def update(*shapes):
        outputs, labels = jnp.zeros(shapes[0]), jnp.zeros(shapes[1], int)
        return estimator.update(estimator.init(), outputs=outputs, labels=labels)

    for shapes, cure in {
        ((3, 12), (12,)): "moveaxis(outputs, 0, -1)",
        ((2, 3, 4, 5), (2, 4, 5)): "moveaxis(outputs, 1, -1)",
        ((2, 3, 5, 5), (2, 5, 5)): "moveaxis(outputs, 1, -1)",
        ((3, 3, 4), (3, 4)): "moveaxis(outputs, ",
        ((7, 4, 3), (4, 7)): "swapaxes(outputs, 0, 1)",
        ((12, 3), (12, 3)): "labels.argmax(-1)",
    }.items():
        with pytest.raises(ValueError, match=re.escape(cure)):
            update(*shapes)


@pytest.mark.parametrize(
    ("module", "needed", "extra"),
    [
        ("optax_mi.flax", "flax", "optax-mi[flax]"),
        ("optax_mi.plotting", "matplotlib", "optax-mi[plot]"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(monkeypatch, module, needed, extra):
    for name in [m for m in sys.modules if m.partition(".")[0] == needed]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, needed, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError, match=re.escape(extra)):
        importlib.import_module(module)
