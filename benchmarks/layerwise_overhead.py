"""What a train step pays for a learning rate in every layer.

Times a train step of a convolutional network of four layers under `optax.sgd` alone,
under sgd with `mi_decay` and under sgd with `layerwise_mi_decay`, in interleaved pairs
as overhead.py does, and prints the median ratio of the pairs with its confidence
interval. The row `A/A` pits sgd against itself. A second table has what compiling the
step costs.
"""

import argparse
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import optax
from overhead import (
    BATCH,
    add_compile_rows,
    make_batches,
    make_compile_table,
    make_run,
    make_step,
)
from rich.console import Console
from rich.table import Table
from timing import compare, median_interval

from optax_mi import (
    gaussian,
    label_by_path,
    layerwise_mi_decay,
    mi_decay,
    reduce_activations,
)
from optax_mi.flax import capture_layers

CLASSES = 10
# Columns that are left of each layer.
COLUMNS = {"Conv_0": 16, "Conv_1": 32, "Dense_0": 32, "Dense_1": CLASSES}


class CNN(nn.Module):
    """The network of overhead.py with a hidden dense layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of images [N, 28, 28, 1]."""
        x = nn.relu(nn.Conv(16, (3, 3), strides=2)(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(CLASSES)(x)


def make_layerwise_step(model: nn.Module, tx: Any) -> Callable:
    """One update that measures every layer, as users write it."""

    def step(carry: Any, batch: Any) -> tuple[Any, jax.Array]:
        params, state = carry
        images, labels = batch

        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits, activations = capture_layers(
                model, params, images, layers=list(COLUMNS)
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), reduce_activations(activations)

        (loss, activations), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        seen = {"activations": activations, "labels": labels}
        updates, state = tx.update(grads, state, params, **seen)
        return (optax.apply_updates(params, updates), state), loss

    return step


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100, help="timed pairs a row")
    parser.add_argument("--steps", type=int, default=30, help="updates a timed run")
    parser.add_argument(
        "--compiles", type=int, default=20, help="pairs of compilations"
    )
    args = parser.parse_args()

    sgd = optax.sgd(0.1)
    whole = mi_decay(0.1, num_classes=CLASSES, steps_per_epoch=args.steps)
    layerwise = layerwise_mi_decay(
        {layer: gaussian(d, num_classes=CLASSES) for layer, d in COLUMNS.items()},
        label_by_path({f"{layer}/": layer for layer in COLUMNS}),
        0.1,
        steps_per_epoch=args.steps,
    )
    rows = {
        "A/A": (sgd, make_step),
        "mi_decay": (optax.chain(optax.sgd(1.0), whole), make_step),
        "layerwise_mi_decay": (
            optax.chain(optax.sgd(1.0), layerwise),
            make_layerwise_step,
        ),
    }
    batches = make_batches(CLASSES, args.steps)
    base = make_run(CNN(), sgd, batches, scanned=False)
    console = Console()
    device = jax.devices()[0].device_kind
    console.print(f"jax {jax.__version__} on {device}, batch {BATCH}")
    table = Table(title=f"train step, median of {args.pairs} interleaved pairs")
    for column in ("against sgd", "sgd, us", "ratio", "95 %"):
        table.add_column(column, justify="left" if column[0] == "a" else "right")
    for name, (tx, step) in rows.items():
        other = make_run(CNN(), tx, batches, scanned=False, make_step=step)
        base()
        other()
        time_base, ratios = compare(base, other, args.pairs)
        low, middle, high = median_interval(ratios)
        microseconds = f"{time_base / args.steps * 1e6:.0f}"
        table.add_row(name, microseconds, f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    console.print(table)

    table = make_compile_table(args.compiles)
    add_compile_rows(table, rows, CNN(), args.compiles)
    console.print(table)


if __name__ == "__main__":
    main()
