"""States and leaves are found by type and by name, whatever is around them."""

from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np
from flax import nnx

from optax_mi._find import children_by_node, find_states, leaves_by_name


class Wanted(NamedTuple):
    """A state to be found."""

    field: Any


class Train(NamedTuple):
    """A train state: beside its optimizer's state, params that look like one."""

    params: Any
    opt_state: Any


def is_wanted(node):
    return isinstance(node, Wanted)


def test_states_come_with_their_paths():
    first, second = Wanted(1.0), Wanted({"deep": Wanted(2.0)})
    tree = ((None, first), {"group": [3.0, second]})
    found = find_states("tree", tree, is_wanted)
    assert [node for _, node in found] == [first, second]  # not the one within
    paths = [jax.tree_util.keystr(path) for path, _ in found]
    assert paths == ["[0][1]", "[1]['group'][1]"]
    assert find_states("tree", (1.0, None), is_wanted) == []


def test_params_of_a_train_state_are_passed_over():
    inside, outside = Wanted(1.0), Wanted(2.0)
    found = find_states("tree", Train(params=outside, opt_state=(inside,)), is_wanted)
    assert [node for _, node in found] == [inside]


def test_leaves_have_the_same_names_with_and_without_their_types():
    tree = {"b": [np.float32(1), Wanted({"x": np.float32(2)})], "a": np.float32(3)}
    names = {("a",): 3, ("b", "0"): 1, ("b", "1", "field", "x"): 2}
    assert leaves_by_name(tree) == names
    assert leaves_by_name(flax.serialization.to_state_dict(tree)) == names


def test_leaves_of_nnx_have_the_same_names_with_and_without_their_variables():
    state = nnx.State({"layer": {"kernel": nnx.Param(np.arange(3.0))}})
    for tree in (state, nnx.to_pure_dict(state)):
        ((path, leaf),) = leaves_by_name(tree).items()
        assert path == ("layer", "kernel")
        np.testing.assert_array_equal(leaf, np.arange(3.0))


def test_a_leaf_beside_one_called_value_has_a_name_of_its_own():
    tree = {"head": {"value": 1, "scale": 2}, "boxed": {"value": 3}}
    names = {("boxed",): 3, ("head", "value"): 1, ("head", "scale"): 2}
    assert leaves_by_name(tree) == names


def test_every_node_lists_its_children():
    children = children_by_node([("a", "0", "x"), ("a", "0", "y"), ("a", "1"), ("b",)])
    assert children == {(): {"a", "b"}, ("a",): {"0", "1"}, ("a", "0"): {"x", "y"}}
