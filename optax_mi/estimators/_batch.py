"""A batch of labelled samples, checked, and stripped of what cannot be used.

A sample is dropped, and counted, when its label is outside [0, num_classes), when its
weight is zero, negative or not finite, or when the network's output for it is not
finite. Dropped samples keep their places, with weight 0: shapes are static.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_integer_dtype
from optax_mi.estimators._sums import MAX_BATCH


class Batch(NamedTuple):
    """Samples of one update; `[...]` are the leading axes of the labels."""

    labels: jax.Array  # int32 [...], in [0, num_classes); 0 where dropped
    weights: jax.Array  # float32 [...]; 0 where dropped
    totals: jax.Array  # float32 [3]: sum of weights, of their squares, dropped samples


def health(totals: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Total weight, effective number of samples and dropped samples, float32."""
    weight, squares, dropped = totals
    some = squares > 0
    # Kish's effective sample size, with the division first: weight**2 could overflow.
    count = jnp.where(some, weight * (weight / jnp.where(some, squares, 1.0)), 0.0)
    return weight, count, dropped


def in_range(ids: jax.Array, num_classes: int) -> jax.Array:
    """True where an integer is in [0, num_classes)."""
    inside = ids >= 0
    if num_classes <= jnp.iinfo(ids.dtype).max:
        inside &= ids < num_classes
    return inside


def class_ids(ids: jax.Array, valid: jax.Array) -> jax.Array:
    """`ids` as int32, 0 where not `valid`."""
    return jnp.where(valid, ids, 0).astype(jnp.int32)


def read_arrays(
    outputs: jax.typing.ArrayLike, labels: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """`outputs` and `labels` as arrays that no gradient flows through."""
    outputs, labels = (
        jax.lax.stop_gradient(jnp.asarray(array)) for array in (outputs, labels)
    )
    check_integer_dtype("labels", labels, "One-hot labels: pass labels.argmax(-1).")
    check_batch_size(labels)
    return outputs, labels


def check_batch_size(labels: jax.Array, columns: int = 1) -> None:
    """Raises if there are too many labels, of so many columns, for one update."""
    if labels.size > MAX_BATCH * columns:
        raise ValueError(
            f"labels has shape {labels.shape}, more than {MAX_BATCH} samples: split "
            "the batch into several updates, or merge several accumulators."
        )


def read_logits(outputs: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """`outputs` as float32, if they are real of shape labels.shape + (num_classes,)."""
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


def make_batch(
    labels: jax.Array,
    weights: jax.typing.ArrayLike | None,
    finite: jax.Array,
    num_classes: int,
) -> Batch:
    """The batch of the samples whose output is `finite` and whose label is in range."""
    valid = finite & in_range(labels, num_classes)
    kept, totals = weigh(valid, weights, jnp.float32)
    return Batch(class_ids(labels, kept > 0), kept, totals)


def weigh(
    valid: jax.Array,
    weights: jax.typing.ArrayLike | None,
    dtype: jax.typing.DTypeLike,
) -> tuple[jax.Array, jax.Array]:
    """Weights [...] of the samples, 0 where dropped, and the totals of a `Batch`."""
    if weights is None:
        kept = valid.astype(dtype)
        weight = squares = used = jnp.sum(kept)
    else:
        given = jax.lax.stop_gradient(jnp.asarray(weights)).astype(dtype)
        if given.shape != valid.shape:
            raise ValueError(
                f"weights must have the shape of the samples, {valid.shape}, got "
                f"{given.shape}. Broadcast them with jnp.broadcast_to."
            )
        valid &= (given > 0) & jnp.isfinite(given)
        kept = jnp.where(valid, given, 0.0)
        weight, squares = jnp.sum(kept), jnp.sum(kept * kept)
        used = jnp.sum(valid, dtype=dtype)
    return kept, jnp.stack([weight, squares, valid.size - used])
