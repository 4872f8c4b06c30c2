"""Mutual information of predicted and true class, from their joint table."""

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.arithmetic import (
    _sums,
    add_by_label,
    log_or_zero,
    weighted_total,
)
from optax_mi.estimators.inputs import Samples, read_classes, read_logits, streaming
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
      >>> from optax_mi.estimators import contingency
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

    def read(
        outputs: jax.typing.ArrayLike,
        labels: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None,
    ) -> Samples:
        floating = jnp.issubdtype(jnp.asarray(outputs).dtype, jnp.floating)
        reader = read_logits if soft and floating else read_classes
        return reader(outputs, labels, weights, num_classes=num_classes)

    def add(state: _sums.LongSum, samples: Samples) -> _sums.LongSum:
        labels = bucket(samples.labels, size, num_classes)
        samples = samples._replace(labels=labels)
        if samples.outputs.ndim == labels.ndim:
            # Whole numbers add up to the same in any order: scatter anywhere.
            return add_ids(state, samples, bucket(samples.outputs, size, num_classes))
        q, log_q = _softmax(samples.outputs, samples.kept)
        if size < num_classes:
            q = _bucket_sums(q, size)
            log_q = log_or_zero(q)
        rows = q * samples.weights[..., None]
        joint = add_by_label(state.recent.joint, labels, rows)
        return add_joint(state, samples, joint, _spread(samples.weights, q, log_q))

    def estimate(state: _sums.LongSum) -> MIEstimate:
        return estimate_table(state, bias_correction)

    return streaming(init, read, add, estimate, _sums.merge)


def bucket(ids: jax.Array, buckets: int, num_classes: int) -> jax.Array:
    """The bucket of each class id."""
    return ids if buckets == num_classes else ids % buckets


def _bucket_sums(rows: jax.Array, buckets: int) -> jax.Array:
    """Sums of rows [..., C] over the classes of a bucket, [..., B]."""
    num_classes = rows.shape[-1]
    each = -(-num_classes // buckets)
    pad = [(0, 0)] * (rows.ndim - 1) + [(0, each * buckets - num_classes)]
    return jnp.pad(rows, pad).reshape(*rows.shape[:-1], each, buckets).sum(-2)


def _softmax(logits: jax.Array, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Probabilities [..., C] and their logarithms; 0 where a sample is not kept.

    The operations are those of the cross-entropy and its gradient, so that XLA, which
    merges equal ones, takes the exponentials once for both.
    """
    top = jnp.max(logits, -1)
    shift = jnp.where(jnp.isfinite(top), top, 0.0)
    shifted = logits - shift[..., None]
    exponentials = jnp.exp(shifted)
    total = jnp.sum(exponentials, -1)
    q = jnp.where(kept[..., None], exponentials * (1.0 / total)[..., None], 0.0)
    log_q = jnp.where(q > 0, shifted - jnp.log(total)[..., None], 0.0)
    return q, log_q


def _spread(weights: jax.Array, q: jax.Array, log_q: jax.Array) -> jax.Array:
    """Weighted sums over the samples of q (1 - q) and -q ln q [..., C], [2, C]."""
    return weighted_total(weights, jnp.stack([q * (1.0 - q), -q * log_q], -2))
