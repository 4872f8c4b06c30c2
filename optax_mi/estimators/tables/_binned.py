"""Mutual information of binned vectors and class labels, of an epoch."""

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

    The streaming form of :func:`binned_mi`: a table of class by symbol, where the
    symbol of a row is its bin if x has one column and there are as many buckets as
    bins, and the bucket that the hash of all its bins falls into otherwise. Patterns
    that share a bucket can only lower the information, by the data-processing
    inequality; the table holds at most :math:`\ln(\mathrm{buckets})` nats.

    The accumulator takes 12 C `buckets` bytes; an update reads the batch once and adds
    one number for each sample.

    Args:
      num_classes: number of classes C, at least 2.
      low: lower end of the first bin, of every column.
      high: upper end of the last bin; values beyond count in the outermost bins.
      num_bins: bins a column, at least 2.
      buckets: number of symbols that are told apart, at least 2.
      bias_correction: None, `"miller_madow"`, `"grassberger"` or `"chao_shen"`.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, real of shape [..., d] or
      [...]; `labels`, integers of shape [...], dropped and counted when out of range;
      and `weights`, None or of shape [...]. Rows that are not finite are dropped and
      counted. `std_error` is the delta method's.

    Raises:
      TypeError, ValueError: numbers that do not fit; in `update`, shapes or dtypes.

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

    References:
      As :func:`binned_mi`.
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
    return streaming(init, read, add, estimate, _sums.merge)
