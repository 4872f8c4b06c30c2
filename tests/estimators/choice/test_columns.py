"""What columns are taken for."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from optax_mi.estimators.choice._columns import read_columns, symbols

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("array", "discrete"),
    [
        (RNG.normal(size=1000), False),
        (RNG.normal(size=(1000, 3)).round(1), False),  # some sixty values
        (RNG.integers(2, size=1000), True),
        (RNG.integers(2, size=1000).astype(float), True),
        (RNG.integers(2, size=1000).astype(bool), True),
        (1 - 2 * RNG.integers(2, size=1000), True),  # -1 and 1
        (RNG.integers(10, size=1000), True),
        (RNG.integers(100, size=1000), True),  # class ids from 0 on
        (RNG.integers(18, 90, size=1000), False),  # ages in years
        (RNG.integers(1, 6, size=1000), True),  # stars
        (RNG.integers(5, size=10), True),  # few samples, but ids
        (np.arange(100), False),
        (np.eye(3)[RNG.integers(3, size=90)], True),
        (np.c_[RNG.integers(2, size=90), RNG.normal(size=90)], False),
        (["a", "b", "a"], True),
        (np.array(["a", "b"], object), True),
    ],
)
def test_kinds(array, discrete):
    assert read_columns("x", array, None).discrete is discrete


def test_the_user_has_the_last_word():
    ages = RNG.integers(18, 90, size=1000)
    assert read_columns("x", ages, True).discrete
    assert not read_columns("x", ages % 3, False).discrete


@pytest.mark.parametrize("padding", [-1, -100])
@pytest.mark.parametrize("dtype", [int, float])
def test_padding_is_dropped(padding, dtype):
    labels = RNG.integers(4, size=100).astype(dtype)
    labels[::5] = padding
    found = read_columns("y", labels, None)
    assert found.valid.sum() == 80
    assert found.kind == "4 symbols"


def test_negative_numbers_are_no_padding():
    assert read_columns("y", np.array([-1, 1, 1, -1]), None).valid.all()
    assert read_columns("y", RNG.integers(-5, 6, size=500), None).valid.all()
    assert read_columns("y", np.array([-1.0, 0.5, 0.0] * 9), None).valid.all()


def test_what_is_not_finite_is_dropped():
    x = np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 0.0], [3.0, 4.0]])
    np.testing.assert_array_equal(read_columns("x", x, None).valid, [1, 0, 0, 1])


def test_arrays_of_jax_are_read():
    found = read_columns("x", jnp.arange(6).reshape(3, 2), False)
    np.testing.assert_array_equal(found.values, [[0, 1], [2, 3], [4, 5]])


def test_symbols_are_distinct_rows():
    ids, sizes = symbols(np.array([[1.0, 2.0], [0.0, 5.0], [1.0, 2.0]]))
    np.testing.assert_array_equal(ids, [1, 0, 1])
    np.testing.assert_array_equal(sizes, [1, 2])


def test_tables_of_many_kinds():
    frame = pd.DataFrame({"a": np.arange(27.0), "b": ["x", "y", None] * 9})
    found = read_columns("x", frame, None)
    assert found.kind == "2 columns, 1 with symbols"
    np.testing.assert_array_equal(found.valid, [1, 1, 0] * 9)
    found = read_columns("y", [1.0, None, 2.0], None)
    np.testing.assert_array_equal(found.valid, [1, 0, 1])


@pytest.mark.parametrize(
    ("array", "discrete", "error", "message"),
    [
        (np.zeros((2, 2, 2)), None, ValueError, r"x must have the shape \[N\]"),
        (3.0, None, ValueError, r"x must have .* got \(\)"),
        (np.zeros((5, 0)), None, ValueError, r"x must have .* got \(5, 0\)"),
        ([], None, ValueError, "x has shape .* there are no samples"),
        ([[1, 2], [3]], None, ValueError, "x must .* unequal lengths"),
        (np.ones(3, complex), None, TypeError, "x must be real"),
        (np.zeros(3, "datetime64[D]"), None, TypeError, "x must be .* datetime64"),
        (np.zeros(3, [("a", float)]), None, TypeError, "x must be real"),
        (None, None, ValueError, "x must have the shape"),
        ("abc", None, ValueError, "x must have the shape"),
        ({"a": np.zeros(3)}, None, ValueError, "x must have the shape"),
        ({1, 2}, None, ValueError, "x must have the shape"),
        (lambda x: x, None, ValueError, "x must have the shape"),
        ([object()] * 3, None, TypeError, "x must be numbers.* got object"),
        (np.ones(3), 1, TypeError, "discrete_x must be True, False or None, got 1"),
        (["a", "b"], False, ValueError, "x has strings, so discrete_x must not"),
    ],
)
def test_errors(array, discrete, error, message):
    with pytest.raises(error, match=message):
        read_columns("x", array, discrete)


def test_traced_arrays_are_an_error():
    with pytest.raises(TypeError, match="x is traced"):
        jax.jit(lambda x: read_columns("x", x, None).valid)(jnp.ones(3))


def test_numbers_have_an_order():
    assert read_columns("x", RNG.integers(100, size=500), None).ordered
    assert not read_columns("x", RNG.integers(100, size=500), True).ordered
    assert not read_columns("x", RNG.integers(5, size=500), None).ordered
    assert not read_columns("x", RNG.integers(100, size=500).astype(str), None).ordered


def test_masked_values_are_dropped():
    x = np.ma.array(np.arange(6), mask=[0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(read_columns("x", x, None).valid, ~x.mask)
