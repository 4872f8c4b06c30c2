"""The data that tasks are made of, and what is done to inputs on the way in."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_sample_image,
)

from suite.images import load_images
from suite.text import read_text

Arrays = tuple[np.ndarray, np.ndarray]


class Data(NamedTuple):
    """Inputs and labels of each part, [N, ...] and [N] or [N, T]."""

    train: Arrays
    valid: Arrays
    test: Arrays


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


def noisy_digits(seed: int, share: float = 1 / 3) -> Data:
    """UCI digits where a share of the labels are wrong, but for those of the test.

    A wrong label is any of the nine others, each as likely.
    """
    return spoil_labels(digits(seed), share, np.random.default_rng([seed, 2]))


def spoil_labels(data: Data, share: float, rng: np.random.Generator) -> Data:
    """A share of the labels of ten classes made wrong, but for those of the test."""

    def spoil(part: Arrays) -> Arrays:
        x, y = part
        wrong = rng.permutation(len(y)) < round(share * len(y))
        other = (y + rng.integers(1, 10, len(y))) % 10
        return x, np.where(wrong, other, y).astype(np.int32)

    return Data(spoil(data.train), spoil(data.valid), data.test)


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


@functools.lru_cache(maxsize=8)
def rare(
    seed: int, rows: int = 200_000, classes: int = 10, least: float = 0.01
) -> Data:
    """A random network's answers, kept so that some classes are rare.

    Class k is `least` ** (k / (classes - 1)) times as frequent as class 0. No label is
    wrong. Class 0 is the network's most frequent answer, and so on down.
    """
    rng = np.random.default_rng([seed, 3])
    first, second = rng.normal(size=(20, 32)), rng.normal(size=(32, classes))

    def draw() -> Arrays:
        x = rng.normal(size=(200_000, 20)).astype(np.float32)
        return x, np.argmax(np.tanh(x @ first / np.sqrt(20)) @ second, 1)

    found = np.bincount(draw()[1], minlength=classes) + 1
    order = np.argsort(-found)
    rank = np.argsort(order)
    wanted = least ** (rank / (classes - 1))
    keep = wanted / found / np.max(wanted / found)
    parts, total = [], 0
    while total < rows + 6000:
        x, y = draw()
        kept = rng.random(len(y)) < keep[y]
        parts.append((x[kept], rank[y[kept]]))
        total += int(kept.sum())
    x, y = (np.concatenate(each)[: rows + 6000] for each in zip(*parts, strict=True))
    return split(x, y.astype(np.int32), seed, 2000, 4000)


def text(seed: int, length: int = 32) -> Data:
    """Python's own help texts: each character from those before it."""
    tokens = read_text()
    blocks = tokens[: len(tokens) // (length + 1) * (length + 1)]
    blocks = blocks.reshape(-1, length + 1)
    return split(blocks[:, :-1], blocks[:, 1:].astype(np.int32), seed, 100, 200)


def centre(levels: jax.Array) -> jax.Array:
    """Bytes to numbers around 0."""
    return levels.astype(jnp.float32) / 128 - 1


def images(seed: int, name: str, data_dir: Path, share: float = 0.1) -> Data:
    """The original training set, a share of it held for validation, and test set."""
    train, test = _read_once(name, data_dir)
    return _hold_back(train, test, seed, share)


def _hold_back(train: Arrays, test: Arrays, seed: int, share: float) -> Data:
    x, y = train
    order = np.random.default_rng(seed).permutation(len(x))
    held, kept = np.split(order, [round(share * len(x))])
    return Data((x[kept], y[kept]), (x[held], y[held]), test)


def wrong_images(seed: int, wrong: float = 0.3, **source: Any) -> Data:
    """Images where a share of the labels are wrong, but for those of the test."""
    return spoil_labels(images(seed, **source), wrong, np.random.default_rng([seed, 2]))


def rare_images(
    seed: int, name: str, data_dir: Path, share: float = 0.1, least: float = 0.01
) -> Data:
    """Images where class k has `least` ** (k / (classes - 1)) times its original rows.

    The test set, in which the classes of the original are as frequent as each other, is
    left as it is.
    """
    (x, y), test = _read_once(name, data_dir)
    counts = np.bincount(y)
    wanted = counts * least ** (np.arange(len(counts)) / (len(counts) - 1))
    order = np.random.default_rng([seed, 3]).permutation(len(x))
    kept = [order[y[order] == k][: round(n)] for k, n in enumerate(wanted)]
    rows = np.concatenate(kept)
    return _hold_back((x[rows], y[rows]), test, seed, share)


# The seeds of a task split the same images.
_read_once = functools.lru_cache(maxsize=1)(load_images)
