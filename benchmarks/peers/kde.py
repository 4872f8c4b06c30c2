"""MI from pairwise distances: the published algorithm in NumPy, in float64."""

import functools
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from optax_mi.estimators.samples._kde_mi import kde_mi
from peers.case import Case

CLASSES = 10


def cases() -> Iterator[Case]:
    """One to 512 columns, with a bandwidth between the distances and the spread."""
    for samples, columns in ((1000, 1), (4000, 1), (4000, 10), (4000, 64), (4000, 512)):
        rng = np.random.default_rng(columns)
        labels = rng.integers(0, CLASSES, samples)
        means = 3 * rng.normal(size=(CLASSES, columns)) / columns**0.5
        x = (rng.normal(size=(samples, columns)) + means[labels]).astype(np.float32)
        yield _case(x, labels, bandwidth=columns**0.5 / 2)


def _case(x: np.ndarray, labels: np.ndarray, bandwidth: float) -> Case:
    on_device = jnp.asarray(x), jnp.asarray(labels)

    def ours() -> float:
        return float(kde_mi(*on_device, bandwidth=bandwidth, num_classes=CLASSES).mi)

    name = f"kde, N = {len(x)}, d = {x.shape[1]}"
    numpy = functools.partial(pairwise_mi, x, labels, bandwidth)
    return Case(name, ours, {"numpy": numpy}, agree=1e-5)


def pairwise_mi(x: np.ndarray, labels: np.ndarray, bandwidth: float) -> float:
    """From the matrix of all squared distances."""
    wide = x.astype(np.float64)
    norms = np.sum(wide**2, 1)
    squares = np.maximum(norms[:, None] + norms - 2 * wide @ wide.T, 0)
    exponents = -squares / (2 * bandwidth**2)
    value = -np.mean(logsumexp(exponents, axis=1)) + np.log(len(x))
    for c in range(CLASSES):
        own = np.flatnonzero(labels == c)
        inside = logsumexp(exponents[np.ix_(own, own)], axis=1) - np.log(len(own))
        value += np.sum(inside) / len(x)
    return float(value)
