"""Images that share nothing but a class, or bits, with a label or with other images.

A class passes through a channel that replaces a share of them by another one, each as
likely; X is an image of the class that goes in. The information that X has about what
comes out is then known wherever an image tells its class. So it is for pairs where Y is
an image of the class that comes out, as in Lee and Rhee, arXiv:2410.10924, 2024; images
side by side add up.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import rel_entr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from suite.known import draw_labels


class Interval(NamedTuple):
    """Where the information of a layer lies, nats."""

    low: float
    high: float

    def error(self, value: float) -> float:
        """How far a value lies above or, negative, below; 0 inside."""
        return value - min(max(value, self.low), self.high)


def channel(classes: int, crossover: float) -> np.ndarray:
    """p(out | in), [C, C]; a binary symmetric channel for two classes."""
    others = crossover / (classes - 1)
    return np.full((classes, classes), others) + np.eye(classes) * (
        1 - crossover - others
    )


def information(joint: np.ndarray) -> float:
    """I of a joint distribution [A, B], nats."""
    product = joint.sum(1, keepdims=True) * joint.sum(0)
    return float(rel_entr(joint, product).sum())


def confusions(rows: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """p(guess | class), [C, C], of a linear classifier on rows it was not fitted to."""
    fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    guess = cross_val_predict(fit, rows, labels, cv=2)
    every = range(classes)
    return confusion_matrix(labels, guess, labels=every, normalize="true")


def bounds(through: np.ndarray, guesses: np.ndarray, paired: bool) -> Interval:
    """What a layer knows, between what guesses from it tell and what the class does.

    Both follow from the data-processing inequality: a layer has no more than the class
    that went in, and a guess from the layer has no more than the layer.
    """
    joint = through / len(through)
    told = guesses.T @ joint
    return Interval(information(told @ guesses if paired else told), information(joint))


def draw_rows(
    rng: np.random.Generator, classes: np.ndarray, through: np.ndarray, samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of X [N], what comes out of the channel [N], and rows of Y [N].

    Classes are as likely as each other; no image is drawn twice.

    Args:
      rng: where randomness comes from.
      classes: the class of every image that there is.
      through: the channel.
      samples: how many to draw.

    Raises:
      ValueError: there are too few images of a class.
    """
    went_in = rng.integers(len(through), size=samples)
    came_out = draw_labels(rng, through[went_in])
    wanted = np.concatenate([went_in, came_out])
    rows = np.empty(len(wanted), int)
    for c, of_class in _pools(rng, classes, len(through)):
        (places,) = np.nonzero(wanted == c)
        if len(places) > len(of_class):
            raise ValueError(
                f"{samples} samples take {len(places)} images of class {c}, and there "
                f"are {len(of_class)}; draw fewer."
            )
        rows[places] = of_class[: len(places)]
    return rows[:samples], came_out, rows[samples:]


def _pools(
    rng: np.random.Generator, classes: np.ndarray, count: int
) -> Iterator[tuple[int, np.ndarray]]:
    for c in range(count):
        yield c, rng.permutation(np.flatnonzero(classes == c))
