"""Reads a user's x or y as symbols or real columns, and finds the valid rows."""

from typing import Any, NamedTuple

import numpy as np

from optax_mi.estimators.inputs import (
    check_concrete,
    column_of,
    encode,
    is_missing,
    table_of,
)

# Kinds of dtypes of strings, and the types that objects may have.
_TEXTS = "OUS"
_SYMBOLS = (str, bytes, bool, int, float, np.generic, type(None))
# A column of at most this many values, with this many samples each, has symbols.
_FEW_VALUES, _OFTEN = 32, 10
# With more values, apparent class ids may be ordered numbers.
_MANY = 10
# Labels that other libraries use for padding.
_PADDING = (-1, -100)


class Columns(NamedTuple):
    """Samples of x or of y."""

    values: np.ndarray  # float64 [N, d]
    valid: np.ndarray  # bool [N]
    discrete: bool  # whether all columns are symbols
    ordered: bool  # whether it is one column of many different numbers
    kind: str  # a description for the user


def read_columns(name: str, array: Any, discrete: bool | None) -> Columns:
    """Columns of an array or a table [N] or [N, d] of numbers, booleans or strings.

    Raises:
      TypeError, ValueError: it is not such an array, or it is traced.
    """
    check_concrete(name, array, "mutual_information", "call an estimator by its name")
    if not (discrete is None or isinstance(discrete, bool)):
        raise TypeError(
            f"discrete_{name} must be True, False or None, got {discrete!r:.60}."
        )
    columns = _split(name, array)
    values = np.empty((len(columns[0]), len(columns)))
    valid = np.ones(len(values), bool)
    for column, into in zip(columns, values.T, strict=True):
        if column.dtype.kind in _TEXTS:
            if discrete is False:
                raise ValueError(
                    f"{name} has strings, so discrete_{name} must not be False."
                )
            into[:] = encode(column).codes
            valid &= ~np.array([is_missing(value) for value in column])
        else:
            into[:] = column
            valid &= np.isfinite(into)
    kinds = [column.dtype.kind for column in columns]
    if len(columns) == 1 and kinds[0] in "iuf" and discrete is not False:
        valid &= ~_is_padding(values[:, 0])
    if discrete is None:
        symbols = [
            _is_discrete(column[valid], kind)
            for column, kind in zip(values.T, kinds, strict=True)
        ]
    else:
        symbols = [discrete] * len(columns)
    ordered = len(columns) == 1 and kinds[0] in "iuf" and discrete is None
    ordered = ordered and len(np.unique(values[valid])) > _MANY
    words = _in_words(values, symbols, valid)
    return Columns(values, valid, all(symbols), ordered, words)


def symbols(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids [N] of the distinct rows of [N, d], and the count of each."""
    if values.shape[1] == 1:
        values = values[:, 0]
    _, ids, sizes = np.unique(values, return_inverse=True, return_counts=True, axis=0)
    return ids.reshape(-1), sizes


def entropy_of(sizes: np.ndarray) -> float:
    """Entropy in nats of symbols with these counts."""
    shares = sizes[sizes > 0] / sizes.sum()
    return abs(float(np.sum(shares * np.log(shares))))


def _split(name: str, array: Any) -> list[np.ndarray]:
    """The columns of an array or a table, [N] each."""
    table = table_of(name, array)
    if isinstance(table, np.ndarray) and table.ndim == 1:
        table = column_of(name, array)
    if isinstance(table, np.ndarray):
        if table.shape[:1] == (0,):
            raise ValueError(f"{name} has shape {table.shape}: there are no samples.")
        if table.ndim not in (1, 2) or table.shape[-1] == 0:
            raise ValueError(
                f"{name} must have the shape [N] or [N, d], got {table.shape}. Flatten "
                f"the columns of a sample: {name}.reshape(len({name}), -1)."
            )
        table = [*table.T] if table.ndim == 2 else [table]
    for column in table:
        kinds = {type(value) for value in column} if column.dtype == object else set()
        if odd := [kind for kind in kinds if not issubclass(kind, _SYMBOLS)]:
            raise TypeError(
                f"{name} must be numbers, booleans or strings, got {odd[0].__name__}."
            )
    return table


def _is_padding(values: np.ndarray) -> np.ndarray:
    """Marks ids of -1 or -100 if all others are class ids from 0."""
    padding = np.isin(values, _PADDING)
    rest = values[~padding & np.isfinite(values)]
    ids = rest.size > 0 and rest.min() == 0 and (rest == np.round(rest)).all()
    return padding if ids else np.zeros(len(values), bool)


def _is_discrete(column: np.ndarray, kind: str) -> bool:
    distinct = np.unique(column)
    if kind in _TEXTS + "b" or len(distinct) <= 2:
        return True
    whole = kind in "iu"
    # Class ids start at 0 and skip few numbers.
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
        return f"{count} columns, {symbols_} with symbols"
    return f"{count} real column{plural}"
