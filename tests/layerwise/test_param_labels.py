"""Parameters have the same labels whatever they are kept in."""

import jax
import pytest
from flax import nnx
from flax.core import freeze

from optax_mi import label_by_layer, label_by_path


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
    with pytest.raises(TypeError, match="groups must be a mapping"):
        label_by_path(["conv"])
    with pytest.raises(ValueError, match=r"regular expressions as keys, got '\('"):
        label_by_path({"(": "conv"})
    label = label_by_path({"conv": "conv"})
    with pytest.raises(
        ValueError, match=r"takes the parameter 'dense/kernel'.*\['conv'\]"
    ):
        label({"dense": {"kernel": 0.0}})
