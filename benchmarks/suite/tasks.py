"""What is learned: a task is data, a network, a budget and a target."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_sample_image,
)

from suite.images import SOURCES, load_images, missing_files
from suite.nets import CNN, MLP, ResNet, Transformer
from suite.text import VOCABULARY, read_text

Arrays = tuple[np.ndarray, np.ndarray]


class Data(NamedTuple):
    """Inputs and labels of each part, [N, ...] and [N] or [N, T]."""

    train: Arrays
    valid: Arrays
    test: Arrays


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
      steps_per_epoch: updates between two decisions of a method that makes any.
      target: validation loss that steps-to-target counts to.
      held_out: whether no rule or default was chosen by looking at this task.
      prepare: from stored inputs to network inputs.
      augment: `augment(key, inputs)` for training batches.
      parallel: trials trained side by side; 0 for all.
    """

    name: str
    title: str
    model: nn.Module
    num_classes: int | None
    load: Callable[[int], Data]
    steps: int
    batch: int
    steps_per_epoch: int
    target: float
    held_out: bool
    prepare: Callable[[jax.Array], jax.Array] = lambda x: x
    augment: Callable[[jax.Array, jax.Array], jax.Array] = lambda key, x: x
    parallel: int = 0

    def describe(self) -> dict[str, Any]:
        """What a report says of the task."""
        names = ("title", "num_classes", "steps", "batch", "steps_per_epoch", "target")
        return {name: getattr(self, name) for name in (*names, "held_out")}


def split(x: np.ndarray, y: np.ndarray, seed: int, valid: int, test: int) -> Data:
    """Shuffles the rows and parts them."""
    order = np.random.default_rng(seed).permutation(len(x))
    parts = np.split(order, [test, test + valid])
    test_part, valid_part, train_part = ((x[rows], y[rows]) for rows in parts)
    return Data(train_part, valid_part, test_part)


def bundled(load: Callable[..., Any]) -> Arrays:
    """Inputs and labels of one of scikit-learn's data sets."""
    x, y = load(return_X_y=True)
    return np.asarray(x), np.asarray(y)


def digits(seed: int) -> Data:
    """UCI digits, 8 x 8, ten classes."""
    x, y = bundled(load_digits)
    x = (x / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    return split(x, y.astype(np.int32), seed, 360, 360)


def shift(key: jax.Array, images: jax.Array, by: int = 1) -> jax.Array:
    """Moves each image [H, W, C] by up to `by` pixels either way."""
    pad = ((0, 0), (by, by), (by, by), (0, 0))
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * by + 1)
    return jax.vmap(
        lambda image, c: jax.lax.dynamic_slice(image, (c[0], c[1], 0), images.shape[1:])
    )(jnp.pad(images, pad), corners)


def flip_and_shift(key: jax.Array, images: jax.Array) -> jax.Array:
    """What CIFAR is commonly augmented with."""
    keys = jax.random.split(key)
    flips = jax.random.bernoulli(keys[0], shape=(len(images), 1, 1, 1))
    return shift(keys[1], jnp.where(flips, images[:, :, ::-1], images), 4)


def cancer(seed: int) -> Data:
    """Breast cancer, Wisconsin: 30 measurements, two classes."""
    x, y = bundled(load_breast_cancer)
    return split(standardise(x), y.astype(np.int32), seed, 114, 114)


def diabetes(seed: int) -> Data:
    """Diabetes progression: ten measurements, a real label."""
    x, y = bundled(load_diabetes)
    return split(standardise(x), standardise(y), seed, 88, 88)


def standardise(x: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance, a column at a time."""
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32)


def pixels(
    seed: int,
    photograph: str = "china.jpg",
    levels: int = 32,
    reach: int = 3,
    rows: int = 100_000,
) -> Data:
    """A photograph: the grey level of a pixel from the pixels above and to the left."""
    grey = np.asarray(load_sample_image(photograph)).mean(-1).astype(np.uint8)
    height, width = grey.shape
    inner_height, inner_width = height - reach, width - 2 * reach
    context = [
        grey[i : i + inner_height, j : j + inner_width].ravel()
        for i in range(reach + 1)
        for j in range(2 * reach + 1)
        if i < reach or j < reach
    ]
    pixel = grey[reach:, reach : reach + inner_width].ravel()
    y = (pixel // (256 // levels)).astype(np.int32)
    keep = np.random.default_rng(seed).permutation(len(y))[: rows + 6000]
    return split(np.stack(context, 1)[keep], y[keep], seed, 2000, 4000)


def teacher(seed: int, rows: int = 200_000, classes: int = 10) -> Data:
    """A random network's answers, one in five replaced by a random class."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(20, 32)), rng.normal(size=(32, classes))
    x = rng.normal(size=(rows + 6000, 20)).astype(np.float32)
    y = np.argmax(np.tanh(x @ first / np.sqrt(20)) @ second, 1)
    noise = rng.random(len(y)) < 0.2
    y = np.where(noise, rng.integers(0, classes, len(y)), y).astype(np.int32)
    return split(x, y, seed, 2000, 4000)


def text(seed: int, length: int = 32) -> Data:
    """Python's own help texts: each character from those before it."""
    tokens = read_text()
    blocks = tokens[: len(tokens) // (length + 1) * (length + 1)]
    blocks = blocks.reshape(-1, length + 1)
    return split(blocks[:, :-1], blocks[:, 1:].astype(np.int32), seed, 100, 200)


def centre(levels: jax.Array) -> jax.Array:
    """Bytes to numbers around 0."""
    return levels.astype(jnp.float32) / 128 - 1


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
    ]


def image_tasks(data_dir: Path | None) -> tuple[dict[str, Task], dict[str, str]]:
    """MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 from their original files.

    Returns:
      The tasks whose files are in `data_dir`, and of the others how to get theirs.
    """
    tasks, missing = {}, {}
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
            parallel=1,
        )
    return tasks, missing


def images(seed: int, name: str, data_dir: Path) -> Data:
    """The original training set, a tenth of it held for validation, and test set."""
    (x, y), test = load_images(name, data_dir)
    order = np.random.default_rng(seed).permutation(len(x))
    held, kept = np.split(order, [len(x) // 10])
    return Data((x[kept], y[kept]), (x[held], y[held]), test)
