"""States in print: numbers as numbers, and larger arrays as dtype and shape."""

import math
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from optax_mi.estimators import MIEstimate
from optax_mi.estimators._base import NOT_A_NUMBER, PACKED_INFINITY


def brief(node: Any) -> str:
    """A state in one line, however large its arrays are."""
    fields = getattr(node, "_fields", None)
    if fields is not None:
        if isinstance(node, MIEstimate):
            node = MIEstimate(*map(_unpacked, node))
        inside = (f"{name}={brief(getattr(node, name))}" for name in fields)
        return f"{type(node).__name__}({', '.join(inside)})"
    if not isinstance(node, jax.Array) and len(jax.tree.leaves(node)) == 1:
        (node,) = jax.tree.leaves(node)  # out of a Variable of nnx
    if not hasattr(node, "shape") or not hasattr(node, "dtype"):
        return repr(node)
    if python_number(node) is not node:
        # 0.3, not 0.30000001192092896: the shortest that rounds to the float32.
        return str(np.asarray(node)[()])
    return f"{node.dtype}[{','.join(map(str, node.shape))}]"


def python_number(leaf: Any) -> Any:
    """The Python number that a scalar array holds, or the leaf itself."""
    array = isinstance(leaf, jax.Array | np.ndarray | np.generic)
    if not array or isinstance(leaf, Tracer) or leaf.shape:
        return leaf
    return np.asarray(leaf).item()


def _unpacked(packed: Any) -> Any:
    number = python_number(packed)
    if number is packed:
        return packed
    return {NOT_A_NUMBER: math.nan, PACKED_INFINITY: math.inf}.get(number, packed)
