"""Arrays before they are traced: what is no array, and what 32 bits would cut.

JAX cuts NumPy's 64 bits to 32 unless it is set to x64. Here they are still whole, so
that vectors far from 0 can be moved there: mutual information does not change where a
column is moved.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# Rows that tell where a column lies, and how many of its spreads from 0 are too far.
_ROWS, _TOO_FAR = 1024, 64.0


def as_array(name: str, array: Any) -> jax.Array:
    """An array of JAX, through which no gradient flows.

    Raises:
      TypeError: something else than numbers.
    """
    if isinstance(array, list | tuple) and any(map(_is_traced, array)):
        array = jnp.asarray(array)
    if not isinstance(array, jax.Array):
        array = jnp.asarray(as_numpy(name, array))
    return jax.lax.stop_gradient(array)


def array_or_none(name: str, array: Any) -> jax.Array | None:
    """As :func:`as_array`, but for None."""
    return None if array is None else as_array(name, array)


def as_numpy(name: str, array: Any) -> np.ndarray:
    """An array of NumPy.

    Raises:
      TypeError: something else than numbers.
    """
    given = array
    if not isinstance(array, np.ndarray | np.generic):
        try:
            array = np.asarray(array)
        except (TypeError, ValueError):
            # Lists of unequal lengths, and objects that refuse.
            array = np.asarray(None)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise TypeError(
            f"{name} must be an array of numbers, got {_describe(name, given)}."
        )
    return np.asarray(array)


def _is_traced(x: Any) -> bool:
    return isinstance(x, Tracer)


def _describe(name: str, given: Any) -> str:
    """What was given in place of numbers, and what to do about it."""
    if isinstance(given, Mapping):
        return f"a {type(given).__name__} with the keys {list(given)}: pass one value"
    parts = given.tolist() if isinstance(given, np.ndarray) else given
    if isinstance(parts, list | tuple) and parts:
        if all(isinstance(part, str) for part in parts):
            return f"strings: pass np.unique({name}, return_inverse=True)[1]"
        if all(isinstance(part, list | tuple) for part in parts):
            lengths = sorted({len(part) for part in parts})
            if len(lengths) > 1:
                return (
                    f"parts of {lengths[0]} to {lengths[-1]} elements: pad them, and "
                    "give the padding labels of -1 or weights of 0"
                )
    kind = f"{given.dtype} " if isinstance(given, np.ndarray) else ""
    return f"{kind}{given!r:.60}"


def host_vectors(name: str, array: Any) -> jax.Array:
    """Vectors for an estimator to which it makes no difference where they lie."""
    if not isinstance(array, jax.Array):
        array = as_numpy(name, array)
        centre = _far_centre(array)
        if centre is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                array = (array - centre).astype(np.float32)
    return as_array(name, array)


def check_fits(name: str, array: Any) -> None:
    """Raises unless 32 bits tell the vectors of a batch from one another."""
    if isinstance(array, jax.Array):
        return
    rows = as_numpy(name, array)
    if _far_centre(rows) is not None and _loses(rows):
        raise ValueError(
            f"{name} lies so far from 0 that float32 cannot tell its values from one "
            "another: take off the means of its columns, or set JAX to x64."
        )


def _loses(x: np.ndarray) -> bool:
    """Whether 32 bits make fewer values of those in a column."""
    some = x[:: -(-len(x) // _ROWS)]
    columns = [some] if x.ndim == 1 else some.reshape(-1, x.shape[-1]).T
    return any(
        len(np.unique(column.astype(np.float32))) < len(np.unique(column))
        for column in columns
    )


def _far_centre(x: np.ndarray) -> np.ndarray | None:
    """The medians of columns that are cut to 32 bits, if they are far from 0."""
    if x.dtype.itemsize < 8 or x.dtype.kind not in "fiu" or x.ndim == 0 or not x.size:
        return None
    if jnp.result_type(float) == jnp.float64:
        return None
    # A few rows in order are enough, and what is padding does not steer a median.
    some = x[:: -(-len(x) // _ROWS)]
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.where(np.isfinite(some), some, np.nan).astype(float)
        if np.isnan(finite).all(0).any():
            return None
        low, centre, high = np.nanquantile(finite, (0.1, 0.5, 0.9), axis=0)
    if not (abs(centre) > _TOO_FAR * (high - low)).any():
        return None
    return centre.astype(x.dtype) if x.dtype.kind in "iu" else centre
