"""Trains a small network on the UCI digits, and logs the run for TensorBoard.

Once an epoch it writes what `log_values` reads from the optimizer state, such as the
learning rate and the mutual information, and the test accuracies. Where TensorBoard is
installed, `tensorboard --logdir outputs/tensorboard` shows them.
"""

import argparse
import sys

from arguments import demo_parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return demo_parser(__doc__, epochs=20).parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import optax
from digits import BATCH, load_images
from no_knob import MODEL, accuracy, train_epoch
from tensorboardX import SummaryWriter

from optax_mi import average_params, eval_params, log_values, mi_sgd
from optax_mi.flax import MITrainState


def train(seed: int, epochs: int, writer: SummaryWriter) -> float:
    """Trains, writes once an epoch, and returns the last test accuracy."""
    train_x, test_x, train_y, test_y = load_images()
    count = len(train_x) // BATCH
    batches = jax.tree.map(
        lambda x: jnp.asarray(x[: count * BATCH]).reshape(count, BATCH, *x.shape[1:]),
        (train_x, train_y),
    )
    keys = jax.random.split(jax.random.key(seed))
    state = MITrainState.create(
        apply_fn=MODEL.apply,
        params=MODEL.init(keys[0], test_x[:1])["params"],
        tx=optax.chain(mi_sgd(0.1, momentum=0.9, num_classes=10), average_params()),
    )
    scalars: dict[str, float] = {}
    for key in jax.random.split(keys[1], epochs):
        state = train_epoch(state, batches, key)
        scalars = log_values(state)
        scalars["accuracy/test"] = accuracy(eval_params(state), test_x, test_y)
        scalars["accuracy/test_raw"] = accuracy(state.params, test_x, test_y)
        for name, value in scalars.items():
            writer.add_scalar(name, value, int(state.step))
    return scalars["accuracy/test"]


def main(argv: list[str] | None = None) -> None:
    """Runs the demo."""
    args = parse(argv)
    folder = args.output / "tensorboard" / f"digits_{args.seed}"
    with SummaryWriter(str(folder)) as writer:
        test = train(args.seed, args.epochs, writer)
    print(f"{args.epochs} epochs: test accuracy {test:.1%}")
    print(f"wrote {folder}")


if __name__ == "__main__":
    sys.exit(main())
