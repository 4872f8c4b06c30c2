"""What a user's x or y holds: symbols, or real columns; and which rows can be used."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from optax_mi.estimators.inputs import as_numpy

# A column of so few values, each of them seen so often, is one of symbols.
_FEW_VALUES, _OFTEN = 32, 10
# Labels in place of padding, as other libraries have them.
_PADDING = (-1, -100)


class Columns(NamedTuple):
    """Samples of x or of y."""

    values: np.ndarray  # float64 [N, d]
    valid: np.ndarray  # bool [N]
    discrete: bool  # whether all columns are symbols
    kind: str  # in words


def read_columns(name: str, array: Any, discrete: bool | None) -> Columns:
    """Columns of an array [N] or [N, d] of numbers, booleans or strings.

    Raises:
      TypeError, ValueError: no such array, or one that is traced.
    """
    if isinstance(array, Tracer):
        raise TypeError(
            f"{name} is traced, but mutual_information chooses by values, which jit "
            "and vmap hide. Call it outside of them, or one estimator inside."
        )
    if not (discrete is None or isinstance(discrete, bool)):
        raise TypeError(
            f"discrete_{name} must be True, False or None, got {discrete!r:.60}."
        )
    given = array if isinstance(array, jax.Array) else np.asarray(array)
    if isinstance(given, np.ndarray) and _are_strings(given):
        if discrete is False:
            raise ValueError(
                f"{name} holds strings, which discrete_{name}=False denies."
            )
        codes = [np.unique(c, return_inverse=True)[1] for c in _matrix(name, given).T]
        values = np.stack(codes, 1).astype(float)
        return Columns(values, np.ones(len(values), bool), True, "strings")
    x = _matrix(name, as_numpy(name, given))
    if np.iscomplexobj(x):
        raise TypeError(f"{name} must be real, got dtype {x.dtype}.")
    values = x.astype(float)
    valid = np.asarray(np.isfinite(values).all(1))
    ids = x.dtype.kind in "iu" and x.shape[1] == 1 and discrete is not False
    if ids:
        valid &= ~_is_padding(values[:, 0])
    if discrete is None:
        kinds = [_is_discrete(column[valid], x.dtype.kind) for column in values.T]
    else:
        kinds = [discrete] * x.shape[1]
    return Columns(values, valid, all(kinds), _in_words(values, kinds, valid))


def symbols(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [N] of distinct rows of [N, d], and how often each occurs."""
    if values.shape[1] == 1:
        values = values[:, 0]
    _, ids, sizes = np.unique(values, return_inverse=True, return_counts=True, axis=0)
    return ids.reshape(-1), sizes


def _are_strings(x: np.ndarray) -> bool:
    texts = x.dtype.kind in "OUS" and x.size > 0
    return texts and all(isinstance(value, str | bytes) for value in x.ravel())


def _matrix(name: str, x: np.ndarray) -> np.ndarray:
    if x.shape[:1] == (0,):
        raise ValueError(f"{name} has shape {x.shape}: there are no samples.")
    if x.ndim not in (1, 2) or x.shape[-1] == 0:
        raise ValueError(
            f"{name} must have the shape [N] or [N, d], got {x.shape}. Flatten the "
            f"columns of a sample: {name}.reshape(len({name}), -1)."
        )
    return x[:, None] if x.ndim == 1 else x


def _is_padding(values: np.ndarray) -> np.ndarray:
    """Where ids are -1 or -100, and all others class ids from 0."""
    padding = np.isin(values, _PADDING)
    rest = values[~padding]
    ids = rest.size > 0 and rest.min() == 0
    return padding if ids else np.zeros(len(values), bool)


def _is_discrete(column: np.ndarray, kind: str) -> bool:
    distinct = np.unique(column)
    if kind == "b" or len(distinct) <= 2:
        return True
    whole = kind in "iu"
    # Class ids leave out few numbers from 0 on.
    if whole and distinct[0] == 0 and distinct[-1] < 1.25 * len(distinct):
        return len(column) >= 2 * len(distinct)
    return len(distinct) <= _FEW_VALUES and len(column) >= _OFTEN * len(distinct)


def _in_words(values: np.ndarray, kinds: list[bool], valid: np.ndarray) -> str:
    count, symbols_ = len(kinds), sum(kinds)
    if count == 1 and symbols_:
        distinct = len(np.unique(values[valid]))
        return f"{distinct} symbol{'s' * (distinct != 1)}"
    plural = "s" if count > 1 else ""
    if symbols_ == count:
        return f"{count} columns of symbols"
    if symbols_:
        return f"{count} columns, {symbols_} of them of symbols"
    return f"{count} real column{plural}"
