"""Mutual information of Gaussian vectors, from whole arrays."""

import functools
import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from optax_mi._checks import check_choice, check_flag
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import power_of_two
from optax_mi.estimators.inputs import (
    are_ids,
    array_or_none,
    host_ids,
    host_vectors,
    read_vectors,
)
from optax_mi.estimators.moments._copula import normal_scores
from optax_mi.estimators.moments._logdet import Shrinkage, gaussian_estimate
from optax_mi.estimators.moments._moments import (
    centre,
    increments,
    moments_of_pair,
    no_moments,
)

BiasCorrection = Literal["wishart"]

# Up to this many columns of X and Y, it is faster to concatenate them.
_FEW = 64


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
    r"""Estimates I(X; Y) in nats from covariances, as if all data were Gaussian.

    .. math::
        \hat I = \tfrac12 \ln \frac{|S_x|\, |S_y|}{|S_{xy}|}
        \ \text{(real labels)}, \qquad
        \hat I = \tfrac12 \ln \frac{|W + B|}{|W|} \ \text{(classes)},

    where S are covariances, W is the covariance within classes and B that of the class
    means. The first value is exact for Gaussian (X, Y), and otherwise the information
    that linear maps show. The second treats classes as Gaussians with one covariance,
    and is too large if they lie far apart. Constant columns are left out, and the value
    stays finite for collinear columns.

    Args:
      outputs: real samples, [N] or [N, d].
      labels: class labels [N] of an integer dtype, or real samples, [N] or [N, d_y], of
        a floating dtype.
      num_classes: number of classes C, only for class labels; None means the largest
        label + 1, which is unknown inside jit and vmap.
      weights: None, or a real weight of each sample, [N].
      shrinkage: s in [0, 1) multiplies all correlations (within classes) by 1 - s, for
        few samples; `"oas"` chooses the s with the smallest expected squared error for
        Gaussian data.
      noise: r of at least 0 estimates :math:`I(X + \varepsilon; Y)` with independent
        Gaussian noise of r**2 times the total variance of X in each column. It excludes
        shrinkage. For classes far apart, the value is all of H(Y) up to r = 0.58 for
        two classes, and 0.41 for ten.
      bias_correction: `"wishart"` subtracts the expected bias, about d d_y / 2N, or d
        (C - 1) / 2N for classes; with shrinkage nothing is subtracted. None keeps the
        bias. `chance` has the bias that remains.
      copula: whether to replace each real column by the normal quantiles of its ranks,
        so that monotone maps of single columns do not change the value.
      clip: whether to clip to [0, H(Y)], or to [0, inf) for real labels.

    Returns:
      An :class:`MIEstimate`; `std_error` is the delta method's. Without a valid sample,
      a column that varies or a second class, the value is 0 nats. It is also 0, with a
      `std_error` of nan, if the samples are too few for a determinant, N - 1 < d + d_y
      or N - C < d, without shrinkage or noise.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit; `num_classes` is given for
        real labels; an argument is out of range; noise is combined with shrinkage; or
        N <= d without either.

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
      Misra, Singh and Demchuk, Journal of Multivariate Analysis 92, 2005 (bias). Chen,
      Wiesel, Eldar and Hero, IEEE Transactions on Signal Processing 58, 2010, equation
      23 (`"oas"`). Ince et al., Human Brain Mapping 38, 2017 (`copula`).
    """
    corrects = check_shrinkage(shrinkage, bias_correction)
    noise = check_noise(noise, shrinkage)
    if are_ids(labels, "labels"):
        told = num_classes is not None
        labels, num_classes = host_ids("labels", labels, num_classes)
        if not told and 2 * num_classes > (used := int(jnp.sum(labels >= 0))):
            raise ValueError(
                f"labels are integers, so they are class ids, but of {num_classes} "
                f"classes for {used} samples: pass labels.astype(float) for real "
                "labels, or num_classes for classes."
            )
    elif num_classes is not None:
        raise ValueError(
            f"num_classes={num_classes} is for class labels, but labels are not "
            "integers: pass labels.astype(int), or leave out num_classes."
        )
    else:
        labels = host_vectors("labels", labels)
    return _estimate(
        host_vectors("outputs", outputs),
        labels,
        array_or_none("weights", weights),
        num_classes=num_classes,
        shrinkage=shrinkage,
        noise=noise,
        bias_correction=corrects,
        copula=check_flag("copula", copula),
        clip=check_flag("clip", clip),
    )


def check_shrinkage(shrinkage: Any, bias_correction: Any) -> bool:
    """Checks both; returns whether to correct the bias, which excludes shrinkage."""
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
    """Checks the noise, and returns it as a Python float."""
    try:
        value = float(noise)
    except (TypeError, ValueError, jax.errors.ConcretizationTypeError):
        raise TypeError(f"noise must be a Python float, got {noise!r}.") from None
    if not 0 <= value < math.inf:
        raise ValueError(f"noise must be at least 0 and finite, got noise={noise!r}.")
    if value and shrinkage != 0:
        raise ValueError(
            f"noise={noise!r} keeps determinants above 0, and so does shrinkage="
            f"{shrinkage!r}: pass only one of the two."
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
    """The estimate for real labels, or for labels in `num_classes` classes."""
    samples = read_vectors(outputs, labels, weights, num_classes=num_classes)
    x, ids, kept = samples
    features = x.shape[1]
    parts = (x,) if num_classes else (x, samples.labels)
    columns = sum(part.shape[1] for part in parts)
    if shrinkage == 0 and noise == 0 and len(x) <= columns:
        raise ValueError(
            f"{len(x)} samples of {columns} columns have a singular covariance: pass "
            "shrinkage, such as shrinkage='oas', or more samples."
        )
    if copula:
        scores = normal_scores(jnp.concatenate(parts, 1), kept)
        parts = tuple(jnp.split(scores, [features], 1)[: len(parts)])
        units = [jnp.ones((1, part.shape[1]), x.dtype) for part in parts]
    else:
        units = [power_of_two(part) for part in parts]
    if noise:
        # The noise depends on the relative units of the columns of X, so keep them.
        units[0] = jnp.full_like(units[0], jnp.min(units[0]))
    if num_classes is None and columns > _FEW:
        moments, origin = moments_of_pair(parts[0], parts[-1], units, kept)
    else:
        rows, unit = (jnp.concatenate(each, 1) for each in (parts, units))
        origin = centre(rows, kept)
        rows, origin = rows * unit, origin * unit
        if num_classes is None:
            ids, num_classes = jnp.zeros(len(rows), jnp.int32), 1
        nothing = no_moments(num_classes, columns, rows.dtype)
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
