"""Nearest neighbors in the columns that matter, with few different shapes.

Every new shape compiles. So arrays are padded with masked rows and with constant
columns, which do not change distances.
"""

import math

import numpy as np

from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.choice._interval import Reading
from optax_mi.estimators.choice._ranks import normal_scores
from optax_mi.estimators.samples import ksg_mi, ross_mi

_NAME = "nearest neighbors"
# Largest number of samples to search for neighbors.
_MOST = 8192
# Few neighbors, for a small bias in many dimensions.
_PAIRS, _CLASSES = 2, 3
# The true error of a mean over neighbors, including bias, relative to the standard
# error of independent terms.
_SHARED = 1.5
# Above this share of ln N, neighbors of vectors may miss any amount of information.
_CEILING = 0.6


def neighbors_of_vectors(u: np.ndarray, v: np.ndarray, seed: int) -> Reading:
    """I of ranks u [N, m] and v [N, n]."""
    rows = _few(len(u))
    width = max(_power(a.shape[1]) for a in (u, v))
    x, y = (_filled(a[rows], width) for a in (u, v))
    found = ksg_mi(x, y, k=_PAIRS, mask=_mask(x, rows), key=seed, clip=False)
    return _reading(found, f"{u.shape[1]} + {v.shape[1]} columns")


def neighbors_of_classes(u: np.ndarray, labels: np.ndarray, seed: int) -> Reading:
    """I of ranks u [N, d] and labels [N]."""
    rows = _few(len(u))
    x = _filled(u[rows], _power(u.shape[1]))
    y = np.zeros(len(x), np.int32)
    y[: len(rows)] = labels[rows]
    found = ross_mi(
        x,
        y,
        k=_CLASSES,
        num_classes=_power(int(labels.max()) + 1),
        mask=_mask(x, rows),
        key=seed,
        clip=False,
    )
    plural = "s" * (u.shape[1] != 1)
    return _reading(found, f"{u.shape[1]} column{plural}")


def at_most(reading: Reading, samples: int) -> Reading:
    """The reading of vectors; a lower bound if it is near the most samples can show."""
    samples = min(samples, _MOST)
    if reading.method != _NAME or reading.mi <= _CEILING * math.log(samples):
        return reading
    why = f"{reading.why}; {samples:,} samples cannot show much more"
    return reading._replace(at_least=True, why=why)


def _reading(found: MIEstimate, where: str) -> Reading:
    error = _SHARED * float(found.std_error)
    seen = f"{max(float(found.mi), 0.0):.3f} nats in {where}"
    return Reading(float(found.mi), error**2, 0.0, _NAME, seen)


def _few(samples: int) -> np.ndarray:
    """Indices of at most `_MOST` samples, evenly spaced."""
    return np.arange(0, samples, -(-samples // _MOST))


def _power(size: int) -> int:
    """The smallest power of 2 that is at least `size`."""
    return 1 << (size - 1).bit_length()


def _filled(u: np.ndarray, width: int) -> np.ndarray:
    """Normal scores of u [M, d], padded to at least M rows and to `width` columns."""
    samples, columns = u.shape
    # Also allow 3/4 of a power of 2, because time grows with the square.
    power = _power(samples)
    rows = power if 4 * samples > 3 * power else 3 * power // 4
    filled = np.zeros((rows, width), np.float32)
    filled[:samples, :columns] = normal_scores(u)
    return filled


def _mask(filled: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.arange(len(filled)) < len(rows)
