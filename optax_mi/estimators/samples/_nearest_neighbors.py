"""Mutual information by nearest neighbours, of a sample of an epoch."""

import jax

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.inputs import check_kind
from optax_mi.estimators.samples._ksg_mi import ksg_mi
from optax_mi.estimators.samples._reservoir import sampled
from optax_mi.estimators.samples._ross_mi import ross_mi
from optax_mi.estimators.samples._shared import check_neighbors


def nearest_neighbors(
    *,
    features: int,
    num_classes: int | None = None,
    label_features: int | None = None,
    k: int = 3,
    sample_size: int = 1024,
    key: jax.Array | int | None = 0,
) -> MIEstimator:
    r"""Estimates I(X; Y) of an epoch from nearest neighbours in a sample of it.

    :func:`ross_mi` for class labels and :func:`ksg_mi` for real ones, applied to a
    uniform sample of M of the epoch's samples, kept in the state: with the standard
    deviation of an estimate falling as :math:`1 / \sqrt M`, that of M = 1024 is some
    0.03 nats. An epoch of no more than M samples is kept whole.

    The accumulator takes 4 M (features + 1) bytes, 266 kB for 64 features, or 4 M
    (features + label_features). An update writes those of its samples that are drawn;
    the estimate, once an epoch, compares all pairs, O(M**2 features).

    Args:
      features: number of columns of the outputs.
      num_classes: number of classes C, at least 2, of class labels.
      label_features: number of columns of real labels; exactly one of the two is given.
      k: number of neighbours, below `sample_size`.
      sample_size: number of samples M that are kept.
      key: a key for the jitter that breaks ties, or None for none. Which samples are
        kept does not depend on it.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, real of shape [...,
      features]; `labels`, integers of shape [...], or real of shape [...,
      label_features], or [...] if that is 1; and `weights`, None or of shape [...], of
      which all that are positive count the same. Samples that are not finite, out of
      range or of weight 0 are dropped and counted; those merely not drawn are not.
      `num_samples` is the size of the sample.

    Raises:
      TypeError, ValueError: numbers that do not fit, neither or both of `num_classes`
        and `label_features`; in `update`, shapes or dtypes that do not fit.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import nearest_neighbors
      >>> estimator = nearest_neighbors(features=2, num_classes=2)
      >>> state = estimator.init()
      >>> for key in jax.random.split(jax.random.key(0), 50):
      ...     x = jax.random.normal(key, (128, 2))
      ...     labels = (x[:, 0] > 0).astype(int)
      ...     state = estimator.update(state, outputs=x, labels=labels)
      >>> estimate = estimator.estimate(state)  # ln 2 = 0.693
      >>> print(f"{estimate.mi:.2f} nats from {estimate.num_samples:.0f} samples")
      0.67 nats from 1024 samples

    References:
      Ross, PLoS ONE 9(2):e87357, 2014. Kraskov, Stögbauer and Grassberger, Physical
      Review E 69, 066138, 2004. Vitter, Random sampling with a reservoir, ACM TOMS
      11(1), 1985.
    """
    kind = check_kind(features, num_classes, label_features)
    sample_size = check_static_int("sample_size", sample_size, 2)
    k = check_neighbors(k, sample_size)

    def measure(x: jax.Array, y: jax.Array, valid: jax.Array) -> MIEstimate:
        if kind.num_classes is None:
            return ksg_mi(x, y, k=k, mask=valid, key=key)
        return ross_mi(x, y, k=k, num_classes=kind.num_classes, mask=valid, key=key)

    return sampled(kind, sample_size, measure)
