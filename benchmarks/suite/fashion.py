"""Fashion-MNIST as tasks: every network on every kind of labels."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from suite.binary import BinaryMLP
from suite.data import Data, centre, images, rare_images, wrong_images
from suite.nets import MLP, BatchNormResNet, LeNet
from suite.tasks import BATCH, Task

# A twentieth of the 60,000 is for validation; of rare classes a tenth, or none is left.
EPOCH = 57_000 // BATCH
# L2 norms of noise, for images whose own norm is 22 in the mean.
NORMS = (0.5, 1.0, 2.0, 16.0)


class Net(NamedTuple):
    """A network, what it is in words, its epochs, and the noise it is judged under."""

    model: nn.Module
    title: str
    epochs: int
    noise: tuple[float, ...] = ()


class Kind(NamedTuple):
    """What labels there are, in words, and the validation loss to reach."""

    load: Callable[..., Data]
    title: str
    target: float
    share: float = 0.05


NETS = {
    "mlp": Net(MLP((256,), 10), "MLP 784-256-10", 16, NORMS),
    "cnn": Net(LeNet(10), "LeNet-like CNN", 6),
    "resnet": Net(BatchNormResNet(10), "ResNet with batch norms", 3),
    "binary": Net(
        BinaryMLP((256,), 10), "MLP 784-256-10 of binary activations", 8, NORMS
    ),
}
KINDS = {
    "clean": Kind(images, "labels as they are", 0.34),
    "wrong": Kind(wrong_images, "30 % of the training labels wrong", 1.5),
    "rare": Kind(rare_images, "training classes of 1 to 100 in frequency", 0.3, 0.1),
}


def fashion_tasks(data_dir: Path) -> dict[str, Task]:
    """Every network on every kind of labels, such as "mlp-clean".

    They train for as many updates whatever the labels are.
    """
    return {
        f"{net}-{kind}": _task(f"{net}-{kind}", NETS[net], KINDS[kind], data_dir)
        for net in NETS
        for kind in KINDS
    }


def _task(name: str, net: Net, kind: Kind, data_dir: Path) -> Task:
    source: dict[str, Any] = {
        "name": "fashion_mnist",
        "data_dir": data_dir,
        "share": kind.share,
    }
    return Task(
        name,
        f"{net.title}, {kind.title}",
        net.model,
        10,
        functools.partial(kind.load, **source),
        steps=net.epochs * EPOCH,
        batch=BATCH,
        steps_per_epoch=EPOCH,
        target=kind.target,
        held_out=True,
        prepare=centre,
        one_by_one=True,
        noise=net.noise,
    )
