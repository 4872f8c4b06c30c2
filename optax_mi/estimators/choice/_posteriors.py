r"""A lower bound of I(X; Y) for classes, from posteriors of Gaussian classes.

For any posterior q, :math:`I \ge H(Y) + \langle \ln q(y \mid x) \rangle`. The
posteriors are linear and quadratic discriminants, of the columns and of their normal
scores; the best one on held-out samples is used. Then it is also fitted to all samples
and evaluated on them. On average the held-out value is as much too low as this value is
too high (Efron 1986), and their mean is the estimate.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from optax_mi.estimators.choice._columns import entropy_of
from optax_mi.estimators.choice._interval import Reading
from optax_mi.estimators.choice._ranks import normal_scores, standardize
from optax_mi.estimators.inputs import of_probabilities

_FOLDS = 10
# The quadratic discriminant factors one matrix per class.
_MOST_CLASSES = 64
# A share of the variance that keeps covariances invertible.
_RIDGE = 1e-9
# Elements of scores [N, C] in memory at a time.
_SCORES = 2**22
# Steps of the search for a temperature, and its initial half-width in logarithms.
_SEARCH, _WIDTH = 40, 3.0


class _Gaussians(NamedTuple):
    means: np.ndarray  # [C, d]
    factors: np.ndarray  # Cholesky factors, [C, d, d], or [1, d, d] for all classes
    log_shares: np.ndarray  # [C]


def posterior_mi(
    x: np.ndarray, u: np.ndarray, labels: np.ndarray, sizes: np.ndarray
) -> Reading:
    """The bound for columns x [N, d] and their ranks u, with labels [N] in [0, C)."""
    best = Reading(-math.inf, 0.0, 0.0, "", "")
    least = -math.inf
    kinds = (False, True) if len(sizes) <= _MOST_CLASSES else (False,)
    entropy = entropy_of(sizes)
    columns = {"": standardize(x), " of normal scores": normal_scores(u)}
    for (of, z), quadratic in itertools.product(columns.items(), kinds):
        held_out = np.empty(len(z))
        for fold in range(_FOLDS):
            out = np.arange(len(z)) % _FOLDS == fold
            fit = _fit(z[~out], labels[~out], len(sizes), quadratic)
            held_out[out] = _log_posterior(fit, z[out], labels[out])
        if held_out.mean() > least:
            least = held_out.mean()
            seen = _log_posterior(_fit(z, labels, len(sizes), quadratic), z, labels)
            terms = held_out - np.log(sizes / len(z))[labels]
            name = f"{'quadratic' if quadratic else 'linear'} discriminant{of}"
            mi = entropy + 0.5 * (held_out.mean() + seen.mean())
            freedom = z.shape[1] * (len(sizes) - 1)
            if quadratic:
                freedom *= 1 + (z.shape[1] + 1) / 2
            floor = freedom / (2.0 * len(z) ** 2)
            variance = float(np.var(terms)) / len(z) + floor
            best = Reading(float(mi), variance, float(freedom), name, "")
    return best


def logits_mi(logits: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> Reading:
    """The bound for logits [N, C], or probabilities, at the best temperature."""
    if of_probabilities("x", logits):
        logits = np.log(np.maximum(logits, np.finfo(float).tiny))

    def terms(log_scale: float) -> np.ndarray:
        log_q = log_softmax(math.exp(log_scale) * logits, axis=1)
        return log_q[np.arange(len(labels)), labels]

    # The loss is convex in the scale, so each step removes a third of the interval.
    low, high = (
        math.log(1.0 / max(float(logits.std()), 1e-30)) + side
        for side in (-_WIDTH, _WIDTH)
    )
    for _ in range(_SEARCH):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if terms(left).mean() < terms(right).mean():
            low = left
        else:
            high = right
    best = terms(0.5 * (low + high))
    mi = entropy_of(sizes) + best.mean()
    variance = float(np.var(best - np.log(sizes / len(labels))[labels])) / len(labels)
    return Reading(float(mi), variance, 1.0, "softmax of the logits", "")


def _fit(
    x: np.ndarray, labels: np.ndarray, classes: int, quadratic: bool
) -> _Gaussians:
    """Gaussian classes; covariances of few samples shrink to the common one."""
    samples, d = x.shape
    sizes = np.bincount(labels, minlength=classes)
    means = np.zeros((classes, d))
    np.add.at(means, labels, x)
    means /= np.maximum(sizes, 1)[:, None]
    rest = x - means[labels]
    common = rest.T @ rest / max(samples - classes, 1)
    covariances = common[None]
    if quadratic:
        covariances = np.stack(
            [_own(rest[labels == c], common) for c in range(classes)]
        )
    ridge = _RIDGE * max(np.trace(common) / d, np.finfo(float).tiny)
    factors = np.linalg.cholesky(covariances + ridge * np.eye(d))
    # Count half a sample for a class that is missing in a fold.
    shares = np.maximum(sizes, 0.5) / np.maximum(sizes, 0.5).sum()
    return _Gaussians(means, factors, np.log(shares))


def _own(rest: np.ndarray, common: np.ndarray) -> np.ndarray:
    weight = len(rest) / (len(rest) + len(common) + 2)
    own = rest.T @ rest / max(len(rest) - 1, 1)
    return weight * own + (1 - weight) * common


def _log_posterior(fit: _Gaussians, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The logarithms [N] of q(y | x)."""
    step = max(1, _SCORES // len(fit.means))
    parts = [slice(start, start + step) for start in range(0, len(x), step)]
    return np.concatenate([_of_rows(fit, x[rows], labels[rows]) for rows in parts])


def _of_rows(fit: _Gaussians, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    scores = np.empty((len(x), len(fit.means)))
    if len(fit.factors) == 1:
        z, means = (np.linalg.solve(fit.factors[0], a.T).T for a in (x, fit.means))
        scores[:] = z @ means.T - 0.5 * np.sum(means**2, 1)
    else:
        for c, (mean, factor) in enumerate(zip(fit.means, fit.factors, strict=True)):
            z = np.linalg.solve(factor, (x - mean).T)
            scores[:, c] = -0.5 * np.sum(z**2, 0) - np.sum(np.log(np.diag(factor)))
    log_q = log_softmax(scores + fit.log_shares, axis=1)
    return log_q[np.arange(len(x)), labels]
