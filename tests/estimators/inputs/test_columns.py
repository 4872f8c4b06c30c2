"""Columns as users have them: codes, and what is missing."""

import jax
import numpy as np
import pandas as pd
import pytest

from optax_mi.estimators.inputs import (
    check_concrete,
    column_of,
    encode,
    is_missing,
    table_of,
    unusable,
)


@pytest.mark.parametrize(
    "column",
    [
        np.array([3, 1, 3, 2]),
        np.array([-1, 1, -1, -1], np.int8),
        np.array([127, -128, 127, 0], np.int8),
        np.array([0, 2**63 - 1, 0, -(2**63)]),
        np.array([2**64 - 1, 2**64 - 1, 2**64 - 2], np.uint64),
        np.array([1.0, 2.0, 1.0, 4.0]),
        np.array([0.25, -0.25, 0.25, 1e300]),
        np.array([True, False, True]),
        np.array([True, True]),
        np.array(["b", "a", "b"]),
        np.array(["b", 1, (2, 3), "b"], object),
    ],
    ids=lambda column: str(column.dtype),
)
def test_codes_are_equal_where_values_are(column):
    codes, size = encode(column)
    same = [[a == b for b in column] for a in column]
    np.testing.assert_array_equal(codes[:, None] == codes[None, :], same)
    # Numbered from 0, without gaps.
    assert codes.dtype == np.int32
    assert {*codes.tolist()} == {*range(size)}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1, None, 3], [1.0, np.nan, 3.0]),
        (pd.array([1, None], dtype="Int64"), [1.0, np.nan]),
        ([True, False], [True, False]),
        (np.array([1, 2], object), [1, 2]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
    ],
)
def test_columns_of_numbers_where_they_hold_any(column, expected):
    np.testing.assert_array_equal(column_of("y", column), expected)


def test_tables_of_one_kind_or_of_many():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    numbers, texts = table_of("X", frame)
    np.testing.assert_array_equal(numbers, [1.0, 2.0])
    assert texts[0] == "x"
    assert is_missing(texts[1])
    assert unusable(texts) == 1
    assert unusable(np.array([1.0, np.inf, np.nan])) == 2
    assert table_of("X", frame[["a"]]).shape == (2, 1)


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match=r"y must be real numbers.*times"):
        column_of("y", np.array(["2020-01-01"], "datetime64[D]"))
    with pytest.raises(ValueError, match=r"x must have the shape.*unequal lengths"):
        table_of("x", [[1, 2], [3]])
    with pytest.raises(TypeError, match=r"x is traced, but f has to read.*Inside, g"):
        jax.jit(lambda x: check_concrete("x", [x], "f", "g"))(1.0)
