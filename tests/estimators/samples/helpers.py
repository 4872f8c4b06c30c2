"""Estimators by their definitions, and samples that they may stumble over."""

import numpy as np
from scipy.special import digamma
from sklearn.neighbors import KDTree, NearestNeighbors


def by_trees(x, labels, k):
    """Ross's formula, with radii and counts from trees that agree on distances."""
    x = np.asarray(x, float).reshape(len(x), -1)
    classes, sizes = np.unique(labels, return_counts=True)
    used = np.isin(labels, classes[sizes > 1])
    x, labels = x[used], np.asarray(labels)[used]
    radius, size, neighbors = np.empty((3, len(x)))
    for label in np.unique(labels):
        own = labels == label
        size[own] = own.sum()
        neighbors[own] = min(k, own.sum() - 1)
        tree = NearestNeighbors(n_neighbors=int(neighbors[own][0]), algorithm="kd_tree")
        radius[own] = tree.fit(x[own]).kneighbors()[0][:, -1]
    # One step below the radius is not enough: its square may round to the same.
    nearer = KDTree(x).query_radius(x, radius * (1 - 1e-12), count_only=True)
    return (
        digamma(len(x))
        - digamma(size).mean()
        + digamma(neighbors).mean()
        - digamma(nearer).mean()
    )


def distances(x, norm):
    """All [N, N] of samples [N, d], squared for the Euclidean norm."""
    gaps = abs(x[:, None, :] - x[None, :, :])
    return gaps.max(-1) if norm == "max" else (gaps**2).sum(-1)


def numbers_within(x, y, k, algorithm, norm="max"):
    """Kraskov's samples within reach in x and in y [2, N], each itself included.

    All samples at the distance of the k-th are among the k of the second algorithm.
    For the first, what equals a sample counts as nearer, as the sample itself does.
    """
    dx, dy = (distances(a, norm) for a in (x, y))
    joint = np.maximum(dx, dy)
    np.fill_diagonal(joint, np.inf)
    far = np.sort(joint, 1)[:, k - 1 : k]
    if algorithm == 1:
        return np.array([((d < far) | (d == 0)).sum(1) for d in (dx, dy)])
    near = joint <= far
    reach = [np.where(near, d, 0).max(1, keepdims=True) for d in (dx, dy)]
    return np.array([(d <= r).sum(1) for d, r in zip((dx, dy), reach, strict=True)])


def definition(x, y, k, algorithm, norm="max"):
    """Equations 8 and 9 of Kraskov et al., in nats."""
    n_x, n_y = numbers_within(x, y, k, algorithm, norm)
    if algorithm == 1:
        terms = digamma(k) - digamma(n_x) - digamma(n_y)
    else:
        terms = digamma(k) - 1 / k - digamma(n_x - 1) - digamma(n_y - 1)
    return digamma(len(x)) + terms.mean()


KINDS = [
    *("independent", "correlated", "almost equal", "heavy tails in x"),
    *("heavy tails in y", "heavy tails in both", "tied", "tied in x", "tied in y"),
    *("half zeros", "on a grid", "an atom and tails"),
]


def pairs(kind, samples, seed=0):
    """Two columns of samples, of a kind that one of the passes may stumble over."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, samples))
    return {
        "independent": (x, z),
        "correlated": (x, 0.9 * x + 0.4 * z),
        "almost equal": (x, x + 1e-3 * z),
        "heavy tails in x": (np.sinh(4 * x), z),
        "heavy tails in y": (x, np.sinh(4 * z)),
        "heavy tails in both": (np.sinh(4 * x), np.sinh(4 * z)),
        "tied": (np.round(x), np.round(x + z)),
        "tied in x": (np.round(x), x + z),
        "tied in y": (x, np.round(x + z)),
        "half zeros": (np.maximum(x, 0), np.maximum(x + z, 0)),
        "on a grid": (np.round(x, 1), np.round(x + z, 1)),
        "an atom and tails": (np.where(z > 0, 1, np.sinh(4 * x)), np.sinh(4 * z)),
    }[kind]
