"""Mutual information by pairwise distances, of a sample of an epoch."""

import jax

from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.inputs import check_kind
from optax_mi.estimators.samples._kde_mi import Distance, check_bandwidth, kde_mi
from optax_mi.estimators.samples._reservoir import sampled


def kde(
    *,
    features: int,
    num_classes: int,
    bandwidth: jax.typing.ArrayLike,
    distance: Distance = "kl",
    sample_size: int = 1024,
) -> MIEstimator:
    r"""Estimates I(T; Y) of an epoch, T being x with Gaussian noise added.

    :func:`kde_mi` applied to a uniform sample of M of the epoch's samples, kept in the
    state as :func:`nearest_neighbors` does: 4 M (features + 1) bytes. The estimate,
    once an epoch, compares all pairs, O(M**2 features). A smaller sample reads more
    information, since more of its samples lie alone: compare values of one M.

    Args:
      features: number of columns of the outputs.
      num_classes: number of classes C, at least 2.
      bandwidth: standard deviation of the noise, as in :func:`kde_mi`.
      distance: `"kl"` or `"bhattacharyya"`, as in :func:`kde_mi`.
      sample_size: number of samples M that are kept.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, real of shape [...,
      features]; `labels`, integers of shape [...]; and `weights`, None or of shape
      [...], of which all that are positive count the same. Samples that are not finite,
      out of range or of weight 0 are dropped and counted.

    Raises:
      TypeError, ValueError: as :func:`kde_mi`; in `update`, shapes or dtypes that do
        not fit.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import kde
      >>> estimator = kde(features=2, num_classes=2, bandwidth=1.0)
      >>> x = jax.random.normal(jax.random.key(0), (1000, 2))
      >>> labels = (x[:, 0] > 0).astype(int)
      >>> state = estimator.update(estimator.init(), outputs=x, labels=labels)
      >>> print(f"{estimator.estimate(state).mi:.2f}")
      0.30

    References:
      As :func:`kde_mi`; and Vitter, Random sampling with a reservoir, ACM TOMS 11(1),
      1985.
    """
    kind = check_kind(features, num_classes, None)
    check_bandwidth(bandwidth, distance)

    def measure(x: jax.Array, y: jax.Array, valid: jax.Array) -> MIEstimate:
        return kde_mi(
            x,
            y,
            bandwidth=bandwidth,
            num_classes=num_classes,
            mask=valid,
            distance=distance,
        )

    return sampled(kind, sample_size, measure)
