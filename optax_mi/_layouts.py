"""What checkpoints of older layouts become.

A leaf is known by its path, the names on the way to it. Layouts so far:

1. optax_mi before it knew chance: estimates without `chance`, tables of soft counts
   without `spread`, no `joined` and `look_at`, and averages of `log_time_rule` in nats.
2. The present one.
"""

from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_mi._find import Path, children_by_node

# The layout that states are written in. `tests/data` holds files of each.
LAYOUT = 2

# Fields of every layout of MIDecayState that have a leaf whatever the settings.
FIELDS = {"step", "step_in_epoch", "epoch", "held", "learning_rate", "estimate"}
_RULE_BEFORE = {"step", "recent", "mean"}


def upgrade(held: dict[Path, Any], wanted: Collection[Path]) -> dict[Path, Any]:
    """The leaves as the present layout has them, of the states that `wanted` has."""
    nodes = sorted(find_nodes(held, FIELDS))
    others = sorted(find_nodes(wanted, FIELDS))
    held = dict(held)
    for number, node in enumerate(nodes):
        if (*node, "joined") in held:
            continue
        like = others[number] if len(others) == len(nodes) else node
        held[(*node, "joined")] = held[(*node, "look_at")] = np.zeros((), np.int32)
        held[(*node, "estimate", "chance")] = np.zeros((), np.float32)
        _add_spread(held, node, like, wanted)
        if (*like, "rule_state", "decided") in wanted:
            _convert_rule(held, node)
    return held


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
        "recent": share(recent),
        "recent_variance": zero,
        "mean": share(mean),
        "lowest": zero,
    }
    held |= {(*rule, name): value for name, value in values.items()}
