r"""Mutual information of binned vectors and class labels.

.. math::
    \hat I = \hat H(Y) + \hat H(S) - \hat H(S, Y),
    \qquad \hat H(S) = -\sum_s \hat p_s \ln \hat p_s,

where the symbol :math:`s` of a row is the B-ary pattern of its bins :math:`b_j`. A hash
identifies it: :math:`\sum_j a_j b_j \bmod 2^{32}` with random odd :math:`a_j` and mixed
bits.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from optax_mi._checks import check_flag, check_static_int
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import over_blocks
from optax_mi.estimators.inputs import (
    Samples,
    array_or_none,
    as_array,
    check_fits,
    class_ids,
    health,
    host_vectors,
    read_vectors,
)
from optax_mi.estimators.tables._bins import bins_of, check_ends, hash_of
from optax_mi.estimators.tables._entropies import (
    BiasCorrection,
    check_bias_correction,
    entropy_of,
)
from optax_mi.estimators.tables._joint import add_ids, empty_table, estimate_table
from optax_mi.estimators.tables._plugin import gathered_estimate


def binned_mi(
    outputs: jax.typing.ArrayLike,
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
    r"""Estimates I(X; Y) of real vectors and class labels, from bins of equal width.

    .. math::
        \hat I = \sum_{s, y} \hat p(s, y)
                 \ln \frac{\hat p(s, y)}{\hat p(s)\, \hat p(y)}

    in nats, where a symbol s is the pattern of bins of a whole row. If most patterns
    occur only once, as in more than a few dimensions, the value is H(Y) for any data.

    Args:
      outputs: real vectors of shape [N, d], or [N] for d = 1.
      labels: integer class ids of shape [N].
      num_bins: number of bins of each column, at least 2.
      low: lower end of the first bin, one number or one for each column; None takes
        each column's smallest value. Values outside count in the outermost bins.
      high: upper end of the last bin, in the same form; None takes each column's
        largest value.
      num_classes: number of classes C; None (not under jit) is the largest label + 1.
      weights: None, or a real weight of each sample, [N].
      bias_correction: as in :func:`contingency`.
      clip: whether to clip the value to [0, H(Y)]; a correction may leave this range.

    Returns:
      An :class:`MIEstimate`, whose `std_error` is the delta method's. If every value
      lies outside `low` and `high`, `mi` is nan.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit, there are no samples, an
        argument is out of range, or `num_classes` is needed.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import binned_mi
      >>> x = jnp.array([[0.1, 0.2], [0.9, 0.3], [0.2, 0.1], [0.8, 0.2]])
      >>> print(f"{binned_mi(x, jnp.array([0, 1, 0, 1]), num_bins=2).mi:.4f} nats")
      0.6931 nats

    References:
      Shwartz-Ziv and Tishby, arXiv:1703.00810, 2017, for networks' layers.
    """
    num_bins = check_static_int("num_bins", num_bins, 2)
    check_bias_correction(bias_correction)
    labels, num_classes = class_ids("labels", labels, num_classes)
    if low is None and high is None:
        outputs = host_vectors("outputs", outputs)
    else:
        check_fits("outputs", outputs)
    check_ends(low, high)
    return _binned_mi(
        as_array("outputs", outputs),
        labels,
        array_or_none("weights", weights),
        array_or_none("low", low),
        array_or_none("high", high),
        num_bins=num_bins,
        num_classes=num_classes,
        bias_correction=bias_correction,
        clip=check_flag("clip", clip),
    )


@functools.partial(
    jax.jit, static_argnames=("num_bins", "num_classes", "bias_correction", "clip")
)
def _binned_mi(
    outputs: jax.Array,
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
    samples = read_vectors(outputs, labels, weights, num_classes=num_classes)
    x, kept = samples.outputs, samples.kept[:, None]
    for name, end in (("low", low), ("high", high)):
        if end is not None and end.shape not in ((), x.shape[1:]):
            raise ValueError(
                f"{name} must be a number or have one for each of the {x.shape[1]} "
                f"columns of outputs, got {name} of shape {end.shape}."
            )
    low, high = (None if e is None else jax.lax.stop_gradient(e) for e in (low, high))
    if low is None:
        low = jnp.min(jnp.where(kept, x, jnp.inf), 0)
    if high is None:
        high = jnp.max(jnp.where(kept, x, -jnp.inf), 0)
    if x.shape[1] == 1:
        # A table of all symbols, exact over any number of samples.
        def add(state: Any, *block: jax.Array) -> Any:
            part = Samples(*block)
            return add_ids(
                state, part, bins_of(part.outputs, low, high, num_bins)[:, 0]
            )

        state = over_blocks(
            add,
            empty_table(num_classes, num_bins),
            tuple(samples._replace(weights=samples.weights.astype(jnp.float32))),
        )
        estimate = estimate_table(state, bias_correction, clip)
    else:
        bins = bins_of(x, low, high, num_bins)
        estimate = _sorted_estimate(
            (hash_of(bins, seed=0), hash_of(bins, seed=1)),
            samples,
            num_classes,
            bias_correction,
            clip,
        )
    # If all values lie outside, bins carry no information.
    row = x[:1].shape
    least, most = (jnp.broadcast_to(e.astype(x.dtype), row) for e in (low, high))
    beyond = ~jnp.any(kept & (x >= least) & (x <= most)) & jnp.any(kept)
    return estimate._replace(mi=jnp.where(beyond, jnp.nan, estimate.mi))


def _sorted_estimate(
    symbols: tuple[jax.Array, ...],
    samples: Samples,
    num_classes: int,
    bias_correction: BiasCorrection | None,
    clip: bool,
) -> MIEstimate:
    """MI of symbols [N], each given by several integers, and labels, by sorting."""
    *keys, labels, weights = jax.lax.sort(
        (*symbols, samples.labels, samples.weights), num_keys=len(symbols) + 1
    )
    total = jnp.sum(weights)
    scale = 1.0 / jnp.where(total > 0, total, 1.0)
    p = weights * scale
    _, count, dropped = health(samples.totals)

    def starts(columns: list[jax.Array]) -> jax.Array:
        changes = [jnp.diff(column, prepend=column[:1]) != 0 for column in columns]
        return functools.reduce(jnp.logical_or, changes)

    # For every sample, the rank of its symbol, and of its symbol and label.
    symbol, both = (jnp.cumsum(starts(c)) for c in (keys, [*keys, labels]))
    groups = ((num_classes, labels), (len(p), symbol), (len(p), both))
    # Add the weights before scaling: sums of ones are exact.
    tables = [
        jnp.zeros(size, p.dtype).at[group].add(weights) * scale
        for size, group in groups
    ]
    entropies = None
    if bias_correction is not None:
        entropies = [entropy_of(t, count, bias_correction) for t in tables]
    return gathered_estimate(
        p,
        (labels, symbol),
        tables[2][both],
        (tables[0], tables[1]),
        count,
        dropped,
        entropies,
        clip,
    )
