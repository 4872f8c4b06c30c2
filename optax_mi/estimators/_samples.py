"""Whole arrays of samples for the one-shot estimators, checked and stripped.

A sample is dropped, and counted, when one of its values is not finite, its label is
outside [0, num_classes) or its weight is zero, negative or not finite. Dropped samples
keep their places, with values of 0 and `valid` False: shapes are static.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from optax_mi._checks import check_integer_dtype, check_static_int
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators._batch import class_ids, in_range


def as_array(array: jax.typing.ArrayLike) -> jax.Array:
    """`array` as an array of JAX; for one that is, `jnp.asarray` takes 12 us."""
    return array if isinstance(array, jax.Array) else jnp.asarray(array)


def read_vectors(name: str, array: jax.typing.ArrayLike) -> jax.Array:
    """Samples [N] or [N, d] as [N, d], float64 if they are, else float32.

    Raises:
      ValueError: another rank, or no sample, or no column.
      TypeError: complex numbers.
    """
    x = jax.lax.stop_gradient(jnp.asarray(array))
    if x.ndim not in (1, 2) or 0 in x.shape:
        raise ValueError(
            f"{name} must hold samples in the shape [N] or [N, d], N and d at least 1, "
            f"got {name} of shape {x.shape}. Flatten other axes first."
        )
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real, got dtype {x.dtype}.")
    dtype = x.dtype if x.dtype == jnp.float64 else jnp.float32
    return x.reshape(len(x), -1).astype(dtype)


def find_classes(
    labels: jax.typing.ArrayLike, num_classes: int | None, name: str = "labels"
) -> int:
    """The number of classes: the largest label + 1 if None is given.

    Raises:
      ValueError: `num_classes` is missing while the labels are traced, none, or all
        negative.
      TypeError: labels that are not integers.
    """
    if num_classes is not None:
        return check_static_int("num_classes", num_classes, 1)
    ids = as_array(labels)
    check_integer_dtype(name, ids, f"One-hot {name}: pass {name}.argmax(-1).")
    return count_classes(name, ids)


def read_labels(
    labels: jax.typing.ArrayLike, samples: int, name: str = "labels"
) -> jax.Array:
    """Labels [N].

    Raises:
      ValueError: another shape.
      TypeError: labels that are not integers.
    """
    ids = jax.lax.stop_gradient(jnp.asarray(labels))
    check_integer_dtype(name, ids, f"One-hot {name}: pass {name}.argmax(-1).")
    check_shape(name, ids, (samples,))
    return ids


def count_classes(name: str, ids: jax.Array) -> int:
    """The largest id + 1.

    Raises:
      ValueError: the ids are traced, or all negative.
    """
    if isinstance(ids, Tracer):
        raise ValueError(
            f"num_classes is needed inside jit, vmap and other transformations, where "
            f"{name} cannot be looked at: pass num_classes=C."
        )
    if ids.size == 0:
        raise ValueError(f"{name} has shape {ids.shape}: there are no samples.")
    largest = int(jnp.max(ids))
    if largest < 0:
        raise ValueError(
            f"{name} must have an element of at least 0, got a largest of {largest}: "
            "negative ids are padding, and are dropped."
        )
    return largest + 1


def read_mask(weights: jax.typing.ArrayLike | None, samples: int) -> jax.Array:
    """Which samples to use, for an estimator that cannot weigh them.

    Raises:
      TypeError: weights that are not boolean.
      ValueError: another shape than [N].
    """
    if weights is None:
        return jnp.ones(samples, bool)
    mask = jnp.asarray(weights)
    check_shape("weights", mask, (samples,))
    if mask.dtype != jnp.bool_:
        raise TypeError(
            f"weights must be boolean, got dtype {mask.dtype}: this estimator counts "
            "samples, and cannot weigh them. For a mask pass weights > 0."
        )
    return mask


def check_shape(name: str, array: jax.Array, shape: tuple[int, ...]) -> None:
    """Raises unless `array` has the shape of the samples."""
    if array.shape != shape:
        raise ValueError(
            f"{name} must have the shape {shape}, an element for each sample, got "
            f"{name} of shape {array.shape}."
        )


def check_neighbors(k: Any, samples: int) -> int:
    """`k` as an int in [1, N)."""
    k = check_static_int("k", k, 1)
    if k >= samples:
        raise ValueError(
            f"k must be less than the number of samples, N = {samples}, since a sample "
            f"is not its own neighbour, got k={k}. Pass a smaller k or more samples."
        )
    return k


def keep(x: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`x` with 0 in rows that are dropped, and what is left of `valid`."""
    valid = valid & jnp.all(jnp.isfinite(x), -1)
    return jnp.where(valid[:, None], x, 0.0), valid


def keep_labels(
    labels: jax.Array, valid: jax.Array, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Labels as int32 with 0 where dropped, and what is left of `valid`."""
    valid = valid & in_range(labels, num_classes)
    return class_ids(labels, valid), valid


def jitter(key: jax.Array | None, x: jax.Array, valid: jax.Array) -> jax.Array:
    """`x` with normal noise on every column, or as it is without a key.

    Ties break, and little else moves: the noise has eps**(2/3) of the column's standard
    deviation, 2e-5 in float32 and 4e-11 in float64, some hundred steps of the dtype.
    """
    if key is None:
        return x
    kept = valid[:, None]
    count = jnp.maximum(jnp.sum(kept, dtype=x.dtype), 1.0)
    mean = jnp.sum(jnp.where(kept, x, 0.0), 0) / count
    spread = jnp.sqrt(
        jnp.sum(jnp.where(kept, jnp.square(x - mean[None]), 0.0), 0) / count
    )
    scale = spread * jnp.finfo(x.dtype).eps ** (2 / 3)
    return x + jnp.where(
        kept, scale[None] * jax.random.normal(key, x.shape, x.dtype), 0.0
    )


def finish(
    mi: jax.Array,
    entropy: jax.Array,
    local: jax.Array | None,
    valid: jax.Array,
    clip: bool,
) -> MIEstimate:
    """The estimate of the valid samples; of none it is 0 nats out of 0.

    `local` [N] holds each sample's term of `mi`; its spread gives the standard error.
    """
    dtype = mi.dtype
    count = jnp.sum(valid, dtype=dtype)
    some = count > 0
    entropy = jnp.where(some, entropy, 0.0)
    mi = jnp.where(some, mi, 0.0)
    std_error = jnp.full((), jnp.nan, dtype)
    if local is not None:
        mean = jnp.sum(jnp.where(valid, local, 0.0)) / count
        squares = jnp.sum(jnp.where(valid, jnp.square(local - mean), 0.0))
        std_error = jnp.sqrt(squares) / count
    return MIEstimate(
        mi=jnp.clip(mi, 0.0, entropy) if clip else mi,
        entropy=entropy,
        count=count,
        std_error=std_error,
        dropped=jnp.asarray(valid.size, dtype) - count,
        chance=jnp.zeros_like(mi),
    )
