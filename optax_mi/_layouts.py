"""Conversion of checkpoints from older layouts.

The path of a leaf, which is a sequence of names, identifies it. The layouts so far:

1. Without `chance` in estimates, `spread` in tables of soft counts, `joined` and
   `look_at`; the averages of `log_time_rule` are in nats.
2. With names that Optax uses too: `step`, `step_in_epoch`, `epoch`, `learning_rate`,
   and `count` of an estimate. Estimates contain nan and infinity.
3. With the name `recent` in both `log_time_rule` and sums.
4. The current layout.
"""

from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_mi._find import Path, children_by_node
from optax_mi.estimators import MIEstimate
from optax_mi.estimators._base import pack_number

# The layout of new states. `tests/data` has files of each layout.
LAYOUT = 4

# Fields of MIDecayState that were renamed after layout 2.
_RENAMED = {
    "step": "num_updates",
    "step_in_epoch": "updates_in_epoch",
    "epoch": "num_epochs",
    "learning_rate": "current_lr",
}
# Fields of MIDecayState that have a leaf with any settings.
FIELDS = {*_RENAMED.values(), "held", "estimate"}
_FIELDS_BEFORE = {*_RENAMED, "held", "estimate"}
# Fields below those.
_RENAMED_BELOW: dict[Path, Path] = {
    ("estimate", "count"): ("estimate", "num_samples"),
    ("estimator_state", "count"): ("estimator_state", "num_samples"),
    ("estimator_state", "updates"): ("estimator_state", "num_batches"),
    ("rule_state", "mi"): ("rule_state", "last_mi"),
    ("rule_state", "residual"): ("rule_state", "last_residual"),
}
_RULE_BEFORE = {"step", "recent", "mean"}


def upgrade(held: dict[Path, Any], wanted: Collection[Path]) -> dict[Path, Any]:
    """Converts leaves to the current layout, for the states that `wanted` has."""
    held = _rename(held)
    nodes = sorted(find_nodes(held, FIELDS))
    others = sorted(find_nodes(wanted, FIELDS))
    for number, node in enumerate(nodes):
        rule = (*node, "rule_state")
        if (*rule, "decided") in held and (*rule, "recent") in held:
            held[(*rule, "recent_mean")] = held.pop((*rule, "recent"))
        if (*node, "joined") in held:
            continue
        like = others[number] if len(others) == len(nodes) else node
        held[(*node, "joined")] = held[(*node, "look_at")] = np.zeros((), np.int32)
        held[(*node, "estimate", "chance")] = np.zeros((), np.float32)
        _add_spread(held, node, like, wanted)
        if (*like, "rule_state", "decided") in wanted:
            _convert_rule(held, node)
    return held


def _rename(held: dict[Path, Any]) -> dict[Path, Any]:
    """The leaves by their names in the current layout."""
    nodes = find_nodes(held, _FIELDS_BEFORE)

    def name(path: Path) -> Path:
        for node in nodes:
            if path[: len(node)] == node:
                rest = path[len(node) :]
                rest = _RENAMED_BELOW.get(rest, rest)
                return (*node, _RENAMED.get(rest[0], rest[0]), *rest[1:])
        return path

    packed = {
        *(("estimate", field) for field in MIEstimate._fields),
        *(("estimator_state", field) for field in MIEstimate._fields),
        ("rule_state", "last_mi"),
        ("rule_state", "last_residual"),
    }

    def value(path: Path, leaf: Any) -> Any:
        ours = any(path[: len(n)] == n and path[len(n) :] in packed for n in nodes)
        return pack_number(leaf) if ours else leaf

    renamed = {name(path): leaf for path, leaf in held.items()}
    return {path: value(path, leaf) for path, leaf in renamed.items()}


def find_nodes(paths: Collection[Path], fields: set[str]) -> set[Path]:
    """The nodes that have children of all these names."""
    return {n for n, names in children_by_node(paths).items() if names >= fields}


def _add_spread(
    held: dict[Path, Any], node: Path, like: Path, wanted: Collection[Path]
) -> None:
    """Adds a zero spread to soft counts of an open epoch, as if they were hard.

    So chance is overestimated until that epoch ends, and the decay is slower.
    """
    start = (*like, "estimator_state")
    for path in wanted:
        if path[: len(start)] == start and path[-1] == "spread":
            here = (*node, *path[len(like) :])
            joint = held.get((*here[:-1], "joint"))
            if joint is not None and here not in held:
                held[here] = np.zeros((2, jnp.shape(joint)[-1]), np.float32)


def _convert_rule(held: dict[Path, Any], node: Path) -> None:
    """Converts averages of `log_time_rule` from nats to shares of the last entropy."""
    rule = (*node, "rule_state")
    if not all((*rule, name) in held for name in _RULE_BEFORE):
        return
    step, recent, mean = (held.pop((*rule, n)) for n in ("step", "recent", "mean"))
    entropy = jnp.asarray(held[(*node, "estimate", "entropy")])
    known = (entropy > 0) & jnp.isfinite(entropy)

    def share(nats: Any) -> Any:
        of_classes = nats / jnp.where(known, entropy, 1.0)
        of_numbers = jnp.where(entropy == jnp.inf, -jnp.expm1(-2.0 * nats), 0.0)
        return jnp.where(known, of_classes, of_numbers).astype(jnp.float32)

    zero = jnp.zeros((), jnp.float32)
    values = {
        "decided": step,
        "seen": step,
        "waiting": zero,
        "waiting_variance": zero,
        "last": share(recent),
        "recent_mean": share(recent),
        "recent_variance": zero,
        "mean": share(mean),
        "lowest": zero,
    }
    held |= {(*rule, name): value for name, value in values.items()}
