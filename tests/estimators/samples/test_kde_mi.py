"""Pairwise-distance estimates against SciPy, quadrature and simulation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from optax_mi.estimators.samples._kde_mi import _estimate, kde_mi

SCALES = {"kl": 2, "bhattacharyya": 8}
raw = partial(kde_mi, clip=False)


def log_kernels(x, bandwidth, distance):
    x = np.asarray(x, float).reshape(len(x), -1)
    squares = np.array([np.sum((row - x) ** 2, 1) for row in x])
    return -squares / (SCALES[distance] * bandwidth**2)


def mixture_entropy(exponents):
    """Without the entropy of one component."""
    return -np.mean(special.logsumexp(exponents, axis=1) - np.log(len(exponents)))


def truth(x, labels, bandwidth, distance):
    exponents = log_kernels(x, bandwidth, distance)
    value = mixture_entropy(exponents)
    for c in np.unique(labels):
        own = np.flatnonzero(labels == c)
        value -= len(own) / len(x) * mixture_entropy(exponents[np.ix_(own, own)])
    return value


def data(samples=300, columns=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    x = (
        rng.normal(size=(samples, columns))
        + rng.normal(size=(classes, columns))[labels]
    )
    return x.astype(np.float32), labels


@pytest.mark.usefixtures("strict")
# One tile, several with a part of one, and whole ones.
@pytest.mark.parametrize(
    ("samples", "columns", "dtype", "distance"),
    [
        (40, 1, "float64", "kl"),
        (700, 1, "float64", "bhattacharyya"),
        (512, 3, "float64", "bhattacharyya"),
        (600, 9, "float64", "kl"),
        (700, 1, "float32", "kl"),
        (512, 3, "float32", "kl"),
        (600, 9, "float32", "bhattacharyya"),
    ],
)
def test_equals_scipy(samples, columns, dtype, distance):
    x, labels = data(samples, columns)
    with jax.enable_x64(dtype == "float64"):
        ours = raw(x.astype(dtype), labels, bandwidth=0.7, distance=distance)
        ours = jax.device_get(ours)
    assert ours.mi.dtype == dtype
    eps = np.finfo(dtype).eps
    # Exponents err by a few eps of the largest squared distance, of the order of 100.
    tolerance = 100 * eps
    np.testing.assert_allclose(
        ours.mi, truth(x, labels, 0.7, distance), rtol=0, atol=tolerance
    )
    shares = np.bincount(labels) / samples
    np.testing.assert_allclose(ours.entropy, stats.entropy(shares), rtol=4 * eps)
    assert ours.num_samples == samples


@pytest.mark.parametrize("columns", [1, 5])
def test_separated_classes_tell_their_entropy_and_a_wide_kernel_nothing(columns):
    x, labels = data(columns=columns)
    for distance in SCALES:
        far = kde_mi(x + 100 * labels[:, None], labels, bandwidth=1.0, distance=distance)
        np.testing.assert_allclose(far.mi, far.entropy, rtol=1e-6)
        wide = raw(x, labels, bandwidth=1e4, distance=distance)
        assert abs(wide.mi) < 1e-6


@pytest.mark.parametrize("bandwidth", [0.1, 0.5, 2.0])
def test_bounds_of_the_entropy_hold_for_the_mixture_by_quadrature(bandwidth):
    x, labels = data(60, 1)
    points = x[:, 0].astype(float)
    grid = np.linspace(
        points.min() - 9 * bandwidth, points.max() + 9 * bandwidth, 20001
    )

    def entropy(centres):
        density = np.mean(stats.norm.pdf(grid[:, None], centres, bandwidth), 1)
        return np.trapezoid(special.entr(density), grid)

    noise = np.log(bandwidth) + np.log(2 * np.pi * np.e) / 2
    every = entropy(points) - noise
    by_class = [entropy(points[labels == c]) - noise for c in range(4)]
    within = np.bincount(labels) / 60 @ by_class
    # The estimate with one class of all, and one more apart, gives H(T) itself.
    bounds = {}
    for distance in SCALES:
        alone = mixture_entropy(log_kernels(points, bandwidth, distance))
        mi = float(raw(x, labels, bandwidth=bandwidth, distance=distance).mi)
        bounds[distance] = alone, alone - mi
    assert bounds["bhattacharyya"][0] <= every <= bounds["kl"][0]
    assert bounds["bhattacharyya"][1] <= within <= bounds["kl"][1]
    # What bounds the information is one kind less the other.
    information = every - within
    assert bounds["bhattacharyya"][0] - bounds["kl"][1] <= information
    assert information <= bounds["kl"][0] - bounds["bhattacharyya"][1]


def test_masks_labels_and_bad_rows_leave_samples_out_and_are_counted():
    x, labels = data()
    mask = np.random.default_rng(0).random(300) < 0.8
    x[3, 1], x[4, 0] = np.nan, np.inf
    labels[5], labels[6] = -1, 4
    mask[3:7] = True
    kept = mask.copy()
    kept[3:7] = False
    for distance in SCALES:
        options = {"bandwidth": 0.5, "num_classes": 4, "distance": distance}
        ours = raw(x, labels, mask=mask, **options)
        rest = raw(x[kept], labels[kept], **options)
        np.testing.assert_allclose(ours.mi, rest.mi, atol=1e-6)
        np.testing.assert_allclose(ours.std_error, rest.std_error, rtol=1e-4)
        assert ours.num_samples == kept.sum()
        assert ours.dropped == 300 - kept.sum()


def test_documented_values_where_there_is_nothing_to_know():
    x, labels = data()
    for estimate in (
        raw(x, labels, bandwidth=1.0, mask=np.zeros(300, bool)),
        raw(x, labels * 0, bandwidth=1.0),
        raw(x * 0, labels, bandwidth=1.0),
    ):
        np.testing.assert_allclose(estimate.mi, 0, atol=1e-6)
    nothing = kde_mi(x, labels - 9, bandwidth=1.0, num_classes=4)
    assert nothing.mi == nothing.entropy == nothing.num_samples == 0
    assert np.isnan(nothing.std_error)
    alone = kde_mi(x, np.arange(300), bandwidth=1e-3)
    np.testing.assert_allclose(alone.mi, np.log(300), rtol=1e-6)
    # Squares overflow; samples are still far apart.
    huge = kde_mi(x * np.float32(1e25), labels, bandwidth=1.0)
    np.testing.assert_allclose(huge.mi, huge.entropy, rtol=1e-6)


def test_means_and_units_do_not_matter():
    x, labels = data(columns=6)
    mi = raw(x, labels, bandwidth=1.0).mi
    np.testing.assert_allclose(raw(x + 1000, labels, bandwidth=1.0).mi, mi, atol=3e-4)
    np.testing.assert_allclose(
        raw(1e6 * x, labels, bandwidth=1e6).mi, mi, atol=100 * 1.2e-7
    )


@pytest.mark.parametrize("samples", [500, 1200])
def test_std_error_is_about_the_spread_of_estimates(samples):
    draws = 100

    def one(key):
        first, second = jax.random.split(key)
        labels = jax.random.randint(first, (samples,), 0, 3)
        x = jax.random.normal(second, (samples, 2)).at[:, 0].add(2.0 * labels)
        return raw(x, labels, bandwidth=1.0, num_classes=3)

    estimates = jax.lax.map(one, jax.random.split(jax.random.key(0), draws))
    # Besides the error of a spread of 100 draws, a tenth of what is left out.
    np.testing.assert_allclose(
        np.mean(estimates.std_error),
        np.std(estimates.mi),
        rtol=0.1 + 3 / np.sqrt(2 * draws),
    )


@given(seed=st.integers(0, 2**32 - 1), bandwidth=st.sampled_from([0.1, 1.0]))
@settings(deadline=None, max_examples=15)
def test_order_rotations_and_names_of_classes_do_not_matter(seed, bandwidth):
    x, labels = data(40, 2, 3, seed)
    rng = np.random.default_rng(seed)
    same = partial(raw, bandwidth=bandwidth, num_classes=3)
    first = same(x, labels)
    order = rng.permutation(40)
    turn = stats.special_ortho_group(2, rng).rvs()
    for mi in (
        same(x[order], labels[order]).mi,
        same(x @ turn, labels).mi,
        same(x, (labels + 1) % 3).mi,
    ):
        # The largest squared distance is of the order of 100 / bandwidth**2.
        np.testing.assert_allclose(mi, first.mi, atol=1e-4)
    assert first.mi <= first.entropy + 1e-6
    assert kde_mi(x, labels, bandwidth=bandwidth, num_classes=3).mi >= 0


def test_vmap_equals_a_loop_and_nothing_recompiles_or_has_a_gradient():
    x, labels = data(300, 5)
    one = partial(raw, labels=labels, bandwidth=0.5, num_classes=4)
    each = jax.vmap(lambda column: one(column).mi)(x.T)
    np.testing.assert_allclose(each, [one(column).mi for column in x.T], atol=1e-6)
    widths = jax.vmap(lambda s: raw(x, labels, bandwidth=s, num_classes=4).mi)(
        jnp.array([0.5, 2.0])
    )
    np.testing.assert_allclose(widths[0], one(x).mi, atol=1e-6)
    size = _estimate._cache_size()
    one(x + 1)
    raw(x, labels, bandwidth=0.25)
    assert _estimate._cache_size() == size
    np.testing.assert_array_equal(jax.grad(lambda a: one(a).mi)(x), 0 * x)


def test_errors_name_the_argument_and_the_fix():
    x, labels = data()
    for bandwidth in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="bandwidth must be positive and finite"):
            kde_mi(x, labels, bandwidth=bandwidth)
    with pytest.raises(TypeError, match="bandwidth must be a number"):
        kde_mi(x, labels, bandwidth=np.ones(3))
    with pytest.raises(ValueError, match=r"bandwidth must be a scalar, got shape \(3,"):
        jax.jit(partial(kde_mi, num_classes=4))(x, labels, bandwidth=np.ones(3))
    with pytest.raises(ValueError, match=r"distance must be one of \('kl', 'bhattacharyya'\)"):
        kde_mi(x, labels, bandwidth=1.0, distance="both")
    with pytest.raises(TypeError, match="labels must be integers"):
        kde_mi(x, x[:, 0], bandwidth=1.0)
    with pytest.raises(TypeError, match="mask must be boolean"):
        kde_mi(x, labels, bandwidth=1.0, mask=np.ones(300))
