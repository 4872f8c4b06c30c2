r"""Mutual information of binned vectors and class labels.

Every column of x is cut into B bins of equal width. The bins of a row together are a
symbol :math:`s`, and in nats

.. math::
    \hat I = \hat H(Y) + \hat H(S) - \hat H(S, Y),
    \qquad \hat H(S) = -\sum_s \hat p_s \ln \hat p_s .

There are B**d symbols, far more than samples, so a symbol is told by a hash of its
bins: with column j's bin :math:`b_j` and random odd :math:`a_j`, it is
:math:`\sum_j a_j b_j \bmod 2^{32}`, whose bits are then mixed.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi._checks import check_number, check_static_int, concrete
from optax_mi.estimators import _sums
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators._batch import Batch, health, make_batch, read_arrays
from optax_mi.estimators._blocks import over_blocks
from optax_mi.estimators._plugin import (
    BiasCorrection,
    check_bias_correction,
    entropy_of,
    gathered_estimate,
)
from optax_mi.estimators._samples import (
    as_array,
    check_shape,
    find_classes,
    read_labels,
    read_vectors,
)
from optax_mi.estimators._table import add_ids, empty_table, estimate_table


def binned_mi(
    x: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    num_bins: int = 30,
    low: jax.typing.ArrayLike | None = None,
    high: jax.typing.ArrayLike | None = None,
    num_classes: int | None = None,
    weights: jax.typing.ArrayLike | None = None,
    bias_correction: BiasCorrection | None = None,
    clip: bool = True,
) -> MIEstimate:
    r"""I(X; Y) of real vectors and class labels, from bins of equal width.

    .. math::
        \hat I = \sum_{s, y} \hat p(s, y)
                 \ln \frac{\hat p(s, y)}{\hat p(s)\, \hat p(y)}

    in nats, where a symbol s is the pattern of bins of a whole row. The value depends
    on the bins, and once most patterns occur only once it is H(Y) whatever the data:
    use it in few dimensions, or to compare with publications that did. Memory beside
    the arrays: O(N), or O(C B) in one dimension; patterns are told apart by hashes of
    64 bits.

    Args:
      x: real vectors of shape [N, d], or [N] for d = 1. A row that is not finite is
        dropped and counted.
      labels: integer class ids of shape [N]; others than 0 to C - 1 are dropped.
      num_bins: bins a column, at least 2.
      low: lower end of the first bin, a number or one a column; None takes the smallest
        value of each column. Values beyond the ends count in the outermost bins.
      high: upper end of the last bin; None takes the largest value of each column.
      num_classes: number of classes C; None takes the largest label + 1, which needs
        labels with values: inside jit give the number.
      weights: None, or real of shape [N]; a sample of weight 0 is dropped.
      bias_correction: None, `"miller_madow"`, `"grassberger"` or `"chao_shen"`, see
        :func:`contingency`.
      clip: whether to clip the value to [0, H(Y)], which a correction may leave.

    Returns:
      An :class:`MIEstimate`, whose `std_error` is the delta method's.

    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit, no samples, `num_bins`
        below 2, low >= high, `num_classes` missing where it is needed.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import binned_mi
      >>> x = jnp.array([[0.1, 0.2], [0.9, 0.3], [0.2, 0.1], [0.8, 0.2]])
      >>> print(f"{binned_mi(x, jnp.array([0, 1, 0, 1]), num_bins=2).mi:.4f} nats")
      0.6931 nats

    References:
      Shwartz-Ziv and Tishby, Opening the black box of deep neural networks via
      information, arXiv:1703.00810, 2017, for networks' layers.
    """
    num_bins = check_static_int("num_bins", num_bins, 2)
    check_bias_correction(bias_correction)
    num_classes = find_classes(labels, num_classes)
    if low is not None and high is not None and np.ndim(low) == np.ndim(high) == 0:
        _check_ends(low, high)
    x, labels = as_array(x), as_array(labels)
    weights, low, high = (
        None if array is None else as_array(array) for array in (weights, low, high)
    )
    return _binned_mi(
        x,
        labels,
        weights,
        low,
        high,
        num_bins=num_bins,
        num_classes=num_classes,
        bias_correction=bias_correction,
        clip=clip,
    )


@functools.partial(
    jax.jit, static_argnames=("num_bins", "num_classes", "bias_correction", "clip")
)
def _binned_mi(
    x: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None,
    low: jax.Array | None,
    high: jax.Array | None,
    *,
    num_bins: int,
    num_classes: int,
    bias_correction: BiasCorrection | None,
    clip: bool,
) -> MIEstimate:
    x = read_vectors("x", x)
    labels = read_labels(labels, len(x))
    if weights is not None:
        check_shape("weights", weights, (len(x),))
    for name, end in (("low", low), ("high", high)):
        if end is not None and end.shape not in ((), x.shape[1:]):
            raise ValueError(
                f"{name} must be a number or have one for each of the {x.shape[1]} "
                f"columns of x, got {name} of shape {end.shape}."
            )
    low, high = (None if e is None else jax.lax.stop_gradient(e) for e in (low, high))
    finite = jnp.all(jnp.isfinite(x), -1)
    if low is None:
        low = jnp.min(jnp.where(finite[:, None], x, jnp.inf), 0)
    if high is None:
        high = jnp.max(jnp.where(finite[:, None], x, -jnp.inf), 0)
    if x.shape[1] == 1:
        # A table of all symbols, exact over any number of samples.
        def add(state: Any, x: Any, labels: Any, finite: Any, weights: Any) -> Any:
            batch = make_batch(labels, weights, finite, num_classes)
            return add_ids(state, batch, _bins(x, low, high, num_bins)[:, 0])

        state = over_blocks(
            add, empty_table(num_classes, num_bins), (x, labels, finite, weights)
        )
        return estimate_table(state, bias_correction, clip)
    batch = make_batch(labels, weights, finite, num_classes)
    bins = _bins(x, low, high, num_bins)
    return _sorted_estimate(
        (_hash(bins, seed=0), _hash(bins, seed=1)),
        batch._replace(weights=batch.weights.astype(x.dtype)),
        num_classes,
        bias_correction,
        clip,
    )


def _sorted_estimate(
    symbols: tuple[jax.Array, ...],
    batch: Batch,
    num_classes: int,
    bias_correction: BiasCorrection | None,
    clip: bool,
) -> MIEstimate:
    """MI of symbols [N], each told by several integers, and labels, by sorting them."""
    *keys, labels, weights = jax.lax.sort(
        (*symbols, batch.labels, batch.weights), num_keys=len(symbols) + 1
    )
    total = jnp.sum(weights)
    scale = 1.0 / jnp.where(total > 0, total, 1.0)
    p = weights * scale
    _, count, dropped = (v.astype(p.dtype) for v in health(batch.totals))

    def starts(columns: list[jax.Array]) -> jax.Array:
        changes = [jnp.diff(column, prepend=column[:1]) != 0 for column in columns]
        return functools.reduce(jnp.logical_or, changes)

    # The number of its symbol, and of its symbol and label, for every sample.
    symbol, both = (jnp.cumsum(starts(c)) for c in (keys, [*keys, labels]))
    groups = ((num_classes, labels), (len(p), symbol), (len(p), both))
    # Sums of weights first: those of ones are exact.
    tables = [
        jnp.zeros(size, p.dtype).at[group].add(weights) * scale
        for size, group in groups
    ]
    entropies = None
    if bias_correction is not None:
        entropies = [entropy_of(t, count, bias_correction) for t in tables]
    shares = [t[group] for t, (_, group) in zip(tables, groups, strict=True)]
    margins = (tables[0], tables[1])
    return gathered_estimate(p, shares, margins, count, dropped, entropies, clip)


def binned(
    num_classes: int,
    low: float,
    high: float,
    *,
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
      >>> from optax_mi import binned
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
    _check_ends(low, high)
    check_bias_correction(bias_correction)

    def init() -> _sums.LongSum:
        return empty_table(num_classes, buckets)

    def update(
        state: _sums.LongSum,
        *,
        outputs: jax.typing.ArrayLike,
        labels: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> _sums.LongSum:
        del extra_args
        outputs, labels = read_arrays(outputs, labels)
        if outputs.shape == labels.shape:
            outputs = outputs[..., None]
        if outputs.shape[:-1] != labels.shape:
            raise ValueError(
                f"outputs must have the shape of labels, {labels.shape}, or one more "
                f"axis, got {outputs.shape}."
            )
        if labels.size == 0:
            return state
        x = outputs.reshape(-1, outputs.shape[-1])
        x = read_vectors("outputs", x).reshape(outputs.shape)
        batch = make_batch(labels, weights, jnp.all(jnp.isfinite(x), -1), num_classes)
        bins = _bins(x, low, high, num_bins)
        if x.shape[-1] == 1 and num_bins <= buckets:
            return add_ids(state, batch, bins[..., 0])
        symbols = _hash(bins, seed=0) % buckets
        return add_ids(state, batch, symbols.astype(jnp.int32))

    def estimate(state: _sums.LongSum) -> MIEstimate:
        return estimate_table(state, bias_correction)

    return MIEstimator(init, update, estimate, _sums.merge)


def _check_ends(low: Any, high: Any) -> None:
    """Raises unless low < high, as far as they are concrete."""
    check_number("low", low, lambda _: True, "finite")
    bottom = concrete(low)
    check_number(
        "high",
        high,
        lambda top: bottom is None or top > bottom,
        f"finite and more than low={low}",
    )


def _bins(
    x: jax.Array, low: jax.typing.ArrayLike, high: jax.typing.ArrayLike, num_bins: int
) -> jax.Array:
    """The bin of each value, int32 in [0, num_bins); of nan it is 0."""
    # As many axes as x, for those who forbid that ranks be promoted.
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    low, high = (jnp.broadcast_to(jnp.asarray(e, x.dtype), row) for e in (low, high))
    width = (high - low) / num_bins
    # A column of one value has no width, and one bin.
    place = (x - low) / jnp.where(width > 0, width, 1.0)
    place = jnp.clip(jnp.where(jnp.isnan(place), 0.0, place), 0.0, num_bins - 1)
    return place.astype(jnp.int32)


def _hash(bins: jax.Array, seed: int) -> jax.Array:
    """A hash of 32 bits, uint32 [...], of integers [..., d]."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(2**31, size=bins.shape[-1], dtype=np.uint32) * 2 + 1
    h = jnp.matmul(bins.astype(jnp.uint32), jnp.asarray(factors))
    # The low bits of a product know little of the high ones: the finalizer of
    # MurmurHash3 makes every bit depend on all.
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> shift)) * jnp.uint32(factor)
    return h ^ (h >> 16)
