"""Mutual information of predicted and true class, from their joint table."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators import _sums
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators._batch import (
    class_ids,
    in_range,
    make_batch,
    read_arrays,
    read_logits,
)
from optax_mi.estimators._plugin import (
    BiasCorrection,
    check_bias_correction,
    log_or_zero,
)
from optax_mi.estimators._scatter import add_by_label, weighted_total
from optax_mi.estimators._table import (
    add_ids,
    add_joint,
    check_table_size,
    empty_table,
    estimate_table,
)


def contingency(
    num_classes: int,
    soft: bool = True,
    *,
    buckets: int | None = None,
    bias_correction: BiasCorrection | None = None,
) -> MIEstimator:
    r"""Estimates I(prediction; label) from the joint table of an epoch.

    The plug-in estimate of the mutual information in nats,

    .. math::
        \hat I = \sum_{y, x} \hat p(y, x)
                 \ln \frac{\hat p(y, x)}{\hat p(y)\, \hat p(x)},

    where :math:`\hat p` is the joint table of true class y and predicted class x,
    divided by its sum. Soft counts add a sample's predicted probabilities
    :math:`\mathrm{softmax}(\mathrm{outputs})` to the row of its label; hard counts add
    its weight to the column of the argmax. Soft counts move before the argmax does and
    are less noisy; hard ones are what `sklearn.metrics.mutual_info_score` computes.
    Soft counts estimate the information that a class *drawn* from the softmax has on
    the label, which is below that of the outputs wherever the network is not certain.

    The accumulator holds three float32 tables of C x C, 12 C**2 bytes, in which counts
    are exact up to 2**48 samples, and for soft counts 24 C bytes more; an update adds
    O(N C) operations to the train step.
    For vocabularies of tens of thousands of classes see :func:`variational`, or put
    them into buckets.

    Buckets are the classes modulo their number B. Both the label and the prediction
    are replaced by their bucket, in a table of B x B; soft counts add the probabilities
    of a bucket's classes. By the data-processing inequality
    :math:`I(x \bmod B;\, y \bmod B) \le I(x; y)`, and `entropy` is that of the bucketed
    labels.

    Args:
      num_classes: number of classes C, at least 2.
      soft: whether logits count as probabilities (True) or by their argmax (False).
        Integer outputs are class ids either way.
      buckets: number of buckets B, from 2 to C, or None for the classes themselves.
      bias_correction: `"miller_madow"`, `"grassberger"` or `"chao_shen"` correct each
        entropy for the small number of samples a cell. They need `soft=False`: soft
        counts leave no cell empty. None, the default, is the plug-in estimate.

    Returns:
      An :class:`MIEstimator`. Its `update` takes

      - `outputs`: logits of shape [..., C] (for probabilities pass their logarithm;
        -inf masks a class), or integer class ids of shape [...];
      - `labels`: integer class ids of shape [...]; others than 0 to C - 1, such as -1
        for padding, are dropped and counted;
      - `weights`: None or an array of shape [...]; a sample of weight 0 is dropped.

      Its `std_error` is the delta method's: of a sample's information
      :math:`\sum_x q_x \ln \frac{p(x, y)}{p(x) p(y)}`, where soft counts vary less than
      hard ones by what their probabilities tell. Near I = 0, where the first order
      vanishes, it is some :math:`\sqrt 2` of the true one, and the distribution is not
      normal. Its `chance` is for the table of a finite sample; a bias correction takes
      off what it can.

    Raises:
      TypeError, ValueError: `num_classes` is below 2 or not a Python int, `buckets` is
        not in [2, C], the bias correction is unknown or asked of soft counts; in
        `update`, shapes or dtypes that do not fit, or more than 2**23 samples in one
        batch.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import contingency
      >>> estimator = contingency(num_classes=2, soft=False)
      >>> logits = jnp.array([[2, 0], [0, 2], [0, 2], [2, 0], [9, 0]], float)
      >>> labels = jnp.array([0, 1, 0, 1, -1])
      >>> state = estimator.update(estimator.init(), outputs=logits, labels=labels)
      >>> estimate = estimator.estimate(state)
      >>> print(f"{estimate.mi:.4f} nats; {estimate.dropped:.0f} sample dropped")
      0.0000 nats; 1 sample dropped

    References:
      Miller, Note on the bias of information estimates, in Quastler (ed.),
      *Information Theory in Psychology*, 1955. Grassberger, Entropy estimates from
      insufficient samplings, arXiv:physics/0307138, 2003. Chao and Shen, Nonparametric
      estimation of Shannon's index of diversity when there are unseen species in
      sample, Environmental and Ecological Statistics 10, 2003.
    """
    num_classes = check_static_int("num_classes", num_classes, 2)
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
            f"bias_correction={bias_correction!r} counts the cells in use, and soft "
            "counts use all: pass soft=False with it."
        )

    def init() -> _sums.LongSum:
        return empty_table(size, size, soft)

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
        if soft and jnp.issubdtype(outputs.dtype, jnp.floating):
            logits = read_logits(outputs, labels, num_classes)
            top = jnp.max(logits, -1)
            batch = make_batch(labels, weights, jnp.isfinite(top), num_classes)
            batch = batch._replace(labels=bucket(batch.labels, size, num_classes))
            q, log_q = _softmax(logits, top, batch.weights)
            if size < num_classes:
                q = _bucket_sums(q, size)
                log_q = log_or_zero(q)
            rows = q * batch.weights[..., None]
            joint = add_by_label(state.recent.joint, batch.labels, rows)
            return add_joint(state, batch, joint, _spread(batch.weights, q, log_q))
        # Whole numbers add up to the same in any order: scatter anywhere.
        ids, known = read_classes(outputs, labels, num_classes)
        batch = make_batch(labels, weights, known, num_classes)
        batch = batch._replace(labels=bucket(batch.labels, size, num_classes))
        return add_ids(state, batch, bucket(ids, size, num_classes))

    def estimate(state: _sums.LongSum) -> MIEstimate:
        return estimate_table(state, bias_correction)

    return MIEstimator(init, update, estimate, _sums.merge)


def read_classes(
    outputs: jax.Array, labels: jax.Array, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Predicted classes [...], int32, and where there is one; integers are ids.

    Raises:
      ValueError: integers of another shape than the labels', or logits that do not fit.
    """
    if jnp.issubdtype(outputs.dtype, jnp.integer):
        if outputs.shape != labels.shape:
            raise ValueError(
                f"integer outputs are class ids and must have the shape of labels, "
                f"{labels.shape}, got {outputs.shape}. Logits must be floating."
            )
        known = in_range(outputs, num_classes)
        return class_ids(outputs, known), known
    logits = read_logits(outputs, labels, num_classes)
    # Not finite where neither argmax nor softmax has a meaning.
    top = jnp.max(logits, -1)
    return _argmax(logits, top), jnp.isfinite(top)


def bucket(ids: jax.Array, buckets: int, num_classes: int) -> jax.Array:
    """The bucket of each class id."""
    return ids if buckets == num_classes else ids % buckets


def _bucket_sums(rows: jax.Array, buckets: int) -> jax.Array:
    """Sums of rows [..., C] over the classes of a bucket, [..., B]."""
    num_classes = rows.shape[-1]
    each = -(-num_classes // buckets)
    pad = [(0, 0)] * (rows.ndim - 1) + [(0, each * buckets - num_classes)]
    return jnp.pad(rows, pad).reshape(*rows.shape[:-1], each, buckets).sum(-2)


def _softmax(
    logits: jax.Array, top: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Probabilities [..., C] and their logarithms; 0 where the weight is 0.

    The operations are those of the cross-entropy and its gradient, so that XLA, which
    merges equal ones, takes the exponentials once for both.
    """
    shift = jnp.where(jnp.isfinite(top), top, 0.0)
    shifted = logits - shift[..., None]
    exponentials = jnp.exp(shifted)
    total = jnp.sum(exponentials, -1)
    kept = weights[..., None] > 0
    q = jnp.where(kept, exponentials * (1.0 / total)[..., None], 0.0)
    log_q = jnp.where(q > 0, shifted - jnp.log(total)[..., None], 0.0)
    return q, log_q


def _spread(weights: jax.Array, q: jax.Array, log_q: jax.Array) -> jax.Array:
    """Weighted sums over the samples of q (1 - q) and -q ln q [..., C], [2, C]."""
    not_hard = weighted_total(weights, q * (1.0 - q))
    return jnp.stack([not_hard, -weighted_total(weights, q * log_q)])


def _argmax(logits: jax.Array, top: jax.Array) -> jax.Array:
    """Index of the first maximum: XLA's own argmax is twice as slow on the CPU."""
    order = -jnp.arange(logits.shape[-1], dtype=jnp.float32)
    is_top = logits == top[..., None]
    first = jnp.max(jnp.where(is_top, order, -jnp.inf), -1)
    # Where the maximum is nan nothing equals it; such a sample has weight 0.
    return jnp.where(jnp.isfinite(top), -first, 0.0).astype(jnp.int32)
