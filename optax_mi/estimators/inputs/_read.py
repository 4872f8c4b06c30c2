"""Readers that check and convert arrays, and mark unusable samples.

Each reader takes `outputs`, `labels` and `weights` as a user passes them, and raises a
TypeError or ValueError if shapes or dtypes do not fit. Rows are dropped here before
anything is centered, scaled or binned.
"""

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.estimators.inputs._arrays import as_array, check_fits, host_logits
from optax_mi.estimators.inputs._class_ids import check_ids, class_ids
from optax_mi.estimators.inputs._samples import Samples, check_shape, weigh

Array = jax.typing.ArrayLike


def read_logits(
    outputs: Array, labels: Array, weights: Array | None = None, *, num_classes: int
) -> Samples:
    """Logits of shape [..., C] as float32, and class labels [...].

    Two classes may have one logit, that of class 1: [...] or [..., 1].

    Logits of dropped samples do not change, finite or not, so that XLA finds the
    computations that the loss shares, and does them once. A sample with nan may still
    be kept; the caller finds it in the softmax.
    """
    logits, labels = _check_logits(outputs, labels, num_classes)
    ids, valid = _in_range(labels, num_classes)
    # -inf masks a class; if all are masked, or one is inf, the softmax is undefined. On
    # the CPU the maximum of a large array may miss a nan.
    valid &= jnp.isfinite(jnp.max(logits, -1))
    return Samples(logits, ids, weigh(valid, weights, jnp.float32))


def flatten_leading(
    outputs: Array, labels: Array, weights: Array | None, *, num_classes: int
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Logits [N, C] or class ids [N], labels [N] and weights, from arrays [...]."""
    if not np.size(labels):
        raise ValueError(f"labels has shape {np.shape(labels)}: there are no samples.")
    if are_ids(outputs):
        outputs, labels = _check_outputs(outputs, labels, num_classes)
        outputs = outputs.ravel()
    else:
        outputs, labels = _check_logits(outputs, labels, num_classes)
        outputs = outputs.reshape(-1, num_classes)
    if weights is not None:
        weights = as_array("weights", weights)
        check_shape("weights", weights, labels.shape)
        weights = weights.ravel()
    return outputs, labels.ravel(), weights


def read_classes(
    outputs: Array, labels: Array, weights: Array | None = None, *, num_classes: int
) -> Samples:
    """Class ids [...], or the argmax of logits [..., C], and class labels [...]."""
    if not are_ids(outputs):
        samples = read_logits(outputs, labels, weights, num_classes=num_classes)
        logits = samples.outputs
        known = ~jnp.any(jnp.isnan(logits), -1)
        weights = jnp.where(known, samples.weights, 0.0)
        return samples._replace(outputs=_argmax(logits), weights=weights)
    outputs, labels = _check_outputs(outputs, labels, num_classes)
    predicted, known = _in_range(outputs, num_classes)
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
    """Vectors [N, d], and class labels [N] or vectors [N, m]; 0 in dropped rows.

    A batch becomes float32, with its leading axes flattened. Whole arrays are [N] or
    [N, d], and float64 if one of them is. A boolean `mask` may replace the weights.
    """
    if batch:
        check_fits("outputs", outputs, single=True)
    outputs = as_array("outputs", outputs)
    if num_classes is not None:
        labels = ids_of_batch("labels", labels, num_classes)
        if batch:
            _check_not_one_hot(outputs, labels, num_classes)
        leading = labels.shape
        if labels.shape == (*outputs.shape[:-1], 1) and outputs.ndim > 1:
            labels = labels[..., 0]
            leading = labels.shape
    elif not batch:
        labels = as_array("labels", labels)
        leading = outputs.shape[:1]
    else:
        check_fits("labels", labels, single=True)
        labels = as_array("labels", labels)
        alone = features == 1 and outputs.shape[-1:] != (1,)
        leading = outputs.shape if alone else outputs.shape[:-1]
    if not batch and (len(leading) != 1 or 0 in leading):
        raise ValueError(
            "outputs and labels must have one axis of samples, and at least one "
            f"sample, got outputs of shape {outputs.shape} and labels of shape "
            f"{labels.shape}. Flatten other axes first."
        )
    rows = [_check_rows("outputs", outputs, features, leading)]
    valid = jnp.ones(leading, bool)
    if num_classes is None:
        rows.append(_check_rows("labels", labels, label_features, leading))
    else:
        labels, valid = _in_range(labels, num_classes)
    wide = not batch and any(x.dtype == jnp.float64 for x in rows)
    # Cast before the check, because values that overflow float32 become infinite.
    rows = [x.astype(jnp.float64 if wide else jnp.float32) for x in rows]
    for x in rows:
        valid &= jnp.all(jnp.isfinite(x), -1)
    if mask is not None:
        weights = as_array("mask", mask)
        if weights.dtype != jnp.bool_:
            raise TypeError(
                f"mask must be boolean, got dtype {weights.dtype}: this estimator "
                "counts samples, and cannot weight them. Pass mask=weights > 0."
            )
    name = "weights" if mask is None else "mask"
    kept = weigh(valid, weights, rows[0].dtype, name)
    used = kept > 0
    x, *y = (_flat(jnp.where(used[..., None], x, 0.0)) for x in rows)
    labels = y[0] if y else jnp.where(used, labels, 0).ravel()
    return Samples(x, labels, kept.ravel())


def are_ids(outputs: Array, name: str = "outputs") -> bool:
    """Whether they are class ids: integers or booleans."""
    dtype = getattr(outputs, "dtype", None) or as_array(name, outputs).dtype
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.integer, jnp.bool_))


def ids_of_batch(name: str, ids: Array, num_classes: int) -> jax.Array:
    """Class ids as integers; values are checked unless they are JAX arrays already."""
    if isinstance(ids, jax.Array):
        return jax.lax.stop_gradient(check_ids(name, ids))
    return class_ids(name, ids, num_classes, batch=True)[0]


def _in_range(ids: jax.Array, num_classes: int) -> tuple[jax.Array, jax.Array]:
    """Ids as int32, or 0 if outside [0, num_classes), and whether they are inside."""
    valid = ids >= 0
    if num_classes <= jnp.iinfo(ids.dtype).max:
        valid &= ids < num_classes
    return jnp.where(valid, ids, 0).astype(jnp.int32), valid


def _check_outputs(
    outputs: Array, labels: Array, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Class ids and class labels, if they have the same shape."""
    outputs = ids_of_batch("outputs", outputs, num_classes)
    labels = ids_of_batch("labels", labels, num_classes)
    if outputs.shape != labels.shape:
        raise ValueError(
            f"integer outputs are class ids and must have the shape of labels, "
            f"{labels.shape}, got {outputs.shape}. Logits must be floating."
        )
    return outputs, labels


def _check_logits(
    outputs: Array, labels: Array, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Logits as float32 of shape labels.shape + (num_classes,), and class labels."""
    labels = ids_of_batch("labels", labels, num_classes)
    outputs = as_array("outputs", host_logits("outputs", outputs, labels))
    shape = (*labels.shape, num_classes)
    if num_classes == 2 and outputs.shape in (labels.shape, (*labels.shape, 1)):
        _check_not_one_hot(outputs, labels, num_classes)
        # The logit of a sigmoid is the logit of class 1 relative to class 0.
        logit = outputs.reshape(labels.shape)
        outputs = jnp.stack([jnp.zeros_like(logit), logit], -1)
    elif (*labels.shape[:-1], num_classes) == outputs.shape and labels.shape[-1:] == (
        1,
    ):
        labels, shape = labels[..., 0], outputs.shape
    if outputs.shape != shape:
        raise ValueError(
            f"outputs must have the shape of labels and a last axis of num_classes, "
            f"{shape}, got outputs of shape {outputs.shape} with labels of shape "
            f"{labels.shape} and num_classes={num_classes}."
            f"{_hint(outputs.shape, labels.shape, num_classes)}"
        )
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise TypeError(f"outputs must be real logits, got dtype {outputs.dtype}.")
    return outputs.astype(jnp.float32), labels


def _check_not_one_hot(outputs: jax.Array, labels: jax.Array, num_classes: int) -> None:
    """Raises if unchecked labels look one-hot, or outputs have one number per label."""
    shape = labels.shape
    if outputs.shape == shape and len(shape) > 1 and shape[-1] == num_classes:
        raise ValueError(
            f"outputs and labels both have shape {shape}. For one-hot labels pass "
            "labels.argmax(-1), for one number per label pass outputs[..., None]."
        )


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
        hint = _hint(array.shape, leading, columns, name)
        if array.shape[:-1] == leading and array.shape[-1]:
            setting = "features" if name == "outputs" else "label_features"
            hint = f" Give the estimator {setting}={array.shape[-1]}."
        raise ValueError(
            f"{name} must have the shape [{shape}], the shape of the samples and a "
            f"last axis of {width}, got {name} of shape {array.shape}.{hint}"
        )
    if not any(
        jnp.issubdtype(array.dtype, kind)
        for kind in (jnp.floating, jnp.integer, jnp.bool_)
    ):
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}.")
    return array


def _hint(
    shape: tuple[int, ...],
    leading: tuple[int, ...],
    columns: int | None,
    name: str = "outputs",
) -> str:
    """How to convert an array to the shape of the samples and a last axis."""
    if name == "outputs" and len(shape) == len(leading) > 1:
        return " If labels are one-hot, pass labels.argmax(-1)."
    if len(shape) != len(leading) + 1 or 0 in shape:
        return ""
    elsewhere = [
        a for a in range(len(leading)) if shape[:a] + shape[a + 1 :] == leading
    ]
    if elsewhere:
        # Prefer the axis that has the expected length of the last axis.
        axis = max(elsewhere, key=lambda a: shape[a] == columns)
        return f" If channels come first, pass jnp.moveaxis({name}, {axis}, -1)."
    if len(leading) > 1 and (shape[1], shape[0], *shape[2:-1]) == leading:
        return f" If time comes first, pass jnp.swapaxes({name}, 0, 1)."
    return ""


def _flat(rows: jax.Array) -> jax.Array:
    """Rows [..., d] as [N, d]; an array with that shape also keeps its sharding."""
    return rows if rows.ndim == 2 else rows.reshape(-1, rows.shape[-1])


def _argmax(logits: jax.Array) -> jax.Array:
    """Index of the first maximum; XLA's own argmax is slow on the CPU."""
    top = jnp.max(logits, -1)
    columns = logits.shape[-1]
    order = -jnp.arange(columns, dtype=jnp.float32)
    is_top = logits == top[..., None]
    first = jnp.max(jnp.where(is_top, order, -float(columns)), -1)
    # If the maximum is nan, nothing equals it; such a sample has weight 0.
    return jnp.where(jnp.isfinite(top), -first, 0.0).astype(jnp.int32)
