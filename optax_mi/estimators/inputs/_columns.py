"""Reads a user's columns as numbers, or as codes of values without an order."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

# Whole numbers in a range of up to this many values per sample are codes already;
# others are renumbered.
_SPREAD = 4


class Codes(NamedTuple):
    """A column for which only equality counts."""

    codes: np.ndarray  # int32 [N], in [0, size)
    size: int  # number of distinct values


def check_concrete(name: str, array: Any, function: str, inside: str) -> None:
    """Raises if an array, or a part of a list, is traced."""
    if isinstance(array, Tracer) or any(
        isinstance(leaf, Tracer) for leaf in jax.tree.leaves(array)
    ):
        raise TypeError(
            f"{name} is traced, but {function} has to read its values: call it outside "
            f"of jit, vmap and grad. Inside, {inside}."
        )


def table_of(name: str, X: Any) -> np.ndarray | list[np.ndarray]:
    """A matrix with one dtype, or a list of columns."""
    if hasattr(X, "columns"):
        kinds = {np.dtype(t).kind if isinstance(t, np.dtype) else "" for t in X.dtypes}
        if kinds <= set("iuf") or kinds == {"b"}:
            return np.asarray(X)
        iterate = X.items() if hasattr(X, "items") else zip(X.columns, X, strict=True)
        return [column_of(name, column) for _, column in iterate]
    if isinstance(X, np.ma.MaskedArray):
        X = np.ma.filled(X.astype(float), np.nan)
    try:
        table = np.asarray(X)
    except ValueError:
        raise ValueError(
            f"{name} must have the shape [samples, features], got {X!r:.60}: its rows "
            "have unequal lengths."
        ) from None
    if table.dtype.kind in "cmMV":
        raise TypeError(
            f"{name} must be real numbers, booleans or strings, got dtype "
            f"{table.dtype}."
        )
    if table.dtype.kind == "O" and table.ndim == 2:
        return [column_of(name, column) for column in table.T]
    return table


def column_of(name: str, column: Any) -> np.ndarray:
    """One column, as numbers if all values are numbers, and otherwise as objects."""
    kind = getattr(getattr(column, "dtype", None), "kind", "O")
    if kind in "mMc" and kind:
        raise TypeError(
            f"{name} must be real numbers, booleans or strings, got dtype "
            f"{column.dtype}. For times pass .astype('int64')."
        )
    if isinstance(column, np.ma.MaskedArray):
        column = np.ma.filled(column.astype(float), np.nan)
    values = np.asarray(column)
    if values.dtype.kind != "O":
        return values
    present = [v for v in values.ravel() if not is_missing(v)]
    kinds = {type(v) for v in present}
    if kinds and all(issubclass(t, bool | np.bool_) for t in kinds):
        return values if len(present) < values.size else values.astype(bool)
    if kinds and all(issubclass(t, int | float | np.number) for t in kinds):
        lacking = np.array([is_missing(v) for v in values.ravel()])
        filled = np.where(lacking.reshape(values.shape), np.nan, values)
        whole = not lacking.any() and all(
            issubclass(t, int | np.integer) for t in kinds
        )
        return filled.astype(np.int64 if whole else float)
    return values


def unusable(column: np.ndarray) -> int:
    """The number of values that are missing or infinite."""
    if column.dtype.kind in "fc":
        return int(np.sum(~np.isfinite(column)))
    if column.dtype.kind == "O":
        return sum(is_missing(value) for value in column)
    return 0


def is_missing(value: Any) -> bool:
    """Whether it is None, nan, or a missing value of pandas."""
    if value is None:
        return True
    equal = value == value
    # For pandas.NA, this is not a bool.
    return not isinstance(equal, bool | np.bool_) or not equal


def encode(column: np.ndarray) -> Codes:
    """The codes of a column; equal values have equal codes."""
    if column.dtype.kind == "O":
        numbers: dict[Any, int] = {}
        codes = [numbers.setdefault(value, len(numbers)) for value in column]
        return Codes(np.array(codes, np.int32), len(numbers))
    if column.dtype.kind in "fiub":
        low, high = column.min(), column.max()
        # Python's numbers do not overflow.
        spread = high.item() - low.item()
        if spread < max(_SPREAD * len(column), 2):
            whole = column if column.dtype.kind != "b" else column.astype(np.int8)
            codes = (whole - whole.dtype.type(low)).astype(np.int32)
            if column.dtype.kind != "f" or np.array_equal(codes + low, column):
                used = np.bincount(codes) > 0
                return Codes(
                    (np.cumsum(used, dtype=np.int32) - 1)[codes], int(used.sum())
                )
    values, codes = np.unique(column, return_inverse=True)
    return Codes(codes.astype(np.int32), len(values))
