"""Mutual information by nearest neighbors in a sample of an epoch."""

import jax

from optax_mi._checks import check_choice, check_static_int
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.inputs import check_kind
from optax_mi.estimators.samples._ksg_mi import ksg_mi
from optax_mi.estimators.samples._ksg_tile import Norm
from optax_mi.estimators.samples._reservoir import sampled
from optax_mi.estimators.samples._ross_mi import ross_mi
from optax_mi.estimators.samples._shared import check_neighbors
from optax_mi.estimators.samples._ties import check_key


def nearest_neighbors(
    *,
    features: int,
    num_classes: int | None = None,
    label_features: int | None = None,
    k: int = 3,
    norm: Norm = "euclidean",
    sample_size: int = 1024,
    key: jax.Array | int | None = 0,
) -> MIEstimator:
    r"""Estimates I(X; Y) of an epoch from nearest neighbors in a sample of it.

    It keeps a uniform sample of M of the epoch's samples in the state (Vitter, ACM TOMS
    11(1), 1985), and applies :func:`ross_mi` for class labels or :func:`ksg_mi` for
    real labels, in nats.

    Args:
      features: number of output columns d.
      num_classes: for class labels, the number of classes C, at least 2.
      label_features: for real labels, the number of label columns. Give exactly one of
        `num_classes` and `label_features`.
      k: number of neighbors, below `sample_size`.
      norm: "euclidean", or for real labels "max", as in :func:`ksg_mi`.
      sample_size: number of samples M; the state takes 4 M (d + 1) bytes, or 4 M (d +
        label_features).
      key: a seed or a key for the noise that breaks ties, or None for no noise, as in
        :func:`ross_mi` and :func:`ksg_mi`.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, real of shape [..., d], and
      `labels`, integers of shape [...] or real of shape [..., label_features]; a single
      column may have no axis. All positive weights count the same. `num_samples` is the
      size of the sample, and `dropped` does not include valid samples that were not
      drawn.

    Raises:
      TypeError, ValueError: an argument is out of range, or neither or both of
        `num_classes` and `label_features` are given.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import nearest_neighbors
      >>> estimator = nearest_neighbors(features=2, num_classes=2)
      >>> x = jax.random.normal(jax.random.key(0), (5000, 2))
      >>> labels = (x[:, 0] > 0).astype(int)
      >>> state = estimator.update(estimator.init(), outputs=x, labels=labels)
      >>> estimate = estimator.estimate(state)  # ln 2 = 0.693
      >>> print(f"{estimate.mi:.2f} nats from {estimate.num_samples:.0f} samples")
      0.67 nats from 1024 samples
    """
    kind = check_kind(features, num_classes, label_features)
    sample_size = check_static_int("sample_size", sample_size, 2)
    k = check_neighbors(k, sample_size)
    check_choice("norm", norm, ("euclidean", "max"))
    if norm != "euclidean" and num_classes is not None:
        raise ValueError(
            f"norm is for real labels, got norm={norm!r} and num_classes={num_classes}."
            " Leave it out: with class labels distances are Euclidean."
        )
    check_key("key", key)

    def measure(x: jax.Array, y: jax.Array, valid: jax.Array) -> MIEstimate:
        if kind.num_classes is None:
            return ksg_mi(x, y, k=k, norm=norm, mask=valid, key=key)
        return ross_mi(x, y, k=k, num_classes=kind.num_classes, mask=valid, key=key)

    return sampled(kind, sample_size, measure)
