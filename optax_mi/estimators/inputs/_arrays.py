"""Arrays before they are traced: what is no array, and what 32 bits would cut.

JAX cuts NumPy's 64 bits to 32 unless it is set to x64. Here they are still whole, so
that vectors far from 0 can be moved there: mutual information does not change where a
column is moved.
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# Rows that tell where a column lies. In spreads of it, the distance from 0 at which it
# is moved, and that at which float32 has less than a thousand steps for the spread.
_ROWS, _FAR, _TOO_FAR = 1024, 64.0, 2.0**14
# The share of the values in a column that 32 bits must leave apart, and the largest of
# columns in which float32 may take values for 0.
_DISTINCT, _TINY = 0.9, 1e-30
# Rows that tell logits from probabilities, nearly always.
_FEW = 16
_OR_X64 = ", or set JAX to x64 for floating numbers"


def as_array(name: str, array: Any) -> jax.Array:
    """An array of JAX, through which no gradient flows.

    Raises:
      TypeError: something else than numbers.
    """
    if has_tracers(array):
        array = jnp.asarray(array)
    if not isinstance(array, jax.Array):
        # What float32 cannot hold is dropped and counted, which is warning enough.
        with np.errstate(over="ignore"):
            array = jnp.asarray(_whole(as_numpy(name, array)))
    return jax.lax.stop_gradient(array) if isinstance(array, Tracer) else array


def _whole(x: np.ndarray) -> np.ndarray:
    """`x` in float32 where 32 bits would wrap its integers around."""
    wide = x.dtype.kind in "iu" and x.dtype.itemsize == 8
    if not wide or jnp.result_type(int) == jnp.int64:
        return x
    info = np.iinfo(np.int32 if x.dtype.kind == "i" else np.uint32)
    fits = not x.size or (x.min() >= info.min and x.max() <= info.max)
    return x if fits else x.astype(np.float32)


def shape_of(name: str, array: Any) -> tuple[int, ...]:
    """The shape, for which nothing goes to a device.

    Raises:
      TypeError: something else than numbers.
    """
    if isinstance(array, jax.Array) or has_tracers(array):
        return as_array(name, array).shape
    return as_numpy(name, array).shape


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
    # To NumPy a span of time is an integer.
    number = jnp.issubdtype(array.dtype, jnp.number) and array.dtype.kind != "m"
    if not (number or array.dtype == bool):
        raise TypeError(
            f"{name} must be an array of numbers, got {_describe(name, given)}."
        )
    return np.asarray(array)


def has_tracers(array: Any) -> bool:
    """Whether it is a list, at any depth, of which parts are traced."""
    if not isinstance(array, list | tuple):
        return False
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(array))


def _describe(name: str, given: Any) -> str:
    """What was given in place of numbers, and what to do about it."""
    if isinstance(given, Mapping):
        return f"a {type(given).__name__} with the keys {list(given)}: pass one value"
    if getattr(getattr(given, "dtype", None), "kind", "") in ("m", "M"):
        return f"times: pass {name}.astype(int)"
    # Of pandas, which need not be there.
    for codes in ("cat.codes", "codes"):
        if hasattr(given, codes.partition(".")[0]):
            return f"categories: pass {name}.{codes}"
    parts = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(parts, list | tuple) and parts:
        strings = [isinstance(part, str) for part in parts]
        if all(strings):
            return f"strings: pass np.unique({name}, return_inverse=True)[1]"
        if any(strings):
            return f"strings and others: pass pd.factorize({name})[0], -1 where missing"
        reals = [isinstance(part, numbers.Real) for part in parts]
        if all(reals):
            whole = all(isinstance(part, numbers.Integral) for part in parts)
            kind = "int" if whole else "float"
            return f"numbers of dtype object: pass {name}.astype({kind})"
        if any(reals):
            return (
                "numbers of which some are missing: put -1 for class ids, or nan for "
                "reals, and they are dropped"
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
    """Raises if they are probabilities, as far as they can be looked at."""
    if isinstance(logits, Tracer) or has_tracers(logits):
        return
    if isinstance(logits, jax.Array):
        # What one device has of it: little is moved, and on this host.
        logits = logits.addressable_data(0)
        logits = logits[:_ROWS] if logits.ndim else logits
    logits = as_numpy(name, logits)
    if found := of_probabilities(name, logits):
        one = logits.shape[-1] == 1
        same = f"np.c_[0 * {name}, {name}]" if one else f"{name} - 1"
        raise ValueError(f"{found} If they are logits, {same} mean the same.")


def of_probabilities(name: str, array: np.ndarray) -> str | None:
    """What tells that finite rows [..., C], or [..., 1] of class 1, are no logits."""
    if array.ndim < 2 or not jnp.issubdtype(array.dtype, jnp.floating):
        return None
    columns = array.shape[-1]
    rows = array.reshape(-1, columns)

    def holds(rows: np.ndarray) -> bool:
        rows = rows[np.isfinite(rows).all(-1)].astype(float)
        if not rows.size or not ((rows >= 0) & (rows <= 1)).all():
            return False
        if columns == 1:
            # Logits may all be 0, or a few of them lie there.
            return len(rows) >= _FEW and rows.min() < 0.5 < rows.max()
        return bool((abs(rows.sum(-1) - 1.0) < 0.01).all())

    # A few tell most logits.
    if not (holds(rows[:_FEW]) and holds(rows[:_ROWS])):
        return None
    many, log = columns > 1, "jnp.log" if columns > 1 else "jax.scipy.special.logit"
    return (
        f"{name} are probabilities, not logits: all are in [0, 1]"
        f"{', and they sum to 1' * many}. Pass the logits, or {log}({name})."
    )


def host_vectors(name: str, array: Any) -> jax.Array:
    """Vectors for an estimator to which it makes no difference where they lie."""
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
    """Logits [..., C] beside labels [...] as given, but near 0 before they are cut.

    A softmax does not change where all logits of a sample are moved.
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
    # What float32 cannot hold stays so, and drops out.
    return x - np.where(abs(top) <= np.finfo(np.float32).max, top, 0.0)


def check_fits(name: str, array: Any, *, single: bool = False) -> None:
    """Raises unless 32 bits tell vectors that must not move from one another.

    A `single` becomes float32 whatever JAX is set to.
    """
    if isinstance(array, jax.Array) or has_tracers(array):
        return
    x = as_numpy(name, array)
    _check_not_tiny(name, x, single)
    quartiles = _quartiles(x, single)
    if quartiles is None:
        return
    low, centre, high = quartiles
    # Of a column that is the same for most there is little to tell.
    if np.any((high > low) & (abs(centre) > _TOO_FAR * (high - low))):
        raise ValueError(
            f"{name} lies so far from 0 that float32 cannot tell its values from one "
            f"another: take off the means of its columns{'' if single else _OR_X64}."
        )


def _check_not_tiny(name: str, x: np.ndarray, single: bool = False) -> None:
    """Raises if float32 has zeros in place of values of a tiny column."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim == 0 or not x.size:
        return
    if _keeps(x, single):
        return
    some = abs(_some(x))
    # Numbers of ml_dtypes warn of nan.
    with np.errstate(invalid="ignore"):
        tiny = np.fmax.reduce(some, 0) < _TINY
        if not tiny.any():
            return
        lost = (some > 0) & (some < np.finfo(np.float32).tiny) & tiny
    if lost.any():
        raise ValueError(
            f"{name} has values that float32 cannot tell from 0: multiply its columns."
        )


def _is_cut(x: np.ndarray, single: bool = False) -> bool:
    """Whether float32 takes the place of more digits; for a `single` also in x64."""
    if x.dtype.kind in "iu":
        return x.dtype.itemsize >= 4
    return x.dtype.kind == "f" and x.dtype.itemsize >= 8 and not _keeps(x, single)


def _keeps(x: np.ndarray, single: bool) -> bool:
    """Whether JAX keeps the 64 bits of floating numbers."""
    wide = x.dtype.kind == "f" and x.dtype.itemsize >= 8
    return wide and not single and jnp.result_type(float) == jnp.float64


def _some(x: np.ndarray) -> np.ndarray:
    """Up to 1,024 rows [M, d] that stand for all."""
    return x[:: -(-len(x) // _ROWS)].reshape(-1, math.prod(x.shape[1:]))


def _check_distinct(name: str, x: np.ndarray) -> None:
    """Raises if 32 bits make one value of many."""
    some = _some(x)
    with np.errstate(over="ignore", under="ignore"):
        kept = some.astype(np.float32)
    kept = np.where(abs(kept) < np.finfo(np.float32).tiny, 0, kept)
    ordered = [np.sort(rows, 0) for rows in (some, kept)]
    before, after = ((rows[1:] != rows[:-1]).sum(0) for rows in ordered)
    if np.any(after < _DISTINCT * before):
        raise ValueError(
            f"{name} has values that float32 cannot tell from one another: scale its "
            f"columns, take off their means{_OR_X64}."
        )


def _quartiles(x: np.ndarray, single: bool = False) -> np.ndarray | None:
    """Quartiles [3, ...] of columns that are about to be cut to float32."""
    if not _is_cut(x, single) or x.ndim == 0 or not x.size:
        return None
    # A few rows are enough, and padding in less than a quarter of them steers nothing.
    some = x[:: -(-len(x) // _ROWS)]
    finite = np.where(np.isfinite(some), some, np.nan).astype(float)
    if np.isnan(finite).all(0).any():
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        return np.nanquantile(finite, (0.25, 0.5, 0.75), axis=0)


def _move(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """`x` [N, ...] less the centre of its columns."""
    with np.errstate(invalid="ignore", over="ignore"):
        if x.dtype.kind == "f":
            return (x - centre).astype(np.float32)
        if x.dtype.itemsize == 4:
            x = x.astype(np.int64)
        # Differences modulo 2**64 are right, as signed numbers, if they are short.
        short = (x - centre.astype(x.dtype)).view(np.int64)
        long = x.astype(float) - centre
        return np.where(abs(long) < 2.0**62, short, long).astype(np.float32)
