"""The door: a batch or whole arrays in, checked, converted, what is unusable marked.

Each reader takes `outputs`, `labels` and `weights` as a user passes them. Nothing is
centred, scaled or binned before its rows are dropped here.
"""

import jax
import jax.numpy as jnp

from optax_mi.estimators.inputs._arrays import check_class_labels
from optax_mi.estimators.inputs._samples import Samples, check_shape, weigh

Array = jax.typing.ArrayLike


def read_logits(
    outputs: Array, labels: Array, weights: Array | None = None, *, num_classes: int
) -> Samples:
    """Logits of shape [..., C] as float32, and class labels [...].

    Logits stay as they are where samples are dropped, finite or not: so XLA sees that
    what is made of them is what the loss makes, and computes it once.

    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    """
    outputs, labels = _arrays(outputs, labels)
    logits = _check_logits(outputs, labels, num_classes)
    ids, valid = _in_range(labels, num_classes)
    # -inf masks a class; where all are masked, or one is nan or inf, there is no
    # softmax.
    valid &= jnp.isfinite(jnp.max(logits, -1))
    return Samples(logits, ids, weigh(valid, weights, jnp.float32))


def flatten_leading(
    outputs: Array, labels: Array, weights: Array | None, *, num_classes: int
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Logits [N, C] or class ids [N], labels [N] and weights, of whole arrays [...].

    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit, no samples.
    """
    outputs, labels = _arrays(outputs, labels)
    check_class_labels(labels)
    if labels.size == 0:
        raise ValueError(f"labels has shape {labels.shape}: there are no samples.")
    if jnp.issubdtype(outputs.dtype, jnp.integer):
        outputs = _check_ids(outputs, labels).ravel()
    else:
        outputs = _check_logits(outputs, labels, num_classes)
        outputs = outputs.reshape(-1, num_classes)
    if weights is not None:
        weights = jnp.asarray(weights)
        check_shape("weights", weights, labels.shape)
        weights = weights.ravel()
    return outputs, labels.ravel(), weights


def read_classes(
    outputs: Array, labels: Array, weights: Array | None = None, *, num_classes: int
) -> Samples:
    """Class ids [...], those of the largest of logits [..., C], and class labels [...].

    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    """
    outputs, labels = _arrays(outputs, labels)
    if not jnp.issubdtype(outputs.dtype, jnp.integer):
        logits = read_logits(outputs, labels, weights, num_classes=num_classes)
        return logits._replace(outputs=_argmax(logits.outputs))
    predicted, known = _in_range(_check_ids(outputs, labels), num_classes)
    ids, valid = _in_range(labels, num_classes)
    return Samples(predicted, ids, weigh(known & valid, weights, jnp.float32))


def read_vectors(
    outputs: Array,
    labels: Array,
    weights: Array | None = None,
    *,
    mask: Array | None = None,
    batch: bool = False,
    features: int | None = None,
    num_classes: int | None = None,
    label_features: int | None = None,
) -> Samples:
    """Vectors [N, d], and class labels [N] or vectors [N, m]; 0 where dropped.

    A batch is float32, its leading axes flattened. Whole arrays are [N] or [N, d], and
    float64 if one of them is. A boolean `mask` may stand in for the weights.

    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit.
    """
    outputs, labels = _arrays(outputs, labels)
    if num_classes is not None:
        check_class_labels(labels)
        leading = labels.shape
    elif not batch:
        leading = outputs.shape[:1]
    else:
        alone = features == 1 and outputs.shape[-1:] != (1,)
        leading = outputs.shape if alone else outputs.shape[:-1]
    if not batch and (len(leading) != 1 or 0 in leading):
        raise ValueError(
            "outputs and labels must hold samples along one axis, at least one, got "
            f"outputs of shape {outputs.shape} and labels of shape {labels.shape}. "
            "Flatten other axes first."
        )
    rows = [_check_rows("outputs", outputs, features, leading)]
    valid = jnp.ones(leading, bool)
    if num_classes is None:
        rows.append(_check_rows("labels", labels, label_features, leading))
    else:
        labels, valid = _in_range(labels, num_classes)
    wide = not batch and any(x.dtype == jnp.float64 for x in rows)
    # What float32 cannot hold is not finite: first the cast, then the check.
    rows = [x.astype(jnp.float64 if wide else jnp.float32) for x in rows]
    for x in rows:
        valid &= jnp.all(jnp.isfinite(x), -1)
    if mask is not None:
        mask = jnp.asarray(mask)
        if mask.dtype != jnp.bool_:
            raise TypeError(
                f"mask must be boolean, got dtype {mask.dtype}: this estimator counts "
                "samples, and cannot weigh them. Pass weights > 0."
            )
    kept = weigh(
        valid,
        weights if mask is None else mask,
        rows[0].dtype,
        "weights" if mask is None else "mask",
    )
    used = kept > 0
    x, *y = (_flat(jnp.where(used[..., None], x, 0.0)) for x in rows)
    labels = y[0] if y else jnp.where(used, labels, 0).ravel()
    return Samples(x, labels, kept.ravel())


def _arrays(*arrays: Array) -> tuple[jax.Array, ...]:
    """Arrays that no gradient flows through."""
    return tuple(jax.lax.stop_gradient(jnp.asarray(array)) for array in arrays)


def _in_range(ids: jax.Array, num_classes: int) -> tuple[jax.Array, jax.Array]:
    """Ids as int32, 0 where they are not in [0, num_classes), and where they are."""
    valid = ids >= 0
    if num_classes <= jnp.iinfo(ids.dtype).max:
        valid &= ids < num_classes
    return jnp.where(valid, ids, 0).astype(jnp.int32), valid


def _check_ids(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """`outputs`, if they are class ids of the shape of the labels."""
    check_class_labels(labels)
    if outputs.shape != labels.shape:
        raise ValueError(
            f"integer outputs are class ids and must have the shape of labels, "
            f"{labels.shape}, got {outputs.shape}. Logits must be floating."
        )
    return outputs


def _check_logits(outputs: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """`outputs` as float32, if they are real of shape labels.shape + (num_classes,)."""
    check_class_labels(labels)
    shape = (*labels.shape, num_classes)
    if outputs.shape != shape:
        raise ValueError(
            f"outputs must have the shape of labels and a last axis of num_classes, "
            f"{shape}, got outputs of shape {outputs.shape} with labels of shape "
            f"{labels.shape} and num_classes={num_classes}."
        )
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise TypeError(f"outputs must be real logits, got dtype {outputs.dtype}.")
    return outputs.astype(jnp.float32)


def _check_rows(
    name: str, array: jax.Array, columns: int | None, leading: tuple[int, ...]
) -> jax.Array:
    """`array` of shape leading + (columns,); one column may have no axis."""
    if array.shape == leading and columns in (None, 1):
        array = array[..., None]
    width = "d" if columns is None else columns
    if (
        array.shape[:-1] != leading
        or array.shape[-1] == 0
        or columns not in (None, array.shape[-1])
    ):
        shape = ", ".join(map(str, (*leading, width)))
        raise ValueError(
            f"{name} must have the shape [{shape}], that of the samples and a last "
            f"axis of {width}, got {name} of shape {array.shape}."
        )
    if not jnp.issubdtype(array.dtype, jnp.floating) and not jnp.issubdtype(
        array.dtype, jnp.integer
    ):
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}.")
    return array


def _flat(rows: jax.Array) -> jax.Array:
    """Rows [..., d] as [N, d]; as they are where they are that, sharding and all."""
    return rows if rows.ndim == 2 else rows.reshape(-1, rows.shape[-1])


def _argmax(logits: jax.Array) -> jax.Array:
    """Index of the first maximum: XLA's own argmax is twice as slow on the CPU."""
    top = jnp.max(logits, -1)
    order = -jnp.arange(logits.shape[-1], dtype=jnp.float32)
    is_top = logits == top[..., None]
    first = jnp.max(jnp.where(is_top, order, -jnp.inf), -1)
    # Where the maximum is nan nothing equals it; such a sample has weight 0.
    return jnp.where(jnp.isfinite(top), -first, 0.0).astype(jnp.int32)
