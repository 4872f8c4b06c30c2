"""A batch of vectors with labels that are class ids or real vectors themselves."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._batch import (
    check_batch_size,
    make_batch,
    read_arrays,
    weigh,
)


class Kind(NamedTuple):
    """What an estimator was made for; one of the last two is None."""

    features: int
    num_classes: int | None
    label_features: int | None


class Labelled(NamedTuple):
    """Samples of one update, their leading axes flattened."""

    x: jax.Array  # float32 [N, features]; 0 where dropped
    y: jax.Array  # int32 [N], or float32 [N, label_features]; 0 where dropped
    weights: jax.Array  # float32 [N]; 0 where dropped
    totals: jax.Array  # float32 [3], see Batch.totals


def check_kind(features: Any, num_classes: Any, label_features: Any) -> Kind:
    """The kind of samples.

    Raises:
      TypeError, ValueError: numbers that do not fit, or not exactly one of
        `num_classes` and `label_features`.
    """
    features = check_static_int("features", features, 1)
    if (num_classes is None) == (label_features is None):
        raise ValueError(
            "Give exactly one of num_classes and label_features, got "
            f"num_classes={num_classes!r} and label_features={label_features!r}."
        )
    if num_classes is not None:
        num_classes = check_static_int("num_classes", num_classes, 2)
    else:
        label_features = check_static_int("label_features", label_features, 1)
    return Kind(features, num_classes, label_features)


def read_labelled(
    kind: Kind,
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    weights: jax.typing.ArrayLike | None,
) -> Labelled:
    """The samples of a batch: outputs [..., features], labels [...] or one axis more.

    A last axis of 1 may be left out.

    Raises:
      TypeError, ValueError: shapes or dtypes that do not fit, too large a batch.
    """
    if kind.num_classes is not None:
        outputs, labels = read_arrays(outputs, labels)
        leading = labels.shape
        if kind.features == 1 and outputs.shape == leading:
            outputs = outputs[..., None]
        x = _read_rows("outputs", outputs, kind.features, leading)
        finite = jnp.all(jnp.isfinite(x), -1)
        y, kept, totals = make_batch(labels, weights, finite, kind.num_classes)
        y = y.ravel()
    else:
        outputs, labels = (
            jax.lax.stop_gradient(jnp.asarray(array)) for array in (outputs, labels)
        )
        columns = kind.label_features or 1
        check_batch_size(labels, columns)
        if kind.features == 1 and outputs.shape[-1:] != (1,):
            outputs = outputs[..., None]
        leading = outputs.shape[:-1]
        if labels.shape == leading and columns == 1:
            labels = labels[..., None]
        x = _read_rows("outputs", outputs, kind.features, leading)
        y = _read_rows("labels", labels, columns, leading)
        finite = jnp.all(jnp.isfinite(x), -1) & jnp.all(jnp.isfinite(y), -1)
        kept, totals = weigh(finite, weights, jnp.float32)
        y = _flat(jnp.where(kept[..., None] > 0, y, 0.0))
    x = _flat(jnp.where(kept[..., None] > 0, x, 0.0))
    return Labelled(x, y, kept.ravel(), totals)


def _flat(rows: jax.Array) -> jax.Array:
    """Rows [..., d] as [N, d]; as they are where they are that, sharding and all."""
    return rows if rows.ndim == 2 else rows.reshape(-1, rows.shape[-1])


def _read_rows(
    name: str, array: jax.Array, columns: int, leading: tuple[int, ...]
) -> jax.Array:
    """`array` as float32, if it is real of shape leading + (columns,)."""
    if array.shape != (*leading, columns):
        raise ValueError(
            f"{name} must have the shape {(*leading, columns)}, that of the samples "
            f"and a last axis of {columns}, got {name} of shape {array.shape}."
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}.")
    return array.astype(jnp.float32)
