"""Kraskov's estimators against scikit-learn, their definition and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection._mutual_info import _compute_mi_cc

from optax_mi.estimators.samples import _ksg_band
from optax_mi.estimators.samples._ksg_mi import ksg_mi
from tests.estimators.samples.helpers import KINDS, definition, pairs

slow = pytest.mark.slow
# Most tests share a shape and a mask for each of these, and so three programs: every
# other compiles anew.
SHAPES = {"plane": (400, 1, 1), "plane, second": (400, 1, 2), "space": (120, 2, 2)}
each_shape = pytest.mark.parametrize(
    ("samples", "columns", "algorithm"), SHAPES.values(), ids=SHAPES
)


def measure(x, y, algorithm=1, mask=None, norm="euclidean"):
    """Not clipped, of three neighbours, of the samples as they are."""
    mask = np.ones(len(x), bool) if mask is None else mask
    options = {"algorithm": algorithm, "norm": norm, "mask": mask}
    return ksg_mi(x, y, **options, clip=False, key=None)


@pytest.mark.parametrize(
    ("samples", "k"),
    [
        (13, 3),
        pytest.param(700, 1, marks=slow),
        pytest.param(700, 3, marks=slow),
        pytest.param(700, 10, marks=slow),
        (7000, 3),
    ],
)
def test_equals_scikit_learn(samples, k):
    # The largest takes all three passes.
    all_passes = _ksg_band._BAND * np.sqrt(k * samples) < samples // 4
    assert all_passes or samples < 7000
    with jax.enable_x64(True):
        column = jax.ShapeDtypeStruct((samples,), float)
        compiled = (
            jax.jit(partial(ksg_mi, k=k, key=None)).lower(column, column).compile()
        )
        # A matrix of all distances would be 392 MB in the last case.
        assert compiled.memory_analysis().temp_size_in_bytes < 2**22
        for kind in KINDS:
            x, y = pairs(kind, samples)
            got = compiled(x, y)
            assert got.mi.dtype == np.float64
            truth = _compute_mi_cc(x, y, k)
            np.testing.assert_allclose(got.mi, truth, atol=1e-9, err_msg=kind)


@pytest.mark.parametrize(
    ("samples", "columns", "algorithm", "k", "norm"),
    [
        pytest.param(500, (1, 1), 2, 2, "euclidean", marks=slow),
        pytest.param(500, (1, 1), 2, 9, "max", marks=slow),
        pytest.param(150, (1, 1), 2, 2, "euclidean", marks=slow),
        (150, (2, 1), 1, 3, "euclidean"),
        (150, (3, 20), 2, 3, "euclidean"),
        (150, (3, 20), 1, 3, "max"),
        pytest.param(150, (2, 1), 2, 3, "max", marks=slow),
        pytest.param(150, (40, 3), 1, 3, "euclidean", marks=slow),
    ],
)
@pytest.mark.usefixtures("strict")
def test_equals_its_definition(samples, columns, algorithm, k, norm):
    with jax.enable_x64(True):
        for kind in KINDS:
            drawn = [pairs(kind, samples, seed) for seed in range(max(columns))]
            x, y = (
                np.stack([pair[i] for pair in drawn[:width]], -1)
                for i, width in enumerate(columns)
            )
            if kind == "on a grid" and norm == "euclidean":
                # Squares of tenths are rounded, and equal distances then differ.
                x, y = np.round(10 * x), np.round(10 * y)
            options = {"k": k, "algorithm": algorithm, "norm": norm}
            got = ksg_mi(x, y, **options, clip=False, key=None).mi
            truth = definition(x, y, k, algorithm, norm)
            np.testing.assert_allclose(got, truth, atol=1e-9, err_msg=kind)


@each_shape
def test_float32_counts_as_float64_does(samples, columns, algorithm):
    # Multiples of 1/64 below 32: differences and their squares are exact in float32.
    x, y = np.random.default_rng(0).integers(0, 1024, (2, samples, columns)) / 64
    y += x
    got = measure(x, y, algorithm).mi
    assert got.dtype == np.float32
    truth = definition(x, y, 3, algorithm, "euclidean")
    # Four digammas of at most ln(500), each rounded, and their sum.
    np.testing.assert_allclose(got, truth, atol=20 * np.finfo(np.float32).eps)


@slow
@pytest.mark.parametrize("columns", [1, 3])
def test_memory_is_linear_in_samples(columns):
    x = jax.ShapeDtypeStruct((20_000, columns), jnp.float32)
    compiled = jax.jit(ksg_mi).lower(x, x).compile()
    # 4 MiB; the matrix of distances would be 1.6 GB.
    assert compiled.memory_analysis().temp_size_in_bytes < 2**22


def simulate(draw, runs, samples, columns, algorithm=1):
    """Estimates of so many simulated data sets, and their standard errors."""
    rng = np.random.default_rng(7)
    estimates = (
        measure(*draw(rng, (samples, columns)), algorithm) for _ in range(runs)
    )
    return np.array([(one.mi, one.std_error) for one in estimates]).T


def gaussian(rho):
    def draw(rng, shape):
        x, z = rng.normal(size=(2, *shape)).astype(np.float32)
        return x, rho * x + np.float32(np.sqrt(1 - rho**2)) * z

    return draw


# The bias of either is known from experiments only (section III of the paper), and
# grows with dimension and dependence; bounds in nats here, besides the noise.
@pytest.mark.parametrize(
    ("samples", "columns", "rho", "algorithm", "bias"),
    [
        (120, 2, 0.5, 2, 0.05),
        pytest.param(1000, 3, 0.5, 1, 0.05, marks=slow),
        pytest.param(1000, 3, 0.5, 2, 0.05, marks=slow),
        pytest.param(1000, 5, 0.3, 1, 0.07, marks=slow),
    ],
)
def test_gaussians_have_their_closed_form(samples, columns, rho, algorithm, bias):
    runs = 24
    got, _ = simulate(gaussian(rho), runs, samples, columns, algorithm)
    truth = -columns / 2 * np.log(1 - rho**2)
    noise = np.std(got) / np.sqrt(runs)
    np.testing.assert_allclose(np.mean(got), truth, atol=bias + 4 * noise)


@slow
def test_euclidean_distances_read_more_than_the_maximum_norm():
    x, y = gaussian(0.5)(np.random.default_rng(0), (1000, 10))
    truth = -5 * np.log(1 - 0.5**2)
    got, less = (measure(x, y, norm=norm).mi for norm in ("euclidean", "max"))
    assert less + 0.05 < got < truth


def test_a_rotation_changes_no_euclidean_distance():
    x, y = np.random.default_rng(0).integers(-9, 9, (2, 120, 2)) / 4.0
    y += x
    # By 45 degrees and a root of 2, which is exact; for X and Y, to keep their ratio.
    turn = np.array([[1.0, 1.0], [1.0, -1.0]])
    turned, still = ((x @ turn, y @ turn, 2), (x, y, 2))
    np.testing.assert_allclose(measure(*turned).mi, measure(*still).mi, atol=1e-6)
    gap = measure(*turned, norm="max").mi - measure(*still, norm="max").mi
    assert abs(gap) > 0.01


def test_uniform_noise_has_its_closed_form():
    samples, runs = 400, 160

    def draw(rng, shape):
        x, z = rng.uniform(size=(2, *shape)).astype(np.float32)
        return x, x + np.float32(0.5) * z

    # With noise of width a = 1/2, Y has a trapezoid of height 1 for density: H(Y) = a/2
    # and I = a/2 - ln a. The k-th neighbour is at about r = sqrt(k a / N) / 2, and a
    # share 4 r / a = 24 % of the samples has either edge of the noise within reach. Off
    # by less than ln 2 each, less than half of that on average, and only downwards.
    got, _ = simulate(draw, runs, samples, 1)
    noise = np.std(got) / np.sqrt(runs)
    truth = 0.25 + np.log(2)
    assert truth - 0.24 * np.log(2) / 2 - 4 * noise < np.mean(got) < truth + 4 * noise


@pytest.mark.parametrize(
    ("samples", "columns", "algorithm", "bias"),
    [
        (400, 1, 1, 0.0),
        (400, 1, 2, 0.005),
        pytest.param(400, 3, 1, 0.0, marks=slow),
    ],
)
def test_of_independent_samples_it_is_zero_on_average(
    samples, columns, algorithm, bias
):
    runs = 100
    got, _ = simulate(gaussian(0.0), runs, samples, columns, algorithm)
    # The first is unbiased here, as far as the paper could see (its equation 17).
    assert abs(np.mean(got)) < 4 * np.std(got) / np.sqrt(runs) + bias


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_gaussian_columns_and_the_standard_error_within_a_third(rho):
    runs = 300
    got, std_error = simulate(gaussian(rho), runs, 400, 1)
    ratio = np.mean(std_error) / np.std(got)
    # The spread of 300 is itself known to 4 / sqrt(600) = 16 %.
    assert 0.67 < ratio < 1.5
    noise = np.std(got) / np.sqrt(runs)
    truth = -np.log(1 - rho**2) / 2
    np.testing.assert_allclose(np.mean(got), truth, atol=0.02 + 4 * noise)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    tied=st.booleans(),
    shape=st.sampled_from(list(SHAPES.values())),
)
def test_symmetric_and_indifferent_to_order_signs_and_shifts(seed, tied, shape):
    samples, columns, algorithm = shape
    rng = np.random.default_rng(seed)
    # Multiples of 1/8: shifts are exact.
    far = 4 if tied else 2**16
    x, y = rng.integers(-far, far, (2, samples, columns)) / 8
    y += x
    order = rng.permutation(samples)

    def mi(x, y):
        return measure(x, y, algorithm).mi

    wanted = mi(x, y)
    for other in (mi(y, x), mi(x[order], y[order]), mi(-x, y + 16), mi(4 * x, 4 * y)):
        # The same counts; their terms may be added up in another order.
        np.testing.assert_allclose(other, wanted, atol=1e-5)


@each_shape
def test_what_is_dropped_is_as_if_left_out(samples, columns, algorithm):
    x, y = np.random.default_rng(3).integers(-99, 99, (2, samples, columns)) / 64.0
    y += x
    mask = np.arange(samples) % 5 > 0
    mask[:4] = True
    kept = mask.copy()
    kept[:4] = False
    truth = definition(x[kept], y[kept], 3, algorithm, "euclidean")
    x[0, -1], x[1, 0], y[2, 0], y[3, -1] = np.nan, np.inf, -np.inf, np.nan
    got = measure(x, y, algorithm, mask)
    np.testing.assert_allclose(got.mi, truth, atol=1e-5)
    assert got.num_samples == kept.sum()
    assert got.dropped == samples - kept.sum()
    assert got.entropy == np.inf
    assert got.std_error > 0


@each_shape
def test_too_few_or_constant_samples_are_zero(samples, columns, algorithm):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, samples, columns)).astype(np.float32)
    for few in (0, 1, 3):
        got = measure(x, y, algorithm, np.arange(samples) < few)
        assert got.mi == 0
        assert got.num_samples == few
        assert np.isnan(got.std_error)
    one = np.ones_like(x)
    grid = np.arange(x.size, dtype=np.float32).reshape(samples, columns)
    for a, b in ((one, y), (x, one), (one, grid)):
        got = measure(a, b, algorithm)
        assert got.mi == got.std_error == 0


def test_clip_cuts_below_zero_only():
    x, y = np.random.default_rng(3).normal(size=(2, 120, 2)).astype(np.float32)
    clipped = partial(ksg_mi, algorithm=2, mask=np.ones(120, bool), key=None)
    assert measure(x, y, 2).mi < 0
    assert clipped(x, y).mi == 0
    np.testing.assert_allclose(clipped(x, x).mi, measure(x, x, 2).mi, rtol=1e-6)
    assert measure(x, x, 2).mi > 0


def test_noise_breaks_ties_in_x_and_in_y_apart():
    labels = np.random.default_rng(0).integers(0, 4, 250)
    got = ksg_mi(labels, labels, key=jax.random.key(0))
    shares = np.bincount(labels) / 250
    # Within a value x and y are independent noise, and all samples of other values are
    # out of reach: the information is that of the value. One noise for both would give
    # psi(250) - psi(3) = 4.6.
    truth = -np.sum(shares * np.log(shares))
    assert abs(got.mi - truth) < 4 * got.std_error + 0.05
    assert got.mi == ksg_mi(labels, labels, key=jax.random.key(0)).mi
    assert got.mi != ksg_mi(labels, labels, key=jax.random.key(1)).mi


@pytest.mark.parametrize(
    ("samples", "columns"), [(120, 2), pytest.param(400, 1, marks=slow)]
)
@pytest.mark.usefixtures("strict")
def test_vmap_is_a_loop_and_nothing_compiles_anew(samples, columns):
    algorithm = columns
    x = np.random.default_rng(0).normal(size=(3, samples, columns)).astype(np.float32)
    x, y = jnp.asarray(x), jnp.asarray(x[0] + x[1])
    mask = jnp.asarray(np.arange(samples) < [[samples], [samples // 2], [20]])
    measure(x[0], y, algorithm, mask[0])
    rows = [(x[i], mask[i]) for i in range(3)]
    with jax.no_tracing():
        alone = [measure(a, y, algorithm, w) for a, w in rows]
    together = jax.vmap(lambda a, w: measure(a, y, algorithm, w))(x, mask)
    for i in range(3):
        for got, wanted in zip(together, alone[i], strict=True):
            np.testing.assert_allclose(got[i], wanted, atol=1e-5)


def test_dtypes_and_no_gradient():
    x = np.random.default_rng(0).normal(size=80)

    def dtype(x, y):
        return jax.eval_shape(ksg_mi, x, y).mi.dtype

    with jax.enable_x64(True):
        assert dtype(x.astype(np.float32), x) == np.float64
        assert dtype(np.arange(80), x.astype(np.float16)) == np.float32
    assert dtype(x, x) == np.float32
    slope = jax.jit(jax.grad(lambda x: ksg_mi(x, 2 * x).mi))
    np.testing.assert_array_equal(slope(x.astype(np.float32)), 0)


X = np.arange(10.0)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((X, X[:9]), {}, ValueError, r"labels must have the shape \[10, d\].* \(9,\)"),
        ((X.reshape(5, 2, 1), X), {}, ValueError, r"outputs must have .*\(5, 2, 1\)"),
        ((X, X[:, None, None]), {}, ValueError, "labels must have the shape"),
        ((X[:0], X[:0]), {}, ValueError, "one axis of samples, and at least one"),
        ((X * 1j, X), {}, TypeError, "outputs must be real"),
        ((X, X), {"k": 10}, ValueError, "k must be less than .* N = 10"),
        ((X, X), {"k": 0}, ValueError, "k must be at least 1, got k=0"),
        ((X, X), {"k": 2.0}, TypeError, "k must be an int"),
        ((X, X), {"k": jnp.int32(2)}, TypeError, "Python int"),
        ((X, X), {"algorithm": 3}, ValueError, "1 or 2, got algorithm=3"),
        ((X, X), {"norm": "l1"}, ValueError, "'euclidean' or 'max', got norm='l1'"),
        ((X, X), {"mask": X}, TypeError, "mask must be boolean"),
        ((X, X), {"mask": X[:3] > 0}, ValueError, "mask must have the shape"),
    ],
)
def test_errors_name_what_is_wrong(args, options, error, message):
    with pytest.raises(error, match=message):
        ksg_mi(*args, **options)
