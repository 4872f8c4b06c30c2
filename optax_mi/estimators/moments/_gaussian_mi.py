"""Mutual information of Gaussian vectors, in one call on whole arrays."""

import functools
import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from optax_mi._checks import check_choice
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import power_of_two
from optax_mi.estimators.inputs import (
    are_ids,
    array_or_none,
    class_ids,
    host_vectors,
    read_vectors,
)
from optax_mi.estimators.moments._copula import normal_scores
from optax_mi.estimators.moments._logdet import Shrinkage, gaussian_estimate
from optax_mi.estimators.moments._moments import centre, increments, no_moments

BiasCorrection = Literal["wishart"]


def gaussian_mi(
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    num_classes: int | None = None,
    weights: jax.typing.ArrayLike | None = None,
    shrinkage: Shrinkage = 0.0,
    noise: float = 0.0,
    bias_correction: BiasCorrection | None = "wishart",
    copula: bool = False,
    clip: bool = True,
) -> MIEstimate:
    r"""Estimates I(X; Y) in nats from covariances, as if all were Gaussian.

    For real Y the log-determinants of the joint covariance and of its blocks,

    .. math::
        \hat I(X; Y) = \tfrac12 \ln \frac{|S_x|\, |S_y|}{|S_{xy}|},

    exact for Gaussian (X, Y), and otherwise what linear maps can tell. For class
    labels, the covariance of all samples against the pooled one within classes,

    .. math::
        \hat I(X; Y) = \tfrac12 \ln \frac{|S_T|}{|S_W|}, \qquad
        S_T = S_W + \sum_c p_c (\mu_c - \mu)(\mu_c - \mu)^\top,

    which takes the classes for Gaussian with one shared covariance, as linear
    discriminant analysis does. X is then a mixture, not Gaussian: of all distributions
    with covariance S_T the Gaussian has the largest entropy, so the value is too large
    where the classes lie apart, and clipped to H(Y).

    Columns may have any units. A constant column tells nothing and is left out: one
    whose standard deviation is below 4 eps of its mean, which is rounding. A ridge of
    4 eps on the correlations keeps the value finite where columns are collinear:
    columns of X that others determine change nothing but the bias correction, and each
    direction of Y that X determines reads 5 to 8 nats in float32, 15 to 18 in float64.

    Takes O(N d**2 + d**3 + C d**2) operations and O(N d + d**2 + C d) memory, d the
    columns of X and real Y together.

    Args:
      x: real samples, [N] or [N, d].
      y: real samples, [N] or [N, d_y], of a floating dtype; or class labels [N], of an
        integer dtype. Labels outside [0, C) are dropped and counted.
      num_classes: number of classes C; None means the largest label + 1, which cannot
        be seen inside jit and vmap. Not for real `y`.
      weights: None, or a real weight of each sample, [N]; samples with a weight that is
        0, negative or not finite are dropped and counted. Their effective number,
        :math:`(\sum w)^2 / \sum w^2`, takes the place of N below.
      shrinkage: s in [0, 1) multiplies all correlations (for class labels those within
        classes) by 1 - s: for N close to d or below, where 0 leaves the determinants
        near 0. Variances stay. `"oas"` takes the s of least expected squared error for
        Gaussian data, from N and the correlations.
      noise: r at least 0 for :math:`I(X + \varepsilon; Y)` with independent Gaussian
        noise, of variance r**2 times the total variance of X in each column: finite and
        below H(Y) where X tells the classes apart for certain. It is in closed form, as
        r**2 tr(S_x) I, or S_T, on the covariances of X. The units of the columns then
        matter, and the bias correction holds to first order in 1 / N.
      bias_correction: whether to subtract the expectation of the bias, about
        d d_y / 2N, or d (C - 1) / 2N for class labels; None means where `shrinkage` is
        0. It is exact for Gaussian (X, Y), and for classes that x does not tell apart.
      copula: whether to replace each real column by the normal quantiles of its ranks,
        ties sharing their mean rank: the estimate is then the same under monotone maps
        of single columns, and exact for any marginals under a Gaussian copula. With
        class labels the ranks are those in the whole sample.
      clip: whether to clip to [0, H(Y)], for real `y` to [0, inf).

    Returns:
      An :class:`MIEstimate`; `entropy` is infinite for real `y`, and that of the labels
      as they came for classes. `std_error` is the delta method's for Gaussian data,
      :math:`\sqrt{\sum_i \rho_i^2 / N}` with the canonical correlations for real `y`;
      near I = 0 the distribution is not normal. Without a valid sample, without a
      column that varies, or with one class, it is 0 nats. With shrinkage 0 and too few
      valid samples for a determinant, N - 1 < d + d_y or N - C < d, it is 0 nats, and
      `std_error` is nan.

    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit, `num_classes` for real
        `y`, a shrinkage outside [0, 1), noise that is negative or beside shrinkage,
        N <= d without either, or a bias correction with shrinkage.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import gaussian_mi
      >>> x, noise = jax.random.normal(jax.random.key(0), (2, 10_000, 3))
      >>> estimate = gaussian_mi(x, x + noise)  # 3 / 2 ln 2 = 1.0397
      >>> print(f"{estimate.mi:.2f} +- {estimate.std_error:.2f}")
      1.04 +- 0.01
      >>> x = x.at[:, 0].multiply(1000.0)
      >>> print(f"{gaussian_mi(x, (x[:, 1] > 0).astype(int), num_classes=2).mi:.2f}")
      0.51

    References:
      Cover and Thomas, *Elements of Information Theory*, 2nd ed., 2006, theorem 8.4.1.
      Misra, Singh and Demchuk, Estimation of the entropy of a multivariate normal
      distribution, Journal of Multivariate Analysis 92, 2005 (the bias). Chen, Wiesel,
      Eldar and Hero, Shrinkage algorithms for MMSE covariance estimation, IEEE
      Transactions on Signal Processing 58, 2010, equation 23 (`"oas"`). Ince et al., A
      statistical framework for neuroimaging data analysis based on mutual information
      estimated via a Gaussian copula, Human Brain Mapping 38, 2017 (`copula`).
    """
    corrects = check_shrinkage(shrinkage, bias_correction)
    noise = check_noise(noise, shrinkage)
    if are_ids(labels):
        labels, num_classes = class_ids("labels", labels, num_classes)
    elif num_classes is not None:
        raise ValueError(
            f"num_classes={num_classes} is for class labels, and labels are not "
            "integers: pass labels.astype(int), or no num_classes."
        )
    return _estimate(
        host_vectors("outputs", outputs),
        host_vectors("labels", labels),
        array_or_none("weights", weights),
        num_classes=num_classes,
        shrinkage=shrinkage,
        noise=noise,
        bias_correction=corrects,
        copula=bool(copula),
        clip=bool(clip),
    )


def check_shrinkage(shrinkage: Any, bias_correction: Any) -> bool:
    """Whether to correct the bias: it is known without shrinkage alone.

    Raises:
      TypeError, ValueError: a shrinkage that is neither in [0, 1) nor "oas", or an
        unknown correction.
    """
    if isinstance(shrinkage, str):
        known = shrinkage == "oas"
    else:
        try:
            known = 0 <= float(shrinkage) < 1
        except (TypeError, jax.errors.ConcretizationTypeError):
            raise TypeError(
                f"shrinkage must be a Python float or 'oas', got {shrinkage!r}."
            ) from None
    if not known:
        raise ValueError(
            f"shrinkage must be in [0, 1) or 'oas', got shrinkage={shrinkage!r}."
        )
    check_choice("bias_correction", bias_correction, (None, *get_args(BiasCorrection)))
    return shrinkage == 0 and bias_correction is not None


def check_noise(noise: Any, shrinkage: Shrinkage) -> float:
    """The noise, a Python float.

    Raises:
      TypeError, ValueError: it is traced, negative, not finite, or beside shrinkage.
    """
    try:
        value = float(noise)
    except (TypeError, ValueError, jax.errors.ConcretizationTypeError):
        raise TypeError(f"noise must be a Python float, got {noise!r}.") from None
    if not 0 <= value < math.inf:
        raise ValueError(f"noise must be at least 0 and finite, got noise={noise!r}.")
    if value and shrinkage != 0:
        raise ValueError(
            f"noise={noise!r} keeps the determinants from 0, as shrinkage="
            f"{shrinkage!r} does: pass one of the two."
        )
    return value


@functools.partial(
    jax.jit,
    static_argnames=(
        "num_classes",
        "shrinkage",
        "noise",
        "bias_correction",
        "copula",
        "clip",
    ),
)
def _estimate(
    outputs: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None,
    *,
    num_classes: int | None,
    shrinkage: Shrinkage,
    noise: float,
    bias_correction: bool,
    copula: bool,
    clip: bool,
) -> MIEstimate:
    """The estimate for `y` real, or labels in `num_classes` classes."""
    samples = read_vectors(outputs, labels, weights, num_classes=num_classes)
    rows, ids, kept = samples
    features = rows.shape[1]
    if num_classes is None:
        rows = jnp.concatenate([rows, samples.labels], 1)
        ids, num_classes = jnp.zeros(len(rows), jnp.int32), 1
    columns = rows.shape[1]
    if shrinkage == 0 and noise == 0 and len(rows) <= columns:
        raise ValueError(
            f"{len(rows)} samples of {columns} columns leave the covariance singular: "
            "pass shrinkage, such as shrinkage='oas', or more samples."
        )
    if copula:
        rows = normal_scores(rows, kept)
    origin = centre(rows, kept)
    if not copula:
        unit = power_of_two(rows)
        if noise:
            # The columns of X keep their units, which it depends on.
            is_x = jnp.arange(columns) < features
            unit = jnp.where(is_x, jnp.min(unit[:, :features]), unit)
        rows, origin = rows * unit, origin * unit
    nothing = no_moments(num_classes, rows.shape[1], rows.dtype)
    moments = increments(nothing, rows - origin, ids, kept)
    return gaussian_estimate(
        moments,
        origin,
        samples.totals,
        features,
        shrinkage,
        noise,
        bias_correction,
        clip,
    )
