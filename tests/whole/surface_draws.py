"""What people pass: numbers of every dtype, layout and scale, labels of every kind.

A `Program` fixes what XLA compiles for: shapes, dtypes and settings. There are few of
them, drawn once from their number; in each, a `Case` draws values.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from hypothesis import strategies as st

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# The dtype and the shape of a program's outputs, by its number. [N] or [N, d]; more
# samples than a tile, and than neighbours on a line are few.
DTYPES = ("float32", "float64", "bfloat16", "float16", "int32", "uint8", "bool")
DTYPES = (*DTYPES, "int64", "uint32", "uint64", "int8", "float64", "uint16", "int16")
SHAPES = [(24, 3), (24, None), (24, 1), (24, 6), (24, 3), (300, None), (1, 3), (24, 3)]
SHAPES = [*SHAPES, (0, 3), (24, 1), (24, 6), (24, 3), (24, None)]
KINDS = ("plain", "far apart", "rounded", "constant", "collinear", "tails", "zeros")
SCALES = (1.0, 1.0, 3.0, 2.0**-40, 2.0**60, 1e-3, 1e5, 1e-10, 1e-20, 1e-30, 1e10, 1e20)
SCALES = (*SCALES, 1e30)
OFFSETS = (0.0, 0.0, 0.0, 1.0, 30.0, 1e3, 1e6, 1e8)
FILLS = (np.nan, np.inf, -np.inf, 1e30, float(np.finfo(np.float32).min))
CONVENTIONS = ("sparse", "bool", "[N, 1]", "from 1", "signs", "one-hot", "float")
CONVENTIONS = (*["from 0"] * 7, *CONVENTIONS)
PADDING = (-1, -100, 255)
LAYOUTS = ("numpy", "numpy", "fortran", "strided", "list", "jax", "jax")
# What drops a row: its label, its weight, or what it holds.
WAYS = ("label", "weight", "value")


class Program(NamedTuple):
    """What is compiled for."""

    rows: int
    columns: int | None  # of outputs; None for [N]
    dtype: str  # of outputs
    label_columns: int | None  # likewise, of real labels
    label_dtype: str
    classes: int
    told: bool  # whether num_classes is given
    weighted: str | None  # dtype of weights
    option: int  # picks a setting of the estimator
    eager: bool
    scale: float  # for what has settings in the units of the outputs
    offset: float


class Case(NamedTuple):
    """What is drawn of values."""

    seed: int
    kind: str
    scale: float
    offset: float
    weight_scale: float
    dropped: int
    way: str
    fill: float
    convention: str
    padding: int
    layout: str
    twist: str


def program_of(number):
    """The program of that number, the same at any time."""
    rng = np.random.default_rng(number)
    rows, columns = SHAPES[number % len(SHAPES)]
    scale, offset = rng.choice(SCALES), rng.choice(OFFSETS)
    scale = max(scale, 1.0) if DTYPES[number % len(DTYPES)] in INTS else scale
    weights = (None, "bool", "float32", "int32", "float64", "float16", "int64")
    return Program(
        rows,
        columns,
        DTYPES[number % len(DTYPES)],
        label_columns=(1, None, 2)[number % 3],
        label_dtype=DTYPES[(number * 5 + 4) % len(DTYPES)],
        classes=3 if number % 3 == 0 else 2,
        told=number % 4 != 2,
        weighted=weights[number % len(weights)],
        option=number,
        eager=number % 5 == 3,
        scale=float(scale) if number else 1.0,
        offset=float(offset) if number else 0.0,
    )


def cases():
    return st.builds(
        Case,
        st.integers(0, 2**32 - 1),
        *map(st.sampled_from, (KINDS, SCALES, OFFSETS)),
        st.sampled_from((1.0, 1.0, 1.0, 0.1, 1e10, 1e-10, 1e30, 1e-30)),
        st.sampled_from((0, 0, 1, 4, 5, 14)),
        *map(st.sampled_from, (WAYS, FILLS, CONVENTIONS, PADDING, LAYOUTS)),
        st.sampled_from(("none", "none", "permute", "times 2**k", "add dropped")),
    )


def numbers(rng, kind, rows, columns, shift):
    """Float64 [N, d] of spread 1, moved by `shift` [N]."""
    z = rng.normal(size=(rows, columns)) + shift[:, None]
    match kind:
        case "far apart":
            z += 100 * rng.integers(0, 3, rows)[:, None]
        case "rounded":
            z = np.round(2 * z) / 2
        case "constant":
            z[:, 0] = 1.0
        case "collinear":
            z[:, -1] = z[:, 0] * 2
        case "tails":
            z = np.sinh(2 * z)
        case "zeros":
            z = np.maximum(z, 0)
    return z


def cast(x, dtype):
    """The dtype's numbers nearest to float64 ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "bool":
            return x > np.median(x) if x.size else x.astype(bool)
        if dtype in INTS:
            info = np.iinfo(dtype)
            low, high = max(info.min, -(2**52)), min(info.max, 2**52)
            return np.clip(np.rint(x), low, high).astype(dtype)
        return x.astype(getattr(ml_dtypes, dtype, dtype))


def fill_of(fill, dtype):
    """What a dropped row may hold."""
    if dtype == "bool":
        return True
    if dtype in INTS:
        return np.iinfo(dtype).max
    with np.errstate(over="ignore"):
        return np.asarray(fill).astype(getattr(ml_dtypes, dtype, dtype))


def labels_of(ids, convention, dtype, classes):
    """Class ids as people write them down."""
    floating = dtype in FLOATS
    dtype = {"bool": "int32"}.get(dtype, "int64" if floating else dtype)
    match convention:
        case "sparse":
            wide = dtype if np.iinfo(dtype).max > 10**7 else "int64"
            return (ids * 10**6).astype(wide)
        case "from 1":
            return (ids + 1).astype(dtype)
        case "signs":
            return (2 * (ids > 0) - 1).astype(dtype if dtype[0] == "i" else "int32")
        case "one-hot":
            return np.eye(classes)[ids].astype(dtype)
        case "bool":
            return ids > 0
        case "float":
            return ids.astype("float32")
        case "[N, 1]":
            return ids.astype(dtype)[:, None]
    return ids.astype(dtype)


def present(array, layout):
    """The array as it is passed, and its numbers as the function gets them."""
    match layout:
        case "jax":
            with np.errstate(over="ignore"):
                passed = jnp.asarray(array)
            return passed, np.asarray(passed)
        case "list":
            return array.tolist(), array
        case "fortran":
            return np.asfortranarray(array), array
        case "strided":
            wide = np.repeat(array, 2, 0)
            return wide[::2], array
    return array, array


def is_cut(array, layout, double=False):
    """Whether float32 takes the place of more digits."""
    if array.dtype.kind in "iu":
        # A median of two whole numbers may lie between them.
        return bool(array.size) and np.abs(array.astype(float)).max() > 2**23
    wide = array.dtype.itemsize == 8 or (layout == "list" and array.dtype.kind in "fV")
    return wide and not double


class Batch(NamedTuple):
    """Arrays as they are passed, and the numbers in them."""

    outputs: Any
    labels: Any
    weights: Any
    num_classes: int | None
    x: np.ndarray  # as given
    y: np.ndarray
    w: np.ndarray  # float64; ones if there are no weights
    layout: str


def weights_of(rng, program, case, drop):
    """Weights [N] or None, 0 or none at all where dropped by weight."""
    rows, dtype = program.rows, program.weighted
    if dtype is None:
        return None
    if dtype == "bool" or dtype in INTS:
        w = rng.integers(1, 4, rows).astype(dtype)
    else:
        w = cast(rng.uniform(0.5, 2.0, rows) * case.weight_scale, dtype)
    if case.way == "weight":
        none = [0, 0] if dtype == "bool" else [0, -1]
        w[drop] = rng.choice(none, len(drop))
        if w.dtype.kind == "f" and len(drop):
            w[drop[0]] = rng.choice([np.nan, np.inf])
    return w


def batch_of(program, case, family):
    """Outputs and labels of a family: "classes", "real" or "logits"."""
    rng = np.random.default_rng(case.seed)
    rows, classes = program.rows, program.classes
    ids = rng.integers(0, classes, rows)
    if rows and rng.random() < 0.1:
        ids[:] = 0
    drop = rng.permutation(rows)[: min(case.dropped, rows - 1)] if rows else []
    convention = case.convention if rows > 1 else "from 0"
    num_classes = classes if program.told else None

    # Whether something else drops these rows, so that they may hold anything.
    by_weight = case.way == "weight" and program.weighted
    by_label = case.way == "label" and family != "real" and convention == "from 0"
    spoils = len(drop) > 0 and (by_weight or by_label)

    def vectors(columns, dtype, shift, scale=case.scale, offset=case.offset):
        x = numbers(rng, case.kind, rows, columns or 1, shift)
        if dtype in INTS:
            # Less than 1 would be 0.
            scale = max(scale, 1.0)
        x = cast(scale * (x + min(offset, 1e37 / scale)), dtype)
        if case.way == "value" and dtype in FLOATS:
            # Not dropped if it is finite, and then not so large.
            fill = case.fill if not np.isfinite(case.fill) else np.sign(case.fill) * 1e3
            x[drop] = fill_of(fill, dtype)
        elif spoils:
            x[drop] = fill_of(case.fill, dtype)
        return x[:, 0] if columns is None else x

    if family == "real":
        shift = rng.normal(size=rows)
        x = vectors(program.columns, program.dtype, shift)
        y = vectors(
            program.label_columns,
            program.label_dtype,
            shift,
            *rng.permuted([1.0, 1e-3, 1e4])[:1],
        )
        num_classes = None
    else:
        y = labels_of(ids, convention, program.label_dtype, classes)
        num_classes = None if convention == "sparse" else num_classes
        if case.way == "label" and y.dtype.kind in "iu" and convention != "one-hot":
            info = np.iinfo(y.dtype)
            pad = case.padding if info.min <= case.padding <= info.max else None
            y[drop] = pad if pad is not None else (-1 if info.min else 255)
        if family == "classes":
            x = vectors(program.columns, program.dtype, 1.0 * ids)
        elif program.dtype in FLOATS:
            x = vectors(classes, program.dtype, 0.0 * ids)
            # One logit, [N] or [N, 1], in some programs of two classes.
            if classes == 2 and program.option % 3 and program.columns in (None, 1):
                x = x[:, 0] if program.columns is None else x[:, :1]
                num_classes = 2
        else:
            told = np.where(rng.random(rows) < 0.7, ids, rng.integers(0, classes, rows))
            x = labels_of(told, convention, program.dtype, classes)
    w = weights_of(rng, program, case, drop)
    return num_classes, x, y, w


def passed_as(layout, num_classes, x, y, w):
    """The batch in that layout."""
    (outputs, x), (labels, y) = present(x, layout), present(y, layout)
    weights, given = (None, np.ones(len(y))) if w is None else present(w, layout)
    return Batch(
        outputs, labels, weights, num_classes, x, y, given.astype(float), layout
    )
