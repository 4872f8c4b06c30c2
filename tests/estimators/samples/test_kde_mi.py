"""Pairwise-distance estimates against SciPy, quadrature and simulation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from optax_mi.estimators.samples._kde_mi import kde_mi

SCALES = {"kl": 2, "bhattacharyya": 8}
# Most tests share these and a mask, and so one program for one column and one for three,
# of either distance: every other compiles anew. The second of two tiles is not full.
SAMPLES = CLASSES = 300
ALL = np.ones(SAMPLES, bool)


def raw(x, labels, bandwidth, distance="kl", mask=ALL):
    options = {"num_classes": CLASSES, "clip": False, "distance": distance}
    return kde_mi(x, labels, bandwidth=np.float32(bandwidth), mask=mask, **options)


def log_kernels(x, bandwidth, distance):
    x = np.asarray(x, float).reshape(len(x), -1)
    squares = np.array([np.sum((row - x) ** 2, 1) for row in x])
    return -squares / (SCALES[distance] * bandwidth**2)


def mixture_entropy(exponents):
    """Without the entropy of one component."""
    return -np.mean(special.logsumexp(exponents, axis=1) - np.log(len(exponents)))


def truth(x, labels, bandwidth, distance="kl"):
    exponents = log_kernels(x, bandwidth, distance)
    value = mixture_entropy(exponents)
    for c in np.unique(labels):
        own = np.flatnonzero(labels == c)
        value -= len(own) / len(x) * mixture_entropy(exponents[np.ix_(own, own)])
    return value


def data(samples=SAMPLES, columns=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    x = (
        rng.normal(size=(samples, columns))
        + rng.normal(size=(classes, columns))[labels]
    )
    return x.astype(np.float32), labels


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("distance", SCALES)
def test_equals_scipy_in_float32(columns, distance):
    x, labels = data(columns=columns)
    ours = raw(x, labels, 0.7, distance)
    assert ours.mi.dtype == np.float32
    # Exponents err by a few eps of the largest squared distance, of the order of 100.
    eps = np.finfo(np.float32).eps
    wanted = truth(x, labels, 0.7, distance)
    np.testing.assert_allclose(ours.mi, wanted, rtol=0, atol=100 * eps)
    shares = np.bincount(labels) / SAMPLES
    np.testing.assert_allclose(ours.entropy, stats.entropy(shares), rtol=4 * eps)
    assert ours.num_samples == SAMPLES


# One tile, whole ones, and several with a part of one.
@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("samples", "columns", "distance"),
    [(40, 1, "kl"), (512, 3, "bhattacharyya"), (600, 9, "kl")],
)
def test_equals_scipy_in_float64(samples, columns, distance):
    x, labels = data(samples, columns)
    with jax.enable_x64(True):
        ours = kde_mi(
            x.astype(float), labels, bandwidth=0.7, distance=distance, clip=False
        )
    assert ours.mi.dtype == np.float64
    wanted = truth(x, labels, 0.7, distance)
    np.testing.assert_allclose(ours.mi, wanted, rtol=0, atol=100 * np.finfo(float).eps)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("distance", SCALES)
def test_separated_classes_tell_their_entropy_and_a_wide_kernel_nothing(
    columns, distance
):
    x, labels = data(columns=columns)
    far = raw(x + np.float32(100 * labels[:, None]), labels, 1.0, distance)
    np.testing.assert_allclose(far.mi, far.entropy, rtol=1e-6)
    assert abs(raw(x, labels, 1e4, distance).mi) < 1e-6


@pytest.mark.parametrize("bandwidth", [0.1, 0.5, 2.0])
def test_bounds_of_the_entropy_hold_for_the_mixture_by_quadrature(bandwidth):
    x, labels = data(columns=1)
    used = np.arange(SAMPLES) < 60
    points = x[used, 0].astype(float)
    grid = np.linspace(
        points.min() - 9 * bandwidth, points.max() + 9 * bandwidth, 20001
    )

    def entropy(centres):
        density = np.mean(stats.norm.pdf(grid[:, None], centres, bandwidth), 1)
        return np.trapezoid(special.entr(density), grid)

    noise = np.log(bandwidth) + np.log(2 * np.pi * np.e) / 2
    every = entropy(points) - noise
    by_class = [entropy(points[labels[used] == c]) - noise for c in range(4)]
    within = np.bincount(labels[used]) / 60 @ by_class
    # The estimate with one class of all, and one more apart, gives H(T) itself.
    bounds = {}
    for distance in SCALES:
        alone = mixture_entropy(log_kernels(points, bandwidth, distance))
        mi = float(raw(x, labels, bandwidth, distance, used).mi)
        bounds[distance] = alone, alone - mi
    lower, upper = bounds["bhattacharyya"], bounds["kl"]
    assert lower[0] <= every <= upper[0]
    assert lower[1] <= within <= upper[1]
    # What bounds the information is one kind less the other.
    information = every - within
    assert lower[0] - upper[1] <= information <= upper[0] - lower[1]


@pytest.mark.parametrize("distance", SCALES)
def test_masks_labels_and_bad_rows_leave_samples_out_and_are_counted(distance):
    x, labels = data()
    mask = np.random.default_rng(0).random(SAMPLES) < 0.8
    x[3, 1], x[4, 0] = np.nan, np.inf
    labels[5], labels[6] = -1, CLASSES
    mask[3:7] = True
    kept = mask.copy()
    kept[3:7] = False
    ours = raw(x, labels, 0.5, distance, mask)
    wanted = truth(x[kept], labels[kept], 0.5, distance)
    np.testing.assert_allclose(ours.mi, wanted, atol=1e-5)
    assert ours.num_samples == kept.sum()
    assert ours.dropped == SAMPLES - kept.sum()


def test_documented_values_where_there_is_nothing_to_know():
    x, labels = data()
    for estimate in (
        raw(x, labels, 1.0, mask=~ALL),
        raw(x, labels * 0, 1.0),
        raw(x * 0, labels, 1.0),
    ):
        np.testing.assert_allclose(estimate.mi, 0, atol=1e-6)
    nothing = raw(x, labels - 9, 1.0)
    assert nothing.mi == nothing.entropy == nothing.num_samples == 0
    assert np.isnan(nothing.std_error)
    alone = raw(x, np.arange(SAMPLES), 1e-3)
    np.testing.assert_allclose(alone.mi, np.log(SAMPLES), rtol=1e-6)
    # Squares overflow; samples are still far apart.
    huge = raw(x * np.float32(1e25), labels, 1.0)
    np.testing.assert_allclose(huge.mi, huge.entropy, rtol=1e-6)


def test_clip_is_to_0_and_the_entropy():
    clipped = partial(kde_mi, num_classes=CLASSES, mask=ALL)
    for seed in range(10):
        x, labels = data(columns=1, seed=seed)
        # Rounding alone leaves the bounds, at either end.
        for bandwidth in (1e-4, 0.5, 1e4):
            inside = clipped(x, labels, bandwidth=np.float32(bandwidth))
            assert 0 <= inside.mi <= inside.entropy
            wanted = raw(x, labels, bandwidth).mi
            np.testing.assert_allclose(inside.mi, wanted, atol=1e-6)


def test_means_and_units_do_not_matter():
    x, labels = data()
    mi = raw(x, labels, 1.0).mi
    np.testing.assert_allclose(raw(x + 1000, labels, 1.0).mi, mi, atol=3e-4)
    np.testing.assert_allclose(raw(1e6 * x, labels, 1e6).mi, mi, atol=100 * 1.2e-7)


# All samples, and from 1025 on some of them.
@pytest.mark.parametrize("samples", [SAMPLES, 1200])
def test_std_error_is_about_the_spread_of_estimates(samples):
    draws = 100
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (draws, samples))
    x = rng.normal(size=(draws, samples, 3)).astype(np.float32)
    x[..., 0] += 2 * labels
    mask = np.ones(samples, bool)
    seen = [raw(*one, 1.0, mask=mask) for one in zip(x, labels, strict=True)]
    mi, std_error = np.array([(one.mi, one.std_error) for one in seen]).T
    # Besides the error of a spread of 100 draws, a tenth of what is left out.
    np.testing.assert_allclose(
        np.mean(std_error), np.std(mi), rtol=0.1 + 3 / np.sqrt(2 * draws)
    )


@given(seed=st.integers(0, 2**32 - 1), bandwidth=st.sampled_from([0.1, 1.0]))
@settings(deadline=None, max_examples=15)
def test_order_rotations_and_names_of_classes_do_not_matter(seed, bandwidth):
    x, labels = data(seed=seed)
    rng = np.random.default_rng(seed)
    few = np.arange(SAMPLES) < 40
    order = np.r_[rng.permutation(40), 40:SAMPLES]
    first = raw(x, labels, bandwidth, mask=few)
    turn = stats.special_ortho_group(3, rng).rvs().astype(np.float32)
    for mi in (
        raw(x[order], labels[order], bandwidth, mask=few).mi,
        raw(x @ turn, labels, bandwidth, mask=few).mi,
        raw(x, (labels + 1) % 3 + 4 * (labels > 2), bandwidth, mask=few).mi,
    ):
        # The largest squared distance is of the order of 100 / bandwidth**2.
        np.testing.assert_allclose(mi, first.mi, atol=1e-4)
    assert first.mi <= first.entropy + 1e-6


def test_vmap_over_columns_and_bandwidths_is_a_loop_and_nothing_compiles_anew():
    x, labels = data()
    columns = np.r_[x.T, x.T[:1]][:, :, None]
    bandwidths = np.float32([0.5, 0.5, 0.5, 2.0])
    arrays = [(jnp.asarray(c), s) for c, s in zip(columns, bandwidths, strict=True)]
    labels = jnp.asarray(labels)
    raw(arrays[0][0], labels, 0.25)
    with jax.no_tracing():
        each = [raw(column, labels, bandwidth).mi for column, bandwidth in arrays]

    def measure(x, bandwidth):
        options = {"num_classes": CLASSES, "clip": False, "mask": ALL}
        return kde_mi(x, labels, bandwidth=bandwidth, **options).mi

    np.testing.assert_allclose(jax.vmap(measure)(columns, bandwidths), each, atol=1e-6)


def test_no_gradient_flows_through_the_estimate():
    x, labels = data(columns=1)

    @jax.jit
    def slopes(x, bandwidth):
        measure = partial(kde_mi, labels=labels, num_classes=4)
        return jax.grad(lambda x, s: measure(x, bandwidth=s).mi, (0, 1))(x, bandwidth)

    for slope in slopes(x, 1.0):
        np.testing.assert_array_equal(slope, 0 * slope)


def test_errors_name_the_argument_and_the_fix():
    x, labels = data()
    for bandwidth in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="bandwidth must be positive and finite"):
            kde_mi(x, labels, bandwidth=bandwidth)
    with pytest.raises(TypeError, match="bandwidth must be a number"):
        kde_mi(x, labels, bandwidth=np.ones(3))
    with pytest.raises(ValueError, match=r"bandwidth must be a scalar, got shape \(3,"):
        jax.jit(partial(kde_mi, num_classes=4))(x, labels, bandwidth=np.ones(3))
    with pytest.raises(
        ValueError, match=r"one of \('kl', 'bhattacharyya'\), got .*'no"
    ):
        kde_mi(x, labels, bandwidth=1.0, distance="no")
    with pytest.raises(TypeError, match="labels must be integers"):
        kde_mi(x, x[:, 0], bandwidth=1.0)
    with pytest.raises(TypeError, match="mask must be boolean"):
        kde_mi(x, labels, bandwidth=1.0, mask=np.ones(SAMPLES))
