"""What a train step pays for a learning rate in every layer.

Times a train step of two networks of four layers, or stages, under `optax.sgd` alone,
under sgd with `mi_decay` and under sgd with `layerwise_mi_decay`, in interleaved pairs
as overhead.py does, and prints the median ratio of the pairs with its confidence
interval: with the parameters and the optimizer's state donated to the step, as loops
do that train, and without. The row `A/A` pits sgd against itself. A second table has
what compiling the step costs.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from timing import compare, median_interval, parse_timing


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return parse_timing(__doc__, 100, argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import flax.linen as nn
import jax
import optax
from overhead import (
    add_compile_rows,
    begin,
    make_batches,
    make_compile_table,
    make_run,
    make_step,
)
from rich.table import Table
from suite.nets import ResNet

from optax_mi import label_by_path, layerwise_mi_decay, mi_decay, reduce_activations
from optax_mi.estimators import gaussian
from optax_mi.flax import capture_layers

CLASSES = 10
SGD = optax.sgd(0.1)


class CNN(nn.Module):
    """The network of overhead.py with a hidden dense layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of images [N, 28, 28, 1]."""
        x = nn.relu(nn.Conv(16, (3, 3), strides=2)(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(CLASSES)(x)


class Case(NamedTuple):
    """A network, and of the layers measured the columns and the parameters."""

    model: nn.Module
    columns: dict[str, int]  # from a layer's path
    groups: dict[str, str]  # from patterns of parameters to layers
    stride: int  # of the pixels that the network gets


CASES = {
    "CNN": Case(
        CNN(),
        {"Conv_0": 16, "Conv_1": 32, "Dense_0": 32, "Dense_1": CLASSES},
        {f"/{layer}/": layer for layer in ("Conv_0", "Conv_1", "Dense_0", "Dense_1")},
        1,
    ),
    # A layer is what its stage ends with.
    "ResNet": Case(
        ResNet(CLASSES),
        {"PatchConv_2": 16, "PatchConv_4": 32, "PatchConv_6": 32, "Dense_2": CLASSES},
        {
            "PatchConv_[012]/|GroupNorm_[01]/": "PatchConv_2",
            "PatchConv_[34]/|GroupNorm_[23]/|^params/Dense_0/": "PatchConv_4",
            "PatchConv_[56]/|GroupNorm_[45]/|^params/Dense_1/": "PatchConv_6",
            ".*": "Dense_2",
        },
        2,
    ),
}


def make_layerwise_step(layers: list[str], model: nn.Module, tx: Any) -> Callable:
    """One update that measures every layer, as users write it."""

    def step(carry: Any, batch: Any) -> tuple[Any, jax.Array]:
        params, state = carry
        images, labels = batch

        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits, activations = capture_layers(model, params, images, layers=layers)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), reduce_activations(activations)

        (loss, activations), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        seen = {"activations": activations, "labels": labels}
        updates, state = tx.update(grads, state, params, **seen)
        return (optax.apply_updates(params, updates), state), loss

    return step


def make_rows(case: Case, steps: int) -> dict[str, tuple[Any, Callable]]:
    """What is compared with sgd: transformations, and what makes their steps."""
    whole = mi_decay(0.1, num_classes=CLASSES, steps_per_epoch=steps)
    layerwise = layerwise_mi_decay(
        {
            layer: gaussian(features=d, num_classes=CLASSES, noise=0.25)
            for layer, d in case.columns.items()
        },
        label_by_path(case.groups),
        0.1,
        steps_per_epoch=steps,
    )
    layerwise_step = functools.partial(make_layerwise_step, list(case.columns))
    return {
        "A/A": (SGD, make_step),
        "mi_decay": (optax.chain(optax.sgd(1.0), whole), make_step),
        "layerwise_mi_decay": (optax.chain(optax.sgd(1.0), layerwise), layerwise_step),
    }


def time_case(case: Case, pairs: int, steps: int, donate: bool) -> list[list[str]]:
    """Times a network; a row for each transformation."""
    images, labels = make_batches(CLASSES, steps)
    batches = images[:, :, :: case.stride, :: case.stride], labels
    base = make_run(case.model, SGD, batches, scanned=False, donate=donate)
    rows = []
    for name, (tx, step) in make_rows(case, steps).items():
        other = make_run(case.model, tx, batches, False, step, donate)
        base()
        other()
        time_base, ratios = compare(base, other, pairs)
        low, middle, high = median_interval(ratios)
        microseconds = f"{time_base / steps * 1e6:.0f}"
        rows.append([name, microseconds, f"{middle:.3f}", f"{low:.3f} to {high:.3f}"])
    return rows


def main(argv: list[str] | None = None) -> None:
    """Prints both tables."""
    args, console = parse(argv), begin()
    table = Table(title=f"train step, median of {args.pairs} interleaved pairs")
    for column in ("model", "state", "against sgd", "sgd, us", "ratio", "95 %"):
        table.add_column(column, justify="right" if "," in column else "left")
    for model, case in CASES.items():
        # A step of the ResNet takes about ten of the CNN.
        steps = args.steps if model == "CNN" else max(1, args.steps // 10)
        for donate in (False, True):
            for row in time_case(case, args.pairs, steps, donate):
                table.add_row(model, "donated" if donate else "kept", *row)
    console.print(table)

    table = make_compile_table(args.compiles)
    rows = make_rows(CASES["CNN"], args.steps)
    add_compile_rows(table, rows, CNN(), args.compiles)
    console.print(table)


if __name__ == "__main__":
    main()
