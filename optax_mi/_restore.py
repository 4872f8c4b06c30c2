"""Restoring a state from a checkpoint that stores names, but no Python types.

The layout of a state is what a checkpoint stores of it: the names, shapes and dtypes of
its leaves. A field whose meaning changes gets a new name, so that no file of an older
layout is ever misread; :func:`restore_state` converts such files.
"""

import os
from collections.abc import Callable, Collection
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi import _layouts
from optax_mi._average import AverageParamsState
from optax_mi._checks import check_choice
from optax_mi._epoch import MIDecayState
from optax_mi._find import (
    Path,
    children_by_node,
    leaves_by_name,
    places_in_sequences,
)

# For each transformation, the fields that have a leaf with any settings and params, and
# how the message describes its initial state.
_KINDS = {
    "mi_decay": (_layouts.FIELDS, "at its first learning rate"),
    "average_params": ({"num_averaged"}, "at the params"),
}
_MOST_LISTED = 8


def restore_state(
    fresh: Any, saved: Any, *, missing: Literal["error", "init"] = "error"
) -> Any:
    """Puts the values of a checkpoint into a new state.

    It matches the leaves of `fresh` and `saved` by name. So it also restores
    checkpoints that do not fit a target: from before :func:`mi_decay` was added to the
    optimizer, and from layouts 1 to 3 of its state, whose fields had other names.

    Args:
      fresh: `tx.init(params)`, a whole train state, `nnx.state((model, optimizer))`, or
        `jax.eval_shape` of these. The result has its shardings.
      saved: the same state, as nested dicts and lists, as Orbax restores it without a
        target and as `flax.serialization.to_state_dict` and `nnx.to_pure_dict` make it,
        or with its types.
      missing: what to do if `saved` lacks the state of an :func:`mi_decay` or
        :func:`average_params`: "error" raises, "init" takes the state from `fresh`,
        including the first learning rate. A new average starts at the restored params
        if `fresh` is a whole train state.

    Returns:
      A pytree with the structure, shapes and dtypes of `fresh` and the values of
      `saved`.

    Raises:
      TypeError, ValueError: only one side has a leaf, or the shape or dtype of a leaf
        differs; the message shows the paths of both sides. Also if a leaf of `fresh` is
        not an array, `saved` is a path or None, types show that the two are swapped, or
        `missing` is neither "error" nor "init".

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import learning_rates, mi_decay, restore_state
      >>> params = {"w": jnp.ones(2)}
      >>> tx = optax.chain(optax.sgd(1.0, momentum=0.9), mi_decay(0.5, num_classes=2))
      >>> saved = [{"trace": {"w": jnp.array([3.0, 4.0])}}, None]  # of sgd alone
      >>> state = restore_state(tx.init(params), saved, missing="init")
      >>> print(state[0][0].trace["w"], learning_rates(state)["all"])
      [3. 4.] 0.5
    """
    check_choice("missing", missing, ("error", "init"))
    if saved is None or isinstance(saved, str | bytes | os.PathLike):
        raise TypeError(
            f"saved must be a loaded checkpoint, got {saved!r:.60}. Load it first: "
            "saved = orbax.checkpoint.StandardCheckpointer().restore(path)."
        )
    wanted = leaves_by_name(fresh)
    if type(fresh) in (dict, list) and not _has_types(fresh) and _has_types(saved):
        raise TypeError(
            "saved has optax states, and fresh has none: they are swapped. Call "
            "restore_state(tx.init(params), saved)."
        )
    held = _layouts.upgrade(leaves_by_name(saved), wanted)
    for path, leaf in wanted.items():
        if not hasattr(leaf, "dtype") and not np.isscalar(leaf):
            raise TypeError(
                f"fresh must have arrays for leaves, got {type(leaf).__name__} at "
                f"{_show([path])}. For nnx objects, pass nnx.state((model, optimizer))."
            )
    order, values = list(wanted), {}
    found = {path: path for path in wanted if path in held}
    anew = {}
    for kind in _KINDS:
        ours, theirs = _states(kind, wanted), _states(kind, held)
        if len(ours) > len(theirs):  # Equal numbers may be at other places of a chain.
            anew[kind] = ours - theirs
    if anew and missing == "error":
        raise ValueError(
            " ".join(
                f"saved has no state of the {kind} at {_show(nodes)} of fresh. If you "
                "added that to the optimizer later, missing='init' starts it anew, "
                f"{_KINDS[kind][1]}."
                for kind, nodes in anew.items()
            )
        )
    for kind, nodes in anew.items():
        values |= {path: wanted.pop(path) for path in order if _in(path, nodes)}
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in values.values()):
            raise ValueError(
                f"missing='init' takes the state of the {kind} at {_show(nodes)} from "
                "fresh, which has only shapes there. Pass tx.init(params) itself."
            )
    if anew:
        # Without these states a chain is shorter, or is no tuple at all.
        places, shortened = places_in_sequences(fresh), set()
        of_fresh = _shorten(wanted, lambda node, _: node in places, shortened)
        of_saved = _shorten(held, lambda _, short: short in shortened)
        by_short = {short: path for path, short in of_saved.items()}
        found = {
            path: by_short[short]
            for path, short in of_fresh.items()
            if short in by_short
        }
    _check(wanted, held, found)
    values |= {path: _place(held[found[path]], like) for path, like in wanted.items()}
    for node in anew.get("average_params", ()):
        for path, param in _averaged(node, values, wanted).items():
            values[path] = jnp.array(values[param], values[path].dtype, copy=True)
    return jax.tree.structure(fresh).unflatten(values[path] for path in order)


def _has_types(tree: Any) -> bool:
    """Whether the tree has a state of our types, not only its names."""
    kinds = MIDecayState, AverageParamsState
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kinds))
    return any(isinstance(node, kinds) for node in nodes)


def _states(kind: str, paths: Collection[Path]) -> set[Path]:
    """The nodes of a transformation's states; nnx keeps names but no types."""
    fields, _ = _KINDS[kind]
    return _layouts.find_nodes(paths, fields)


def _averaged(
    node: Path, anew: dict[Path, Any], wanted: dict[Path, Any]
) -> dict[Path, Path]:
    """Maps an average's leaves to the params of its train state, if these are clear."""
    start = (*node, "average")
    ends = [path[len(start) :] for path in anew if path[: len(start)] == start]
    if "opt_state" not in node or not ends:
        return {}
    shapes = {p: jnp.shape(leaf) for p, leaf in wanted.items() if "opt_state" not in p}

    def has_all(root: Path) -> bool:
        return all(
            shapes.get((*root, *end)) == jnp.shape(anew[(*start, *end)]) for end in ends
        )

    # The params of a linen train state, or the only subtree with the same leaves.
    usual = (*node[: node.index("opt_state")], "params")
    roots = {path[: len(path) - len(ends[0])] for path in shapes}
    roots = [usual] if has_all(usual) else [root for root in roots if has_all(root)]
    if len(roots) != 1:
        return {}
    return {(*start, *end): (*roots[0], *end) for end in ends}


def _in(path: Path, nodes: Collection[Path]) -> bool:
    return any(path[: len(node)] == node for node in nodes)


def _shorten(
    paths: Collection[Path],
    has_places: Callable[[Path, Path], bool],
    shortened: set[Path] | None = None,
) -> dict[Path, Path]:
    """Paths that do not depend on states without leaves in a chain.

    Places in a tuple become ranks; a single place is left out. Digits that are names
    stay. `has_places(node, short)` says whether the children of a node are places;
    `shortened` collects the short paths of such nodes.
    """
    children = children_by_node(paths)

    def shorten(path: Path) -> Path:
        short: Path = ()
        for depth, name in enumerate(path):
            node = path[:depth]
            siblings = children[node]
            if all(map(str.isdigit, siblings)) and has_places(node, short):
                if shortened is not None:
                    shortened.add(short)
                if len(siblings) == 1:
                    continue
                name = str(sorted(siblings, key=int).index(name))
            short = (*short, name)
        return short

    return {path: shorten(path) for path in paths}


def _check(
    wanted: dict[Path, Any], held: dict[Path, Any], found: dict[Path, Path]
) -> None:
    """Raises unless the leaves on both sides are the same."""
    problems = []
    if lacking := wanted.keys() - found.keys():
        problems.append(f"only fresh has {_show(lacking)}.")
    if unused := held.keys() - set(found.values()):
        problems.append(
            f"only saved has {_show(unused)}. Delete from saved what fresh does not "
            "need, such as the count of a schedule; the rest may then fit."
        )
    for path, other in found.items():
        ours, theirs = _describe(wanted[path]), _describe(held[other])
        if ours != theirs:
            problems.append(
                f"fresh has {ours} at {_show([path])}, saved has {theirs} at "
                f"{_show([other])}."
            )
    if problems:
        more = len(problems) - _MOST_LISTED
        problems[_MOST_LISTED:] = [f"{more} more."] if more > 0 else []
        raise ValueError("\n- ".join(["saved does not fit fresh:", *problems]))


def _describe(leaf: Any) -> str:
    """Dtype and shape; those of a Python number as JAX would convert it."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
    return f"{dtype}{list(jnp.shape(leaf))}"


def _show(paths: Collection[Path]) -> str:
    """The first few of the paths."""
    shown = ["/".join(path) or "its root" for path in sorted(paths)[:_MOST_LISTED]]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _place(leaf: Any, like: Any) -> jax.Array:
    """Places the array like the other, and commits it to devices only if that is."""
    bound = isinstance(like, jax.ShapeDtypeStruct) or getattr(like, "committed", False)
    if bound and like.sharding is not None:
        return jax.device_put(leaf, like.sharding)
    if isinstance(leaf, jax.Array) and not (
        leaf.is_fully_addressable and isinstance(leaf.dtype, np.dtype)
    ):
        return leaf  # NumPy has neither keys nor arrays on other hosts.
    # Orbax commits restored arrays to one device. JAX could not combine them with
    # arrays on several.
    return jnp.array(np.asarray(leaf))
