"""The estimators: samples for each, its value in float64, and what it computes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from peers import gaussian as gaussian_peer
from peers import kde as kde_peer
from peers import ksg as ksg_peer
from peers import ross as ross_peer
from peers.plugin import bincount_mi
from scipy.special import entr, log_softmax
from sklearn.metrics import mutual_info_score

from device.card import on_accelerator
from optax_mi.estimators import (
    MIEstimate,
    MIEstimator,
    binned_mi,
    contingency,
    gaussian,
    gaussian_mi,
    kde,
    kde_mi,
    ksg_mi,
    nearest_neighbors,
    plugin_mi,
    ross_mi,
    variational,
    variational_mi,
)

CLASSES, BINS = 10, 8
# Of kernels: between the distances and the spread of `vectors`.
BANDWIDTH = 0.5
Arrays = tuple[np.ndarray, np.ndarray]


def ids(samples: int, classes: int) -> Arrays:
    """Predicted and true classes, half of them equal."""
    rng = np.random.default_rng(0)
    labels, noise = rng.integers(0, classes, (2, samples), dtype=np.int32)
    return np.where(rng.random(samples) < 0.5, labels, noise), labels


def logits(samples: int, classes: int) -> Arrays:
    """Logits that favour the true class, and the classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples, dtype=np.int32)
    outputs = rng.standard_normal((samples, classes), np.float32)
    outputs[np.arange(samples), labels] += np.log(classes)
    return outputs, labels


def vectors(samples: int, columns: int) -> Arrays:
    """Normal vectors whose means differ between ten classes, and the classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, samples, dtype=np.int32)
    means = rng.standard_normal((CLASSES, columns), np.float32)
    x = rng.standard_normal((samples, columns), np.float32) + means[labels]
    return x / np.float32(columns**0.5), labels


def pairs(samples: int, columns: int) -> Arrays:
    """Two normal vectors, correlated column by column."""
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, samples, columns), np.float32)
    return x, np.float32(0.6) * x + np.float32(0.8) * noise


def table_mi(joint: np.ndarray) -> float:
    """Of a table of label and prediction, in float64."""
    p = joint / joint.sum()
    return float(entr(p.sum(0)).sum() + entr(p.sum(1)).sum() - entr(p).sum())


def soft_truth(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Of the table to which every sample adds its probabilities."""
    joint = np.zeros((outputs.shape[1],) * 2)
    np.add.at(joint, labels, np.exp(log_softmax(outputs.astype(float), 1)))
    return table_mi(joint)


def bound_truth(outputs: np.ndarray, labels: np.ndarray) -> float:
    """H(Y) less the cross-entropy."""
    own = log_softmax(outputs.astype(float), 1)[np.arange(len(labels)), labels]
    return float(entr(np.bincount(labels) / len(labels)).sum() + own.mean())


def binned_truth(x: np.ndarray, labels: np.ndarray) -> float:
    """Of the label and the pattern of bins of a whole row."""
    low, high = x.min(0), x.max(0)
    bins = np.floor((x - low) / ((high - low) / BINS)).clip(0, BINS - 1)
    _, symbols = np.unique(bins, axis=0, return_inverse=True)
    return float(mutual_info_score(labels, symbols.ravel()))


@dataclasses.dataclass(frozen=True)
class Estimator:
    """An estimator, and what it is held to."""

    draw: Callable[[int, int], Arrays]
    measure: Callable[..., MIEstimate]
    truth: Callable[[np.ndarray, np.ndarray], float]  # in float64
    # Of nats, from samples and columns: what the library's own tests allow.
    tolerance: Callable[[int, int], float]
    # Operations of its products or distances, from samples and columns.
    flops: Callable[[int, int], float] | None = None
    # What leaves the samples as they are.
    exact: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def streamed(make: Callable[[int], MIEstimator]) -> Callable[..., MIEstimate]:
    """The streaming form, fed with four batches."""

    def measure(outputs: Any, labels: Any, columns: int) -> MIEstimate:
        estimator = make(columns)
        update, state = jax.jit(estimator.update), estimator.init()
        for parts in zip(*(jnp.split(a, 4) for a in (outputs, labels)), strict=True):
            state = update(state, outputs=parts[0], labels=parts[1])
        return jax.jit(estimator.estimate)(state)

    return measure


def _by_class(x: np.ndarray, labels: np.ndarray) -> float:
    return gaussian_peer.class_mi(x.astype(float), labels)


def _kde_truth(x: np.ndarray, labels: np.ndarray) -> float:
    return kde_peer.pairwise_mi(x, labels, BANDWIDTH)


def _ross_truth(x: np.ndarray, labels: np.ndarray) -> float:
    return ross_peer.by_trees(x.astype(float), labels)


def _neighbour(samples: int, columns: int) -> float:
    """What it may move that rounding exchanges two neighbours."""
    del columns
    return 3 / samples


RAW = {"bias_correction": None, "clip": False}
ESTIMATORS = {
    "plugin_mi, ids": Estimator(
        ids,
        lambda x, y, c: plugin_mi(x, y, num_classes=c),
        lambda x, y: bincount_mi(x, y, int(max(x.max(), y.max())) + 1),
        lambda n, c: 1e-5,
    ),
    "plugin_mi, logits": Estimator(
        logits,
        lambda x, y, c: plugin_mi(x, y, num_classes=c),
        soft_truth,
        lambda n, c: 1e-5,
        # Accelerators add rows to the table by a product with one-hot labels.
        lambda n, c: 2 * n * c**2 if on_accelerator() else 0.0,
    ),
    "contingency": Estimator(
        logits,
        streamed(lambda c: contingency(num_classes=c)),
        soft_truth,
        lambda n, c: 1e-5,
    ),
    "variational_mi": Estimator(
        logits,
        lambda x, y, c: variational_mi(x, y, num_classes=c),
        bound_truth,
        lambda n, c: 1e-5,
    ),
    "variational": Estimator(
        logits,
        streamed(lambda c: variational(num_classes=c)),
        bound_truth,
        lambda n, c: 1e-5,
    ),
    "binned_mi": Estimator(
        vectors,
        lambda x, y, d: binned_mi(x, y, num_bins=BINS, num_classes=CLASSES),
        binned_truth,
        lambda n, d: 5e-6,
    ),
    "gaussian_mi, classes": Estimator(
        vectors,
        lambda x, y, d, **how: gaussian_mi(x, y, num_classes=CLASSES, **how),
        _by_class,
        lambda n, d: 2e-6 * d,
        # The scatter about the means.
        lambda n, d: 2 * n * d**2,
        RAW,
    ),
    "gaussian_mi, real": Estimator(
        pairs,
        lambda x, y, d, **how: gaussian_mi(x, y, **how),
        lambda x, y: gaussian_peer.real_mi(x.astype(float), y.astype(float)),
        lambda n, d: 4e-6 * d,
        # Of X, of Y and of both; up to 64 columns of one matrix.
        lambda n, d: 2 * n * (4 if 2 * d <= 64 else 3) * d**2,
        RAW,
    ),
    "gaussian": Estimator(
        vectors,
        streamed(
            lambda d: gaussian(features=d, num_classes=CLASSES, bias_correction=None)
        ),
        _by_class,
        lambda n, d: 2e-5,
    ),
    "ross_mi": Estimator(
        vectors,
        lambda x, y, d, **how: ross_mi(x, y, num_classes=CLASSES, **how),
        _ross_truth,
        _neighbour,
        lambda n, d: 2 * n**2 * d,
        {"key": None, "clip": False},
    ),
    "nearest_neighbors": Estimator(
        vectors,
        streamed(
            lambda d: nearest_neighbors(features=d, num_classes=CLASSES, key=None)
        ),
        _ross_truth,
        _neighbour,
    ),
    "kde_mi": Estimator(
        vectors,
        lambda x, y, d: kde_mi(x, y, bandwidth=BANDWIDTH, num_classes=CLASSES),
        _kde_truth,
        lambda n, d: 100 * float(np.finfo(np.float32).eps),
        # Half of the matrix, for it is symmetric.
        lambda n, d: n**2 * d,
    ),
    "kde": Estimator(
        vectors,
        streamed(lambda d: kde(features=d, num_classes=CLASSES, bandwidth=BANDWIDTH)),
        _kde_truth,
        lambda n, d: 100 * float(np.finfo(np.float32).eps),
    ),
    "ksg_mi": Estimator(
        pairs,
        lambda x, y, d, **how: ksg_mi(x, y, **how),
        lambda x, y: ksg_peer.by_distance(x.astype(float), y.astype(float)),
        _neighbour,
        # A difference, its square and a sum for each column of both.
        lambda n, d: 3 * n**2 * 2 * d if d > 1 else 0.0,
        {"key": None},
    ),
}
