"""Parameters have the same labels whatever they are kept in."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from flax.core import freeze

from optax_mi import label_by_layer, label_by_path
from optax_mi.layerwise._param_labels import check_labeller, check_labels


class Block(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Linear(2, 2, rngs=rngs)
        self.parts = nnx.List([nnx.Linear(2, 2, use_bias=False, rngs=rngs)])


TREE = {
    "conv": {"bias": 0.0, "kernel": 0.0},
    "parts": {0: {"kernel": 0.0}},
    "token": 0.0,
}
NAMES = {
    "conv/bias": "conv",
    "conv/kernel": "conv",
    "parts/0/kernel": "parts",
    "token": "token",
}


def trees():
    model = Block(nnx.Rngs(0))
    model.token = nnx.Param(0.0)
    state = nnx.state(model, nnx.Param)
    lists = {**TREE, "parts": [{"kernel": 0.0}]}
    text = {**TREE, "parts": {"0": {"kernel": 0.0}}}
    return {
        "dict": TREE,
        "lists": lists,
        "frozen": freeze(text),
        "nnx": state,
        "nnx-pure": nnx.State(nnx.to_pure_dict(state)),
        "shapes": jax.eval_shape(lambda: text),
    }


@pytest.mark.parametrize("kind", trees())
def test_labels_are_the_same_for_every_kind_of_params(kind):
    params = trees()[kind]

    def labels(label):
        tree = label(params)
        assert jax.tree.structure(tree) == jax.tree.structure(params)
        return jax.tree.leaves(tree)

    assert labels(label_by_layer()) == list(NAMES.values())
    assert labels(label_by_layer(depth=2)) == ["conv", "conv", "parts/0", "token"]
    paths = {"bias": "b", "^parts/0/": "p", ".*": "rest"}
    assert labels(label_by_path(paths)) == ["b", "rest", "p", "rest"]
    assert labels(label_by_path({path: path for path in NAMES})) == list(NAMES)


def test_labels_that_cannot_be():
    with pytest.raises(ValueError, match="depth must be at least 1"):
        label_by_layer(0)
    for groups in (["conv"], None):
        with pytest.raises(TypeError, match="groups must be a mapping"):
            label_by_path(groups)
    with pytest.raises(TypeError, match=r"strings as values, got 1 for.*'conv'"):
        label_by_path({"conv": 1})
    with pytest.raises(ValueError, match=r"regular expressions as keys, got '\('"):
        label_by_path({"(": "conv"})
    with pytest.raises(ValueError, match=r"regular expressions as keys, got b'conv'"):
        label_by_path({b"conv": "conv"})
    label = label_by_path({"conv": "conv"})
    with pytest.raises(
        ValueError, match=r"takes the parameter 'dense/kernel'.*\['conv'\]"
    ):
        label({"dense": {"kernel": 0.0}})


@pytest.mark.parametrize("given", [None, np.ones(3), [np.ones(3)], 3, {"conv": 1}])
def test_names_are_strings(given):
    match = "param_labels must be a pytree of group names, .* label_by_layer.*got "
    with pytest.raises(TypeError, match=match):
        check_labeller(given)
    with pytest.raises(TypeError, match=match):
        check_labels(given, TREE)
    check_labeller(lambda params: given)


def test_a_labeller_that_is_not_called():
    with pytest.raises(TypeError, match=r"returns, got.*Call it: label_by_layer\(\)"):
        check_labeller(label_by_layer)
    with pytest.raises(TypeError, match=r"Call it: label_by_path\(\{\.\.\.\}\)"):
        check_labeller(label_by_path)
    check_labeller(label_by_layer())


def test_names_are_a_prefix_of_the_params():
    params = trees()["dict"]
    for names in ("one", {"conv": "a", "parts": {0: "b"}, "token": "c"}):
        check_labels(names, params)
    for names in ({}, {"conv": "a"}, {**params, "parts": None, "token": "c"}, ["a"]):
        with pytest.raises((ValueError, TypeError), match="param_labels must"):
            check_labels(names, params)
    with pytest.raises(ValueError, match=r"param_labels\['conv'\]"):
        check_labels({"conv": {"bias": "a"}, "parts": "b", "token": "c"}, params)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Head:
    """Params of one's own, one of which has the name that boxes have inside."""

    value: Any
    scale: Any


def test_a_field_called_value_keeps_its_name_and_a_box_adds_none():
    boxed = nn.Partitioned(np.zeros(2), ("data",))
    twice = nn.Partitioned(boxed, (None,))
    params = {"head": Head(value=0.0, scale=boxed), "key": twice, "q": {"value": 0.0}}
    params["nnx"] = Head(value=nnx.Param(0.0), scale=0.0)
    paths = ["head/value", "head/scale", "key", "nnx/value", "nnx/scale", "q/value"]
    labels = label_by_path({f"^{path}$": path for path in paths})(params)
    assert jax.tree.leaves(labels) == paths
    assert jax.tree.structure(labels) == jax.tree.structure(params)
    assert jax.tree.leaves(label_by_layer()(Head(0.0, 0.0))) == ["value", "scale"]
    assert jax.tree.leaves(label_by_layer()(params))[:2] == ["head", "head"]
