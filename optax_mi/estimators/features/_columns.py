"""Reads features and a target in the forms that scikit-learn accepts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from optax_mi.estimators.inputs import check_concrete, column_of, table_of, unusable

_INSIDE = "map ross_mi, ksg_mi or plugin_mi over X.T with jax.lax.map"


class Features:
    """The columns of X, read one at a time."""

    def __init__(self, X: Any, discrete: Any) -> None:
        check_concrete("X", X, "feature_mi", _INSIDE)
        self.names: Sequence[Any] | None = None
        # A matrix, dense or by column, or a list of columns.
        self._columns: Any
        self._sparse = hasattr(X, "tocsc") and hasattr(X, "nnz")
        if self._sparse:
            self._columns = X.tocsc()
            shape = X.shape
        else:
            if hasattr(X, "columns"):
                self.names = list(X.columns)
            self._columns = table_of("X", X)
            shape = _shape_of(self._columns)
        if len(shape) != 2 or 0 in shape:
            raise ValueError(
                "X must have the shape [samples, features], with at least one of each, "
                f"got {shape}.{_shape_hint(shape)}"
            )
        self.samples, self.number = shape
        self._discrete = self._read_discrete(discrete)
        self._check_usable()

    def __getitem__(self, i: int) -> np.ndarray:
        """Column i [N], unchanged."""
        if self._sparse:
            column = np.zeros(self.samples, self._columns.dtype)
            part = slice(*self._columns.indptr[i : i + 2])
            column[self._columns.indices[part]] = self._columns.data[part]
            return column
        if isinstance(self._columns, list):
            return self._columns[i]
        return self._columns[:, i]

    def is_discrete(self, i: int) -> bool:
        """Whether column i has codes."""
        return bool(self._discrete[i])

    def name(self, i: int) -> str:
        """The name of column i for errors."""
        return f"column {i}" if self.names is None else f"column {self.names[i]!r}"

    def _read_discrete(self, discrete: Any) -> np.ndarray:
        """Converts the user's argument to a mask [F]."""
        unordered = np.zeros(self.number, bool)
        if not self._sparse:
            kinds = [self[i].dtype.kind for i in range(self.number)]
            unordered = np.array([kind in "bOUS" for kind in kinds])
        if isinstance(discrete, str) and discrete == "auto":
            for i in np.nonzero(unordered)[0].tolist():
                self._check_no_numbers(i)
            return np.ones(self.number, bool) if self._sparse else unordered
        if isinstance(discrete, bool | np.bool_):
            mask = np.full(self.number, bool(discrete))
        else:
            mask = _mask_of(discrete, self.number)
        if self._sparse and not mask.all():
            raise ValueError(
                "X is sparse, and its zeros are ties: nearest neighbors need numbers "
                "that vary. Pass discrete_features=True, or X.toarray()."
            )
        for i in np.nonzero(unordered & ~mask)[0].tolist():
            if self[i].dtype.kind != "b":
                raise ValueError(
                    f"X has strings or categories in {self.name(i)}, which cannot be "
                    "continuous: set discrete_features to 'auto', or to True for it."
                )
        return mask

    def _check_no_numbers(self, i: int) -> None:
        """Raises if strings are continuous numbers, as in a column from a file."""
        column = self[i]
        if column.dtype.kind == "b":
            return
        try:
            numbers = column.astype(float)
        except (TypeError, ValueError):
            return
        if (numbers != np.round(numbers)).any():
            raise ValueError(
                f"X has numbers as strings in {self.name(i)}: pass X.astype(float), or "
                "mark the codes with discrete_features."
            )

    def _check_usable(self) -> None:
        """Raises if a value is missing or infinite."""
        if self._sparse:
            whole = np.isfinite(self._columns.data).all()
        elif isinstance(self._columns, np.ndarray) and self._columns.dtype.kind in "fc":
            whole = np.isfinite(self._columns).all()
        else:
            whole = False
        if whole:
            return
        lacking = [(i, n) for i in range(self.number) if (n := unusable(self[i]))]
        if lacking:
            i, n = lacking[0]
            more = len(lacking) - 1
            others = f", and in {more} more columns" if more else ""
            raise ValueError(
                f"X has {n} values that are missing or infinite in {self.name(i)}"
                f"{others}. Fill them, as sklearn.impute.SimpleImputer does, or leave "
                "their rows out of X and y: scores from different rows do not compare."
            )


def read_target(y: Any) -> np.ndarray:
    """The target [N] as numbers, booleans or objects."""
    check_concrete("y", y, "feature_mi", _INSIDE)
    if y is None:
        raise TypeError("y must be the target [samples], got None.")
    if hasattr(y, "columns"):
        table = table_of("y", y)
        y = table[0] if isinstance(table, list) and len(table) == 1 else table
    else:
        y = column_of("y", y)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or not len(y):
        raise ValueError(
            f"y must be one target [samples], got shape {y.shape}. For one-hot classes "
            "pass y.argmax(1). For several targets call feature_mi once for each."
        )
    if missing := unusable(y):
        raise ValueError(
            f"y has {missing} values that are missing or infinite: leave their rows "
            "out of X and y."
        )
    return y


def _shape_of(columns: np.ndarray | list[np.ndarray]) -> tuple[int, ...]:
    if isinstance(columns, list):
        return (len(columns[0]) if columns else 0, len(columns))
    return columns.shape


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return " For one feature pass X.reshape(-1, 1)."
    return " Flatten other axes first: X.reshape(len(X), -1)." if len(shape) > 2 else ""


def _mask_of(discrete: Any, features: int) -> np.ndarray:
    """A mask [F] from a mask or from indices."""
    array = np.asarray(discrete)
    if array.dtype.kind not in "biu" and array.size:
        raise TypeError(
            "discrete_features must be 'auto', True, False, a mask [features] or "
            f"indices, got {discrete!r:.60}. For names of columns pass "
            "X.columns.isin(names)."
        )
    if array.dtype == bool:
        if array.shape != (features,):
            raise ValueError(
                f"discrete_features must be a mask of the {features} features of X, "
                f"got a mask of shape {array.shape}."
            )
        return array
    outside = array[(array < -features) | (array >= features)] if array.size else array
    if array.ndim != 1 or outside.size:
        raise ValueError(
            f"discrete_features must be indices below the {features} features of X, "
            f"got {discrete!r:.60}."
        )
    mask = np.zeros(features, bool)
    mask[array.astype(int)] = True
    return mask
