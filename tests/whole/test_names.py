"""The names in our states are nobody else's: `optax.tree.get` finds what was meant."""

import inspect
import sys

import chex
import jax.numpy as jnp
import optax
import pytest
from optax.contrib import reduce_on_plateau

from optax_mi import mi_decay, rules
from tests.contract import CASES, ESTIMATORS, NUM_CLASSES, SETTINGS, Case, inject

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
RULES = {
    rules.log_time_rule: (),
    rules.proportional_rule: (),
    rules.residual_rule: (),
    rules.capped_rule: (1.0,),
}


def is_named_tuple(node):
    return isinstance(node, tuple) and hasattr(node, "_fields")


def is_from(package, kind):
    return kind.__module__.partition(".")[0] == package


def names_in(node, owner=None):
    """What Optax finds by name in a state of ours, with the type that it is of."""
    if is_named_tuple(node) and is_from("optax_mi", type(node)):
        owner = type(node).__name__
        yield from ((owner, name) for name in (owner, *node._fields))
    elif isinstance(node, dict) and owner:
        yield from ((owner, key) for key in node)
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, tuple | list | dict):
        for child in children:
            yield from names_in(child, owner)


def our_names():
    """All of them, in whatever of ours may be in the state of an optimizer."""
    starts = [
        *(case.make().init(PARAMS) for case in CASES.values()),
        *(estimator.init() for estimator, _ in ESTIMATORS.values()),
        *(make(*given).init() for make, given in RULES.items()),
    ]
    return {*names_in(starts)}


def optax_states():
    """From each NamedTuple of Optax that is a state to its fields."""
    kinds = {
        kind
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "optax"
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, tuple) and is_from("optax", kind)
    }
    return {k.__name__: k._fields for k in kinds if k.__name__.endswith("State")}


# The carry of the loop in a line search, which no optimizer has in its state.
NOT_KEPT = {"ZoomLinesearchState"}
INJECTED = [
    Case(optax.adam, {"learning_rate": 0.1}),
    Case(optax.sgd, {"learning_rate": 0.1, "momentum": 0.9}),
    Case(mi_decay, {**SETTINGS, "init_lr": 0.1, "num_classes": NUM_CLASSES}),
]


def their_names():
    """Those states, their fields, and the settings that Optax keeps in a state."""
    for name, fields in optax_states().items():
        yield from () if name in NOT_KEPT else (name, *fields)
    for case in INJECTED:
        yield from inject(case).init(PARAMS).hyperparams


def test_everything_is_looked_at():
    assert {owner for owner, _ in our_names()} >= {
        *("MIDecayState", "AverageParamsState", "MIEstimate"),
        *("LongSum", "BatchLosses", "Counts", "Losses", "Reservoir"),
        *("_Progress", "_LastMI", "_LastResidual", "_Spent"),
    }
    assert {*rules.__all__} == {"DecayRule", *(make.__name__ for make in RULES)}
    assert {*their_names()} >= {
        *("ScaleByAdamState", "InjectHyperparamsState", "ScaleByLBFGSState"),
        *("ReduceLROnPlateauState", "MuonState", "MultiStepsState", "TraceState"),
        *("count", "mu", "scale", "trace", "inner_state", "hyperparams"),
        *("learning_rate", "b1", "momentum", "lr_max", "init_lr", "steps_per_epoch"),
    }


def test_no_field_of_ours_is_one_of_optax():
    theirs = {*their_names()}
    shared = [f"{name} of {owner}" for owner, name in our_names() if name in theirs]
    assert not shared, ", ".join(sorted(shared))


def test_what_is_ours_is_found_by_name_beside_adam():
    tx = optax.chain(optax.adam(0.1), mi_decay(0.5, num_classes=NUM_CLASSES))
    state = tx.init(PARAMS)
    assert optax.tree.get(state, "current_lr") == 0.5
    assert optax.tree.get(state, "mi") == -1  # nothing measured yet
    assert optax.tree.get(state, "num_updates") == 0
    assert optax.tree.get(state, "recent_mean") == 0
    assert optax.tree.get(state, "recent").joint.shape == (NUM_CLASSES, NUM_CLASSES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_optax_s_is_found_and_set_beside_ours(case):
    ours = case.make()
    state = optax.chain(optax.adam(0.1), ours).init(PARAMS)
    assert optax.tree.get(state, "count") == 0
    assert optax.tree.get(state, "mu") is state[0][0].mu
    (adam, rest), kept = optax.tree.set(state, count=jnp.int32(7))
    assert adam.count == 7
    before = (adam._replace(count=jnp.int32(0)), rest), kept
    chex.assert_trees_all_equal(before, state)

    injected = optax.inject_hyperparams(optax.adam)(0.1)
    state = optax.chain(injected, ours, reduce_on_plateau()).init(PARAMS)
    assert optax.tree.get(state, "learning_rate") == jnp.float32(0.1)
    assert optax.tree.get(state, "scale") == 1.0
    adam, kept, plateau = optax.tree.set(
        state, learning_rate=jnp.float32(0.2), scale=jnp.float32(0.5)
    )
    assert adam.hyperparams["learning_rate"] == jnp.float32(0.2)
    assert plateau.scale == 0.5
    chex.assert_trees_all_equal(kept, state[1])
