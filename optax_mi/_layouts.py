"""What checkpoints of older layouts become.

A leaf is known by its path, the names on the way to it. Layouts so far:

1. Before chance was known: estimates without `chance`, tables of soft counts without
   `spread`, no `joined` and `look_at`, and averages of `log_time_rule` in nats.
2. Before names were told apart from those of Optax: `step`, `step_in_epoch`, `epoch`,
   `learning_rate`, and `count` of an estimate. Estimates held nan and infinity.
3. Before `recent` of `log_time_rule` was told apart from that of a sum.
4. The present one.
"""

from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_mi._find import Path, children_by_node
from optax_mi.estimators import MIEstimate
from optax_mi.estimators._base import pack_number

# The layout that states are written in. `tests/data` holds files of each.
LAYOUT = 4

# Fields of MIDecayState that became others, up to layout 2.
_RENAMED = {
    "step": "num_updates",
    "step_in_epoch": "updates_in_epoch",
    "epoch": "num_epochs",
    "learning_rate": "current_lr",
}
# Fields of MIDecayState that have a leaf whatever the settings.
FIELDS = {*_RENAMED.values(), "held", "estimate"}
_FIELDS_BEFORE = {*_RENAMED, "held", "estimate"}
# And what is below them.
_RENAMED_BELOW: dict[Path, Path] = {
    ("estimate", "count"): ("estimate", "num_samples"),
    ("estimator_state", "count"): ("estimator_state", "num_samples"),
    ("estimator_state", "updates"): ("estimator_state", "num_batches"),
    ("rule_state", "mi"): ("rule_state", "last_mi"),
    ("rule_state", "residual"): ("rule_state", "last_residual"),
}
_RULE_BEFORE = {"step", "recent", "mean"}


def upgrade(held: dict[Path, Any], wanted: Collection[Path]) -> dict[Path, Any]:
    """The leaves as the present layout has them, of the states that `wanted` has."""
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
    """The leaves by the names of the present layout."""
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
    """Where there are all of these names."""
    return {n for n, names in children_by_node(paths).items() if names >= fields}


def _add_spread(
    held: dict[Path, Any], node: Path, like: Path, wanted: Collection[Path]
) -> None:
    """Soft counts of an open epoch whose spread was not kept: taken for hard ones.

    So chance is read too high until that epoch ends, and the decay is slower.
    """
    start = (*like, "estimator_state")
    for path in wanted:
        if path[: len(start)] == start and path[-1] == "spread":
            here = (*node, *path[len(like) :])
            joint = held.get((*here[:-1], "joint"))
            if joint is not None and here not in held:
                held[here] = np.zeros((2, jnp.shape(joint)[-1]), np.float32)


def _convert_rule(held: dict[Path, Any], node: Path) -> None:
    """`log_time_rule` that averaged nats, to shares of the last epoch's entropy."""
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
