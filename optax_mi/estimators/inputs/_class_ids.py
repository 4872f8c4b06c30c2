"""Checks class ids before they are traced, and counts the classes.

Ids are integers from 0 to C - 1; others are padding, which is dropped and counted. If
ids are concrete, sparse ones are renumbered, and conventions that would silently lose a
class are errors.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optax_mi._checks import check_static_int
from optax_mi.estimators.inputs._arrays import as_array, as_numpy, has_tracers

# Below this number, unused ids cost less than renumbering.
_FEW = 4096
_MOST = 2**31 - 1


def class_ids(
    name: str, ids: Any, num_classes: int | None = None, *, batch: bool = False
) -> tuple[jax.Array, int]:
    """Ids as a JAX array; otherwise as :func:`host_ids`."""
    ids, num_classes = host_ids(name, ids, num_classes, batch=batch)
    return as_array(name, ids), num_classes


def host_ids(
    name: str, ids: Any, num_classes: int | None = None, *, batch: bool = False
) -> tuple[jax.Array | np.ndarray, int]:
    """Ids in 32 bits, and the number of classes: the largest id + 1 if None.

    Ids on the host stay there, because a compiled function takes them faster than
    `jnp.asarray` does. In a batch, only a few samples may have a class.

    Raises:
      TypeError: the ids are not integers or booleans.
      ValueError: the number of classes is below 1, unknown, or too small for most ids;
        the ids are one-hot, -1 and 1, counted from 1, or use 255 as a mark.
    """
    if num_classes is not None:
        num_classes = check_static_int("num_classes", num_classes, 1)
    if has_tracers(ids):
        ids = jnp.asarray(ids)
    if isinstance(ids, Tracer):
        if num_classes is None:
            raise ValueError(
                f"num_classes is needed inside jit, vmap and other transformations, "
                f"where the values of {name} are unknown: pass num_classes=C."
            )
        return check_ids(name, ids), num_classes
    seen = check_ids(name, as_numpy(name, ids))
    if seen.size == 0:
        if num_classes is None:
            raise ValueError(f"{name} has shape {seen.shape}: there are no samples.")
        return seen, num_classes
    looked, largest = look_at(name, seen, num_classes, batch)
    if num_classes is None:
        if largest < 0:
            raise ValueError(
                f"{name} must have an element of at least 0, got a largest of "
                f"{largest}: negative ids are padding, and are dropped."
            )
        num_classes = largest + 1
    # Valid ids on a device can stay there unless they are committed to it: labels and
    # outputs may be on different devices.
    if isinstance(ids, jax.Array) and not ids.committed and looked is seen:
        return check_ids(name, ids), num_classes
    return looked, num_classes


def check_ids(name: str, ids: Any) -> Any:
    """The ids, with booleans as 0 and 1.

    Raises:
      TypeError: the ids are not integers.
    """
    if ids.dtype == bool or ids.size == 0:  # An empty list becomes floats.
        return ids.astype(np.int32)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        if isinstance(ids, np.ndarray) and not np.isfinite(ids).all():
            raise TypeError(
                f"{name} must be integers, got dtype {ids.dtype} with nan. To drop "
                f"missing {name} pass np.nan_to_num({name}, nan=-1).astype(int)."
            )
        raise TypeError(
            f"{name} must be integers, got dtype {ids.dtype}. For class ids pass "
            f"{name}.astype(int), for one-hot or soft {name} pass {name}.argmax(-1)."
        )
    return ids


def look_at(
    name: str, ids: np.ndarray, num_classes: int | None, batch: bool
) -> tuple[np.ndarray, int]:
    """The ids in 32 bits, with -1 for those out of range, and the largest id.

    Raises:
      ValueError: see :func:`host_ids`.
    """
    low, high = int(ids.min()), int(ids.max())
    rows = ids.ndim > 1 and len(ids) > 1
    if rows and (low, high) == (0, 1) and (ids.sum(-1) == 1).all():
        raise ValueError(
            f"{name} of shape {ids.shape} is one-hot: pass {name}.argmax(-1)."
        )
    if (low, high) == (-1, 1) and not (ids == 0).any():
        raise ValueError(
            f"{name} is -1 and 1, but negative ids are padding: pass ({name} + 1) // 2."
        )
    if num_classes is None:
        return _number(name, ids, low, high)
    if high == num_classes and low != 0 and (ids[ids >= 0]).min() == 1:
        raise ValueError(
            f"{name} goes from 1 to num_classes={num_classes}, but ids go from 0 to "
            f"{num_classes - 1}: pass {name} - 1."
        )
    if high >= num_classes and not batch:
        _check_most_are_inside(name, ids, num_classes)
    if low < -_MOST or high > _MOST:
        inside = (ids >= 0) & (ids < num_classes)
        ids = np.where(inside, ids, 0).astype(np.int32) - ~inside
    return ids, high


def _check_most_are_inside(name: str, ids: np.ndarray, num_classes: int) -> None:
    """Raises if most ids are of several classes above the range.

    A single number above the range, such as 255, marks samples without a class.
    """
    beyond = ids[ids >= num_classes]
    if 2 * len(beyond) > ids.size and (beyond != beyond[0]).any():
        raise ValueError(
            f"{name} goes up to {beyond.max()}, and most are above the ids of "
            f"num_classes={num_classes}: pass the number of all classes, or set ids to "
            "-1 to leave samples out."
        )


def _number(name: str, ids: np.ndarray, low: int, high: int) -> tuple[np.ndarray, int]:
    """The ids, renumbered if most numbers up to the largest are unused."""
    if high == 255 and ids[ids < 255].max(initial=0) < 254:
        raise ValueError(
            f"{name} has 255, which marks samples without a label, but no 254: pass "
            f"num_classes=C to drop those samples."
        )
    ids = np.maximum(ids, -1) if low < -1 else ids
    if high < _FEW:
        return ids, high
    used, place = np.unique(ids, return_inverse=True)
    if high <= _MOST and 4 * len(used) > high:
        return ids, high
    # If there is padding, its place is 0.
    padding = int(low < 0)
    place = place.reshape(ids.shape).astype(np.int32) - padding
    return place, len(used) - 1 - padding
