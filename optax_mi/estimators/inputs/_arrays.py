"""What can be told about arrays before they are traced."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from optax_mi._checks import check_static_int


def as_arrays(*arrays: Any) -> tuple[Any, ...]:
    """Each as a JAX array, or None; those that are pass untouched."""
    return tuple(
        a if a is None or isinstance(a, jax.Array) else jnp.asarray(a) for a in arrays
    )


def find_classes(labels: jax.typing.ArrayLike, num_classes: int | None) -> int:
    """The number of classes, checked, or the largest label + 1 where None is given."""
    if num_classes is not None:
        return check_static_int("num_classes", num_classes, 1)
    (ids,) = as_arrays(labels)
    check_class_labels(ids)
    return count_classes("labels", ids)


def check_class_labels(labels: jax.Array) -> None:
    """Raises unless the labels are integers."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels must be integers, got dtype {labels.dtype}. One-hot labels: pass "
            "labels.argmax(-1)."
        )


def count_classes(name: str, ids: jax.Array) -> int:
    """The largest id + 1; a ValueError if ids are traced, none or all negative."""
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
