"""Mutual information of predicted and true class, from their joint table."""

import jax
import jax.numpy as jnp

from optax_mi._checks import check_flag, check_static_int
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.arithmetic import (
    _sums,
    add_by_label,
    log_or_zero,
    weighted_total,
)
from optax_mi.estimators.inputs import (
    Samples,
    are_ids,
    read_classes,
    read_logits,
    streaming,
)
from optax_mi.estimators.tables._entropies import (
    BiasCorrection,
    check_bias_correction,
)
from optax_mi.estimators.tables._joint import (
    add_ids,
    add_joint,
    check_table_size,
    empty_table,
    estimate_table,
)


def contingency(
    *,
    num_classes: int,
    soft: bool = True,
    buckets: int | None = None,
    bias_correction: BiasCorrection | None = None,
) -> MIEstimator:
    r"""Estimates I(prediction; label) of an epoch from its joint table.

    .. math::
        \hat I = \sum_{y, x} \hat p(y, x)
                 \ln \frac{\hat p(y, x)}{\hat p(y)\, \hat p(x)}

    in nats, where :math:`\hat p` is the table of true class y and predicted class x,
    divided by its sum. Hard counts add a sample to the column of its argmax. Soft
    counts add its :math:`\mathrm{softmax}(\mathrm{outputs})`, so they estimate the
    information in a class *drawn* from the softmax. That is less than the information
    in the outputs unless the network is certain.

    Args:
      num_classes: number of classes C, at least 2; the state takes 12 C**2 bytes.
      soft: whether logits count as probabilities (True) or by their argmax (False).
      buckets: None, or a number B from 2 to C. Then labels and predictions are replaced
        by their remainder modulo B, which gives a lower bound, and `entropy` is the
        entropy of the buckets.
      bias_correction: None, or `"miller_madow"`, `"grassberger"` or `"chao_shen"`,
        which corrects the entropies for cells with few samples. Needs `soft=False`.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, logits of shape [..., C]
      (for probabilities, pass their logarithm; -inf masks a class) or integer class ids
      of shape [...], and `labels`, integers of shape [...]. `std_error` is the delta
      method's, about :math:`\sqrt 2` times the true one near I = 0; `chance` is the
      bias of the table, minus what a bias correction removes.

    Raises:
      TypeError, ValueError: an argument is out of range, or a bias correction is
        combined with soft counts.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import contingency
      >>> estimator = contingency(num_classes=2, soft=False)
      >>> logits = jnp.array([[2, 0], [0, 2], [0, 2], [2, 0], [9, 0]], float)
      >>> labels = jnp.array([0, 1, 0, 1, -1])
      >>> state = estimator.update(estimator.init(), outputs=logits, labels=labels)
      >>> estimate = estimator.estimate(state)
      >>> print(f"{estimate.mi:.4f} nats; {estimate.dropped:.0f} sample dropped")
      0.0000 nats; 1 sample dropped

    References:
      Miller, in Quastler (ed.), *Information Theory in Psychology*, 1955. Grassberger,
      arXiv:physics/0307138, 2003. Chao and Shen, Environmental and Ecological
      Statistics 10, 2003.
    """
    num_classes = check_static_int("num_classes", num_classes, 2)
    soft = check_flag("soft", soft)
    size = num_classes
    if buckets is not None:
        size = check_static_int("buckets", buckets, 2)
        if size > num_classes:
            raise ValueError(
                f"buckets must be at most num_classes={num_classes}, got "
                f"buckets={buckets}."
            )
    check_table_size(size)
    check_bias_correction(bias_correction)
    if bias_correction is not None and soft:
        raise ValueError(
            f"bias_correction={bias_correction!r} counts the cells in use, but soft "
            "counts use all cells: pass soft=False with it."
        )

    def init() -> _sums.LongSum:
        return empty_table(size, size, soft)

    def read(
        outputs: jax.typing.ArrayLike,
        labels: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None,
    ) -> Samples:
        reader = read_logits if soft and not are_ids(outputs) else read_classes
        return reader(outputs, labels, weights, num_classes=num_classes)

    def add(state: _sums.LongSum, samples: Samples) -> _sums.LongSum:
        labels = bucket(samples.labels, size, num_classes)
        samples = samples._replace(labels=labels)
        if samples.outputs.ndim == labels.ndim:
            # Sums of whole numbers do not depend on their order, so scatter is exact.
            return add_ids(state, samples, bucket(samples.outputs, size, num_classes))
        q, log_q, weights = _softmax(samples.outputs, samples.weights)
        samples = samples._replace(weights=weights)
        if size < num_classes:
            q = _bucket_sums(q, size)
            log_q = log_or_zero(q)
        rows = q * samples.weights[..., None]
        joint = add_by_label(state.recent.joint, labels, rows)
        return add_joint(state, samples, joint, _spread(samples.weights, q, log_q))

    def estimate(state: _sums.LongSum) -> MIEstimate:
        return estimate_table(state, bias_correction)

    return streaming(init, read, add, estimate, _sums.merge, additive=True)


def bucket(ids: jax.Array, buckets: int, num_classes: int) -> jax.Array:
    """The bucket of each class id."""
    return ids if buckets == num_classes else ids % buckets


def _bucket_sums(rows: jax.Array, buckets: int) -> jax.Array:
    """Sums of rows [..., C] over the classes of each bucket, [..., B]."""
    num_classes = rows.shape[-1]
    each = -(-num_classes // buckets)
    pad = [(0, 0)] * (rows.ndim - 1) + [(0, each * buckets - num_classes)]
    return jnp.pad(rows, pad).reshape(*rows.shape[:-1], each, buckets).sum(-2)


def _softmax(
    logits: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Probabilities [..., C], their logarithms, and weights; 0 if they are undefined.

    It uses the operations of the cross-entropy, so that XLA computes the exponentials
    once.
    """
    top = jnp.max(logits, -1)
    shift = jnp.where(jnp.isfinite(top), top, 0.0)
    shifted = logits - shift[..., None]
    exponentials = jnp.exp(shifted)
    total = jnp.sum(exponentials, -1)
    weights = jnp.where(jnp.isfinite(total), weights, 0.0)
    kept = weights > 0
    q = jnp.where(kept[..., None], exponentials * (1.0 / total)[..., None], 0.0)
    log_q = jnp.where(q > 0, shifted - jnp.log(total)[..., None], 0.0)
    return q, log_q, weights


def _spread(weights: jax.Array, q: jax.Array, log_q: jax.Array) -> jax.Array:
    """Weighted sums over the samples of q (1 - q) and -q ln q [..., C], [2, C]."""
    return weighted_total(weights, jnp.stack([q * (1.0 - q), -q * log_q], -2))
