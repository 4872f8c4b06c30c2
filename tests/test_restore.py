"""What `restore_state` puts where, and what it refuses."""

import pathlib

import chex
import flax.serialization
import jax
import numpy as np
import optax
import pytest

from optax_mi import (
    MIDecayState,
    average_params,
    eval_params,
    learning_rates,
    mi_decay,
    restore_state,
)
from optax_mi._inspect import states_by_group as found
from optax_mi.rules import proportional_rule, residual_rule

PARAMS = {"w": np.zeros(3, np.float32)}
LABELS = np.arange(3)
MI = mi_decay(0.5, num_classes=3, steps_per_epoch=2)


def numbered(state):
    """The state with other numbers in every leaf."""
    leaves, structure = jax.tree.flatten(state)
    return structure.unflatten(
        np.full_like(leaf, i + 2) for i, leaf in enumerate(leaves)
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (optax.sgd(0.1, 0.9), optax.chain(optax.sgd(1.0, 0.9), MI)),
        (optax.sgd(0.1), optax.chain(optax.sgd(1.0), MI)),
        (
            optax.chain(optax.clip(1.0), optax.adam(0.1)),
            optax.chain(optax.clip(1.0), optax.adam(0.1), MI),
        ),
        (
            optax.chain(optax.trace(0.9), optax.ema(0.9)),
            optax.chain(optax.trace(0.9), MI, optax.ema(0.9)),
        ),
        (
            optax.apply_if_finite(optax.sgd(0.1, 0.9), 3),
            optax.apply_if_finite(optax.chain(optax.sgd(0.1, 0.9), MI), 3),
        ),
        (
            optax.partition({"a": MI}, {"w": "a"}),
            optax.partition({"a": MI, "b": MI}, {"w": "a"}),
        ),
    ],
    ids=["sgd", "without", "chain", "between", "wrapped", "group"],
)
def test_mi_decay_added_later_starts_anew(before, after):
    old = numbered(before.init(PARAMS))
    fresh = after.init(PARAMS)
    new = restore_state(fresh, flax.serialization.to_state_dict(old), missing="init")
    assert jax.tree.structure(new) == jax.tree.structure(fresh)
    anew = [s for g, s in found(new).items() if g not in found(old)]
    rest = jax.tree.leaves(new, is_leaf=lambda node: any(node is s for s in anew))
    rest = [leaf for leaf in rest if not isinstance(leaf, MIDecayState)]
    for got, want in zip(rest, jax.tree.leaves(old), strict=True):
        np.testing.assert_array_equal(got, want)
    for state in anew:
        chex.assert_trees_all_equal(state, MI.init(PARAMS))


AVERAGED = optax.chain(optax.sgd(1.0, 0.9), MI, average_params())


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            optax.sgd(0.1, 0.9),
            AVERAGED,
            "the mi_decay at opt_state/1 .*the average_params at opt_state/2",
        ),
        (optax.chain(optax.sgd(0.1, 0.9), MI), AVERAGED, "average_params at .*/2"),
        # As users write it who had mi_sgd.
        (
            optax.chain(optax.sgd(0.1, 0.9), MI),
            optax.chain(optax.chain(optax.sgd(0.1, 0.9), MI), average_params()),
            "average_params at opt_state/1",
        ),
    ],
    ids=["both", "average", "nested"],
)
def test_an_average_added_later_starts_at_the_params_of_the_train_state(
    before, after, message
):
    params = {"w": np.zeros(3, np.float16), "head": {"b": np.zeros((), np.float32)}}
    old = numbered({"params": params, "opt_state": before.init(params)})
    saved = flax.serialization.to_state_dict(old)
    fresh = {"params": params, "opt_state": after.init(params)}
    with pytest.raises(ValueError, match=f"{message} of fresh.*anew, at the params"):
        restore_state(fresh, saved)
    new = restore_state(fresh, saved, missing="init")
    chex.assert_trees_all_equal(new["params"], old["params"])
    average = new["opt_state"][-1].average
    chex.assert_trees_all_equal(average, old["params"])
    assert average["w"].dtype == np.float32
    assert new["opt_state"][-1].num_averaged == 0
    (trace,) = optax.tree.get_all_with_path(new, "trace")
    np.testing.assert_array_equal(trace[1]["w"], optax.tree.get(old, "trace")["w"])
    if len(found(old)):
        assert learning_rates(new) == learning_rates(old)
    # A train step may donate all of it.
    leaves = [x for x in jax.tree.leaves(new) if x.size]
    assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)


def test_an_average_of_an_optimizer_state_alone_starts_as_the_fresh_one():
    params = {"w": np.full(3, 7.0, np.float32)}
    fresh = optax.chain(optax.sgd(1.0, 0.9), average_params()).init(params)
    saved = untyped(optax.sgd(0.1, 0.9))
    average = eval_params(restore_state(fresh, saved, missing="init"))
    np.testing.assert_array_equal(average["w"], params["w"])
    with pytest.raises(ValueError, match="the average_params at 1 from fresh, which"):
        restore_state(jax.eval_shape(lambda: fresh), saved, missing="init")


def test_an_average_may_move_when_mi_decay_is_put_before_it():
    before = optax.chain(optax.sgd(0.1, 0.9), average_params())
    old = numbered(before.init(PARAMS))
    saved = flax.serialization.to_state_dict(old)
    new = restore_state(AVERAGED.init(PARAMS), saved, missing="init")
    chex.assert_trees_all_equal(new[-1], old[-1])


def test_the_average_is_of_the_params_and_not_of_what_looks_like_them():
    params = {"w": np.zeros(3, np.float32)}
    tx = optax.chain(optax.sgd(0.1), average_params())
    fresh = {"ema": params, "params": params, "opt_state": tx.init(params)}
    saved = numbered(fresh)
    saved["opt_state"] = ()
    new = restore_state(fresh, saved, missing="init")
    np.testing.assert_array_equal(
        eval_params(new["opt_state"])["w"], saved["params"]["w"]
    )
    # Which of two is not for us to say.
    fresh["other"] = fresh.pop("params")
    saved["other"] = saved.pop("params")
    new = restore_state(fresh, saved, missing="init")
    np.testing.assert_array_equal(eval_params(new["opt_state"])["w"], params["w"])


def untyped(tx, shape=3, dtype=np.float32, name="w"):
    params = {name: np.zeros(shape, dtype)}
    return flax.serialization.to_state_dict(tx.init(params))


CHAIN = optax.chain(optax.sgd(1.0, 0.9), MI)


@pytest.mark.parametrize(
    ("tx", "params", "missing", "message"),
    [
        (CHAIN, {}, None, "missing must be 'error' or 'init', got missing=None"),
        (
            CHAIN,
            {"name": "v"},
            "error",
            r"(?s)only fresh has 0/0/trace/w\..*only saved has 0/0/trace/v\.",
        ),
        (
            CHAIN,
            {"shape": 4, "dtype": np.int8},
            "error",
            r"has float32\[3\] at 0/0/trace/w, saved has int8\[4\] at 0/0/trace/w",
        ),
        (
            optax.sgd(0.1, 0.9),
            {"shape": (3, 1)},
            "init",
            r"float32\[3\] at 0/0/trace/w, saved has float32\[3, 1\] at 0/trace/w",
        ),
        (
            optax.sgd(optax.linear_schedule(1, 0, 9), 0.9),
            {},
            "init",
            r"only saved has 0/trace/w, 1/count\. Delete from saved",
        ),
        (
            optax.sgd(0.1, 0.9),
            {},
            "error",
            r"no state of the mi_decay at 1 of fresh\..*missing='init' starts it anew",
        ),
    ],
    ids=["argument", "names", "shape", "shape-before", "schedule", "before"],
)
def test_what_does_not_fit_is_named(tx, params, missing, message):
    with pytest.raises(ValueError, match=message):
        restore_state(CHAIN.init(PARAMS), untyped(tx, **params), missing=missing)


def test_another_rule_does_not_read_what_the_first_remembers():
    one, other = (
        mi_decay(1.0, num_classes=3, steps_per_epoch=2, rule=rule())
        for rule in (residual_rule, proportional_rule)
    )
    with pytest.raises(
        ValueError, match=r"(?s)rule_state/last_mi\..*rule_state/last_residual\."
    ):
        restore_state(other.init(PARAMS), untyped(one))


def test_what_is_deleted_is_in_the_way_no_more():
    saved = untyped(optax.sgd(optax.linear_schedule(1, 0, 9), 0.9))
    saved["0"]["trace"]["w"] += 7
    del saved["1"]
    restored = restore_state(CHAIN.init(PARAMS), saved, missing="init")
    np.testing.assert_array_equal(restored[0][0].trace["w"], np.full(3, 7.0))


def test_shapes_cannot_start_anew():
    shapes = jax.eval_shape(CHAIN.init, PARAMS)
    with pytest.raises(ValueError, match=r"at 1 from\s+fresh, which has only shapes"):
        restore_state(shapes, untyped(optax.sgd(0.1, 0.9)), missing="init")


def test_keys_and_python_numbers_are_restored():
    fresh = {"key": jax.random.key(0), "step": np.zeros((), np.int32)}
    restored = restore_state(fresh, {"key": jax.random.key(1), "step": 3})
    assert jax.random.key_data(restored["key"]).tolist() == [0, 1]
    assert (restored["step"], restored["step"].dtype) == (3, np.int32)


def test_wrong_types_are_told_what_to_do():
    with pytest.raises(TypeError, match=r"got object at its root.*nnx\.state\("):
        restore_state(object(), untyped(CHAIN))
    with pytest.raises(TypeError, match=r"MIDecayState, got a dict.*restore_state\("):
        MI.update(PARAMS, untyped(MI), PARAMS, outputs=LABELS, labels=LABELS)


@pytest.mark.parametrize("saved", [None, "checkpoints/7", b"7", pathlib.Path("7")])
def test_a_checkpoint_that_was_not_loaded(saved):
    with pytest.raises(TypeError, match=r"saved must be .* got .*\. Load it first"):
        restore_state(MI.init(PARAMS), saved)


@pytest.mark.parametrize("tx", [MI, average_params()], ids=["decay", "average"])
def test_arguments_that_are_swapped(tx):
    state = optax.chain(optax.sgd(0.1), tx).init(PARAMS)
    fresh = {"params": PARAMS, "opt_state": state}
    saved = flax.serialization.to_state_dict(fresh)
    with pytest.raises(TypeError, match="they are swapped"):
        restore_state(saved, fresh)
    # What is no Python type on either side, or one on both, may be so on purpose.
    chex.assert_trees_all_equal(restore_state(saved, saved), saved)
    chex.assert_trees_all_equal(restore_state(fresh, fresh), fresh)
