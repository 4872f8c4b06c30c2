"""Kraskov's estimator against its peers, KD-trees and all distances.

The peers take the maximum norm; no tree holds the larger of two Euclidean distances.
"""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma
from sklearn.feature_selection._mutual_info import _compute_mi_cc

from optax_mi.estimators.samples._ksg_mi import ksg_mi
from peers import benchmark_mi
from peers.case import Case, infomeasure

K = 3
# Rows of a matrix of distances.
ROWS = 500


def cases() -> Iterator[Case]:
    """One and one dimension, three and three, ten and ten."""
    for samples in (1_000, 5_000, 10_000, 20_000):
        yield _case(samples, 1)
    for samples in (1_000, 5_000, 20_000):
        yield _case(samples, 3)
    for samples in (1_000, 5_000):
        yield _case(samples, 10)
    for columns in (3, 10):
        yield _euclidean_case(5_000, columns)


def _case(samples: int, columns: int) -> Case:
    on_device, (x, y) = _correlated(samples, columns)
    peers = {"scipy KDTree, counts by tree": lambda: by_tree(x, y)}
    if columns == 1:
        peers["scipy KDTree, counts by sorting"] = lambda: _by_sorting(x, y)
        peers["scikit-learn"] = lambda: float(_compute_mi_cc(x[:, 0], y[:, 0], K))
    if infomeasure is not None:
        peers["infomeasure"] = partial(
            infomeasure.mutual_information, x, y, approach="ksg", k=K, noise_level=0
        )
    # It sorts every row of the matrix of distances: a minute for 20,000 samples.
    if samples <= 5_000:
        peers |= benchmark_mi.peer(
            "KSGEnsembleFirstEstimator",
            x,
            y,
            neighborhoods=[K],
            metric_x="chebyshev",
            standardize=False,
        )
    return Case(
        name=f"ksg, {columns} + {columns} dimensions, N = {samples:,}",
        ours=lambda: float(ksg_mi(*on_device, k=K, norm="max", key=None).mi),
        peers=peers,
        # Differences of float32 are rounded: a neighbour in 10,000 is counted amiss.
        agree=1e-4,
    )


def _euclidean_case(samples: int, columns: int) -> Case:
    on_device, (x, y) = _correlated(samples, columns)
    return Case(
        name=f"ksg, {columns} + {columns} dimensions, N = {samples:,}, Euclidean",
        ours=lambda: float(ksg_mi(*on_device, k=K, key=None).mi),
        peers={"scipy cdist": lambda: by_distance(x, y)},
        agree=1e-4,
    )


def _correlated(samples: int, columns: int) -> tuple[tuple, tuple]:
    """Gaussians X and Y, in float32 for JAX and in float64."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, samples, columns)).astype(np.float32)
    y = np.float32(0.6) * x + np.float32(0.8) * noise
    return (jnp.asarray(x), jnp.asarray(y)), (x.astype(float), y.astype(float))


def _radius(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    joint = np.hstack([x, y])
    distance, _ = KDTree(joint).query(joint, K + 1, p=np.inf)
    return np.nextafter(distance[:, -1], 0)


def _mi(n_x: np.ndarray, n_y: np.ndarray) -> float:
    terms = digamma(n_x) + digamma(n_y)
    return max(0.0, float(digamma(len(n_x)) + digamma(K) - np.mean(terms)))


def by_tree(x: np.ndarray, y: np.ndarray) -> float:
    """Neighbours and counts from KD-trees."""
    radius = _radius(x, y)
    counts = (
        KDTree(a).query_ball_point(a, radius, p=np.inf, return_length=True)
        for a in (x, y)
    )
    return _mi(*counts)


def by_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Neighbours and counts from all Euclidean distances."""
    counts = []
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        in_x, in_y = cdist(x[rows], x), cdist(y[rows], y)
        joint = np.maximum(in_x, in_y)
        radius = np.partition(joint, K, 1)[:, K : K + 1]
        counts.append([(distance < radius).sum(1) for distance in (in_x, in_y)])
    return _mi(*np.concatenate(counts, 1))


def _by_sorting(x: np.ndarray, y: np.ndarray) -> float:
    radius = _radius(x, y)

    def count(a: np.ndarray) -> np.ndarray:
        ordered = np.sort(a)
        after = np.searchsorted(ordered, a + radius, "right")
        before = np.searchsorted(ordered, a - radius, "left")
        # Sums are rounded, and the k-th neighbour lies just beyond one of them: without
        # a look at the distance itself the estimate is off by 0.03 at N = 1,000.
        after -= np.abs(ordered[after - 1] - a) > radius
        before += np.abs(ordered[before] - a) > radius
        return after - before

    return _mi(count(x[:, 0]), count(y[:, 0]))
