"""Mutual information from pairwise distances in a sample of an epoch."""

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
    r"""Estimates I(T; Y) of an epoch, where T is the outputs with Gaussian noise.

    It keeps a uniform sample of M of the epoch's samples in the state (Vitter, ACM TOMS
    11(1), 1985), and applies :func:`kde_mi`, in nats. A smaller sample gives larger
    values, because more of its samples are isolated: compare values with the same M.

    Args:
      features: number of output columns d.
      num_classes: number of classes C, at least 2.
      bandwidth: standard deviation of the noise, as in :func:`kde_mi`.
      distance: `"kl"` or `"bhattacharyya"`, as in :func:`kde_mi`.
      sample_size: number of samples M; the state takes 4 M (d + 1) bytes.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, real of shape [..., d], and
      `labels`, integers of shape [...]; all positive weights count the same.

    Raises:
      TypeError, ValueError: an argument is out of range.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import kde
      >>> estimator = kde(features=2, num_classes=2, bandwidth=1.0)
      >>> x = jax.random.normal(jax.random.key(0), (1000, 2))
      >>> labels = (x[:, 0] > 0).astype(int)
      >>> state = estimator.update(estimator.init(), outputs=x, labels=labels)
      >>> print(f"{estimator.estimate(state).mi:.2f}")
      0.30
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
