"""Mutual information of predicted and true class, from their joint table."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators import _sums
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators._batch import (
    check_logits,
    class_ids,
    health,
    in_range,
    make_batch,
    read_arrays,
)
from optax_mi.estimators._plugin import plugin_estimate
from optax_mi.estimators._scatter import contract_rows, scatter_pairs, scatter_rows


class ContingencyState(NamedTuple):
    """Accumulator of :func:`contingency`, for C classes: 8 C**2 bytes."""

    joint: _sums.CompensatedSum  # float32 [C, C] twice, [label, prediction]
    totals: _sums.CompensatedSum  # float32 [3] twice, see Batch.totals


def contingency(
    num_classes: int,
    soft: bool = True,
    *,
    bias_correction: Literal["miller_madow"] | None = None,
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

    The accumulator holds two float32 tables of C x C, which keep counts exact up to
    2**48 samples; an update costs O(N C + C**2) operations (N for hard counts). For
    vocabularies of tens of thousands of classes see :func:`variational`.

    Args:
      num_classes: number of classes C, at least 2.
      soft: whether logits count as probabilities (True) or by their argmax (False).
        Integer outputs are class ids either way.
      bias_correction: `"miller_madow"` adds :math:`(K - 1) / 2N` to each entropy, with
        K the cells in use and N the samples. It needs `soft=False`: soft counts
        leave no cell empty. None, the default, is the plug-in estimate.

    Returns:
      An :class:`MIEstimator`. Its `update` takes

      - `outputs`: logits of shape [..., C] (for probabilities pass their logarithm;
        -inf masks a class), or integer class ids of shape [...];
      - `labels`: integer class ids of shape [...]; others than 0 to C - 1, such as -1
        for padding, are dropped and counted;
      - `weights`: None or an array of shape [...]; a sample of weight 0 is dropped.

      Its `std_error` is the delta method's, for hard counts; soft counts vary less, so
      for them it is an upper bound. Near I = 0 the distribution is not normal.

    Raises:
      TypeError, ValueError: `num_classes` is below 2 or not a Python int, the bias
        correction is unknown or asked of soft counts; in `update`, shapes or dtypes
        that do not fit, or more than 2**24 samples in one batch.

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
      *Information Theory in Psychology*, 1955.
    """
    num_classes = check_static_int("num_classes", num_classes, 2)
    if bias_correction not in (None, "miller_madow"):
        raise ValueError(
            "bias_correction must be None or 'miller_madow', got "
            f"bias_correction={bias_correction!r}."
        )
    if bias_correction is not None and soft:
        raise ValueError(
            "bias_correction='miller_madow' counts the cells in use, and soft counts "
            "use all: pass soft=False with it."
        )

    def init() -> ContingencyState:
        return ContingencyState(
            _sums.zeros((num_classes, num_classes)), _sums.zeros((3,))
        )

    def update(
        state: ContingencyState,
        *,
        outputs: jax.typing.ArrayLike,
        labels: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> ContingencyState:
        del extra_args
        outputs, labels = read_arrays(outputs, labels)
        if jnp.issubdtype(outputs.dtype, jnp.integer):
            if outputs.shape != labels.shape:
                raise ValueError(
                    f"integer outputs are class ids and must have the shape of labels, "
                    f"{labels.shape}, got {outputs.shape}. Logits must be floating."
                )
            known = in_range(outputs, num_classes)
            predicted = class_ids(outputs, known)
        else:
            check_logits(outputs, labels, num_classes)
            # The maximum is nan or inf where softmax and argmax have no meaning.
            known = jnp.isfinite(jnp.max(outputs, -1))
            predicted = None
        batch = make_batch(labels, weights, known, num_classes)
        if predicted is None and soft:
            logits = jnp.where(batch.used[..., None], outputs.astype(jnp.float32), 0.0)
            rows = jax.nn.softmax(logits) * batch.weights[..., None]
            table = jax.lax.platform_dependent(
                rows,
                batch.labels,
                cpu=lambda r, y: scatter_rows(r, y, num_classes),
                default=lambda r, y: contract_rows(r, y, num_classes),
            )
        else:
            if predicted is None:
                predicted = jnp.argmax(outputs, -1).astype(jnp.int32)
            # Sums of whole numbers do not depend on their order: scatter anywhere.
            table = scatter_pairs(predicted, batch.labels, batch.weights, num_classes)
        return ContingencyState(
            _sums.add(state.joint, table), _sums.add(state.totals, batch.totals)
        )

    def estimate(state: ContingencyState) -> MIEstimate:
        _, count, dropped = health(state.totals)
        return plugin_estimate(
            state.joint.value, count, dropped, bias_correction is not None
        )

    def merge(state: ContingencyState, other: ContingencyState) -> ContingencyState:
        return ContingencyState(
            _sums.merge(state.joint, other.joint),
            _sums.merge(state.totals, other.totals),
        )

    return MIEstimator(init, update, estimate, merge)
