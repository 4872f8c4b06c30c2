"""Real vectors with a class, whose mutual information is known to a few 1e-3 nats.

It is the mean, over 200,000 samples, of the logarithm of the true posterior over the
share of the class.
"""

import math
from typing import Any

import numpy as np
from scipy.special import log_softmax

from suite.mi_vectors import Map, Source

_MANY = 200_000


def blobs(
    means: Any,
    spreads: Any = 1.0,
    shares: Any = None,
    freedom: float | None = None,
    warp: Map | None = None,
) -> Source:
    """Classes of Gaussians, or of Student's vectors, with these means [C, d]."""
    means = np.asarray(means, float)
    classes, d = means.shape
    spreads = np.broadcast_to(spreads, classes)
    shares = np.full(classes, 1 / classes) if shares is None else np.asarray(shares)

    def log_densities(x: np.ndarray) -> np.ndarray:
        squares = np.sum((x[:, None] - means) ** 2, 2) / spreads**2
        if freedom is None:
            shape = -0.5 * squares
        else:
            shape = -0.5 * (freedom + d) * np.log1p(squares / freedom)
        return shape - d * np.log(spreads)

    def draw(rng: np.random.Generator, samples: int) -> Any:
        labels = rng.choice(classes, samples, p=shares)
        noise = rng.normal(size=(samples, d))
        if freedom is not None:
            noise *= np.sqrt(freedom / rng.chisquare(freedom, (samples, 1)))
        return means[labels] + spreads[labels, None] * noise, labels

    x, labels = draw(np.random.default_rng(77), _MANY)
    log_shares = np.log(shares)
    log_q = log_softmax(log_densities(x) + log_shares, axis=1)
    terms = log_q[np.arange(_MANY), labels] - log_shares[labels]
    return _warped(draw, max(float(np.mean(terms)), 0.0), warp)


def noisy_rule(
    logits_of: Map, d: int, uniform: bool = False, warp: Map | None = None
) -> Source:
    """A class drawn from the softmax of logits [N, C] of normal or uniform x [N, d]."""

    def inputs(rng: np.random.Generator, samples: int) -> np.ndarray:
        return (
            rng.uniform(-1, 1, (samples, d))
            if uniform
            else rng.normal(size=(samples, d))
        )

    def draw(rng: np.random.Generator, samples: int) -> Any:
        x = inputs(rng, samples)
        logits = logits_of(x)
        return x, (logits + rng.gumbel(size=logits.shape)).argmax(1)

    log_q = log_softmax(logits_of(inputs(np.random.default_rng(3), _MANY)), axis=1)
    mean = np.exp(log_q).mean(0)
    truth = np.mean(np.sum(np.exp(log_q) * log_q, 1)) - np.sum(mean * np.log(mean))
    return _warped(draw, float(truth), warp)


def _warped(draw: Any, truth: float, warp: Map | None) -> Source:
    if warp is None:
        return Source(draw, truth)

    def warped(rng: np.random.Generator, samples: int) -> Any:
        x, labels = draw(rng, samples)
        return warp(x), labels

    return Source(warped, truth)


def two_classes(logit: Map) -> Map:
    """Logits [N, 2] of the logit of the second class."""
    return lambda x: np.stack([np.zeros(len(x)), logit(x)], 1)


def linear(d: int, classes: int, scale: float, seed: int) -> Map:
    """Logits of random weights."""
    weights = np.random.default_rng(seed).normal(0, scale, (d, classes))
    return lambda x: x @ weights


def corners(classes: int, d: int, distance: float) -> np.ndarray:
    """Means [C, d], each `distance` along an axis of its own."""
    return np.eye(classes, d) * distance


def square(distance: float) -> np.ndarray:
    """Means of four classes at the corners of a square."""
    return distance * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])


def checks(x: np.ndarray) -> np.ndarray:
    """Logit of a board of 4 x 4 fields, its borders almost sharp."""
    return 30 * np.sin(2 * math.pi * x[:, 0]) * np.sin(2 * math.pi * x[:, 1])


def bands(number: float) -> Map:
    """Logit of bands along the first column."""
    return lambda x: 8 * np.sin(number * math.pi * x[:, 0])


def disc(radius: float, columns: int, sharpness: float) -> Map:
    """Logit of lying outside of a ball in the first columns."""
    return lambda x: sharpness * (np.sum(x[:, :columns] ** 2, 1) - radius**2)
