"""Columns as users have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from optax_mi.estimators.features._columns import Features, read_target

X = np.arange(12.0).reshape(4, 3)


def kinds_of(X, discrete="auto"):
    features = Features(X, discrete)
    return [features.is_discrete(i) for i in range(features.number)]


FRAME = pd.DataFrame(
    {
        "age": [31, 44, 25, 61],
        "height": [1.7, 1.8, 1.6, 1.75],
        "smokes": [True, False, True, True],
        "town": ["Bern", "Rome", "Bern", "Oslo"],
        "size": pd.Categorical(["S", "L", "M", "S"]),
        "children": pd.array([0, 2, 1, 0], dtype="Int64"),
    }
)


def test_what_has_no_order_is_discrete():
    assert kinds_of(X) == [False] * 3
    assert kinds_of(X.astype(int)) == [False] * 3
    assert kinds_of(X > 4) == [True] * 3
    assert kinds_of(sparse.csr_matrix(X)) == [True] * 3
    assert kinds_of(FRAME) == [False, False, True, True, True, False]


@pytest.mark.parametrize(
    ("discrete", "wanted"),
    [
        (True, [True, True, True]),
        (np.False_, [False, False, False]),
        ([0, -1], [True, False, True]),
        ([], [False, False, False]),
        ([False, True, False], [False, True, False]),
        (jnp.array([1]), [False, True, False]),
        (pd.Index(["a", "b", "c"]).isin(["c"]), [False, False, True]),
    ],
)
def test_discrete_features(discrete, wanted):
    assert kinds_of(X, discrete) == wanted


@pytest.mark.parametrize(
    "table",
    [
        X,
        X.tolist(),
        jnp.asarray(X),
        pd.DataFrame(X),
        pd.DataFrame(X).astype("Float64"),
        pd.DataFrame(X, columns=["a", "a", "b"]).astype({"b": "Int64"}),
        X.astype(object),
        sparse.csr_matrix(X),
        sparse.coo_array(X),
    ],
    ids=lambda table: type(table).__name__,
)
def test_columns_are_those_given(table):
    features = Features(table, "auto")
    assert (features.samples, features.number) == X.shape
    for i, column in enumerate(X.T):
        np.testing.assert_array_equal(features[i], column)
        assert features[i].dtype.kind in "fi"


@pytest.mark.parametrize(
    ("table", "discrete", "error", "words"),
    [
        (X[0], "auto", ValueError, r"got \(3,\).*X.reshape\(-1, 1\)"),
        (X[None], "auto", ValueError, r"Flatten other axes"),
        (X[:0], "auto", ValueError, r"at least one of each, got \(0, 3\)"),
        ([[1.0], [1.0, 2.0]], "auto", ValueError, "unequal lengths"),
        ((X + 0.5).astype(str), "auto", ValueError, "numbers as strings in column 0"),
        (X + 1j, "auto", TypeError, "complex128"),
        (X.astype("M8[s]"), "auto", TypeError, "datetime64"),
        (X, "all", TypeError, "discrete_features must be 'auto'"),
        (FRAME, ["town"], TypeError, r"pass X.columns.isin\(names\)"),
        (X, [True, False], ValueError, r"a mask of the 3 features"),
        (X, [3], ValueError, "indices below the 3 features"),
        (X, None, TypeError, "discrete_features must be 'auto'"),
        (FRAME, False, ValueError, "strings or categories in column 'town'"),
        (sparse.csr_matrix(X), False, ValueError, r"X.toarray\(\)"),
        (np.where(X == 4, np.nan, X), "auto", ValueError, "1 values .* in column 1. F"),
        (np.where(X > 6, np.inf, X), "auto", ValueError, "column 0, and in 2 more"),
        (FRAME.replace("Rome", None), "auto", ValueError, "column 'town'"),
        (FRAME.assign(children=[None, 1, 2, 3]), "auto", ValueError, "'children'"),
        (
            FRAME.assign(children=pd.array([None, 1, 2, 3], dtype="Int64")),
            "auto",
            ValueError,
            "1 values that are missing or infinite in column 'children'",
        ),
    ],
)
def test_errors_name_what_to_pass(table, discrete, error, words):
    with pytest.raises(error, match=words):
        Features(table, discrete)


def test_nothing_is_looked_at_while_tracing():
    with pytest.raises(TypeError, match="outside of jit, vmap and grad"):
        jax.jit(lambda X: Features(X, "auto").samples)(X)
    with pytest.raises(TypeError, match="y is traced"):
        jax.jit(lambda y: read_target([y, y]))(1.0)


@pytest.mark.parametrize(
    "target",
    [
        X[:, 0].tolist(),
        X[:, :1],
        jnp.asarray(X[:, 0]),
        pd.Series(X[:, 0], index=[7, 5, 6, 4]),
        pd.DataFrame(X[:, :1]),
        pd.Series(X[:, 0]).astype("Int64"),
    ],
    ids=lambda target: type(target).__name__,
)
def test_target(target):
    np.testing.assert_array_equal(read_target(target), X[:, 0])


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (None, TypeError, "got None"),
        (X, ValueError, r"y.argmax\(1\)"),
        (pd.DataFrame(X), ValueError, "one target"),
        ([], ValueError, r"got shape \(0,\)"),
        ([1.0, np.nan], ValueError, "y has 1 values"),
        (["a", None], ValueError, "y has 1 values"),
        (pd.Series([pd.Timestamp(0)] * 2), TypeError, "times"),
    ],
)
def test_errors_of_the_target(target, error, words):
    with pytest.raises(error, match=words):
        read_target(target)
