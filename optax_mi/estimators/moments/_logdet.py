r"""Mutual information of Gaussian vectors, from their second moments.

Let S be the joint covariance of real X and Y, :math:`\rho_i` their canonical
correlations, W the covariance within classes and B that of the class means. Then

.. math::
    I(X; Y) &= \tfrac12 \ln \frac{|S_y|}{|S_y - S_{yx} S_x^{-1} S_{xy}|}
             = -\tfrac12 \sum_i \ln(1 - \rho_i^2), \\
    I(X; Y) &= \tfrac12 \ln \frac{|W + B|}{|W|} .

The first follows directly from the Cholesky factor of S. With n = N - 1, k columns of X
and m of Y (C - 1 for classes), the bias of a sample's value, from Wishart determinants,
and its variance by the delta method, for real Y and for classes, are

.. math::
    \tfrac12 \sum_{i=0}^{k-1} \psi\Big(\frac{n - i}{2}\Big)
        - \psi\Big(\frac{n - m - i}{2}\Big), \qquad
    \frac1N \sum_i \rho_i^2, \qquad
    \frac{1}{4 N} \Big(\mathrm{Var}_c(q_c) + 4 \sum_i \lambda_i
                       - 2 \sum_i \lambda_i^2\Big),

where :math:`\lambda_i` are the eigenvalues of :math:`(W + B)^{-1} B`, and :math:`q_c`
is the squared Mahalanobis distance of class c from the center under W + B. Noise of
variance v on each column of X adds v I to S_x or W; to first order in 1 / N, the bias
is then that of :math:`k = \mathrm{tr}\, (S + v I)^{-1} S` columns.

Shrinkage of correlations R, :math:`R_s = (1 - s) R + s I`, reduces k columns to
effectively :math:`k_s = (1 - s)\, \mathrm{tr}\, R_s^{-1} R`, and the m columns of Y to
:math:`m_s`; it does not reduce class means. For independent X and Y the average
estimate is then

.. math::
    -\frac{k_s}{2} \ln\Big(1 - \frac{m_s}{n}\Big)
    \ \text{(real, the fewer first)}, \qquad
    \min_{(p, q)} \frac{p}{2} \ln\Big(1 + \frac{q}{k}\,
        \frac{k_s / (1 - s)}{n - m - k_s}\Big), \quad
    (p, q) = (m, k), (k, m) \ \text{(classes)}.

For s = 0 and large n these equal the Wishart bias. The second bounds the mean by
Jensen's inequality. It uses the trace of :math:`W_s^{-1}` times the true covariance,
not times W, which follows from leaving out one sample (as in generalized
cross-validation). In simulations both are accurate to a tenth if they are below the
entropy of the classes, even with fewer samples than columns.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular

from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import digamma_difference, gram, log_or_zero
from optax_mi.estimators.inputs import health
from optax_mi.estimators.moments._moments import Moments

# In units of the dtype's eps, relative to the diagonal. With 1, collinear columns at
# d = 512 move the estimate by 1e-6 nats instead of 1e-7; with d, others by 1e-4.
_RIDGE = 4.0
# With at least this noise, no ridge is needed: relative to its diagonal, the covariance
# has no eigenvalue below r**2 / (1 + r**2), and the covariance of the class means has
# none above 1 / r**2 relative to that within classes.
_MUCH_NOISE = 0.1
# Squares of smaller numbers underflow in float32, or nearly.
_VANISHES = 1e-18

Shrinkage = float | Literal["oas"]


class _Reading(NamedTuple):
    """The plug-in estimate in nats, and the numbers for its corrections."""

    mi: jax.Array
    variance: jax.Array  # of one sample
    columns: jax.Array  # k, the effective number of columns that vary
    others: jax.Array  # m
    bias: jax.Array | None = None  # of independent X and Y under shrinkage


def gaussian_estimate(
    moments: Moments,
    origin: jax.Array,
    totals: jax.Array,
    features: int,
    shrinkage: Shrinkage,
    noise: float,
    bias_correction: bool,
    clip: bool,
) -> MIEstimate:
    """The estimate from moments and `Samples.totals`.

    Means are relative to the `origin` [1, d], which is near the overall mean. The first
    `features` columns are X; if there are no others, Y is the class. `noise` is in
    units of the square root of the total variance of X.
    """
    weight, count, dropped = health(totals)
    some = weight > 0
    shares = moments.weights / jnp.where(some, weight, 1.0)
    covariance = moments.scatter / jnp.where(some, weight, 1.0)
    if features < len(covariance):
        reading = _real(origin[0], covariance, features, shrinkage, noise, count)
        entropy = jnp.where(some, jnp.inf, 0.0).astype(covariance.dtype)
    else:
        reading = _classes(
            shares, moments.means, origin[0], covariance, shrinkage, noise, count
        )
        entropy = jnp.abs(jnp.sum(shares * log_or_zero(shares)))
    mi, variance, columns, others, bias = reading
    freedom = count - 1.0
    # With fewer samples the determinant is 0, unless there is shrinkage or noise.
    singular = shrinkage == 0 and noise == 0
    enough = freedom >= columns + others if singular else some
    related = enough & (columns > 0) & (others > 0)
    # The average estimate for independent columns, which the correction subtracts.
    if bias is None:
        bias = _bias(jnp.where(enough, freedom, columns + others), reading, features)
    chance = jnp.where(related & (not bias_correction), jnp.maximum(bias, 0.0), 0.0)
    if bias_correction:
        mi -= bias
    mi = jnp.where(related, mi, 0.0)
    # nan if squares overflowed, or underflowed so that nothing varies.
    size = jnp.abs(origin[0]) + jnp.max(jnp.abs(moments.means), 0)
    tiny = (size > 0) & (size < _VANISHES) & (_diagonal(covariance) <= _VANISHES**2)
    vanished = jnp.any(tiny) & ~related
    known = jnp.all(jnp.isfinite(moments.scatter)) & ~vanished & ~jnp.isnan(count)
    mi = jnp.where(known, mi, jnp.nan)
    std_error = jnp.sqrt(jnp.maximum(variance, 0.0) / jnp.where(some, count, 1.0))
    return MIEstimate(
        mi=jnp.clip(mi, 0.0, entropy) if clip else mi,
        entropy=entropy,
        num_samples=count,
        std_error=jnp.where(enough, std_error, jnp.nan),
        dropped=dropped,
        chance=chance.astype(mi.dtype),
    )


def _real(
    origin: jax.Array,
    covariance: jax.Array,
    features: int,
    shrinkage: Shrinkage,
    noise: float,
    count: jax.Array,
) -> _Reading:
    """The reading for real Y, which is the columns after the first `features`."""
    variance = _diagonal(covariance)
    varies = _varies(variance, origin)
    added = noise**2 * jnp.sum(variance[:features])
    is_x = jnp.arange(len(covariance)) < features
    variance = variance + jnp.where(is_x, added, 0.0)
    correlation = _correlation(covariance, varies, variance)
    correlation, share = _shrink(correlation, varies, shrinkage, count)
    joint = _cholesky(correlation)
    alone = _cholesky(correlation[features:, features:])
    given_x = _diagonal(joint)[features:]
    mi = jnp.sum(jnp.log(_diagonal(alone)) - jnp.log(given_x))
    canonical = solve_triangular(alone, joint[features:, :features], lower=True)
    columns, others = (
        jnp.sum(part, dtype=mi.dtype) for part in (varies[:features], varies[features:])
    )
    if noise:
        scale = _inverse_root(variance, varies)[:features]
        columns -= added * _trace_of_inverse(joint[:features, :features], scale)
    bias = None
    if shrinkage != 0:
        left = (
            _left_of_columns(joint[:features, :features], varies[:features], share),
            _left_of_columns(alone, varies[features:], share),
        )
        fewer, more = jnp.minimum(*left), jnp.maximum(*left)
        bias = fewer / 2.0 * jnp.log1p(more / _room(count - 1.0 - more))
    return _Reading(mi, jnp.sum(jnp.square(canonical)), columns, others, bias)


def _classes(
    shares: jax.Array,
    means: jax.Array,
    origin: jax.Array,
    within: jax.Array,
    shrinkage: Shrinkage,
    noise: float,
    count: jax.Array,
) -> _Reading:
    """The reading for class labels with `shares` [C] of the samples."""
    share = shares[:, None]
    mean = jnp.sum(share * means, 0, keepdims=True)
    # A class without samples has weight 0 here.
    offsets = jnp.sqrt(share) * (means - mean)
    spread = _diagonal(within)
    total = spread + jnp.sum(jnp.square(offsets), 0)
    varies = _varies(total, origin)
    # If the class determines a column, use the spread of rounding in place of 0.
    spread = jnp.maximum(spread, jnp.finfo(total.dtype).eps ** 2 * total)
    added = noise**2 * jnp.sum(total)
    spread = spread + added
    correlation = _correlation(within, varies, spread)
    correlation, shrunk = _shrink(correlation, varies, shrinkage, count)
    scale = _inverse_root(spread, varies)
    offsets = offsets * scale[None]
    # Without the loop for a ridge, the program compiles faster.
    cholesky = _cholesky_of_definite if noise >= _MUCH_NOISE else _cholesky
    lower = cholesky(correlation)
    white = solve_triangular(lower, offsets.T, lower=True)
    # In units in which W is the identity, B is gram(white.T), and gram(white) has the
    # same nonzero eigenvalues. With few classes it is smaller, and more accurate.
    few = len(shares) < len(correlation)
    between = gram(white if few else white.T)
    whole = cholesky(jnp.eye(len(between), dtype=between.dtype) + between)
    # With the eigenvalues of (W + B)^-1 B.
    if few:
        ratio = cho_solve((whole, True), between)
        by_class = _diagonal(ratio)
    else:
        scores = solve_triangular(whole, white, lower=True)
        ratio = gram(scores.T)
        by_class = jnp.sum(jnp.square(scores), 0)
    first, second = jnp.sum(by_class), jnp.sum(jnp.square(ratio))
    distance = by_class / jnp.where(shares > 0, shares, 1.0)
    across = jnp.sum(shares * jnp.square(distance - first))
    columns = jnp.sum(varies, dtype=first.dtype)
    if noise:
        columns -= added * _trace_of_inverse(lower, scale)
    others = jnp.sum(shares > 0, dtype=first.dtype) - 1.0
    bias = None
    if shrinkage != 0:
        left = _left_of_columns(lower, varies, shrunk)
        # If s = 1 removes all correlations of k columns, the trace is k.
        kept = 1.0 - shrunk
        trace = jnp.where(kept > 1e-3, left / jnp.maximum(kept, 1e-3), columns)
        ratio = trace / _room(count - 1.0 - others - left)
        some = jnp.maximum(columns, 1.0)
        bias = jnp.minimum(
            others * jnp.log1p(ratio), columns * jnp.log1p(others / some * ratio)
        )
        bias /= 2.0
    return _Reading(
        jnp.sum(jnp.log(_diagonal(whole))),
        (across + 4.0 * first - 2.0 * second) / 4.0,
        columns,
        others,
        bias,
    )


def _left_of_columns(lower: jax.Array, varies: jax.Array, share: Any) -> jax.Array:
    """(1 - s) tr R_s^-1 R for columns that vary, from the Cholesky factor of R_s."""
    ones = varies.astype(lower.dtype)
    left = jnp.sum(ones) - share * _trace_of_inverse(lower, ones)
    return jnp.maximum(left, 0.0)


def _room(freedom: jax.Array) -> jax.Array:
    """The remaining degrees of freedom, at least one half."""
    return jnp.maximum(freedom, 0.5)


def _trace_of_inverse(lower: jax.Array, scale: jax.Array) -> jax.Array:
    """Trace of the inverse covariance, from the Cholesky factor of its correlations."""

    def squares(row: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(solve_triangular(lower, row, lower=True)))

    # Row by row: BLAS would split a whole matrix among threads, which takes a hundred
    # times as long if other processes keep the cores busy.
    rows = jnp.where(jnp.eye(len(scale), dtype=bool), scale[None], 0.0)
    return jnp.sum(jax.lax.map(squares, rows))


def _varies(variance: jax.Array, mean: jax.Array) -> jax.Array:
    """False for constant columns, whose variance is a rounding error of their mean."""
    rounding = 4.0 * jnp.finfo(variance.dtype).eps * mean
    return (variance > jnp.square(rounding)) & (variance > 0)


def _inverse_root(variance: jax.Array, varies: jax.Array) -> jax.Array:
    """1 / standard deviation, or 0 for constant columns."""
    return jnp.where(varies, jax.lax.rsqrt(jnp.where(varies, variance, 1.0)), 0.0)


def _correlation(
    covariance: jax.Array, varies: jax.Array, variance: jax.Array
) -> jax.Array:
    """Correlations, with 1 on the diagonal and 0 for constant columns."""
    scale = _inverse_root(variance, varies)
    return _unit_diagonal(covariance * jnp.outer(scale, scale))


def _diagonal(matrix: jax.Array) -> jax.Array:
    """The diagonal; this compiles to less code than the gather of `jnp.diagonal`."""
    eye = jnp.eye(len(matrix), dtype=bool)
    return jnp.sum(jnp.where(eye, matrix, 0.0), 0)


def _unit_diagonal(matrix: jax.Array) -> jax.Array:
    """The matrix with 1 on its diagonal."""
    return jnp.where(jnp.eye(len(matrix), dtype=bool), 1.0, matrix)


def _shrink(
    correlation: jax.Array, varies: jax.Array, shrinkage: Shrinkage, count: jax.Array
) -> tuple[jax.Array, Any]:
    """(1 - s) R + s I, and s; "oas" uses s of Chen et al. (2010), equation 23."""
    if shrinkage == 0:
        return correlation, 0.0
    if shrinkage == "oas":
        columns = jnp.sum(varies, dtype=count.dtype)
        constant = len(varies) - columns
        some = jnp.maximum(columns, 1.0)
        mean_square = (jnp.sum(jnp.square(correlation)) - constant) / jnp.square(some)
        excess = (count + 1.0) * (mean_square - 1.0 / some)
        share = (mean_square + 1.0) / jnp.where(excess > 0, excess, 1.0)
        share = jnp.where(excess > 0, jnp.minimum(share, 1.0), 1.0)
    else:
        share = shrinkage
    return _unit_diagonal((1.0 - share) * correlation), share


def _cholesky_of_definite(matrix: jax.Array) -> jax.Array:
    """Cholesky factor; nan if the matrix is not positive definite."""
    return jnp.linalg.cholesky(matrix, symmetrize_input=False)


def _cholesky(matrix: jax.Array) -> jax.Array:
    """Cholesky factor of the matrix + ridge * its diagonal, which makes it definite.

    The zero eigenvalues of collinear columns become the same small number everywhere.
    """
    root = jnp.sqrt(_diagonal(matrix))
    unit = _unit_diagonal(matrix / jnp.outer(root, root))
    identity = jnp.eye(len(matrix), dtype=matrix.dtype)

    def fails(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        ridge, lower = state
        # A ridge cannot repair a matrix that is not finite.
        return (ridge < 1.0) & ~jnp.isfinite(lower[-1, -1])

    def larger(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        ridge = 8.0 * state[0]
        matrix = unit + ridge * identity
        return ridge, _cholesky_of_definite(matrix)

    # Start with nan, so that the loop runs at least once.
    ridge = jnp.asarray(_RIDGE / 8.0 * jnp.finfo(matrix.dtype).eps, matrix.dtype)
    start = ridge, jnp.full_like(matrix, jnp.nan)
    _, lower = jax.lax.while_loop(fails, larger, start)
    return root[:, None] * lower


def _bias(freedom: jax.Array, reading: _Reading, features: int) -> jax.Array:
    """Expected excess of the plug-in estimate, with these degrees of freedom."""
    i = jnp.arange(features, dtype=freedom.dtype)
    used = jnp.clip(reading.columns - i, 0.0, 1.0)
    x = (freedom - reading.others - jnp.where(used > 0, i, 0.0)) / 2.0
    # Without any column, x could be 0.
    x = jnp.maximum(x, 0.5)
    differences = digamma_difference(x, jnp.maximum(reading.others, 0.0) / 2.0)
    return jnp.sum(used * differences) / 2.0
