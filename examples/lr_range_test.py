"""Trains an image classifier without choosing a learning rate by hand.

A range test trains copies of the network at 48 learning rates for a few hundred steps,
and `mi_decay` uses its bounds. The digits come with scikit-learn; the original files of
MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 are read from --data-dir.
"""

import argparse
import functools
import sys
import time
from pathlib import Path
from typing import Any

from arguments import OneLineParser, add_output, at_least, missing_files


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser, count = OneLineParser(description=__doc__), functools.partial(at_least, 1)
    images = ("mnist", "fashion_mnist", "cifar10", "cifar100")
    parser.add_argument("--data", choices=("digits", *images), default="digits")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of the images' files"
    )
    optimizers = ("sgd", "momentum", "adamw")
    parser.add_argument("--optimizer", choices=optimizers, default="momentum")
    parser.add_argument("--steps", type=functools.partial(at_least, 20), default=400)
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--epochs", type=count, default=30)
    add_output(parser, "outputs")
    args = parser.parse_args(argv)
    if args.data in images and (reason := missing_files(args.data, args.data_dir)):
        parser.error(reason)
    return args


if __name__ == "__main__":
    parse()  # before what is slow to import

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.console import Console
from shared import bars, load_images, replacing
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from optax_mi import LRRangeResult, average_params, eval_params, lr_range_test, mi_decay
from optax_mi.estimators import contingency

OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "adamw": optax.adamw,
}
BATCH = 32
Arrays = tuple[np.ndarray, np.ndarray]


class MLP(nn.Module):
    """A hidden layer of 128 units."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits [N, C] for images [N, ...] of bytes."""
        x = x.reshape(len(x), -1).astype(jnp.float32) / 255
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(128)(x)))


def load(name: str, data_dir: Path | None) -> tuple[Arrays, Arrays]:
    """Loads training and test images of bytes, and their labels.

    Raises:
      ValueError: a file is not what it should be.
    """
    if data_dir is not None and name != "digits":
        return load_images(name, data_dir)
    x, y = load_digits(return_X_y=True)
    x = (np.asarray(x) * 255 / 16).astype(np.uint8)
    rows = np.arange(len(x))
    train, test = train_test_split(rows, test_size=360, stratify=y, random_state=0)
    return (x[train], np.asarray(y)[train]), (x[test], np.asarray(y)[test])


def batched(x: np.ndarray, y: np.ndarray) -> Arrays:
    """Returns images and labels with a leading axis of batches."""
    steps = len(x) // BATCH
    rows = np.random.default_rng(0).permutation(len(x))[: steps * BATCH]
    rows = rows.reshape(steps, BATCH)
    return x[rows], y[rows]


def main(argv: list[str] | None = None) -> None:
    """Runs the range test, then trains with its bounds."""
    args = parse(argv)
    try:
        train, test = load(args.data, args.data_dir)
    except ValueError as error:
        OneLineParser().error(str(error))

    console = Console()
    num_classes = int(train[1].max()) + 1
    model = MLP(num_classes)
    batches = batched(*train)
    optimizer = OPTIMIZERS[args.optimizer]

    def init(key: jax.Array) -> Any:
        return model.init(key, train[0][:1])

    def loss_fn(params: Any, batch: Any) -> tuple[jax.Array, dict[str, Any]]:
        x, y = batch
        logits: Any = model.apply(params, x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, {"outputs": logits, "labels": y}

    begin = time.perf_counter()
    with bars(console) as progress:
        bar = progress.add_task("range test", total=None)
        found = lr_range_test(
            loss_fn,
            init,
            batches,
            estimator=contingency(num_classes=num_classes),
            optimizer=optimizer,
            num_steps=args.steps,
            num_seeds=args.seeds,
            progress=lambda n, total: progress.update(bar, completed=n, total=total),
            key=jax.random.key(0),
        )
    console.print(str(found), highlight=False, soft_wrap=True)
    save(found, args.output, console)
    if found.lr_max is None:
        console.print("no training without an upper bound")
        sys.exit(1)

    tx = optax.chain(
        optimizer(1.0),
        mi_decay(found.lr_max, found.lr_min, num_classes=num_classes),
        average_params(),
    )

    @jax.jit
    def train_epoch(params: Any, opt_state: Any, order: jax.Array) -> Any:
        def step(carry: Any, i: jax.Array) -> Any:
            params, opt_state = carry
            batch = jax.tree.map(lambda a: a[i], on_device)
            grads, seen = jax.grad(loss_fn, has_aux=True)(params, batch)
            updates, opt_state = tx.update(grads, opt_state, params, **seen)
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, (params, opt_state), order)[0]

    on_device = jax.tree.map(jnp.asarray, batches)
    params = init(jax.random.key(1))
    opt_state = tx.init(params)
    rng = np.random.default_rng(1)
    for _ in range(args.epochs):
        order = rng.permutation(len(batches[0]))
        params, opt_state = train_epoch(params, opt_state, order)
    logits = jnp.asarray(model.apply(eval_params(opt_state, params), test[0]))
    hits = np.mean(jnp.argmax(logits, -1) == test[1])
    took = time.perf_counter() - begin
    console.print(
        f"trained {args.epochs} epochs between them: test accuracy {hits:.1%} "
        f"after {took:.0f} s"
    )


def save(found: LRRangeResult, folder: Path, console: Console) -> None:
    """Saves the figure and the result."""
    path = folder / "lr_range_test"
    figure = Figure(figsize=(7, 4), layout="constrained")
    found.plot(figure.subplots())
    with replacing(path.with_suffix(".png")) as part:
        figure.savefig(part, dpi=150)
    with replacing(path.with_suffix(".json")) as part:
        part.write_text(found.to_json() + "\n")
    console.print(f"saved {path}.png and {path}.json", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
