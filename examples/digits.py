"""Trains a small network on the UCI digits with an MI-driven learning rate.

The 1,797 images come with scikit-learn. There is no learning rate schedule and no
horizon: given the bounds, the mutual information between logits and labels sets the
learning rate. After every epoch the averaged weights are evaluated.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from arguments import demo_parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = demo_parser(__doc__, epochs=30)
    rules = ("log-time", "residual", "proportional")
    parser.add_argument("--rule", choices=rules, default="log-time")
    parser.add_argument("--no-plot", action="store_true", help="save no figure")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from shared import bars, replacing
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from optax_mi import average_params, eval_params, mi_diagnostics, mi_sgd
from optax_mi.flax import MITrainState
from optax_mi.plotting import plot_training
from optax_mi.rules import log_time_rule, proportional_rule, residual_rule

BATCH = 32
RULES = {
    "log-time": log_time_rule,
    "residual": residual_rule,
    "proportional": proportional_rule,
}


class CNN(nn.Module):
    """Two convolutions and a dense layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits [N, 10] for images [N, 8, 8, 1]."""
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


MODEL = CNN()


def load_images() -> list[Any]:
    """Training and test images [N, 8, 8, 1], then their labels [N]."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    return train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )


def shift(key: jax.Array, images: jax.Array) -> jax.Array:
    """Shifts each image by up to a pixel, so that none can be memorized."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 3)
    return jax.vmap(
        lambda image, c: jax.lax.dynamic_slice(image, (c[0], c[1], 0), (8, 8, 1))
    )(padded, corners)


# One compiled step, called in a loop, because XLA's convolutions are slow inside
# lax.scan on the CPU.
@jax.jit
def train_step(
    state: MITrainState, images: jax.Array, labels: jax.Array
) -> tuple[MITrainState, jax.Array]:
    """Makes one update; loss and MI share the outputs of the forward pass."""
    moved = shift(jax.random.key(state.step), images)

    def loss_fn(params: Any) -> tuple[jax.Array, jax.Array]:
        logits = state.apply_fn({"params": params}, moved)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), logits

    (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    state = state.apply_gradients(
        grads=grads, extra_args={"outputs": logits, "labels": labels}
    )
    return state, loss


@jax.jit
def accuracy(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the share of images that are classified correctly."""
    logits = MODEL.apply({"params": params}, images)
    return jnp.mean(jnp.argmax(jnp.asarray(logits), -1) == labels)


def train(
    epochs: int, seed: int, rule: str, report: Callable[[dict[str, float]], None]
) -> list[dict[str, float]]:
    """Trains, and returns a row of figures for each epoch."""
    train_x, test_x, train_y, test_y = load_images()
    steps_per_epoch = len(train_x) // BATCH
    decayed = mi_sgd(
        0.05,
        momentum=0.9,
        num_classes=10,
        # The other rules compare an epoch with the one before, so epochs must be long.
        steps_per_epoch=None if rule == "log-time" else steps_per_epoch,
        rule=RULES[rule](),
    )
    state = MITrainState.create(
        apply_fn=MODEL.apply,
        params=MODEL.init(jax.random.key(seed), train_x[:1])["params"],
        tx=optax.chain(decayed, average_params()),
    )
    rng = np.random.default_rng(seed)
    rows = []
    for epoch in range(1, epochs + 1):
        batches = rng.permutation(len(train_x))[: steps_per_epoch * BATCH]
        losses = []
        for batch in batches.reshape(steps_per_epoch, BATCH):
            state, loss = train_step(state, train_x[batch], train_y[batch])
            losses.append(loss)
        seen = mi_diagnostics(state)["all"]
        averaged = eval_params(state)
        row = {
            "epoch": epoch,
            "loss": float(jnp.stack(losses).mean()),
            "mi": float(seen.mi),
            "entropy": float(seen.entropy),
            "share": float(seen.normalized),
            "learning_rate": float(seen.learning_rate),
            "train": float(accuracy(averaged, train_x, train_y)),
            "test": float(accuracy(averaged, test_x, test_y)),
            "test, not averaged": float(accuracy(state.params, test_x, test_y)),
        }
        rows.append(row)
        report(row)
    return rows


def print_table(console: Console, rows: list[dict[str, float]]) -> None:
    """Prints the run, and marks decays."""
    table = Table(title="UCI digits under an MI-driven learning rate")
    for column in ("epoch", "loss", "MI, nats", "known", "LR", "train", "test"):
        table.add_column(column, justify="right")
    before = rows[0]["learning_rate"]
    for row in rows:
        decayed = row["learning_rate"] < before
        before = row["learning_rate"]
        table.add_row(
            f"{row['epoch']:.0f}",
            f"{row['loss']:.4f}",
            f"{row['mi']:.3f}",
            f"{row['share']:.1%}",
            f"{'↓ ' if decayed else ''}{before:.5f}",
            f"{row['train']:.1%}",
            f"{row['test']:.1%}",
            style="bold" if decayed else None,
        )
    console.print(table)


def main(argv: list[str] | None = None) -> None:
    """Runs the demo."""
    args, console = parse(argv), Console()
    begin = time.perf_counter()
    with bars(console) as progress:
        task = progress.add_task("compiling", total=args.epochs)

        def report(row: dict[str, float]) -> None:
            line = (
                f"loss {row['loss']:.3f}  MI {row['mi']:.3f} nats ({row['share']:.1%} "
                f"of H)  LR {row['learning_rate']:.4f}  test {row['test']:.1%}"
            )
            progress.update(task, advance=1, description=line)

        rows = train(args.epochs, args.seed, args.rule, report)
    print_table(console, rows)
    took = time.perf_counter() - begin
    console.print(
        f"test accuracy {rows[-1]['test']:.1%} after {took:.0f} s "
        f"(not averaged {rows[-1]['test, not averaged']:.1%})"
    )
    if not args.no_plot:
        figure = plot_training(
            mi=[row["mi"] for row in rows],
            entropy=[row["entropy"] for row in rows],
            learning_rate=[row["learning_rate"] for row in rows],
            accuracy={
                name: [row[name] for row in rows]
                for name in ("train", "test", "test, not averaged")
            },
            title=f"UCI digits, {args.rule} rule",
        )
        path = args.output / "digits.png"
        with replacing(path) as part:
            figure.savefig(part, dpi=150)
        console.print(f"figure saved as {path}")


if __name__ == "__main__":
    sys.exit(main())
