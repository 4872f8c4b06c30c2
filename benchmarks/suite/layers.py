"""The layers of the suite's networks: which are measured, and what they put out."""

from collections.abc import Iterable
from typing import Any

import jax

from optax_mi import reduce_activations
from optax_mi.flax import capture_layers


def apply_and_see(
    model: Any, variables: Any, x: jax.Array, labels: Any, layers: Iterable[str]
) -> tuple[Any, dict[str, Any]]:
    """The outputs, and what `layerwise_mi_decay` is told: a row for each label."""
    # Batch norms leave statistics behind, which are computed anew to judge.
    (outputs, _), activations = capture_layers(
        model, variables, x, layers=layers, mutable=["batch_stats"]
    )
    rows = {
        name: h.reshape(labels.size, *h.shape[labels.ndim :])
        for name, h in activations.items()
    }
    return outputs, {
        "activations": reduce_activations(rows),
        "outputs": outputs.reshape(labels.size, -1),
        "labels": labels.ravel(),
    }


def hidden_layers(model: Any, x: jax.Array, labels: Any) -> dict[str, int]:
    """Modules with a kernel but the last, and the columns that are left of each.

    The last puts out the network's outputs; those without a kernel are norms and
    embeddings. Both follow the outputs.
    """
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    paths = jax.tree_util.tree_leaves_with_path(variables["params"])
    names = sorted({path[0].key for path, _ in paths if path[-1].key == "kernel"})
    names.remove(max(name for name in names if name.startswith("Dense_")))
    _, seen = jax.eval_shape(
        lambda variables: apply_and_see(model, variables, x, labels, names), variables
    )
    return {name: rows.shape[-1] for name, rows in seen["activations"].items()}
