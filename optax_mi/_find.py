"""Finding states and leaves inside larger pytrees."""

from collections.abc import Callable, Collection
from typing import Any

import jax

Path = tuple[str, ...]


def find_states(
    name: str, tree: Any, is_state: Callable[[Any], bool]
) -> list[tuple[tuple[Any, ...], Any]]:
    """Every state of one kind in an optimizer state or a train state, with its path.

    Raises:
      TypeError: `tree` is a transformation; the message calls it `name`.
    """
    check_state(name, tree)
    # An nnx.Optimizer is a pytree only in some versions of flax, but has this attribute
    # in all of them. Reading it also skips the params of a train state.
    tree = getattr(tree, "opt_state", tree)
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_state)
    return [(path, node) for path, node in leaves if is_state(node)]


def check_state(name: str, tree: Any) -> None:
    """Raises if `tree` is a transformation."""
    if hasattr(tree, "init") and hasattr(tree, "update"):
        raise TypeError(
            f"{name} must be a state, which tx.init(params) returns, got the "
            "transformation itself."
        )


def leaves_by_name(tree: Any) -> dict[Path, Any]:
    """The leaves by their paths of names, which are the same with and without types."""
    names, (leaves, _) = leaf_names(tree), jax.tree.flatten(tree)
    return dict(zip(names, leaves, strict=True))


def leaf_names(tree: Any) -> list[Path]:
    """The path of names of every leaf, in the order of the leaves."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    paths = [
        tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
        for path, _ in leaves
    ]
    children = children_by_node(paths)

    def name(path: Path) -> Path:
        # An nnx Variable stores its array as `value`; to_pure_dict omits that name. A
        # Variable has no other field, unlike most dataclasses with a `value`.
        boxed = path[-1:] == ("value",) and children[path[:-1]] == {"value"}
        return path[:-1] if boxed else path

    return [name(path) for path in paths]


def places_in_sequences(tree: Any) -> set[Path]:
    """The nodes that are sequences: tuples and lists.

    nnx stores the tuples of an optimizer state as mappings from numbers.
    """
    nodes = set()
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    for path, _ in leaves:
        names = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
        start = names.index("opt_state") + 1 if "opt_state" in names else len(names)
        for depth, key in enumerate(path):
            numbers = depth >= start and all(map(str.isdigit, names[start : depth + 1]))
            if numbers or isinstance(key, jax.tree_util.SequenceKey):
                nodes.add(names[:depth])
    return nodes


def children_by_node(paths: Collection[Path]) -> dict[Path, set[str]]:
    """The names of the children of every node."""
    children: dict[Path, set[str]] = {}
    for path in paths:
        for depth, name in enumerate(path):
            children.setdefault(path[:depth], set()).add(name)
    return children
