"""Plug-in mutual information of whole arrays of predictions and labels."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from optax_mi._checks import check_flag, check_static_int
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import BLOCK, block_of_rows, over_blocks
from optax_mi.estimators.inputs import (
    are_ids,
    array_or_none,
    as_array,
    check_ids,
    check_logits,
    flatten_leading,
    host_ids,
    host_logits,
    read_classes,
    shape_of,
)
from optax_mi.estimators.tables._contingency import bucket, contingency
from optax_mi.estimators.tables._entropies import (
    BiasCorrection,
    check_bias_correction,
)
from optax_mi.estimators.tables._joint import estimate_table
from optax_mi.estimators.tables._plugin import gathered_estimate, plugin_estimate

_INSIDE = "promise_in_bounds"


def plugin_mi(
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    num_classes: int | None = None,
    weights: jax.typing.ArrayLike | None = None,
    soft: bool = True,
    buckets: int | None = None,
    bias_correction: BiasCorrection | None = None,
    clip: bool = True,
) -> MIEstimate:
    r"""Estimates I(prediction; label) of whole arrays, from their joint table.

    .. math::
        \hat I = \sum_{y, x} \hat p(y, x)
                 \ln \frac{\hat p(y, x)}{\hat p(y)\, \hat p(x)}

    in nats, over true classes y and predicted classes x. This is the one-shot form of
    :func:`contingency`. `.normalized` is Theil's U adjusted for chance.

    Args:
      outputs: integer class ids of shape [...], or logits of shape [..., C]. For
        probabilities, pass their logarithm.
      labels: integer class ids of shape [...].
      num_classes: number of classes C; None takes it from the shape of logits, or means
        the largest id + 1, which is unknown inside jit and vmap.
      weights: None, or real or boolean of shape [...].
      soft: whether logits count as probabilities (True) or by their argmax (False).
      buckets: as in :func:`contingency`.
      bias_correction: as in :func:`contingency`.
      clip: whether to clip the value to [0, H(label)]; a correction may leave this
        range.

    Returns:
      An :class:`MIEstimate`, with `std_error` and `chance` as in :func:`contingency`.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit, there are no samples,
        `num_classes` is needed, the table has 2**31 cells or more, a bias correction is
        combined with soft counts, or soft logits are already probabilities, which it
        checks only outside of jit and vmap.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import plugin_mi
      >>> labels = jnp.array([0, 1, 0, 1])
      >>> print(f"{plugin_mi(labels, labels).mi:.4f} nats")
      0.6931 nats
      >>> probabilities = jnp.array([[0.8, 0.2], [0.2, 0.8], [0.8, 0.2], [0.2, 0.8]])
      >>> print(f"{plugin_mi(jnp.log(probabilities), labels).mi:.4f} nats")
      0.1927 nats

    References:
      Cover and Thomas, *Elements of Information Theory*, equation 2.28.
    """
    soft, clip = check_flag("soft", soft), check_flag("clip", clip)
    check_bias_correction(bias_correction)
    if buckets is not None:
        buckets = check_static_int("buckets", buckets, 2)
    labels, classes = host_ids("labels", labels, _classes_of(outputs, num_classes))
    is_ids = are_ids(outputs)
    if is_ids:
        outputs, predicted = host_ids("outputs", outputs, num_classes)
        # A table has at least two classes; a single class has no information.
        classes = max(classes, predicted, 2)
    else:
        if soft:
            check_logits("outputs", outputs)
        outputs = as_array("outputs", host_logits("outputs", outputs, labels))
    return _plugin_mi(
        outputs,
        labels,
        array_or_none("weights", weights),
        num_classes=classes,
        soft=soft and not is_ids,
        buckets=buckets,
        bias_correction=bias_correction,
        clip=clip,
    )


def _classes_of(outputs: Any, num_classes: int | None) -> int | None:
    """The number of classes, as passed or from logits; None for ids."""
    if num_classes is not None or are_ids(outputs):
        return num_classes
    shape = shape_of("outputs", outputs)
    if shape[:1] == (0,):
        raise ValueError(f"outputs has shape {shape}: there are no samples.")
    if len(shape) < 2 or shape[-1] < 2:
        raise ValueError(
            f"outputs of shape {shape} are not logits of two classes or more. If they "
            "are class ids, pass outputs.astype(int). With one logit per sample, that "
            "of class 1, pass num_classes=2."
        )
    return shape[-1]


@functools.partial(
    jax.jit,
    static_argnames=("num_classes", "soft", "buckets", "bias_correction", "clip"),
)
def _plugin_mi(
    outputs: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None,
    *,
    num_classes: int,
    soft: bool,
    buckets: int | None,
    bias_correction: BiasCorrection | None,
    clip: bool,
) -> MIEstimate:
    arrays = flatten_leading(outputs, labels, weights, num_classes=num_classes)
    estimator = contingency(
        num_classes=num_classes,
        soft=soft,
        buckets=buckets,
        bias_correction=bias_correction,
    )
    block = BLOCK if arrays[0].ndim == 1 else block_of_rows(num_classes)
    if soft or (weights is not None and weights.dtype != jnp.bool_):

        def update(state: Any, outputs: Any, labels: Any, weights: Any) -> Any:
            return estimator.update(
                state, outputs=outputs, labels=labels, weights=weights
            )

        state = over_blocks(update, estimator.init(), arrays, block)
        return estimate_table(state, bias_correction, clip)
    size = buckets or num_classes

    def cells(outputs: Any, labels: Any, mask: Any) -> tuple[jax.Array, jax.Array]:
        """Label and output; the label of an unusable sample is `size`."""
        samples = read_classes(outputs, labels, mask, num_classes=num_classes)
        row = bucket(samples.labels, size, num_classes)
        column = bucket(samples.outputs, size, num_classes)
        return jnp.where(samples.kept, row, size), column

    def add(table: jax.Array, outputs: Any, labels: Any, mask: Any) -> jax.Array:
        row, column = cells(outputs, labels, mask)
        return table.at[row * size + column].add(1, mode=_INSIDE)

    table = over_blocks(add, jnp.zeros((size + 1) * size, jnp.int32), arrays, block)
    # A random read of a cell takes as long as eight reads in order.
    if 8 * len(arrays[1]) > size * size or bias_correction is not None:
        counts = table.astype(float).reshape(size + 1, size)
        joint, dropped = counts[:-1], counts[-1].sum()
        return plugin_estimate(joint, joint.sum(), dropped, bias_correction, clip)
    row, column = cells(*arrays)
    used = row < size
    count = jnp.sum(used, dtype=float)
    scale = 1.0 / jnp.maximum(count, 1.0)
    weight = used.astype(jnp.int32)

    def margin(at: jax.Array) -> jax.Array:
        sums = jnp.zeros(size + 1, jnp.int32).at[at].add(weight, mode=_INSIDE)
        return sums[:-1].astype(float) * scale

    here = table.at[row * size + column].get(mode=_INSIDE)
    return gathered_estimate(
        jnp.where(used, scale, 0.0),
        (row, column),
        here.astype(float) * scale,
        (margin(row), margin(column)),
        count,
        len(row) - count,
        clip=clip,
    )


def table_mi(
    joint: jax.typing.ArrayLike,
    *,
    bias_correction: BiasCorrection | None = None,
    clip: bool = True,
) -> MIEstimate:
    r"""Estimates I(X; Y) in nats from a joint table of counts, [label, output].

    .. math::
        \hat I = \sum_{y, x} \hat p_{yx} \ln \frac{\hat p_{yx}}{\hat p_y\, \hat p_x}

    Args:
      joint: counts or weights of shape [R, C]; cells that are negative or not finite
        are dropped and counted. For probabilities, whose sum is 1, `num_samples`,
        `std_error` and corrections are meaningless.
      bias_correction: as in :func:`contingency`.
      clip: whether to clip the value to [0, H(label)].

    Returns:
      An :class:`MIEstimate`; `entropy` is the entropy of the rows, and `num_samples`
      the sum of the table.

    Raises:
      TypeError, ValueError: `joint` is not a table of real numbers or is empty, or the
        correction is unknown.

    Example:
      >>> from optax_mi.estimators import table_mi
      >>> print(f"{table_mi([[50, 0], [0, 50]]).mi:.4f} nats")
      0.6931 nats
    """
    check_bias_correction(bias_correction)
    clip = check_flag("clip", clip)
    table = as_array("joint", joint)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(
            f"joint must be a table [label, output], got joint of shape {table.shape}."
        )
    if jnp.issubdtype(table.dtype, jnp.complexfloating):
        raise TypeError(f"joint must be real, got dtype {table.dtype}.")
    if jnp.issubdtype(table.dtype, jnp.floating):
        table = table.astype(jnp.promote_types(table.dtype, jnp.float32))
    else:
        table = table.astype(float)
    return _table_mi(table, bias_correction=bias_correction, clip=clip)


@functools.partial(jax.jit, static_argnames=("bias_correction", "clip"))
def _table_mi(
    table: jax.Array, *, bias_correction: BiasCorrection | None, clip: bool
) -> MIEstimate:
    usable = (table >= 0) & jnp.isfinite(table)
    table = jnp.where(usable, table, 0.0)
    dropped = jnp.sum(~usable, dtype=table.dtype)
    return plugin_estimate(table, table.sum(), dropped, bias_correction, clip)


def plugin_entropy(
    labels: jax.typing.ArrayLike,
    *,
    num_classes: int | None = None,
    weights: jax.typing.ArrayLike | None = None,
    bias_correction: BiasCorrection | None = None,
) -> jax.Array:
    r"""Estimates the entropy of labels in nats, :math:`-\sum_y \hat p_y \ln \hat p_y`.

    Args:
      labels: integers of shape [...]; those outside [0, C) are ignored.
      num_classes: number of classes C; None means the largest label + 1.
      weights: None, or of shape [...].
      bias_correction: as in :func:`contingency`.

    Returns:
      The entropy, a scalar; 0 if every label is ignored.

    Raises:
      TypeError, ValueError: as in :func:`plugin_mi`.

    Example:
      scikit-learn's `normalized_mutual_info_score`:

      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import plugin_entropy, plugin_mi
      >>> a, b = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 1, 1])
      >>> mean = (plugin_entropy(a) + plugin_entropy(b)) / 2
      >>> print(f"{plugin_mi(a, b).mi / mean:.4f}")
      0.3437
    """
    # plugin_mi would call these arguments outputs in its messages.
    ids = check_ids("labels", as_array("labels", labels))
    if ids.size == 0:
        raise ValueError(f"labels has shape {ids.shape}: there are no samples.")
    # I(Y; Y) = H(Y).
    return plugin_mi(
        labels,
        labels,
        num_classes=num_classes,
        weights=weights,
        bias_correction=bias_correction,
    ).entropy
