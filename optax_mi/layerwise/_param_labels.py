"""Assigns parameters to groups by the names on their paths."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from optax_mi._checks import check_static_int

Labeller = Callable[[optax.Params], Any]


def label_by_layer(depth: int = 1) -> Labeller:
    """Labels parameters by their layer.

    A layer is the first `depth` names on a parameter's path, joined by "/", without the
    parameter's own name: the kernel in linen's `{"Conv_0": {"kernel": ...}}` is in
    layer "Conv_0", and the same in an nnx State. A parameter outside of any layer is a
    layer of its own.

    Args:
      depth: number of names, at least 1. Layers of an `nnx.Sequential`, such as
        "layers/0", need 2.

    Returns:
      A function from params to a tree of labels, for :func:`layerwise_mi_decay` and
      `optax.partition`.

    Raises:
      TypeError, ValueError: `depth` is not an int, or is below 1.

    Example:
      >>> from optax_mi import label_by_layer
      >>> params = {"block": {"conv": {"kernel": 1.0}, "norm": {"scale": 1.0}}}
      >>> label_by_layer()(params)
      {'block': {'conv': {'kernel': 'block'}, 'norm': {'scale': 'block'}}}
      >>> label_by_layer(depth=2)(params)["block"]["norm"]
      {'scale': 'block/norm'}
    """
    depth = check_static_int("depth", depth, 1)

    def label(names: list[str]) -> str:
        return "/".join((names[:-1] or names)[:depth])

    return _labeller(label)


def label_by_path(groups: Mapping[str, str]) -> Labeller:
    """Labels parameters by the first pattern that matches their path.

    A path is the sequence of names that lead to a parameter, joined by "/", such as
    "encoder/Dense_0/kernel".

    Args:
      groups: a mapping from regular expressions, as for `re.search`, to groups; the
        first match counts. End with `".*"` to match all other parameters.

    Returns:
      A function from params to a tree of labels, for :func:`layerwise_mi_decay` and
      `optax.partition`. It raises a ValueError for a parameter that no pattern matches.

    Raises:
      TypeError, ValueError: `groups` is not a mapping, or a key is not a regular
        expression.

    Example:
      >>> from optax_mi import label_by_path
      >>> label = label_by_path({"bias$|scale$": "vectors", "^encoder/": "encoder"})
      >>> label({"encoder": {"kernel": 1.0, "bias": 1.0}})
      {'encoder': {'bias': 'vectors', 'kernel': 'encoder'}}
    """
    if not isinstance(groups, Mapping):
        raise TypeError(
            f"groups must be a mapping from pattern to group, got {groups!r:.60}. "
            "label_by_layer() needs none."
        )
    patterns = []
    for pattern, group in groups.items():
        if not isinstance(group, str):
            raise TypeError(
                f"groups must have strings as values, got {group!r:.60} for the "
                f"pattern {pattern!r}."
            )
        try:
            compiled = re.compile(pattern)
            compiled.search("")  # Raises for patterns of bytes.
            patterns.append((compiled, group))
        except (re.error, TypeError) as error:
            raise ValueError(
                f"groups must have regular expressions as keys, got {pattern!r}: "
                f"{error}."
            ) from None

    def label(names: list[str]) -> str:
        path = "/".join(names)
        for pattern, group in patterns:
            if pattern.search(path):
                return group
        raise ValueError(
            f"No group takes the parameter {path!r}: its path matches none of the "
            f"patterns {list(groups)}. Add one for it, or '.*' as the last."
        )

    return _labeller(label)


def check_labeller(param_labels: Any) -> None:
    """Raises unless it is a function, which is not called yet, or a tree of names.

    Raises:
      TypeError: it is neither, or it is a factory of labellers.
    """
    for factory, call in ((label_by_layer, "()"), (label_by_path, "({...})")):
        if param_labels is factory:
            raise TypeError(
                f"param_labels must be what {factory.__name__} returns, got the "
                f"function itself. Call it: {factory.__name__}{call}."
            )
    if not callable(param_labels):
        _check_names(param_labels)


def check_labels(names: Any, params: optax.Params) -> None:
    """Raises unless every parameter has a name.

    Raises:
      TypeError: the names are not strings.
      ValueError: their tree is neither the tree of the params nor a prefix of it.
    """
    _check_names(names)
    try:
        jax.tree.map(lambda *_: None, names, params)
    except ValueError as error:
        raise ValueError(
            "param_labels must have the structure of the params, as label_by_layer() "
            "makes it; one name may stand for a whole subtree: "
            f"{str(error).replace('tree_map tree', 'param_labels')}"
        ) from None


def _check_names(names: Any) -> None:
    if names is None or any(not isinstance(n, str) for n in jax.tree.leaves(names)):
        raise TypeError(
            "param_labels must be a pytree of group names, as for optax.partition, or "
            "a function from params to one, such as label_by_layer(), got "
            f"{names!r:.60}."
        )


def _labeller(label: Callable[[list[str]], str]) -> Labeller:
    """A function from params to labels, made from one that labels a path."""

    def name(key: Any) -> str:
        return jax.tree_util.keystr((key,), simple=True)

    def of(path: tuple[Any, ...], node: Any) -> Any:
        if not _is_box(node):
            return label([name(key) for key in path])
        # nnx.Optimizer unboxes its params in some calls and not in others, so the path
        # ends at the box.
        return jax.tree_util.tree_map_with_path(
            lambda inner, part: of(path + inner[1:], part),
            node,
            is_leaf=lambda part: part is not node and _is_box(part),
        )

    return lambda params: jax.tree_util.tree_map_with_path(of, params, is_leaf=_is_box)


def _is_box(node: Any) -> bool:
    """Whether it is linen's box of metadata or nnx's Variable, which hold one array.

    Other dataclasses may have a field `value` too, so this checks the type.
    """
    return any(
        kind.__module__.startswith("flax.")
        and kind.__name__ in ("AxisMetadata", "Variable")
        for kind in type(node).__mro__
    )
