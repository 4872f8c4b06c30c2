r"""Mutual information of a Gaussian or Student t copula.

Ranks u become quantiles z of a normal or a Student t distribution, with the degrees of
freedom of largest likelihood. From the density f of z, and the densities of its
margins,

.. math::
    I = \left\langle \ln \frac{f(z_x, z_y)}{f(z_x)\, f(z_y)} \right\rangle - b,

where b is the average estimate for independent Gaussians, by Wishart's law. This is not
a bound if the true copula is different: several columns with the same bit seem to have
a bit each. But for the logarithm g of any ratio of densities,

.. math::
    I \ge \langle g(x_i, y_i) \rangle_i
         - \langle \ln \langle e^{g(x_i, y_j)} \rangle_j \rangle_i .

The last mean is 0 if the copula is right, and is subtracted if it is positive.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp, psi, stdtrit

from optax_mi.estimators.choice._interval import Reading
from optax_mi.estimators.choice._ranks import normal_scores

# Degrees of freedom to try after the normal, the rows to try them on, and the
# iterations of a fit.
_FREEDOM = (60.0, 25.0, 14.0, 9.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.0)
_ROWS, _STEPS = 4096, 8
# Rows whose pairs are all used.
_PAIRED = 1024
# If samples of Y given X spread over fewer ranks, ranks cannot resolve the information.
_APART = 10


class _Fit(NamedTuple):
    freedom: float
    scatter: np.ndarray  # [d, d], with unit diagonal
    likelihood: float  # mean log density of a sample, minus those of the margins


def copula_mi(u: np.ndarray, v: np.ndarray) -> Reading:
    """I of the copula with the largest likelihood for ranks u [N, m] and v [N, n]."""
    both = np.hstack([u, v])
    samples, m, n = len(u), u.shape[1], v.shape[1]
    x, y = np.arange(m), m + np.arange(n)
    blocks = (x, y, np.arange(m + n))
    if _left(np.corrcoef(normal_scores(both).T), x, y) < (_APART / samples) ** 2:
        most = math.log(samples / _APART)
        why = f"ranks of {samples:,} samples can show no more"
        return Reading(most, 0.0, 0.0, "Gaussian copula", why, at_least=True)
    fit = _likeliest(both[:: -(-samples // _ROWS)])
    if len(both) > _ROWS:
        fit = _fit(both, fit.freedom, fit.scatter)
    z = _quantiles(both, fit.freedom)
    densities = [
        _log_density(z[:, i], fit.scatter[np.ix_(i, i)], fit.freedom) for i in blocks
    ]
    terms = densities[2] - densities[0] - densities[1]
    mi = float(np.mean(terms)) - _chance(samples, m, n)
    mi -= _overstated(z[:: -(-samples // _PAIRED)], m, fit)
    name = "Gaussian copula"
    if math.isfinite(fit.freedom):
        name = f"Student t copula, {fit.freedom:g} degrees of freedom"
    floor = m * n / (2.0 * samples**2)
    variance = float(np.var(terms)) / samples + floor
    return Reading(mi, variance, float(m * n), name, "")


def _likeliest(u: np.ndarray) -> _Fit:
    """The copula with the largest likelihood; Student's only if clearly better."""
    best = normal = _fit(u, math.inf, np.eye(u.shape[1]))
    for freedom in _FREEDOM:
        other = _fit(u, freedom, best.scatter)
        if other.likelihood < best.likelihood:
            break
        best = other
    gain = len(u) * (best.likelihood - normal.likelihood)
    # Schwarz's criterion, for one more parameter.
    return best if gain > 0.5 * math.log(len(u)) else normal


def _fit(u: np.ndarray, freedom: float, start: np.ndarray) -> _Fit:
    """The scatter with the largest likelihood, by iterative reweighting."""
    z, scatter = _quantiles(u, freedom), start
    if math.isinf(freedom):
        scatter = z.T @ z / len(z)
    else:
        for _ in range(_STEPS):
            weight = (freedom + z.shape[1]) / (freedom + _squares(z, scatter))
            scatter = (z * weight[:, None]).T @ z / len(z)
    scale = np.sqrt(np.diag(scatter))
    scatter = scatter / scale / scale[:, None]
    one = np.ones((1, 1))
    margins = sum(_log_density(c[:, None], one, freedom) for c in z.T)
    return _Fit(
        freedom, scatter, float(np.mean(_log_density(z, scatter, freedom) - margins))
    )


def _quantiles(u: np.ndarray, freedom: float) -> np.ndarray:
    if math.isinf(freedom):
        return normal_scores(u)
    # Ranks repeat between columns, and quantiles are slow.
    values, place = np.unique(u, return_inverse=True)
    return stdtrit(freedom, values)[place].reshape(u.shape)


def _log_density(z: np.ndarray, scatter: np.ndarray, freedom: float) -> np.ndarray:
    """Log density [N] of z [N, d]."""
    squares = _squares(z, scatter)
    constant = _log_constant(scatter, freedom)
    if math.isinf(freedom):
        return constant - 0.5 * squares
    return constant - 0.5 * (freedom + z.shape[1]) * np.log1p(squares / freedom)


def _log_constant(scatter: np.ndarray, freedom: float) -> float:
    d = len(scatter)
    size = 0.5 * float(np.linalg.slogdet(scatter)[1])
    if math.isinf(freedom):
        return -0.5 * d * math.log(2.0 * math.pi) - size
    constant = gammaln((freedom + d) / 2) - gammaln(freedom / 2)
    return float(constant - 0.5 * d * math.log(freedom * math.pi)) - size


def _overstated(z: np.ndarray, m: int, fit: _Fit) -> float:
    """The excess of the copula's information for z [M, m + n], at least 0."""
    if z.shape[1] == 2 and math.isinf(fit.freedom):
        # Among copulas with Gaussian margins and this correlation, it has the least.
        return 0.0
    x, y = z[:, :m], z[:, m:]
    inverse = np.linalg.inv(fit.scatter)
    of_x, of_y = (
        np.sum((a @ block) * a, 1)
        for a, block in ((x, inverse[:m, :m]), (y, inverse[m:, m:]))
    )
    squares = of_x[:, None] + of_y + 2.0 * (x @ inverse[:m, m:]) @ y.T
    if math.isinf(fit.freedom):
        f = -0.5 * squares
    else:
        f = -0.5 * (fit.freedom + z.shape[1]) * np.log1p(squares / fit.freedom)
    f -= _log_density(x, fit.scatter[:m, :m], fit.freedom)[:, None]
    f -= _log_density(y, fit.scatter[m:, m:], fit.freedom)
    f += _log_constant(fit.scatter, fit.freedom)
    others = len(z) - 1
    if math.isinf(fit.freedom):
        np.fill_diagonal(f, -math.inf)
    else:
        # Student's ratios vary so much that, without the pairs of samples with
        # themselves, the mean seems too small.
        others += 1
    extra = [float(np.mean(logsumexp(f, axis=axis))) for axis in (0, 1)]
    return max(min(extra) - math.log(others), 0.0)


def _squares(z: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis lengths [N]."""
    return np.einsum("nd,nd->n", z, np.linalg.solve(scatter, z.T).T)


def _chance(samples: int, m: int, n: int) -> float:
    """The average estimate for independent Gaussians, by Wishart's law."""
    logs = psi((samples - 1 - np.arange(m + n)) / 2)
    return 0.5 * float(np.sum(logs[:m]) + np.sum(logs[:n]) - np.sum(logs))


def _left(scatter: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """The smallest unexplained share of variance of any combination of y, given x."""
    across = scatter[np.ix_(x, y)]
    explained = across.T @ np.linalg.solve(scatter[np.ix_(x, x)], across)
    inside = np.linalg.cholesky(scatter[np.ix_(y, y)])
    share = np.linalg.solve(inside, np.linalg.solve(inside, explained).T)
    return float(1.0 - np.linalg.eigvalsh(0.5 * (share + share.T))[-1])
