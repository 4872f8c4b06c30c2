r"""Ranks of columns, and the columns of two tables that depend on each other.

The ranks u of a column, in (0, 1), keep all of its information. If two columns are
independent, :math:`\cos(\pi j u)` and :math:`\cos(\pi l v)` are uncorrelated. Two
columns matter if one of these correlations is significant.
"""

import math

import numpy as np
from scipy.linalg import qr
from scipy.special import ndtri

# Cosines per column, and the probability of any false positive.
_WAVES, _LEVEL = 3, 0.01
# Rows that are enough to find dependent columns.
_ROWS = 2**15
# If the rest of a column after regression on others is smaller, they determine it.
_LEFT = 1e-4


def ranks(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ranks in (0, 1) of `x` [N, d], column by column; 1 / 2 for a constant column.

    Ties are in random order, so ranks have a density, and the information of x.
    """
    samples = len(x)
    out = np.full(x.shape, 0.5)
    for column, rank in zip(x.T, out.T, strict=True):
        if column.min() < column.max():
            order = np.lexsort((rng.random(samples), column))
            rank[order] = (np.arange(samples) + 0.5) / samples
    return out


def normal_scores(u: np.ndarray) -> np.ndarray:
    """Normal quantiles of ranks; 0 for a constant column."""
    return ndtri(u)


def waves(u: np.ndarray) -> np.ndarray:
    """Standardized cosines [N, 3, d] of ranks [N, d]; 0 for a constant column."""
    wave = np.cos(np.pi * np.arange(1, _WAVES + 1)[:, None] * u[:, None])
    return standardize(wave)


def standardize(x: np.ndarray) -> np.ndarray:
    """`x` [N, ...] minus its means, divided by its standard deviations or by 1."""
    x = x - x.mean(0)
    scale = x.std(0)
    return x / np.where(scale > 0, scale, 1.0)


def related(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the columns of u [N, d] and v [N, e] that depend on one another."""
    few = slice(None, None, -(-len(u) // _ROWS))
    a, b = waves(u[few]), waves(v[few])
    correlation = np.tensordot(a, b, (0, 0)) / len(a)
    found = np.abs(correlation) > _bar(correlation.size) / math.sqrt(len(a))
    return np.flatnonzero(found.any((0, 2, 3))), np.flatnonzero(found.any((0, 1, 2)))


def related_to_classes(u: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices of the columns of u [N, d] whose ranks differ between classes."""
    few = slice(None, None, -(-len(u) // _ROWS))
    u, labels = u[few], labels[few]
    sizes = np.bincount(labels)
    sums = np.zeros((len(sizes), _WAVES, u.shape[1]))
    np.add.at(sums, labels, waves(u))
    spread = np.sqrt(np.maximum(sizes * (1.0 - sizes / len(u)), 1.0))
    found = np.abs(sums) / spread[:, None, None] > _bar(sums.size)
    return np.flatnonzero(found.any((0, 1)))


def _bar(tests: int) -> float:
    """A bound that none of so many standard normals exceeds, with probability 0.99."""
    return float(-ndtri(_LEVEL / (2 * tests)))


def independent(x: np.ndarray) -> np.ndarray:
    """Indices of columns of the centered `x` [N, d] that determine all others."""
    rest, order = qr(x, mode="r", pivoting=True)  # pyright: ignore[reportAssignmentType]
    size = np.abs(np.diag(rest[: min(x.shape)]))
    return np.sort(
        order[: int(np.sum(size > _LEFT * max(size[0], np.finfo(float).tiny)))]
    )
