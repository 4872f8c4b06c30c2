"""Conventions for class ids: what has one meaning is taken, what has none is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import contingency, plugin_mi, ross_mi, variational_mi
from optax_mi.estimators.inputs import class_ids, host_ids

LABELS = np.arange(90) % 3
GUESS = np.where(np.arange(90) % 10, LABELS, (LABELS + 1) % 3)
MI = float(plugin_mi(GUESS, LABELS).mi)


@pytest.mark.parametrize("labels", [[4, -1, 0], np.array([[0, 4]], np.uint8)])
def test_classes_are_the_largest_label_and_one_more(labels):
    ids, classes = class_ids("labels", labels)
    assert (classes, type(classes)) == (5, int)
    assert isinstance(ids, jax.Array)
    np.testing.assert_array_equal(ids, labels)
    # What the caller knows better is not looked for.
    assert class_ids("labels", labels, 7)[1] == 7


@pytest.mark.parametrize("num_classes", [None, 3])
def test_ids_that_are_fine_stay_where_they_are(num_classes):
    on_host, on_device = np.int32(LABELS), jnp.asarray(LABELS)
    assert host_ids("labels", on_host, num_classes)[0] is on_host
    assert host_ids("labels", on_device, num_classes)[0] is on_device
    # Beside outputs on another device they could not stay.
    chosen = jax.device_put(on_device, jax.devices()[0])
    assert not class_ids("labels", chosen, num_classes)[0].committed


@pytest.mark.parametrize("as_given", [np.asarray, jnp.asarray])
def test_ids_come_in_32_bits_on_the_host_or_on_a_device(as_given):
    ids, classes = host_ids("labels", as_given([True, False]))
    assert (ids.dtype, classes) == (np.int32, 2)
    ids, classes = host_ids("labels", as_given([7, 10**6, -5]))
    assert (ids.dtype, ids.tolist(), classes) == (np.int32, [0, 1, -1], 2)


@pytest.mark.parametrize(
    ("ids", "num_classes", "error", "message"),
    [
        ([0.0, 1.0], None, TypeError, r"must be integers, got dtype float.*argmax"),
        ([-1, -2], None, ValueError, "an element of at least 0, got a largest of -1"),
        (np.zeros(0, int), None, ValueError, r"shape \(0,\): there are no samples"),
        ([], None, ValueError, r"ids has shape \(0,\): there are no samples"),
        ([0, np.nan], None, TypeError, r"with nan.*np\.nan_to_num\(ids, nan=-1\)"),
        ([0], 0, ValueError, "num_classes must be at least 1, got num_classes=0"),
        ([0], 2.0, TypeError, r"num_classes must be an int, got num_classes=2\.0"),
        (np.eye(3, dtype=int), None, ValueError, r"is one-hot: pass ids\.argmax\(-1\)"),
        (np.eye(3, dtype=bool), 3, ValueError, "is one-hot"),
        (np.eye(2, dtype=int), 2, ValueError, "is one-hot"),
        (np.eye(3, dtype=int)[[[0, 1], [2, 1]]], 3, ValueError, "is one-hot"),
        ([1, -1, 1], None, ValueError, r"is -1 and 1, .* pass \(ids \+ 1\) // 2"),
        ([1, -1, 1], 2, ValueError, "is -1 and 1"),
        ([1, 2, 3], 3, ValueError, "goes from 1 to num_classes=3"),
        ([1, 2, 3, -1], 3, ValueError, "goes from 1 to num_classes=3"),
        ([0, 1, 255], None, ValueError, "has 255, which marks .* num_classes=C"),
        ([255, 255], None, ValueError, "has 255, which marks"),
    ],
)
def test_what_would_lose_a_class_is_an_error(ids, num_classes, error, message):
    with pytest.raises(error, match=message):
        class_ids("ids", ids, num_classes)


@pytest.mark.parametrize(
    ("ids", "num_classes"),
    [([0, -1], 1), ([[0, 1, 0]], 2), ([0, 254, 255], 256), ([0, 4095], 4096)],
)
def test_what_looks_like_a_convention_and_is_none_stays(ids, num_classes):
    got, classes = class_ids("ids", ids)
    assert classes == num_classes
    np.testing.assert_array_equal(got, ids)


def test_of_no_ids_the_number_of_classes_must_be_given():
    ids, classes = class_ids("ids", np.zeros((0, 2), int), 3)
    assert isinstance(ids, jax.Array)
    assert (ids.shape, classes) == ((0, 2), 3)


@pytest.mark.parametrize("far", [2**31, 2**32 + 1, -(2**31) - 1, 1 - 2**32])
def test_ids_beyond_32_bits_are_of_no_class(far):
    ids = class_ids("ids", np.array([0, 1, 0, 2, 1, far]), 2)[0]
    np.testing.assert_array_equal(ids, [0, 1, 0, -1, 1, -1])
    # What 32 bits hold stays.
    ends = np.array([0, 1, 0, 2, 1, 2**31 - 1, 1 - 2**31])
    np.testing.assert_array_equal(class_ids("ids", ends, 2)[0], ends)


def test_padding_is_dropped():
    for padding in (-1, -100, 255):
        padded = np.append(LABELS, [padding] * 5)
        got = plugin_mi(np.append(GUESS, [0] * 5), padded, num_classes=3)
        assert (float(got.mi), int(got.dropped)) == (pytest.approx(MI), 5)


def test_labels_most_of_which_are_of_no_class_are_an_error():
    prices = np.array([10, 250, 99, 1, 2000, 2])
    with pytest.raises(ValueError, match=r"goes up to 2000, .* num_classes=3: pass"):
        class_ids("ids", prices, 3)
    # Half may be left out, and any number that have the same mark.
    assert class_ids("ids", prices[1:5], 100)[1] == 100
    assert class_ids("ids", np.array([255, 255, 255, 0]), 3)[1] == 3


def test_booleans_are_two_classes():
    want = plugin_mi((GUESS == 1).astype(int), (LABELS == 1).astype(int)).mi
    assert plugin_mi(GUESS == 1, LABELS == 1).mi == want
    assert jax.jit(lambda x, y: plugin_mi(x, y, num_classes=2).mi)(
        GUESS == 1, LABELS == 1
    ) == pytest.approx(float(want))


def test_ids_far_apart_are_numbered_anew():
    sparse = np.array([7, 10**6, 2**40])
    got = plugin_mi(sparse[GUESS], sparse[LABELS])
    assert float(got.mi) == pytest.approx(MI, rel=1e-6)
    ids, classes = class_ids("ids", np.append(sparse[LABELS], -1))
    assert classes == 3
    np.testing.assert_array_equal(ids, np.append(LABELS, -1))
    ids, classes = class_ids("ids", [-2, 4096, -1, 7])
    assert classes == 2
    np.testing.assert_array_equal(ids, [-1, 1, -1, 0])
    ids, classes = class_ids("ids", [0, 10**6, 7])
    assert classes == 3
    np.testing.assert_array_equal(ids, [0, 2, 1])
    # Where a fourth of all numbers is used, the others cost less.
    assert class_ids("ids", np.arange(0, 16_001, 4))[1] == 16_001
    assert class_ids("ids", np.arange(0, 20_001, 5))[1] == 4001
    unsigned = sparse.astype(np.uint64) + 2**63
    assert class_ids("ids", unsigned)[1] == 3


def test_nan_that_became_an_integer_is_no_class():
    labels = LABELS.astype(np.int64)
    labels[:10] = np.iinfo(np.int64).min
    for classes in (None, 3):
        got = plugin_mi(GUESS, labels, num_classes=classes)
        assert int(got.dropped) == 10


def test_labels_may_have_an_axis_of_one():
    logits = np.eye(3)[GUESS] * 9
    one, two = (plugin_mi(logits, y, soft=False).mi for y in (LABELS, LABELS[:, None]))
    assert one == two
    x = RNG.normal(size=(90, 2)) + LABELS[:, None]
    assert ross_mi(x, LABELS[:, None]).mi == ross_mi(x, LABELS).mi


RNG = np.random.default_rng(0)


def test_one_logit_is_that_of_class_1():
    logit, labels = RNG.normal(size=90).astype(np.float32), LABELS % 2
    want = plugin_mi(np.stack([0 * logit, logit], -1), labels).mi
    for given in (logit, logit[:, None]):
        assert plugin_mi(given, labels, num_classes=2).mi == want
        both = np.stack([0 * logit, logit], -1)
        bound = variational_mi(given, labels, num_classes=2, clip=False).mi
        assert bound == variational_mi(both, labels, clip=False).mi
        with pytest.raises(ValueError, match=r"one logit per sample.*num_classes=2"):
            plugin_mi(given[:1] if given.ndim == 1 else given, labels[: len(given)])
        estimator = contingency(num_classes=2)
        state = estimator.update(estimator.init(), outputs=given, labels=labels)
        assert estimator.estimate(state).mi == pytest.approx(float(want), abs=1e-6)


def test_traced_ids_are_told_to_pass_the_number():
    with pytest.raises(ValueError, match=r"num_classes is needed .* values of ids"):
        jax.jit(lambda ids: class_ids("ids", ids)[0])(jnp.arange(2))


def test_traced_ids_are_checked_by_their_dtype_and_may_be_a_list():
    both = jax.jit(lambda ids: class_ids("ids", [ids[1], ids[0]], 2)[0])
    np.testing.assert_array_equal(both(jnp.array([False, True])), [1, 0])
    assert both(jnp.array([False, True])).dtype == np.int32
    with pytest.raises(TypeError, match="ids must be integers"):
        both(jnp.ones(2))
