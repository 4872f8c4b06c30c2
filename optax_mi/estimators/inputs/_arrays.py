"""Checks and converts arrays before they are traced, and before 32 bits cut them.

JAX cuts NumPy's 64 bits to 32 unless x64 is enabled. Here values still have 64 bits, so
vectors far from 0 can be shifted to it: a shift of a column does not change mutual
information.
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# Rows that show where a column lies. In units of its spread, the distance from 0 from
# which it is shifted, and the distance from which float32 has fewer than a thousand
# steps in the spread.
_ROWS, _FAR, _TOO_FAR = 1024, 64.0, 2.0**14
# The share of distinct values in a column that must stay distinct in 32 bits, and the
# largest value of columns whose values may underflow in float32.
_DISTINCT, _TINY = 0.9, 1e-30
# This many rows nearly always distinguish logits from probabilities.
_FEW = 16
_OR_X64 = ", or enable x64 in JAX for floating numbers"


def as_array(name: str, array: Any) -> jax.Array:
    """A JAX array through which no gradient flows.

    Raises:
      TypeError: the elements are not numbers.
    """
    if has_tracers(array):
        array = jnp.asarray(array)
    if not isinstance(array, jax.Array):
        # Values that overflow float32 are dropped and counted; no need to warn.
        with np.errstate(over="ignore"):
            array = jnp.asarray(_whole(as_numpy(name, array)))
    return jax.lax.stop_gradient(array) if isinstance(array, Tracer) else array


def _whole(x: np.ndarray) -> np.ndarray:
    """`x`, as float32 if its integers would wrap around in 32 bits."""
    wide = x.dtype.kind in "iu" and x.dtype.itemsize == 8
    if not wide or jnp.result_type(int) == jnp.int64:
        return x
    info = np.iinfo(np.int32 if x.dtype.kind == "i" else np.uint32)
    fits = not x.size or (x.min() >= info.min and x.max() <= info.max)
    return x if fits else x.astype(np.float32)


def shape_of(name: str, array: Any) -> tuple[int, ...]:
    """The shape, without moving anything to a device.

    Raises:
      TypeError: the elements are not numbers.
    """
    if isinstance(array, jax.Array) or has_tracers(array):
        return as_array(name, array).shape
    return as_numpy(name, array).shape


def array_or_none(name: str, array: Any) -> jax.Array | None:
    """As :func:`as_array`, but None stays None."""
    return None if array is None else as_array(name, array)


def as_numpy(name: str, array: Any) -> np.ndarray:
    """A NumPy array.

    Raises:
      TypeError: the elements are not numbers.
    """
    given = array
    if not isinstance(array, np.ndarray | np.generic):
        try:
            array = np.asarray(array)
        except (TypeError, ValueError):
            # Lists of unequal lengths, and objects that cannot be converted.
            array = np.asarray(None)
    # NumPy counts time spans as integers.
    number = jnp.issubdtype(array.dtype, jnp.number) and array.dtype.kind != "m"
    if not (number or array.dtype == bool):
        raise TypeError(
            f"{name} must be an array of numbers, got {_describe(name, given)}."
        )
    return np.asarray(array)


def has_tracers(array: Any) -> bool:
    """Whether it is a list with traced parts at any depth."""
    if not isinstance(array, list | tuple):
        return False
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(array))


def _describe(name: str, given: Any) -> str:
    """A description of an argument that is not numbers, with a fix."""
    if isinstance(given, Mapping):
        return f"a {type(given).__name__} with the keys {list(given)}: pass one value"
    if getattr(getattr(given, "dtype", None), "kind", "") in ("m", "M"):
        return f"times: pass {name}.astype(int)"
    # Types of pandas, which may not be installed.
    for codes in ("cat.codes", "codes"):
        if hasattr(given, codes.partition(".")[0]):
            return f"categories: pass {name}.{codes}"
    parts = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(parts, list | tuple) and parts:
        strings = [isinstance(part, str) for part in parts]
        if all(strings):
            return f"strings: pass np.unique({name}, return_inverse=True)[1]"
        if any(strings):
            return f"strings and others: pass pd.factorize({name})[0], -1 if missing"
        reals = [isinstance(part, numbers.Real) for part in parts]
        if all(reals):
            whole = all(isinstance(part, numbers.Integral) for part in parts)
            kind = "int" if whole else "float"
            return f"numbers of dtype object: pass {name}.astype({kind})"
        if any(reals):
            return (
                "numbers of which some are missing: fill in -1 for class ids, or nan "
                "for reals, and they are dropped"
            )
        if all(isinstance(part, list | tuple) for part in parts):
            lengths = sorted({len(part) for part in parts})
            if len(lengths) > 1:
                return (
                    f"parts of {lengths[0]} to {lengths[-1]} elements: pad them, and "
                    "give the padding labels of -1 or weights of 0"
                )
    kind = f"{given.dtype} " if isinstance(given, np.ndarray) else ""
    return kind + " ".join(f"{given!r:.60}".split())


def check_logits(name: str, logits: Any) -> None:
    """Raises if they are probabilities; traced values are not checked."""
    if isinstance(logits, Tracer) or has_tracers(logits):
        return
    if isinstance(logits, jax.Array):
        # Only the part on one device of this host, so that little is copied.
        logits = logits.addressable_data(0)
        logits = logits[:_ROWS] if logits.ndim else logits
    logits = as_numpy(name, logits)
    if found := of_probabilities(name, logits):
        one = logits.shape[-1] == 1
        same = f"np.c_[0 * {name}, {name}]" if one else f"{name} - 1"
        raise ValueError(f"{found} If they are logits, pass {same}, which is the same.")


def of_probabilities(name: str, array: np.ndarray) -> str | None:
    """A message if finite rows [..., C], or [..., 1] of class 1, are probabilities."""
    if array.ndim < 2 or not jnp.issubdtype(array.dtype, jnp.floating):
        return None
    columns = array.shape[-1]
    rows = array.reshape(-1, columns)

    def holds(rows: np.ndarray) -> bool:
        rows = rows[np.isfinite(rows).all(-1)].astype(float)
        if not rows.size or not ((rows >= 0) & (rows <= 1)).all():
            return False
        if columns == 1:
            # Logits may all be 0, and a few logits may lie in [0, 1].
            return len(rows) >= _FEW and rows.min() < 0.5 < rows.max()
        return bool((abs(rows.sum(-1) - 1.0) < 0.01).all())

    # A few rows rule out most logits.
    if not (holds(rows[:_FEW]) and holds(rows[:_ROWS])):
        return None
    many, log = columns > 1, "jnp.log" if columns > 1 else "jax.scipy.special.logit"
    return (
        f"{name} are probabilities, not logits: all are in [0, 1]"
        f"{', and they sum to 1' * many}. Pass the logits, or {log}({name})."
    )


def host_vectors(name: str, array: Any) -> jax.Array:
    """Vectors for an estimator that shifts do not affect."""
    if isinstance(array, jax.Array):
        return as_array(name, array)
    x = as_numpy(name, array)
    _check_not_tiny(name, x)
    quartiles = _quartiles(x)
    if quartiles is not None:
        low, centre, high = quartiles
        if np.any(abs(centre) > _FAR * (high - low)):
            x = _move(x, centre)
        _check_distinct(name, x)
    return as_array(name, x)


def host_logits(name: str, array: Any, labels: Any) -> Any:
    """Shifts logits [..., C], for labels [...], near 0 before 32 bits cut them.

    If all logits of a sample are shifted, its softmax does not change.
    """
    if isinstance(array, jax.Array) or has_tracers(array):
        return array
    x, leading = as_numpy(name, array), np.shape(labels)
    if x.dtype != np.float64 or x.shape[-1:] in ((), (0,), (1,)):
        return x
    if x.shape[:-1] not in (leading, leading[:-1] if leading[-1:] == (1,) else leading):
        return x
    with np.errstate(over="ignore"):
        if np.array_equal(x, x.astype(np.float32), equal_nan=True):
            return x
    top = x.max(-1, keepdims=True)
    # Values that overflow float32 are not shifted, and the samples are dropped.
    return x - np.where(abs(top) <= np.finfo(np.float32).max, top, 0.0)


def check_fits(name: str, array: Any, *, single: bool = False) -> None:
    """Raises unless vectors that must not be shifted stay distinct in 32 bits.

    `single` means that they become float32 even if x64 is enabled in JAX.
    """
    if isinstance(array, jax.Array) or has_tracers(array):
        return
    x = as_numpy(name, array)
    _check_not_tiny(name, x, single)
    quartiles = _quartiles(x, single)
    if quartiles is None:
        return
    low, centre, high = quartiles
    # A column that is mostly constant has little information to lose.
    if np.any((high > low) & (abs(centre) > _TOO_FAR * (high - low))):
        raise ValueError(
            f"{name} lies so far from 0 that float32 cannot tell its values apart: "
            f"subtract the means of its columns{'' if single else _OR_X64}."
        )


def _check_not_tiny(name: str, x: np.ndarray, single: bool = False) -> None:
    """Raises if values of a tiny column become 0 in float32."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim == 0 or not x.size:
        return
    if _keeps(x, single):
        return
    some = abs(_some(x))
    # The dtypes of ml_dtypes warn about nan.
    with np.errstate(invalid="ignore"):
        tiny = np.fmax.reduce(some, 0) < _TINY
        if not tiny.any():
            return
        lost = (some > 0) & (some < np.finfo(np.float32).tiny) & tiny
    if lost.any():
        raise ValueError(
            f"{name} has values that float32 cannot tell from 0: scale its columns up."
        )


def _is_cut(x: np.ndarray, single: bool = False) -> bool:
    """Whether values lose digits in float32; with `single` also if x64 is enabled."""
    if x.dtype.kind in "iu":
        return x.dtype.itemsize >= 4
    return x.dtype.kind == "f" and x.dtype.itemsize >= 8 and not _keeps(x, single)


def _keeps(x: np.ndarray, single: bool) -> bool:
    """Whether JAX keeps the 64 bits of floating numbers."""
    wide = x.dtype.kind == "f" and x.dtype.itemsize >= 8
    return wide and not single and jnp.result_type(float) == jnp.float64


def _some(x: np.ndarray) -> np.ndarray:
    """Up to 1,024 rows [M, d] that represent all."""
    return x[:: -(-len(x) // _ROWS)].reshape(-1, math.prod(x.shape[1:]))


def _check_distinct(name: str, x: np.ndarray) -> None:
    """Raises if many values become equal in 32 bits."""
    some = _some(x)
    with np.errstate(over="ignore", under="ignore"):
        kept = some.astype(np.float32)
    kept = np.where(abs(kept) < np.finfo(np.float32).tiny, 0, kept)
    ordered = [np.sort(rows, 0) for rows in (some, kept)]
    before, after = ((rows[1:] != rows[:-1]).sum(0) for rows in ordered)
    if np.any(after < _DISTINCT * before):
        raise ValueError(
            f"{name} has values that float32 cannot tell apart: scale its columns, "
            f"subtract their means{_OR_X64}."
        )


def _quartiles(x: np.ndarray, single: bool = False) -> np.ndarray | None:
    """Quartiles [3, ...] of columns that will be cut to float32."""
    if not _is_cut(x, single) or x.ndim == 0 or not x.size:
        return None
    # A few rows are enough; padding in under a quarter of them has no effect.
    some = x[:: -(-len(x) // _ROWS)]
    finite = np.where(np.isfinite(some), some, np.nan).astype(float)
    if np.isnan(finite).all(0).any():
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        return np.nanquantile(finite, (0.25, 0.5, 0.75), axis=0)


def _move(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """`x` [N, ...] minus the centers of its columns."""
    with np.errstate(invalid="ignore", over="ignore"):
        if x.dtype.kind == "f":
            return (x - centre).astype(np.float32)
        if x.dtype.itemsize == 4:
            x = x.astype(np.int64)
        # Small differences are right modulo 2**64, as signed numbers.
        short = (x - centre.astype(x.dtype)).view(np.int64)
        long = x.astype(float) - centre
        return np.where(abs(long) < 2.0**62, short, long).astype(np.float32)
