"""Trains the network of digits.py with a learning rate for every layer.

Each layer's learning rate decays with the information of its own activations about the
labels. They come from the forward pass that the gradient needs anyway.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

from arguments import demo_parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return demo_parser(__doc__, epochs=30).parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits import BATCH, MODEL, accuracy, load_images, shift
from rich.console import Console
from rich.live import Live
from rich.table import Table
from shared import replacing

from optax_mi import (
    MIDiagnostics,
    average_params,
    eval_params,
    label_by_layer,
    layerwise_mi_decay,
    mi_diagnostics,
    reduce_activations,
)
from optax_mi.estimators import contingency, gaussian
from optax_mi.flax import MITrainState, capture_layers
from optax_mi.plotting import plot_layers

# In order from input to output; the widest is projected to 32 columns.
ESTIMATORS = {
    "Conv_0": gaussian(features=16, num_classes=10, noise=0.25),
    "Conv_1": gaussian(features=32, num_classes=10, noise=0.25),
    "Dense_0": gaussian(features=32, num_classes=10, noise=0.25),
    "Dense_1": contingency(num_classes=10),
}


@jax.jit
def train_step(
    state: MITrainState, images: jax.Array, labels: jax.Array
) -> tuple[MITrainState, jax.Array]:
    """Makes one update; the loss and every layer's MI share one forward pass."""
    moved = shift(jax.random.key(state.step), images)

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
        logits, activations = capture_layers(
            MODEL, {"params": params}, moved, layers=list(ESTIMATORS)
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), reduce_activations(activations)

    (loss, activations), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    seen = {"activations": activations, "labels": labels}
    return state.apply_gradients(grads=grads, extra_args=seen), loss


def make_table(title: str, layers: dict[str, MIDiagnostics]) -> Table:
    """Shows what each layer knew in the last epoch, and its learning rate."""
    table = Table(title=title)
    for column in ("layer", "MI, nats", "share of H(Y)", "LR"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for layer, seen in layers.items():
        share = f"{seen.normalized:.1%}"
        table.add_row(layer, f"{seen.mi:.3f}", share, f"{seen.learning_rate:.5f}")
    return table


def train(seed: int, epochs: int) -> Iterator[tuple[str, dict[str, MIDiagnostics]]]:
    """Trains, and yields a headline and what each layer knew, once per epoch."""
    train_x, test_x, train_y, test_y = load_images()
    steps_per_epoch = len(train_x) // BATCH
    state = MITrainState.create(
        apply_fn=MODEL.apply,
        params=MODEL.init(jax.random.key(seed), train_x[:1])["params"],
        tx=optax.chain(
            optax.sgd(1.0, momentum=0.9),
            layerwise_mi_decay(
                ESTIMATORS,
                label_by_layer(),
                lr_max=0.05,
                # One pass, so that every estimate covers all of the data.
                steps_per_epoch=steps_per_epoch,
            ),
            average_params(),
        ),
    )
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(train_x))[: steps_per_epoch * BATCH]
        losses = []
        for batch in order.reshape(steps_per_epoch, BATCH):
            state, loss = train_step(state, train_x[batch], train_y[batch])
            losses.append(loss)
        test = accuracy(eval_params(state), test_x, test_y)
        seen = mi_diagnostics(state)
        headline = f"loss {jnp.stack(losses).mean():.3f}  test accuracy {test:.1%}"
        yield headline, {layer: seen[layer] for layer in ESTIMATORS}


def show(train: Callable, args: argparse.Namespace, name: str) -> None:
    """Runs `train(seed, epochs)`, with a live table, then a figure of all epochs."""
    console = Console()
    headline, history = "", []
    with Live(console=console) as live:
        for headline, layers in train(args.seed, args.epochs):
            # One by one, because device_get would sort the keys of the mapping.
            history.append({k: jax.device_get(seen) for k, seen in layers.items()})
            title = f"epoch {len(history)}/{args.epochs}  {headline}"
            live.update(make_table(title, history[-1]))
            if not console.is_terminal:  # where the table is shown at the end alone
                console.print(title)
    console.print(f"\n{headline}")

    def curves(field: str) -> dict[str, list[float]]:
        return {
            layer: [float(getattr(seen[layer], field)) for seen in history]
            for layer in history[0]
        }

    figure = plot_layers(
        mi=curves("mi"),
        # The entropy of the labels is the same in every layer that drops no sample.
        entropy=list(curves("entropy").values())[-1],
        learning_rate=curves("learning_rate"),
        title="UCI digits, a learning rate for every layer",
    )
    path = args.output / f"{name}.png"
    with replacing(path) as part:
        figure.savefig(part, dpi=150)
    console.print(f"figure saved as {path}")


def main(argv: list[str] | None = None) -> None:
    """Runs the demo."""
    show(train, parse(argv), "layerwise_digits")


if __name__ == "__main__":
    sys.exit(main())
