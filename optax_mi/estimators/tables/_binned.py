"""Mutual information of binned vectors and class labels, over an epoch."""

import functools

import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.arithmetic import _sums
from optax_mi.estimators.inputs import Samples, read_vectors, streaming
from optax_mi.estimators.tables._bins import bins_of, check_ends, hash_of
from optax_mi.estimators.tables._entropies import (
    BiasCorrection,
    check_bias_correction,
)
from optax_mi.estimators.tables._joint import add_ids, empty_table, estimate_table


def binned(
    *,
    num_classes: int,
    low: float,
    high: float,
    num_bins: int = 30,
    buckets: int = 1024,
    bias_correction: BiasCorrection | None = None,
) -> MIEstimator:
    r"""Estimates I(X; Y) of an epoch from binned vectors and class labels.

    .. math::
        \hat I = \sum_{s, y} \hat p(s, y)
                 \ln \frac{\hat p(s, y)}{\hat p(s)\, \hat p(y)}

    in nats. This is the streaming form of :func:`binned_mi`. With a single column and
    at least as many buckets as bins, a symbol s is the bin; otherwise it is the bucket
    of a hash of all bins of a row. Rows that share a bucket can only lower the value.

    Args:
      num_classes: number of classes C, at least 2.
      low: lower end of the first bin, for all columns.
      high: upper end of the last bin; values outside count in the outermost bins.
      num_bins: number of bins of each column, at least 2.
      buckets: number of different symbols, at least 2.
      bias_correction: as in :func:`contingency`.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, real of shape [..., d] or
      [...], and `labels`, integers of shape [...]. `std_error` is the delta method's.

    Raises:
      TypeError, ValueError: an argument is out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import binned
      >>> estimator = binned(num_classes=2, low=-1.0, high=1.0, num_bins=2)
      >>> activations = jnp.array([-0.9, 0.8, -0.7, 0.6])
      >>> labels = jnp.array([0, 1, 0, 1])
      >>> state = estimator.init()
      >>> state = estimator.update(state, outputs=activations, labels=labels)
      >>> print(f"{estimator.estimate(state).mi:.4f} nats")
      0.6931 nats
    """
    num_classes = check_static_int("num_classes", num_classes, 2)
    num_bins = check_static_int("num_bins", num_bins, 2)
    buckets = check_static_int("buckets", buckets, 2)
    check_ends(low, high)
    check_bias_correction(bias_correction)

    def init() -> _sums.LongSum:
        return empty_table(num_classes, buckets)

    def add(state: _sums.LongSum, samples: Samples) -> _sums.LongSum:
        bins = bins_of(samples.outputs, low, high, num_bins)
        if bins.shape[1] == 1 and num_bins <= buckets:
            return add_ids(state, samples, bins[:, 0])
        symbols = hash_of(bins, seed=0) % buckets
        return add_ids(state, samples, symbols.astype(jnp.int32))

    def estimate(state: _sums.LongSum) -> MIEstimate:
        return estimate_table(state, bias_correction)

    read = functools.partial(read_vectors, batch=True, num_classes=num_classes)
    return streaming(init, read, add, estimate, _sums.merge, additive=True)
