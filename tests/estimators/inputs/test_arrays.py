"""Arrays before they are traced: names in errors, and 64 bits that 32 would cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import (
    binned_mi,
    contingency,
    gaussian,
    gaussian_mi,
    kde_mi,
    plugin_mi,
    ross_mi,
    table_mi,
    variational,
    variational_mi,
)
from optax_mi.estimators.inputs import (
    array_or_none,
    as_array,
    check_fits,
    check_logits,
    host_vectors,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 2))
LABELS = (X[:, 0] > 0).astype(int)


def test_arrays_of_jax_stay_what_they_are():
    ours, theirs = jnp.arange(3), np.arange(3.0)
    assert as_array("x", ours) is not None
    np.testing.assert_array_equal(as_array("x", theirs), theirs)
    assert array_or_none("x", None) is None


@pytest.mark.parametrize("array", [None, "abc", {"a": 1}, [[1, 2], [3]], object()])
def test_what_is_no_array_of_numbers_is_named(array):
    with pytest.raises(TypeError, match="outputs must be an array of numbers, got"):
        as_array("outputs", array)


class Codes:
    """Categories as pandas has them; a Series has `codes` one level down."""

    def __init__(self, *levels):
        for level in levels[:1]:
            setattr(self, level, Codes(*levels[1:]))


NO_NUMBERS = {
    "strings": (np.array(["a", "b"], object), r"np\.unique\(labels, return_inverse"),
    "strings, one missing": (np.array(["a", None], object), r"pd\.factorize\(labels\)"),
    "strings, one nan": (["a", np.nan], r"pd\.factorize\(labels\)"),
    "integers": (np.array([1, np.int8(0)], object), r"pass labels\.astype\(int\)"),
    "reals": (np.array([1, 0.5, np.nan], object), r"pass labels\.astype\(float\)"),
    "one missing": (np.array([1, None], object), "some are missing: fill in -1"),
    "a Categorical": (Codes("codes"), r"categories: pass labels\.codes"),
    "a Series of them": (Codes("cat", "codes"), r"categories: pass labels\.cat\.codes"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_pandas_holds_is_told_how_to_become_numbers(kind):
    array, match = NO_NUMBERS[kind]
    with pytest.raises(TypeError, match=f"labels must be an array of numbers.*{match}"):
        as_array("labels", array)


def test_what_the_errors_say_of_pandas_works_there():
    pd = pytest.importorskip("pandas")
    names = pd.Series(["a", "b", None])
    for labels, cure in (
        (names, lambda labels: pd.factorize(labels)[0]),
        (names.astype("category"), lambda labels: labels.cat.codes),
        (pd.Categorical(names), lambda labels: labels.codes),
        (
            pd.Series([0.0, 1.0, None]),
            lambda labels: np.nan_to_num(labels, nan=-1).astype(int),
        ),
    ):
        with pytest.raises(TypeError, match="labels must be"):
            plugin_mi([0, 1, 1], labels)
        found = plugin_mi([0, 1, 1], cure(labels))
        assert (float(found.num_samples), float(found.dropped)) == (2, 1)


PROBABILITIES = np.asarray(jax.nn.softmax(jnp.asarray(3 * X)))


@pytest.mark.parametrize(
    "kind",
    [
        np.asarray,
        jnp.asarray,
        np.ndarray.tolist,
        lambda p: p.astype(jnp.bfloat16),
        lambda p: np.round(p, 3),
        lambda p: np.where(np.arange(300)[:, None] % 2, np.nan, p),
        lambda p: np.eye(2)[LABELS],
    ],
    ids=["NumPy", "JAX", "list", "bfloat16", "digits", "nan", "one-hot"],
)
def test_probabilities_are_no_logits(kind):
    outputs = kind(PROBABILITIES)
    match = r"are probabilities.*jnp\.log\(outputs\)\. If .* outputs - 1"
    for measure in (plugin_mi, variational_mi):
        with pytest.raises(ValueError, match=match):
            measure(outputs, LABELS)


def test_what_the_error_says_of_probabilities_is_so():
    want = float(plugin_mi(3 * X, LABELS).mi)
    assert plugin_mi(np.log(PROBABILITIES), LABELS).mi == pytest.approx(want, rel=1e-4)
    inside = float(plugin_mi(PROBABILITIES - 1, LABELS).mi)
    # Where nothing can be seen nothing is said.
    unseen = jax.jit(lambda x, y: plugin_mi(x, y).mi)(PROBABILITIES, LABELS)
    assert unseen == pytest.approx(inside, rel=1e-4)
    assert plugin_mi(PROBABILITIES, LABELS, soft=False).mi > 2 * inside


@pytest.mark.parametrize("measure", [plugin_mi, variational_mi])
def test_probabilities_of_class_1_are_told_too(measure):
    p = PROBABILITIES[:, 1:]
    with pytest.raises(
        ValueError, match=r"in \[0, 1\]\. Pass .*logit\(outputs\).*np\.c_"
    ):
        measure(p, LABELS, num_classes=2)
    # As it says.
    same = measure(np.c_[0 * p, p], LABELS).mi
    unseen = jax.jit(lambda p: measure(p, LABELS, num_classes=2).mi)(p)
    assert same == pytest.approx(float(unseen), rel=1e-5)


def test_logits_are_no_probabilities():
    few = PROBABILITIES.copy()
    few[200] = 3.0
    nothing = np.full((4, 2), np.nan)
    for logits in (few, X, 1e-3 * X, np.zeros((4, 2)), np.ones((40, 1)), nothing, 0.5):
        for kind in (np.asarray, jnp.asarray):
            check_logits("outputs", kind(logits))


@pytest.mark.parametrize("offset", [1e5, 1e8, -1e12])
@pytest.mark.parametrize(
    "measure",
    [ross_mi, gaussian_mi, lambda x, y: kde_mi(x, y, bandwidth=0.5)],
    ids=["ross", "gaussian", "kde"],
)
def test_an_offset_that_float32_cannot_hold_changes_nothing(measure, offset):
    alone, moved = measure(X, LABELS).mi, measure(X + offset, LABELS).mi
    # What float64 itself loses at 1e12 is 1e-4.
    np.testing.assert_allclose(moved, alone, atol=0.01)


def test_time_stamps_of_64_bits():
    seconds = np.round(X[:, :1] * 1e4).astype(np.int64)
    stamps = 1_700_000_000_000_000_000 + seconds
    np.testing.assert_allclose(
        ross_mi(stamps, LABELS).mi, ross_mi(seconds, LABELS).mi, atol=1e-5
    )
    unsigned = stamps.astype(np.uint64)
    assert ross_mi(unsigned, LABELS).mi == ross_mi(stamps, LABELS).mi


def test_padding_does_not_steer_where_the_columns_lie():
    far = X + 1e8
    far[::7] = 1e30
    labels = np.where(np.arange(300) % 7, LABELS, -1)
    kept = np.arange(300) % 7 > 0
    np.testing.assert_allclose(
        gaussian_mi(far, labels).mi, gaussian_mi(X[kept], LABELS[kept]).mi, atol=1e-4
    )


@pytest.mark.parametrize("stray", [0.0, 1e9])
def test_a_stray_value_does_not_steer_where_ties_are_broken(stray):
    near, far = X[:, 0].copy(), X[:, 0] + 1e6
    far[:3] = stray
    near[:3] = stray - 1e6
    truth = ross_mi(near, LABELS, key=None).mi
    for key in (None, 0):
        np.testing.assert_allclose(ross_mi(far, LABELS, key=key).mi, truth, atol=0.03)


@pytest.mark.parametrize(
    "outputs",
    [np.r_[X, X + 1e9], X * 1e200],
    ids=["clusters", "huge"],
)
def test_what_32_bits_make_one_value_of_is_an_error_that_says_x64(outputs):
    labels = np.resize(LABELS, len(outputs))
    for measure in (ross_mi, gaussian_mi):
        with pytest.raises(ValueError, match=r"outputs has values .* enable x64 in"):
            measure(outputs, labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_float32_takes_for_0_are_an_error(dtype):
    tiny = (X * 1e-37).astype(dtype)
    streaming = gaussian(features=2, num_classes=2)
    state = streaming.init()
    for measure in (
        lambda: ross_mi(tiny, LABELS),
        lambda: gaussian_mi(tiny, LABELS),
        lambda: binned_mi(tiny, LABELS, low=-3e-37, high=3e-37),
        lambda: streaming.update(state, outputs=tiny, labels=LABELS),
    ):
        with pytest.raises(ValueError, match=r"outputs .* from 0: scale"):
            measure()
    # Beside larger values they are as good as 0, and zeros are zeros.
    check_fits("outputs", np.append(tiny, [[1, 1]], 0))
    check_fits("outputs", 0 * X)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("x64", [False, True])
def test_integers_far_from_0_are_moved_there(dtype, x64):
    """Float32 takes their place, in x64 too, and it has steps of 128 there."""
    near = np.round(10 * X).astype(int)
    with jax.enable_x64(x64):
        moved = ross_mi((near + 2 * 10**9).astype(dtype), LABELS).mi
        np.testing.assert_allclose(moved, ross_mi(near, LABELS).mi, atol=0.02)


def test_differences_beyond_63_bits_do_not_wrap_around():
    x = np.full(300, 1000, np.uint64) + np.arange(300, dtype=np.uint64) % 7
    x[::50] = 2**64 - 1
    moved = np.asarray(host_vectors("x", x))
    np.testing.assert_allclose(moved[::50], 2.0**64)
    assert np.ptp(moved[x < 2000]) == 6


def test_integers_that_are_no_classes_are_told():
    with pytest.raises(ValueError, match=r"labels\.astype\(float\) for real labels"):
        gaussian_mi(X, np.round(1e5 * X[:, 0]).astype(int))


def test_near_0_nothing_is_moved():
    np.testing.assert_array_equal(host_vectors("x", X), X.astype(np.float32))
    with jax.enable_x64(True):
        np.testing.assert_array_equal(host_vectors("x", X + 1e8), X + 1e8)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint32])
@pytest.mark.parametrize("x64", [False, True])
def test_a_batch_that_would_be_cut_is_an_error(dtype, x64):
    """In x64, too: a batch becomes float32."""
    estimator = gaussian(features=2, num_classes=2)
    far = (1e3 * X + 1e9).astype(dtype)
    message = r"outputs lies so far .* its columns\."
    with jax.enable_x64(x64), pytest.raises(ValueError, match=message):
        estimator.update(estimator.init(), outputs=far, labels=LABELS)
    check_fits("outputs", X)
    # Logits may lie anywhere: float32 rounds them as every network does.
    logits = contingency(num_classes=2)
    logits.update(logits.init(), outputs=X + 1e3, labels=LABELS)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_beyond_32_bits_do_not_wrap_around(dtype):
    large = np.array([2**32, 3 * 10**9, 0], dtype)
    got = as_array("weights", large)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, large.astype(np.float32))
    assert jnp.issubdtype(as_array("weights", large[2:]).dtype, jnp.integer)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(as_array("weights", large), large)
    # As weights, and as counts.
    alike = plugin_mi([0, 1, 1], [0, 1, 0], weights=large)
    assert alike.dropped == 1
    np.testing.assert_allclose(alike.mi, alike.entropy, rtol=1e-6)
    counts = table_mi(np.array([[5 * 10**9, 0], [0, 3 * 10**9]], dtype))
    np.testing.assert_allclose(counts.num_samples, 8e9, rtol=1e-6)


def as_batch(make):
    """The estimator's estimate of one batch."""
    estimator = make(num_classes=3)

    def measure(outputs, labels):
        state = estimator.update(estimator.init(), outputs=outputs, labels=labels)
        return estimator.estimate(state)

    return measure


@pytest.mark.parametrize(
    "measure",
    [plugin_mi, variational_mi, as_batch(contingency), as_batch(variational)],
    ids=["plugin", "variational_mi", "contingency", "variational"],
)
def test_logits_far_from_0_are_moved_there(measure):
    labels = np.arange(30) % 3
    logits = 2.0 * np.eye(3)[labels] + RNG.normal(size=(30, 3))
    wanted = measure(logits, labels)
    assert wanted.mi > 0.1
    # Each sample by a number of its own.
    far = logits + 1e9 * (1 + np.arange(30)[:, None])
    for given in (far, far.tolist()):
        np.testing.assert_allclose(measure(given, labels).mi, wanted.mi, rtol=1e-5)
        moved = measure(given, labels[:, None])
        np.testing.assert_allclose(moved.mi, wanted.mi, rtol=1e-5)
    # Small ones, too: float32 takes these for equal.
    close = 1.0 + 1e-9 * logits
    hard = 1e9 * (close - 1.0)
    if measure is plugin_mi:
        seen = (plugin_mi(x, labels, soft=False).mi for x in (close, hard))
        np.testing.assert_array_equal(*seen)
    # What float32 cannot hold is dropped, wherever it could be moved to.
    logits[0, 0] = 1e300
    assert measure(logits, labels).dropped == 1


def test_a_single_logit_stays_where_it_is():
    logit = np.array([3.0, -2.0, 1.0, -4.0])
    labels = np.array([1, 0, 1, 0])
    for given in (logit, logit[:, None]):
        estimate = plugin_mi(given, labels, num_classes=2, soft=False)
        np.testing.assert_allclose(estimate.mi, np.log(2), rtol=1e-6)


def test_no_warning_where_numbers_of_ml_dtypes_are_nan():
    for scale in (1.0, 1e-31):
        x = (scale * X).astype(jnp.bfloat16)
        x[0] = np.nan
        assert host_vectors("outputs", x).dtype == jnp.bfloat16
