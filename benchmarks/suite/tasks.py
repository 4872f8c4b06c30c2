"""What is learned: a task is data, a network, a budget and a target."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from suite.data import (
    Data,
    cancer,
    centre,
    diabetes,
    digits,
    flip_and_shift,
    images,
    noisy_digits,
    pixels,
    rare,
    shift,
    teacher,
    text,
)
from suite.nets import CNN, MLP, ResNet, Transformer
from suite.sources import INSTALLED, SOURCES, missing_fashion, missing_files
from suite.start import PIXELS, trained_on_china
from suite.text import VOCABULARY

# Fashion-MNIST's rows to train on, a tenth held back, and how many make a batch.
ROWS, BATCH = 54_000, 128


def as_it_is(key: jax.Array, inputs: jax.Array) -> jax.Array:
    """No augmentation."""
    del key
    return inputs


@dataclasses.dataclass(frozen=True)
class Task:
    """One row of the suite.

    Attributes:
      name: key in results and on the command line.
      title: what it is, in words.
      model: network from inputs to logits, or to one number for regression.
      num_classes: classes of the labels, None for regression.
      load: data of a seed; each seed has its own split or its own draw.
      steps: updates in the budget.
      batch: rows of a batch.
      steps_per_epoch: updates between two decisions of a method that makes any; None
        leaves it to the method.
      target: validation loss that steps-to-target counts to.
      held_out: whether no rule or default was chosen by looking at this task.
      prepare: from stored inputs to network inputs.
      augment: `augment(key, inputs)` for training batches.
      parallel: trials trained side by side; 0 for all.
      one_by_one: whether all runs are trained one after another, seeds too, which is
        faster where one network fills the caches of a CPU.
      start: `start(seed)`, the parameters at the start; None draws them anew.
      noise: norms of the noise under which trained networks are judged at the end.
    """

    name: str
    title: str
    model: nn.Module
    num_classes: int | None
    load: Callable[[int], Data]
    steps: int
    batch: int
    steps_per_epoch: int | None
    target: float
    held_out: bool
    prepare: Callable[[jax.Array], jax.Array] = lambda x: x
    augment: Callable[[jax.Array, jax.Array], jax.Array] = as_it_is
    parallel: int = 0
    one_by_one: bool = False
    start: Callable[[int], Any] | None = None
    noise: tuple[float, ...] = ()

    @property
    def is_augmented(self) -> bool:
        """Whether inputs differ from pass to pass."""
        return self.augment is not as_it_is

    def describe(self) -> dict[str, Any]:
        """What a report says of the task."""
        names = ("title", "num_classes", "steps", "batch", "steps_per_epoch", "target")
        return {name: getattr(self, name) for name in (*names, "held_out")}


def bundled_tasks() -> list[Task]:
    """The tasks whose data come with Python, scikit-learn, or a random generator."""
    return [
        Task(
            "digits_mlp",
            "UCI digits, MLP 64-64-10",
            MLP((64,), 10),
            10,
            digits,
            steps=2000,
            batch=32,
            steps_per_epoch=33,
            target=0.2,
            held_out=False,
        ),
        Task(
            "pixels",
            "grey levels of a photograph, MLP 24-64-64-32",
            MLP((64, 64), 32),
            32,
            pixels,
            steps=3000,
            batch=128,
            steps_per_epoch=100,
            target=2.0,
            held_out=False,
            prepare=centre,
        ),
        Task(
            "teacher",
            "stream of a teacher's answers, 20 % noise, MLP 20-64-64-10",
            MLP((64, 64), 10),
            10,
            teacher,
            steps=3000,
            batch=64,
            steps_per_epoch=100,
            target=1.27,
            held_out=False,
        ),
        Task(
            "digits_cnn",
            "UCI digits with random shifts, CNN",
            CNN(10),
            10,
            digits,
            steps=1500,
            batch=32,
            steps_per_epoch=33,
            target=0.15,
            held_out=False,
            augment=shift,
        ),
        Task(
            "flower",
            "grey levels of another photograph, MLP 40-128-64",
            MLP((128,), 64),
            64,
            functools.partial(pixels, photograph="flower.jpg", levels=64, reach=4),
            steps=3000,
            batch=64,
            steps_per_epoch=100,
            target=2.4,
            held_out=True,
            prepare=centre,
        ),
        Task(
            "cancer",
            "breast cancer, MLP 30-32-2",
            MLP((32,), 2),
            2,
            cancer,
            steps=600,
            batch=32,
            steps_per_epoch=10,
            target=0.25,
            held_out=True,
        ),
        Task(
            "text",
            "characters of Python's help texts, transformer",
            Transformer(VOCABULARY),
            VOCABULARY,
            text,
            steps=1000,
            batch=8,
            steps_per_epoch=100,
            target=2.5,
            held_out=True,
        ),
        Task(
            "diabetes",
            "diabetes progression, a regression, MLP 10-32-1",
            MLP((32,), 1),
            None,
            diabetes,
            steps=600,
            batch=32,
            steps_per_epoch=8,
            target=0.35,
            held_out=True,
        ),
        Task(
            "tuning",
            "fine-tuning: from one photograph's grey levels to another's, "
            "MLP 24-64-64-32",
            PIXELS,
            32,
            functools.partial(pixels, photograph="flower.jpg"),
            steps=3000,
            batch=128,
            steps_per_epoch=100,
            target=0.75,
            held_out=True,
            prepare=centre,
            start=trained_on_china,
        ),
        Task(
            "digits_noisy",
            "UCI digits, a third of the labels wrong but for the test's, MLP 64-64-10",
            MLP((64,), 10),
            10,
            noisy_digits,
            steps=2000,
            batch=32,
            steps_per_epoch=33,
            target=1.6,
            held_out=True,
        ),
        Task(
            "rare",
            "stream of a teacher's answers, classes from 1 to 1/100 as frequent, "
            "MLP 20-64-64-10",
            MLP((64, 64), 10),
            10,
            rare,
            steps=3000,
            batch=64,
            steps_per_epoch=100,
            target=0.3,
            held_out=True,
        ),
    ]


def shortened(task: Task, many: int = 4000, kept: int = 2000) -> Task:
    """The task with fewer rows to judge by, where there are many.

    To judge a network on all of 10,000 images takes longer than a short run trains.
    """

    def load(seed: int) -> Data:
        data = task.load(seed)
        if len(data.test[1]) <= many:
            return data
        valid, test = ((x[:kept], y[:kept]) for x, y in (data.valid, data.test))
        return Data(data.train, valid, test)

    return dataclasses.replace(task, load=load)


def fashion_mlp(data_dir: Path) -> Task:
    """Fashion-MNIST for 16 epochs, so that the horizons are 2, 4, 8 and 16."""
    epoch = ROWS // BATCH
    return Task(
        "fashion_mlp",
        "Fashion-MNIST, MLP 784-128-10",
        MLP((128,), 10),
        10,
        functools.partial(images, name="fashion_mnist", data_dir=data_dir),
        steps=16 * epoch,
        batch=BATCH,
        steps_per_epoch=epoch,
        target=0.35,
        held_out=True,
        prepare=centre,
        one_by_one=True,
    )


def image_tasks(data_dir: Path | None) -> tuple[dict[str, Task], dict[str, str]]:
    """MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 from their original files.

    Returns:
      The tasks whose files are in `data_dir`, and of the others how to get theirs.
      Without a `data_dir`, `fashion_mlp` takes its files from where Debian has them.
    """
    tasks, missing = {}, {}
    folder = INSTALLED if data_dir is None else data_dir
    if reason := missing_fashion(folder):
        missing["fashion_mlp"] = reason
    else:
        tasks["fashion_mlp"] = fashion_mlp(folder)
    targets = {"mnist": 0.1, "fashion_mnist": 0.4, "cifar10": 1.0, "cifar100": 2.6}
    for name, source in SOURCES.items():
        if reason := missing_files(name, data_dir):
            missing[name] = reason
            continue
        assert data_dir is not None
        grey = source.kind == "idx"
        net = CNN(source.num_classes, (16, 32)) if grey else ResNet(source.num_classes)
        tasks[name] = Task(
            name,
            f"{source.title}, {'CNN with random shifts' if grey else 'ResNet'}",
            net,
            source.num_classes,
            functools.partial(images, name=name, data_dir=data_dir),
            steps=4000 if grey else 8000,
            batch=128,
            steps_per_epoch=400,
            target=targets[name],
            held_out=True,
            prepare=centre,
            augment=shift if grey else flip_and_shift,
            one_by_one=True,
        )
    return tasks, missing
