"""Restoring a state from a checkpoint that knows names, but no Python types.

The layout of a state is what a checkpoint holds of it: the names, shapes and dtypes of
its leaves. A field whose meaning changes gets a new name, so that no file of an older
layout is ever misread; :func:`restore_state` converts it.
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

# For each transformation, the fields that have a leaf whatever the settings and the
# params, and where its state starts.
_KINDS = {
    "mi_decay": (_layouts.FIELDS, "at its first learning rate"),
    "average_params": ({"num_averaged"}, "at the params"),
}
_MOST_LISTED = 8


def restore_state(
    fresh: Any, saved: Any, *, missing: Literal["error", "init"] = "error"
) -> Any:
    """Puts what a checkpoint holds into a state made anew.

    For each leaf of `fresh` it takes the one of the same name. So it restores also
    where a target does not fit: from before :func:`mi_decay` was added to the
    optimizer, and from layouts 1 to 3 of its state, whose fields had other names.

    Args:
      fresh: `tx.init(params)`, a whole train state, `nnx.state((model, optimizer))`, or
        `jax.eval_shape` of these. Its shardings are those of the result.
      saved: the same as nested dicts and lists, as Orbax restores it without a target,
        as `flax.serialization.to_state_dict` and `nnx.to_pure_dict` make it, or typed.
      missing: what to do about an :func:`mi_decay` or :func:`average_params` that
        `saved` has no state of: "error", or "init" to take it from `fresh`, the first
        learning rate included. A new average starts at the restored params if `fresh`
        is a whole train state.

    Returns:
      A pytree of the structure, shapes and dtypes of `fresh` with the values of
      `saved`.

    Raises:
      TypeError, ValueError: a leaf is on one side alone, or has another shape or dtype;
        the message has the paths of both sides. A leaf of `fresh` is not an array,
        `saved` is a path or nothing, the two are swapped, as far as types tell, or
        `missing` is neither of the two.

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
            f"saved must be what a checkpoint holds, got {saved!r:.60}. Load it first: "
            "saved = orbax.checkpoint.StandardCheckpointer().restore(path)."
        )
    wanted = leaves_by_name(fresh)
    if type(fresh) in (dict, list) and not _has_types(fresh) and _has_types(saved):
        raise TypeError(
            "fresh has no optax states, and saved has: they are swapped. Call "
            "restore_state(tx.init(params), saved)."
        )
    held = _layouts.upgrade(leaves_by_name(saved), wanted)
    for path, leaf in wanted.items():
        if not hasattr(leaf, "dtype") and not np.isscalar(leaf):
            raise TypeError(
                f"fresh must have arrays for leaves, got {type(leaf).__name__} at "
                f"{_show([path])}. Of nnx objects pass nnx.state((model, optimizer))."
            )
    order, values = list(wanted), {}
    found = {path: path for path in wanted if path in held}
    anew = {}
    for kind in _KINDS:
        ours, theirs = _states(kind, wanted), _states(kind, held)
        if len(ours) > len(theirs):  # As many may be at other places of a chain.
            anew[kind] = ours - theirs
    if anew and missing == "error":
        raise ValueError(
            " ".join(
                f"saved has no state of the {kind} at {_show(nodes)} of fresh. If it "
                "is from before that was added to the optimizer, missing='init' starts "
                f"it anew, {_KINDS[kind][1]}."
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
        # Without them a chain is shorter, or none.
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
    """Whether there is a state of a type of ours, not its names alone."""
    kinds = MIDecayState, AverageParamsState
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kinds))
    return any(isinstance(node, kinds) for node in nodes)


def _states(kind: str, paths: Collection[Path]) -> set[Path]:
    """Where the states of a transformation are; nnx keeps names, and no types."""
    fields, _ = _KINDS[kind]
    return _layouts.find_nodes(paths, fields)


def _averaged(
    node: Path, anew: dict[Path, Any], wanted: dict[Path, Any]
) -> dict[Path, Path]:
    """From an average's leaves to the params of the train state around it, if clear."""
    start = (*node, "average")
    ends = [path[len(start) :] for path in anew if path[: len(start)] == start]
    if "opt_state" not in node or not ends:
        return {}
    shapes = {p: jnp.shape(leaf) for p, leaf in wanted.items() if "opt_state" not in p}

    def has_all(root: Path) -> bool:
        return all(
            shapes.get((*root, *end)) == jnp.shape(anew[(*start, *end)]) for end in ends
        )

    # The params of a linen train state, or whatever alone has the same leaves.
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
    """Paths that do not tell whether states without leaves are in a chain.

    Places in a tuple become ranks, and are left out where there is one alone; digits
    that are names stay. `has_places(node, short)` says which they are below a node, of
    which `shortened` gets the short path.
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
            f"only saved has {_show(unused)}. Delete from saved what fresh is to be "
            "without, such as the count of a schedule; the rest may then fit."
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
    """Dtype and shape; a Python number has those of the array it would become."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
    return f"{dtype}{list(jnp.shape(leaf))}"


def _show(paths: Collection[Path]) -> str:
    """The first few of the paths."""
    shown = ["/".join(path) or "its root" for path in sorted(paths)[:_MOST_LISTED]]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _place(leaf: Any, like: Any) -> jax.Array:
    """The array on the devices of the other, and bound to them only if that is."""
    bound = isinstance(like, jax.ShapeDtypeStruct) or getattr(like, "committed", False)
    if bound and like.sharding is not None:
        return jax.device_put(leaf, like.sharding)
    if isinstance(leaf, jax.Array) and not (
        leaf.is_fully_addressable and isinstance(leaf.dtype, np.dtype)
    ):
        return leaf  # NumPy holds neither keys nor what is on other hosts.
    # Orbax binds what it restores to a device, where it could not meet an array that
    # lies on several.
    return jnp.array(np.asarray(leaf))
