"""Trains a network on the UCI digits without any learning rate or schedule.

A search, which takes a tenth of the updates, finds the learning rate for the optimizer
and explains it. Then the network trains with the decay and average that it chose.
"""

import argparse
import functools
import sys
from typing import Any

from arguments import demo_parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = demo_parser(__doc__, epochs=40)
    optimizers = ("adamw", "sgd", "momentum", "lion", "muon")
    parser.add_argument("--optimizer", choices=optimizers, default="adamw")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from digits import BATCH, load_images
from rich.console import Console
from shared import replacing

from optax_mi import auto, eval_params
from optax_mi.flax import MITrainState

OPTIMIZERS = {
    "adamw": optax.adamw,
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "lion": optax.lion,
    "muon": optax.contrib.muon,
}


class MLP(nn.Module):
    """One hidden layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits [N, 10] for images [N, 8, 8, 1]."""
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x.reshape(len(x), -1))))


MODEL = MLP()


def loss_fn(params: Any, batch: Any) -> tuple[jax.Array, dict[str, Any]]:
    """Returns the loss, and the extra arguments for the transformation."""
    images, labels = batch
    logits = jnp.asarray(MODEL.apply({"params": params}, images))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), {"outputs": logits, "labels": labels}


@jax.jit
def train_epoch(state: MITrainState, batches: Any, key: jax.Array) -> MITrainState:
    """Makes one pass over the batches in a new order."""

    def step(state: MITrainState, place: jax.Array) -> tuple[MITrainState, None]:
        batch = jax.tree.map(lambda x: x[place], batches)
        grads, seen = jax.grad(loss_fn, has_aux=True)(state.params, batch)
        return state.apply_gradients(grads=grads, extra_args=seen), None

    order = jax.random.permutation(key, len(batches[1]))
    return jax.lax.scan(step, state, order)[0]


def accuracy(params: Any, images: Any, labels: Any) -> float:
    """Returns the share of images that are classified correctly."""
    logits = loss_fn(params, (images, labels))[1]["outputs"]
    return float(jnp.mean(logits.argmax(-1) == labels))


def main(argv: list[str] | None = None) -> None:
    """Searches, draws the search, and trains."""
    args, console = parse(argv), Console()
    train_x, test_x, train_y, test_y = load_images()
    count = len(train_x) // BATCH
    batches = jax.tree.map(
        lambda x: jnp.asarray(x[: count * BATCH]).reshape(count, BATCH, *x.shape[1:]),
        (train_x, train_y),
    )
    keys = jax.random.split(jax.random.key(args.seed), 3)
    params = MODEL.init(keys[0], test_x[:1])["params"]
    found = auto(
        loss_fn,
        params,
        batches,
        num_classes=10,
        optimizer=OPTIMIZERS[args.optimizer],
        num_updates=max(60, args.epochs * count // 10),
        key=keys[1],
    )
    console.print(str(found), highlight=False, soft_wrap=True)
    with replacing(args.output / "no_knob.png") as part:
        found.plot().savefig(part, dpi=110)
    state = MITrainState.create(apply_fn=MODEL.apply, params=params, tx=found.tx)
    for key in jax.random.split(keys[2], args.epochs):
        state = train_epoch(state, batches, key)
    console.print(
        f"{args.epochs} epochs with {args.optimizer}: test accuracy "
        f"{accuracy(eval_params(state), test_x, test_y):.1%} (not averaged "
        f"{accuracy(state.params, test_x, test_y):.1%})"
    )
    console.print(f"wrote {args.output / 'no_knob.png'}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
