"""Trains a ResNet in flax.nnx with a learning rate for every stage.

Each stage's learning rate decays with the information of its own output about the
labels. It comes from the forward pass that the gradient needs anyway. The norms, in the
group "default", follow the information of the network's logits. At the end the averaged
weights are evaluated too, with their own statistics for the norms.
"""

import argparse
import sys
from collections.abc import Iterator

from arguments import demo_parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return demo_parser(__doc__, epochs=15).parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits import BATCH, load_images, shift
from flax import nnx
from layerwise_digits import show

from optax_mi import (
    MIDiagnostics,
    average_params,
    eval_params,
    label_by_path,
    layerwise_mi_decay,
    mi_diagnostics,
    reduce_activations,
)
from optax_mi.estimators import contingency, gaussian
from optax_mi.flax import capture_layers, recompute_batch_stats

WIDTHS = (16, 32, 64)
# From groups to modules, in order from input to output.
LAYERS = {
    "stem": "stem",
    "stage 1": "stages/0",
    "stage 2": "stages/1",
    "stage 3": "stages/2",
    "head": "head",
}
# The third stage's 64 channels are projected to 32.
ESTIMATORS = {
    "stem": gaussian(features=16, num_classes=10, noise=0.25),
    "stage 1": gaussian(features=16, num_classes=10, noise=0.25),
    "stage 2": gaussian(features=32, num_classes=10, noise=0.25),
    "stage 3": gaussian(features=32, num_classes=10, noise=0.25),
    "head": contingency(num_classes=10),
}
# The first match counts, so a stage's norms are in "norms", not in the stage's group.
GROUPS = {"norm": "norms"} | {f"^{path}/": group for group, path in LAYERS.items()}


class Block(nnx.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, inputs: int, width: int, stride: int, rngs: nnx.Rngs) -> None:
        def conv(inputs: int, size: int, strides: int) -> nnx.Conv:
            return nnx.Conv(
                inputs, width, (size, size), strides, use_bias=False, rngs=rngs
            )

        self.conv1, self.conv2 = conv(inputs, 3, stride), conv(width, 3, 1)
        self.norm1 = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.norm2 = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.skip = None if inputs == width else conv(inputs, 1, stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images [N, H, W, inputs] to [N, H / stride, W / stride, width]."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        skip = x if self.skip is None else self.skip(x)
        return nnx.relu(skip + self.norm2(self.conv2(y)))


class ResNet(nnx.Module):
    """A convolution, three stages of residual blocks, pooling and a dense layer."""

    def __init__(self, rngs: nnx.Rngs, blocks: int = 1) -> None:
        self.stem = nnx.Conv(1, WIDTHS[0], (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(WIDTHS[0], momentum=0.9, rngs=rngs)
        self.stages, inputs = nnx.List(), WIDTHS[0]
        for width in WIDTHS:
            stride = 1 if width == inputs else 2
            rest = [Block(width, width, 1, rngs) for _ in range(blocks - 1)]
            stage = nnx.Sequential(Block(inputs, width, stride, rngs), *rest)
            self.stages.append(stage)
            inputs = width
        self.head = nnx.Linear(inputs, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits [N, 10] for images [N, 8, 8, 1]."""
        x = nnx.relu(self.norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((1, 2)))


@nnx.jit
def train_step(
    model: ResNet, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array
) -> jax.Array:
    """Makes one update; the loss and every layer's MI share one forward pass."""
    moved = shift(jax.random.key(optimizer.step[...]), images)

    def loss_fn(model: ResNet) -> tuple[jax.Array, dict]:
        logits, activations = capture_layers(model, moved, layers=LAYERS)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        seen = {"outputs": logits, "activations": reduce_activations(activations)}
        return losses.mean(), seen

    (loss, seen), grads = nnx.value_and_grad(loss_fn, has_aux=True)(model)
    optimizer.update(model, grads, labels=labels, **seen)
    return loss


@nnx.jit
def accuracy(model: ResNet, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the share of images that are classified correctly."""
    return jnp.mean(model(images).argmax(-1) == labels)


def train(seed: int, epochs: int) -> Iterator[tuple[str, dict[str, MIDiagnostics]]]:
    """Trains, and yields a headline and what each layer knew, once per epoch."""
    train_x, test_x, train_y, test_y = load_images()
    steps_per_epoch = len(train_x) // BATCH
    model = ResNet(nnx.Rngs(seed))
    tx = layerwise_mi_decay(
        ESTIMATORS,
        label_by_path(GROUPS),
        lr_max=0.05,
        steps_per_epoch=steps_per_epoch,  # not shorter: see layerwise_digits.py
        default=contingency(num_classes=10),
    )
    tx = optax.chain(optax.sgd(1.0, momentum=0.9), tx, average_params())
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        order = rng.permutation(len(train_x))[: steps_per_epoch * BATCH]
        order = order.reshape(steps_per_epoch, BATCH)
        losses = []
        model.train()  # norms use the batch, and update their running statistics
        for batch in order:
            losses.append(train_step(model, optimizer, train_x[batch], train_y[batch]))
        model.eval()  # norms use the running statistics
        test = accuracy(model, test_x, test_y)
        seen = mi_diagnostics(optimizer)
        headline = f"loss {jnp.stack(losses).mean():.3f}  test accuracy {test:.1%}"
        if epoch == epochs - 1:
            averaged = nnx.clone(model)
            nnx.update(averaged, eval_params(optimizer))
            recompute_batch_stats(averaged, (train_x[batch] for batch in order))
            test = accuracy(averaged, test_x, test_y)
            headline += f", of the averaged weights {test:.1%}"
        yield headline, {group: seen[group] for group in LAYERS}


def main(argv: list[str] | None = None) -> None:
    """Runs the demo."""
    show(train, parse(argv), "layerwise_nnx")


if __name__ == "__main__":
    sys.exit(main())
