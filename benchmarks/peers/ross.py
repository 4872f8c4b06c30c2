"""Ross's estimator against scikit-learn's, and against its parts for joint vectors.

scikit-learn estimates one feature at a time. For a joint vector there are its trees and
its brute-force neighbours, put together by the same formula, NumPy with the whole
matrix of distances in float32, and the product of matrices alone as a limit.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import digamma
from sklearn.feature_selection._mutual_info import _compute_mi_cd
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KDTree, NearestNeighbors

from optax_mi.estimators.samples._ross_mi import ross_mi
from peers.case import Case

CLASSES, NEIGHBORS = 10, 3


def cases() -> Iterator[Case]:
    """One feature, 64 features, joint vectors."""
    for samples in (1000, 5000, 20_000):
        x, labels = _samples(samples, 1, 0.3)
        yield Case(
            f"ross_mi, 1 feature, N = {samples}",
            functools.partial(_ours, jnp.asarray(x[:, 0]), jnp.asarray(labels)),
            {"scikit-learn": functools.partial(_sklearn, x, labels)},
            # float32 against float64.
            1e-3,
        )
    for samples in (1000, 5000, 20_000):
        x, labels = _samples(samples, 64, 0.3)
        yield Case(
            f"ross_mi, 64 features, N = {samples}",
            functools.partial(_ours_each, jnp.asarray(x.T), jnp.asarray(labels)),
            {"scikit-learn": functools.partial(_sklearn, x, labels)},
            1e-3,
        )
    for dimensions in (10, 64, 512):
        x, labels = _samples(5000, dimensions, 0.5)
        device = jnp.asarray(x)
        peers = {
            "scikit-learn, brute force": functools.partial(_brute, x, labels),
            "NumPy float32": functools.partial(_numpy, x, labels),
            "product alone": functools.partial(_product, device),
        }
        # For 512 columns they take a minute.
        if dimensions < 512:
            peers["scikit-learn, KD-trees"] = functools.partial(by_trees, x, labels)
        yield Case(
            f"ross_mi, joint vector of {dimensions}, N = 5000",
            functools.partial(_ours, device, jnp.asarray(labels)),
            peers,
            None,
        )


def _samples(
    samples: int, dimensions: int, apart: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normal vectors whose means differ between classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, samples).astype(np.int32)
    means = apart * rng.normal(size=(CLASSES, dimensions))
    x = means[labels] + rng.normal(size=(samples, dimensions))
    return x.astype(np.float32), labels


def _ours(x: jax.Array, labels: jax.Array) -> float:
    return float(ross_mi(x, labels, k=NEIGHBORS, num_classes=CLASSES).mi)


@jax.jit
def _each(features: jax.Array, labels: jax.Array) -> jax.Array:
    def one(feature: jax.Array) -> jax.Array:
        return ross_mi(feature, labels, k=NEIGHBORS, num_classes=CLASSES).mi

    return jnp.mean(jax.lax.map(one, features, batch_size=8))


def _ours_each(features: jax.Array, labels: jax.Array) -> float:
    return float(_each(features, labels))


def _sklearn(x: np.ndarray, labels: np.ndarray) -> float:
    """The mean over features, without the noise of `mutual_info_classif`."""
    x = x.astype(np.float64)
    return float(np.mean([_compute_mi_cd(f, labels, NEIGHBORS) for f in x.T]))


def _ross(sizes: np.ndarray, nearer: np.ndarray) -> float:
    """The formula, where every class has more than `NEIGHBORS` samples."""
    terms = digamma(len(sizes)) - digamma(sizes) + digamma(NEIGHBORS) - digamma(nearer)
    return float(np.mean(terms))


def _radii(
    x: np.ndarray, labels: np.ndarray, algorithm: str
) -> tuple[np.ndarray, np.ndarray]:
    radius, sizes = np.empty((2, len(x)))
    for label in range(CLASSES):
        own = labels == label
        neighbors = NearestNeighbors(n_neighbors=NEIGHBORS, algorithm=algorithm)
        distances = neighbors.fit(x[own]).kneighbors()[0]
        radius[own], sizes[own] = np.nextafter(distances[:, -1], 0), own.sum()
    return radius, sizes


def by_trees(x: np.ndarray, labels: np.ndarray) -> float:
    """Neighbours and counts from KD-trees."""
    radius, sizes = _radii(x, labels, "kd_tree")
    return _ross(sizes, KDTree(x).query_radius(x, radius, count_only=True))


def _brute(x: np.ndarray, labels: np.ndarray) -> float:
    radius, sizes = _radii(x, labels, "brute")
    return _ross(sizes, (pairwise_distances(x) <= radius[:, None]).sum(1))


def _numpy(x: np.ndarray, labels: np.ndarray) -> float:
    squares = np.sum(x * x, 1)
    distances = squares[:, None] + squares[None] - 2 * (x @ x.T)
    np.fill_diagonal(distances, 0)
    radius, sizes = np.empty(len(x), x.dtype), np.empty(len(x))
    for label in range(CLASSES):
        (own,) = np.nonzero(labels == label)
        nearest = np.partition(distances[np.ix_(own, own)], NEIGHBORS, 1)
        radius[own], sizes[own] = nearest[:, NEIGHBORS], len(own)
    return _ross(sizes, (distances < radius[:, None]).sum(1))


@jax.jit
def _matmul(x: jax.Array) -> jax.Array:
    return jax.lax.dot_general(
        x, x, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )


def _product(x: jax.Array) -> None:
    _matmul(x).block_until_ready()
