"""What comes through the door, and what is told to those it is shut to."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.inputs import (
    flatten_leading,
    read_classes,
    read_logits,
    read_vectors,
)

pytestmark = pytest.mark.usefixtures("strict")

NAN, INF = np.nan, np.inf
# The first of equal ones is the prediction; a class may be masked by -inf.
LOGITS = np.array(
    [
        [1, 1, 0],
        [0, 2, 2],
        [-INF, 3, 4],
        [-3e4, -INF, -INF],
        [0, NAN, 1],
        [0, INF, 1],
        [-INF, -INF, -INF],
        [5, 0, 0],
    ],
    np.float32,
)
PREDICTED = [0, 1, 2, 0, 0, 0, 0, 0]
USABLE = [1, 1, 1, 1, 0, 0, 0, 1]
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def compiled(reader, *arrays, **options):
    """As within a train step: one program."""
    return jax.jit(lambda *a: reader(*a, **options))(*arrays)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_logits_are_float32_and_left_as_they_are(dtype):
    given = LOGITS.astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        got = compiled(read_logits, given, LABELS, num_classes=3)
    chex.assert_type(list(got), [jnp.float32, jnp.int32, jnp.float32])
    np.testing.assert_array_equal(got.outputs, given.astype(np.float32))
    np.testing.assert_array_equal(got.labels, LABELS)
    # Whether a row with nan is kept is left to XLA's maximum.
    known = ~np.isnan(LOGITS).any(-1)
    np.testing.assert_array_equal(got.weights[known], np.array(USABLE)[known])


def test_classes_of_logits_are_those_of_the_first_maximum():
    got = compiled(read_classes, LOGITS, LABELS, np.full(8, 0.5), num_classes=3)
    chex.assert_type(list(got), [jnp.int32, jnp.int32, jnp.float32])
    np.testing.assert_array_equal(got.outputs, PREDICTED)
    np.testing.assert_array_equal(got.weights, np.multiply(USABLE, 0.5))


@pytest.mark.parametrize("reader", [read_logits, read_classes])
def test_logits_may_have_any_leading_axes(reader):
    flat = compiled(reader, LOGITS, LABELS, num_classes=3)
    got = compiled(reader, LOGITS.reshape(2, 4, 3), LABELS.reshape(2, 4), num_classes=3)
    for one, other in zip(flat, got, strict=True):
        np.testing.assert_array_equal(one, np.reshape(other, one.shape))
    assert got.labels.shape == got.weights.shape == (2, 4)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 1)])
def test_one_logit_of_two_classes_may_have_any_leading_axes(shape):
    logits = np.arange(8, dtype=np.float32)
    got = compiled(
        read_logits, logits.reshape(shape), LABELS.reshape(2, 4) % 2, num_classes=2
    )
    np.testing.assert_array_equal(got.outputs[..., 1], logits.reshape(2, 4))
    assert not np.any(got.outputs[..., 0])


def test_labels_weights_and_masks_may_be_lists():
    ids = [0, 2, 1]
    *_, weights = flatten_leading(np.eye(3)[ids], ids, [1, 0, 1], num_classes=3)
    np.testing.assert_array_equal(weights, [1, 0, 1])
    got = read_vectors([[1.0], [2.0]], [3.0, 4.0], batch=True)
    np.testing.assert_array_equal(got.labels, [[3], [4]])
    got = read_vectors([[1.0], [2.0]], [3.0, 4.0], mask=[True, False])
    np.testing.assert_array_equal(got.weights, [1, 0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_ids_out_of_range_are_0_and_dropped(dtype):
    far = np.iinfo(dtype).max
    ids = np.array([0, 2, 3, 120, far, 1], dtype)
    known = [1, 1, 0, 0, 0, 1]
    for outputs, labels in ((ids, ids), (ids, ids * 0), (ids * 0, ids)):
        got = compiled(read_classes, outputs, labels, num_classes=3)
        np.testing.assert_array_equal(got.outputs, outputs * known)
        np.testing.assert_array_equal(got.labels, labels * known)
        np.testing.assert_array_equal(got.weights, known)
    if dtype.startswith("int"):
        got = compiled(read_classes, -ids, -ids, num_classes=3)
        np.testing.assert_array_equal(got.kept, ids == 0)


def test_no_id_of_a_narrow_type_is_too_large_for_many_classes():
    ids = np.array([0, 255], np.uint8)
    for num_classes, known in ((1000, 1), (256, 1), (255, 0)):
        got = compiled(read_classes, ids, ids, num_classes=num_classes)
        np.testing.assert_array_equal(got.weights, [1, known])


LOWEST = np.finfo(np.float32).min
X = [[1, 2], [NAN, 2], [3, INF], [4, LOWEST], [5, -INF], [6, 1e30], [7, 8]]
X = np.array(X, np.float32)
X_USABLE = np.array([1, 0, 0, 1, 0, 1, 1], bool)
IDS = np.array([0, 1, 2, 3, 4, 0, -1])


def test_vectors_are_0_where_they_are_dropped():
    got = compiled(read_vectors, X, IDS, num_classes=4)
    kept = X_USABLE & (IDS >= 0)
    chex.assert_type(list(got), [jnp.float32, jnp.int32, jnp.float32])
    np.testing.assert_array_equal(got.outputs, np.where(kept[:, None], X, 0))
    np.testing.assert_array_equal(got.labels, IDS * kept)
    np.testing.assert_array_equal(got.weights, kept)
    weights = np.arange(7) - 1.0
    got = compiled(read_vectors, X, IDS, weights, num_classes=4)
    np.testing.assert_array_equal(got.weights, weights * kept * (weights > 0))
    assert not np.any(got.outputs[weights <= 0])
    got = compiled(
        lambda x, y, m: read_vectors(x, y, mask=m, num_classes=4), X, IDS, weights > 2
    )
    np.testing.assert_array_equal(got.kept, kept & (weights > 2))


def test_real_labels_are_dropped_with_their_rows():
    got = compiled(read_vectors, X[::-1], X)
    kept = X_USABLE & X_USABLE[::-1]
    np.testing.assert_array_equal(got.outputs, np.where(kept[:, None], X[::-1], 0))
    np.testing.assert_array_equal(got.labels, np.where(kept[:, None], X, 0))
    np.testing.assert_array_equal(got.kept, kept)


def test_what_float32_cannot_hold_is_not_finite():
    wide = np.array([1.0, 1e39, -1e300])
    kind = {"batch": True, "features": 1, "num_classes": 2}
    with jax.enable_x64(True):
        batch = compiled(read_vectors, wide, np.zeros(3, int), **kind)
        once = compiled(read_vectors, wide, np.zeros(3, int), num_classes=2)
    np.testing.assert_array_equal(batch.outputs[:, 0], [1, 0, 0])
    np.testing.assert_array_equal(batch.kept, [1, 0, 0])
    # Whole arrays stay float64.
    np.testing.assert_array_equal(once.outputs[:, 0], wide)


@pytest.mark.parametrize(
    ("dtypes", "wide"),
    [
        (("float64", "float32"), True),
        (("int64", "float64"), True),
        (("float32", "float32"), False),
        (("float16", "bfloat16"), False),
        (("int64", "int8"), False),
    ],
)
def test_whole_arrays_are_float64_if_one_of_them_is(dtypes, wide):
    first, second = (np.ones((5, 2), dtype) for dtype in dtypes)
    kind = {"batch": True, "features": 2, "label_features": 2}
    batch_of_pairs = partial(read_vectors, **kind)
    with jax.enable_x64(True):
        for pair in ((first, second), (second, first)):
            once = jax.eval_shape(read_vectors, *pair)
            assert {a.dtype for a in once} == {np.dtype("f8" if wide else "f4")}
            batch = jax.eval_shape(batch_of_pairs, *pair)
            assert {a.dtype for a in batch} == {np.dtype("f4")}


def shapes(outputs, labels, **options):
    ids = "num_classes" in options
    got = jax.eval_shape(
        lambda x, y: read_vectors(x, y, **options),
        jax.ShapeDtypeStruct(outputs, jnp.float32),
        jax.ShapeDtypeStruct(labels, jnp.int32 if ids else jnp.float32),
    )
    return tuple(a.shape for a in got)


@pytest.mark.parametrize(
    ("outputs", "labels", "options", "read"),
    [
        ((6,), (6,), {}, ((6, 1), (6, 1), (6,))),
        ((6, 3), (6, 2), {}, ((6, 3), (6, 2), (6,))),
        ((6, 3), (6,), {"num_classes": 2}, ((6, 3), (6,), (6,))),
        ((6,), (6,), {"num_classes": 2}, ((6, 1), (6,), (6,))),
        # A batch has any leading axes, and a column may have no axis if it is known.
        ((2, 3, 4), (2, 3), {"features": 4, "num_classes": 2}, ((6, 4), (6,), (6,))),
        ((2, 3), (2, 3), {"features": 1, "num_classes": 2}, ((6, 1), (6,), (6,))),
        ((2, 3, 1), (2, 3), {"features": 1, "num_classes": 2}, ((6, 1), (6,), (6,))),
        ((2, 3, 4), (2, 3), {"num_classes": 2}, ((6, 4), (6,), (6,))),
        ((2, 3), (2, 3), {"num_classes": 2}, ((6, 1), (6,), (6,))),
        (
            (2, 3, 4),
            (2, 3, 5),
            {"features": 4, "label_features": 5},
            ((6, 4), (6, 5), (6,)),
        ),
        ((2, 3), (2, 3), {"features": 1, "label_features": 1}, ((6, 1), (6, 1), (6,))),
        ((6, 1), (6,), {"features": 1, "label_features": 1}, ((6, 1), (6, 1), (6,))),
        (
            (2, 3, 1),
            (2, 3),
            {"features": 1, "label_features": 1},
            ((6, 1), (6, 1), (6,)),
        ),
        # Labels may have an axis of one, which that of a single sample is not.
        ((1,), (1,), {"num_classes": 2}, ((1, 1), (1,), (1,))),
        ((2, 3, 4), (2, 3, 1), {"features": 4, "num_classes": 2}, ((6, 4), (6,), (6,))),
        ((6,), (6, 1), {"features": 1, "label_features": 1}, ((6, 1), (6, 1), (6,))),
        ((0, 4), (0,), {"features": 4, "num_classes": 2}, ((0, 4), (0,), (0,))),
        ((4,), (), {"features": 4, "num_classes": 2}, ((1, 4), (1,), (1,))),
    ],
)
def test_shapes_of_vectors(outputs, labels, options, read):
    batch = "features" in options or len(outputs) > 2 or outputs == (2, 3)
    assert shapes(outputs, labels, batch=batch, **options) == read


def test_rows_of_a_batch_stay_with_their_labels_and_weights():
    x, y = np.arange(24.0).reshape(2, 3, 4), np.arange(6.0).reshape(2, 3)
    kind = {"batch": True, "features": 4, "label_features": 1}
    got = compiled(read_vectors, x, y, y + 1, **kind)
    np.testing.assert_array_equal(got.outputs, x.reshape(6, 4))
    np.testing.assert_array_equal(got.labels, y.reshape(6, 1))
    np.testing.assert_array_equal(got.weights, y.ravel() + 1)
    # Whole numbers are real numbers too.
    whole = compiled(read_vectors, x.astype(int), y.astype(int), y + 1, **kind)
    chex.assert_trees_all_equal(whole, got)


@pytest.mark.parametrize(
    ("outputs", "labels", "options", "message"),
    [
        ((5, 2), (6,), {}, r"labels must have the shape \[5, d\], .* \(6,\)"),
        ((5, 2), (6,), {"num_classes": 2}, r"outputs must .* \[6, d\].* \(5, 2\)"),
        ((5, 2, 2), (5,), {}, r"outputs must have the shape \[5, d\]"),
        ((5, 0), (5,), {}, r"outputs must have the shape \[5, d\]"),
        ((5, 2), (5, 2), {"num_classes": 2}, r"one axis of samples.*Flatten other"),
        ((0, 2), (0, 2), {}, "one axis of samples, and at least one"),
        ((), (), {}, "one axis of samples, and at least one"),
        (
            (5, 3),
            (5,),
            {"batch": True, "features": 2, "num_classes": 2},
            r"outputs must have the shape \[5, 2\], .* last axis of 2, got .* \(5, 3\)"
            r"\. Give the estimator features=3\.",
        ),
        (
            (2, 3, 2),
            (2, 3),
            {"batch": True, "features": 2, "label_features": 2},
            r"labels must have the shape \[2, 3, 2\], .* \(2, 3\)",
        ),
    ],
)
def test_shapes_that_do_not_fit(outputs, labels, options, message):
    with pytest.raises(ValueError, match=message):
        shapes(outputs, labels, **options)


@pytest.mark.parametrize(
    ("reader", "outputs", "labels", "error", "message"),
    [
        (read_vectors, [1j], [0], TypeError, "outputs must be real numbers, got dtype"),
        (read_vectors, [0.0], [1j], TypeError, "labels must be real numbers"),
        (read_logits, [[0, 1]], [0], TypeError, "outputs must be real logits.*int32"),
        (read_logits, [[0.0, 1]], [0.0], TypeError, r"labels must be .*argmax\(-1\)"),
        (read_logits, [0.0, 1, 2], [0, 1], ValueError, r"\(2, 2\), got .* \(3,\) with"),
        (read_logits, [[0.0, 1, 2]], [0], ValueError, "and num_classes=2"),
        (read_classes, [0, 1], [0], ValueError, r"class ids and .* \(1,\), got \(2,\)"),
        (read_classes, [0], [0.0], TypeError, "labels must be integers"),
        (flatten_leading, [[0, 1]], [0], ValueError, "Logits must be floating"),
    ],
)
def test_arrays_that_do_not_fit(reader, outputs, labels, error, message):
    options = {} if reader is read_vectors else {"num_classes": 2}
    with pytest.raises(error, match=message):
        reader(outputs, labels, None, **options)


def test_batches_that_float32_cannot_tell_apart():
    far, near = 1e12 + np.arange(8.0), np.arange(8.0)
    options = {"features": 1, "label_features": 1}
    for name, pair in {"outputs": (far, near), "labels": (near, far)}.items():
        with pytest.raises(ValueError, match=name):
            read_vectors(*pair, batch=True, **options)
        # Whole arrays were moved before they came here.
        read_vectors(*pair, **options)


def test_weights_and_masks_that_do_not_fit():
    with pytest.raises(ValueError, match=r"weights must have the shape of the samples"):
        read_vectors(X, IDS, np.ones((7, 1)), num_classes=4)
    with pytest.raises(ValueError, match=r"mask must have .* \(7,\), got \(3,\)"):
        read_vectors(X, IDS, mask=np.ones(3, bool), num_classes=4)
    with pytest.raises(
        TypeError, match=r"mask must be boolean, got dtype float32: .*>"
    ):
        read_vectors(X, IDS, mask=np.ones(7, np.float32), num_classes=4)
    with pytest.raises(ValueError, match="broadcast_to"):
        flatten_leading(LOGITS, LABELS, np.ones(3), num_classes=3)


def test_leading_axes_are_flattened_together():
    logits, labels = np.arange(24.0).reshape(2, 4, 3), np.arange(8).reshape(2, 4)
    flat = flatten_leading(logits, labels, labels, num_classes=3)
    np.testing.assert_array_equal(flat[0], logits.reshape(8, 3))
    np.testing.assert_array_equal(flat[1:], 2 * [labels.ravel()])
    ids, *_, nothing = flatten_leading(labels, labels, None, num_classes=3)
    np.testing.assert_array_equal(ids, labels.ravel())
    assert nothing is None
    with pytest.raises(ValueError, match=r"\(0, 2\): there are no samples"):
        flatten_leading(labels[:0, :2], labels[:0, :2], None, num_classes=3)


def test_no_gradient_comes_back_through_the_door():
    def total(outputs, labels, weights):
        got = read_vectors(outputs, labels, weights)
        return sum(jnp.sum(a) for a in got)

    arrays = (jnp.ones((3, 2)), jnp.ones((3, 1)), jnp.ones(3))
    for slope in jax.grad(total, (0, 1, 2))(*arrays):
        np.testing.assert_array_equal(slope, 0)
    slope = jax.grad(
        lambda x: jnp.sum(read_logits(x, LABELS[:3], num_classes=3).outputs)
    )(jnp.ones((3, 3)))
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("reader", [read_logits, partial(read_vectors, batch=True)])
def test_outputs_beside_one_hot_labels_are_not_one_number_each(reader):
    outputs, one_hot = jnp.zeros((5, 2)), jnp.eye(2, dtype=int)[jnp.arange(5) % 2]
    message = r"both have shape \(5, 2\).*labels.argmax\(-1\).*outputs\[..., None\]"
    read = jax.jit(partial(reader, num_classes=2))
    with pytest.raises(ValueError, match=message):
        read(outputs, one_hot)
    assert read(outputs[..., None], one_hot).weights.size == 10
    # Labels of other shapes cannot be one-hot.
    assert read(jnp.zeros((2, 5)), jnp.zeros((2, 5), int)).weights.size == 10
