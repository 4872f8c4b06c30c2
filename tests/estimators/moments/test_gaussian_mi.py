"""One-shot Gaussian estimates against NumPy, closed forms and simulation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from optax_mi.estimators.moments._gaussian_mi import gaussian_mi
from tests.estimators.moments.helpers import (
    FLOAT32,
    class_data,
    class_truth,
    noisy_truth,
    real_data,
    real_truth,
)

# Most tests share the shapes of `real_data` and `class_data`, and weights, and so one
# program for either kind: every other compiles anew.
SAMPLES, CLASSES = 400, 4
ONES = np.ones(SAMPLES, np.float32)


def raw(x, labels, weights=ONES, **options):
    integers = np.issubdtype(labels.dtype, np.integer)
    classes = CLASSES if integers else None
    return gaussian_mi(
        x, labels, num_classes=classes, weights=weights, clip=False, **options
    )


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("samples", "columns", "others", "dtype", "correction"),
    [
        pytest.param(300, 20, 9, "float32", "wishart", marks=pytest.mark.slow),
        (300, 20, 9, "float64", "wishart"),
        (50, 1, 1, "float64", None),
        (SAMPLES, 3, 3, "float32", "wishart"),
        (SAMPLES, 3, 3, "float32", None),
        # Wide enough that they are not put beside one another.
        (SAMPLES, 40, 30, "float32", None),
    ],
)
def test_equals_numpy(samples, columns, others, dtype, correction):
    x, y = real_data(1, samples, columns, others)
    z, labels = class_data(2, samples, columns)
    weights = np.ones(samples, np.float32)
    with jax.enable_x64(dtype == "float64"):
        measure = partial(raw, weights=weights, bias_correction=correction)
        real = jax.device_get(measure(x.astype(dtype), y.astype(dtype)))
        label = jax.device_get(measure(z.astype(dtype), labels))
    assert real.mi.dtype == label.mi.dtype == dtype
    tolerance = {"float32": (columns + others) * FLOAT32, "float64": 1e-11}[dtype]
    assert abs(real.mi - real_truth(x, y, correction)) < tolerance
    assert abs(label.mi - class_truth(z, labels, correction)) < tolerance
    assert real.entropy == np.inf
    shares = np.bincount(labels) / samples
    np.testing.assert_allclose(label.entropy, stats.entropy(shares), rtol=1e-6)
    assert real.num_samples == label.num_samples == samples


@pytest.mark.parametrize(
    ("columns", "rho"), [(1, 0.95), (1, 0.0), (3, 0.5), (10, 0.95)]
)
@pytest.mark.slow
def test_correlated_gaussians_have_their_closed_form(columns, rho):
    rng = np.random.default_rng(columns)
    x, noise = rng.normal(size=(2, 20_000, columns))
    y = rho * x + np.sqrt(1 - rho**2) * noise
    # Mixing columns changes nothing.
    y = y @ rng.normal(size=(columns, columns))
    estimate = gaussian_mi(x, y, clip=False)
    truth = -columns / 2 * np.log1p(-(rho**2))
    # About 0 the error is that of chi-square / 2N with columns**2 degrees of freedom.
    sigma = max(float(estimate.std_error), columns / np.sqrt(2) / 20_000)
    assert abs(estimate.mi - truth) < 4 * sigma


def test_the_bias_is_gone_at_ten_samples_a_column():
    draws, samples, columns = 40, 640, 64

    def one(key):
        x, y = jax.random.normal(key, (2, samples, columns))
        both = (
            gaussian_mi(x, y, clip=False, bias_correction=c) for c in ("wishart", None)
        )
        return [estimate.mi for estimate in both]

    corrected, plain = jax.lax.map(one, jax.random.split(jax.random.key(0), draws))
    assert np.mean(plain) > 3.4
    assert abs(np.mean(corrected)) < 4 * np.std(corrected) / np.sqrt(draws)


def simulate(draw, draws=400, **options):
    """MI and standard errors of so many data sets, of the shapes that all share."""
    rng = np.random.default_rng(1)
    estimates = [raw(*draw(rng), **options) for _ in range(draws)]
    return np.array([(one.mi, one.std_error) for one in estimates]).T


def check_spread(mi, std_error):
    # The relative error of a standard deviation from n normal draws is 1/sqrt(2 n).
    tolerance = 4 / np.sqrt(2 * len(mi))
    np.testing.assert_allclose(np.mean(std_error), np.std(mi), rtol=tolerance)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_real_labels_have_their_closed_form_and_std_error(rho):
    mix = np.random.default_rng(0).normal(size=(3, 3))

    def draw(rng):
        x, noise = rng.normal(size=(2, SAMPLES, 3))
        # Mixing columns changes nothing.
        y = (rho * x + np.sqrt(1 - rho**2) * noise) @ mix
        return x.astype(np.float32), y.astype(np.float32)

    mi, std_error = simulate(draw)
    truth = -3 / 2 * np.log1p(-(rho**2))
    assert abs(mi.mean() - truth) < 4 * mi.std() / np.sqrt(len(mi))
    # About 0 there is no first order, and the spread is that of chi-square / 2 N.
    if rho:
        check_spread(mi, std_error)
    else:
        np.testing.assert_allclose(mi.std(), np.sqrt(18) / 2 / SAMPLES, rtol=0.15)


def test_classes_of_one_covariance_have_their_population_formula_and_std_error():
    means = np.array([[0.0, 0, 0], [1, 1, 0], [0, -1, 2], [0, 0, 0]])
    shares = np.array([0.4, 0.2, 0.2, 0.2])
    mix = np.random.default_rng(0).normal(size=(3, 3))

    def draw(rng):
        labels = rng.choice(4, SAMPLES, p=shares)
        x = (means[labels] + rng.normal(size=(SAMPLES, 3))) @ mix
        return x.astype(np.float32), labels

    mi, std_error = simulate(draw)
    check_spread(mi, std_error)
    offsets = means - shares @ means
    between = (shares[:, None] * offsets).T @ offsets
    truth = np.linalg.slogdet(np.eye(3) + between)[1] / 2
    # The correction is exact where classes are not told apart; elsewhere it leaves some
    # of the bias, which is 9 / 2 N without it.
    left = 0.3 * 9 / 2 / SAMPLES
    assert abs(mi.mean() - truth) < 4 * mi.std() / np.sqrt(len(mi)) + left


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_units_and_means_of_columns_do_not_matter(scale):
    x, y = real_data()
    z, labels = class_data()
    far = (x.astype(float) + 1000).astype(np.float32)
    # What float32 itself keeps at that mean, in float64.
    kept = far.astype(float)
    units = np.float32(scale) * np.array([1, 2**20, 2.0**-20], np.float32)
    assert abs(raw(far * units, y).mi - real_truth(kept, y)) < 5 * FLOAT32
    far = (z.astype(float) + 1000).astype(np.float32)
    truth = class_truth(far.astype(float), labels)
    assert abs(raw(far * units, labels).mi - truth) < 5 * FLOAT32


def test_what_is_known_for_certain_reads_a_large_and_finite_number():
    x, _ = real_data()
    z, labels = class_data()
    # Each direction reads 5 to 8 nats.
    assert 15 < raw(x, x @ np.float32([[1, 0, 0], [1, 1, 0], [0, 1, 1]])).mi < 24
    z[:, 0] = labels
    assert raw(z, labels).mi > 8
    clipped = gaussian_mi(z, labels, num_classes=CLASSES, weights=ONES)
    assert clipped.mi == clipped.entropy
    assert clipped.normalized == 1


def test_clip_is_to_0_where_the_bias_that_is_taken_off_was_more():
    pairs = [(real_data(seed)[0], class_data(seed + 9)[1]) for seed in range(9)]
    loose = np.array([raw(*pair).mi for pair in pairs])
    clipped = partial(gaussian_mi, num_classes=CLASSES, weights=ONES)
    held = [clipped(*pair).mi for pair in pairs]
    assert loose.min() < 0 < loose.max()
    np.testing.assert_allclose(held, np.maximum(loose, 0), atol=1e-7)


def test_documented_values_where_there_is_nothing_to_know():
    x, y = real_data()
    for estimate in (
        raw(x * 0 + np.float32(0.1), y),
        raw(x, y * 0),
        raw(x, np.zeros(SAMPLES, int)),
        raw(x, y, 0 * ONES),
        raw(x, np.full(SAMPLES, -1)),
    ):
        assert estimate.mi == estimate.normalized == 0
    # Six columns and the mean: with one sample less there is no determinant.
    few = raw(x, y, np.float32(np.arange(SAMPLES) < 6))
    assert few.mi == 0
    assert np.isnan(few.std_error)
    assert few.num_samples == 6
    assert raw(x, y, np.float32(np.arange(SAMPLES) < 7)).std_error > 0


def test_weights_and_bad_rows_leave_samples_out_and_are_counted():
    x, y = real_data()
    z, labels = class_data()
    rng = np.random.default_rng(5)
    weights = rng.integers(0, 2, SAMPLES).astype(np.float32)
    bad, unlabelled = x.copy(), labels.copy()
    bad[3, 1], bad[4, 0] = np.nan, np.inf
    unlabelled[5], unlabelled[6] = -1, CLASSES
    weights[3:7], weights[7], weights[8] = 1, np.nan, -1
    kept = weights > 0
    kept[3:5] = False
    ours = raw(bad, y, weights)
    np.testing.assert_allclose(ours.mi, real_truth(x[kept], y[kept]), atol=5 * FLOAT32)
    assert ours.num_samples == kept.sum()
    assert ours.dropped == SAMPLES - kept.sum()
    kept = weights > 0
    kept[5:7] = False
    ours = raw(z, unlabelled, weights)
    truth = class_truth(z[kept], labels[kept])
    np.testing.assert_allclose(ours.mi, truth, atol=5 * FLOAT32)
    assert ours.dropped == SAMPLES - kept.sum()


def test_weights_count_as_repetitions_and_their_scale_is_free():
    x, y = real_data()
    weights = np.random.default_rng(6).integers(0, 4, SAMPLES)
    truth = real_truth(*(np.repeat(a, weights, 0) for a in (x, y)), corrected=False)
    kish = weights.sum() ** 2 / (weights**2).sum()
    for scale in (1e-3, 1.0, 1e6):
        ours = raw(x, y, np.float32(scale * weights), bias_correction=None)
        np.testing.assert_allclose(ours.mi, truth, atol=5 * FLOAT32)
        np.testing.assert_allclose(ours.num_samples, kish, rtol=1e-6)


@pytest.mark.parametrize("kind", ["real", "classes"])
def test_noise_is_that_of_noisy_samples(kind):
    rng = np.random.default_rng(0)
    # A constant column has no part in it.
    spread = np.array([3.0, 1.0, 0.01, 0.0])
    x = rng.normal(size=(4000, 4)) * spread
    y = rng.normal(size=(4000, 2)) + x[:, :2] if kind == "real" else (x[:, 0] > 0) * 1
    options = {"num_classes": None if kind == "real" else 2}
    measure = partial(gaussian_mi, **options, bias_correction=None, clip=False)
    truth = noisy_truth(x[:, :3], y, 0.6)
    for scale in (1.0, 1e-25):
        found = measure(np.float32((x + np.eye(4)[3]) * scale), y, noise=0.6)
        assert found.mi == pytest.approx(truth, abs=5 * FLOAT32)
    # Against noise that was drawn: its own chance is what the std_error tells.
    drawn = 0.6 * np.sqrt(x.var(0).sum()) * rng.normal(size=x.shape)
    sampled = measure(np.float32(x + drawn), y)
    assert abs(found.mi - sampled.mi) < 3 * sampled.std_error
    assert abs(measure(np.float32(x), y).mi - sampled.mi) > 10 * sampled.std_error


@pytest.mark.parametrize("kind", ["real", "classes"])
def test_noise_leaves_no_bias_where_nothing_is_told(kind):
    draws, real = 400, kind == "real"
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(draws, 100, 4)) * [4.0, 1.0, 0.3, 0.1]).astype(np.float32)
    y = rng.normal(size=(draws, 100, 3)).astype(np.float32)
    y = y if real else rng.integers(0, 5, (draws, 100))
    options = {"num_classes": None if real else 5, "noise": 0.2, "clip": False}
    pairs = list(zip(x, y, strict=True))
    found = np.array([gaussian_mi(*pair, **options).mi for pair in pairs])
    error = found.std() / np.sqrt(draws)
    assert abs(found.mean()) < 3 * error
    # What is not corrected.
    assert np.mean([noisy_truth(*pair, 0.2) for pair in pairs]) > 20 * error


def test_the_copula_is_that_of_normal_scores():
    x, y = real_data()
    x[:, 0] = np.round(x[:, 0])

    def scores(a):
        ranks = stats.rankdata(a, axis=0)
        return special.ndtri(ranks / (len(a) + 1)).astype(np.float32)

    ours = raw(x, y, copula=True)
    np.testing.assert_allclose(ours.mi, raw(scores(x), scores(y)).mi, atol=1e-5)
    monotone = raw(np.exp(3 * x), y**3, copula=True)
    np.testing.assert_allclose(monotone.mi, ours.mi, atol=1e-6)
    mask = np.arange(SAMPLES) % 3 > 0
    masked = raw(x, y, np.float32(mask), copula=True)
    truth = real_truth(scores(x[mask]), scores(y[mask]))
    np.testing.assert_allclose(masked.mi, truth, atol=1e-5)
    weights = np.random.default_rng(0).random(SAMPLES)
    for scale in (1.0, 7.0):
        weighted = raw(x, y, np.float32(scale * weights), copula=True)
        assert abs(weighted.mi - ours.mi) < 4 * ours.std_error
    labels = (x[:, 1] > 0).astype(int)
    found = raw(x, labels, copula=True)
    np.testing.assert_allclose(found.mi, raw(scores(x), labels).mi, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_symmetry_linear_maps_and_order(seed):
    x, y = real_data(seed)
    rng = np.random.default_rng(seed)
    few = np.float32(np.arange(SAMPLES) < 40)
    first = raw(x, y, few).mi
    np.testing.assert_allclose(raw(y, x, few).mi, first, atol=1e-5)
    order = np.r_[rng.permutation(40), 40:SAMPLES]
    np.testing.assert_allclose(raw(x[order], y[order], few).mi, first, atol=1e-5)
    moved = x * np.float32([3, -0.5, 1]) + np.float32(9)
    np.testing.assert_allclose(raw(moved, y, few).mi, first, atol=2e-5)
    labels = rng.integers(0, 3, SAMPLES)
    value = raw(x, labels, few)
    relabelled = raw(x, (labels + 1) % 3, few).mi
    np.testing.assert_allclose(relabelled, value.mi, atol=1e-5)
    clipped = gaussian_mi(x, labels, num_classes=CLASSES, weights=few)
    np.testing.assert_allclose(
        clipped.mi, np.clip(value.mi, 0, value.entropy), atol=1e-6
    )


def test_vmap_equals_a_loop_and_nothing_compiles_anew():
    sets = [class_data(seed) for seed in range(3)]
    sets = [tuple(jnp.asarray(a) for a in one) for one in sets]
    raw(*sets[0])
    with jax.no_tracing():
        loop = [raw(*one).mi for one in sets]
    each = jax.vmap(lambda x, y: raw(x, y).mi)(*map(np.stack, zip(*sets, strict=True)))
    np.testing.assert_allclose(each, loop, atol=FLOAT32)


def test_no_gradient_flows_through_the_estimate():
    x, y = real_data()
    slopes = jax.jit(jax.grad(lambda x, y: raw(x, y).mi, (0, 1)))(x, y)
    np.testing.assert_array_equal(slopes, 0 * np.stack([x, y]))


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        (-0.1, ValueError, r"noise must be at least 0 and finite, got noise=-0\.1\."),
        (np.inf, ValueError, "noise must be at least 0 and finite, got noise=inf"),
        ("much", TypeError, "noise must be a Python float, got 'much'"),
        (None, TypeError, "noise must be a Python float, got None"),
        (0.1, ValueError, "so does shrinkage=0.5: pass only one of the two"),
    ],
)
def test_noise_out_of_range(noise, error, message):
    x, y = real_data()
    shrinkage = 0.5 if noise == 0.1 else 0.0
    with pytest.raises(error, match=message):
        gaussian_mi(x, y, noise=noise, shrinkage=shrinkage)


def test_errors_name_the_argument_and_the_fix():
    x, y = real_data()
    labels = np.zeros(SAMPLES, int)
    with pytest.raises(ValueError, match=r"labels must have the shape \[400, d\]"):
        gaussian_mi(x, y[:-1])
    with pytest.raises(ValueError, match=r"outputs must have the shape \[399, d\]"):
        gaussian_mi(x, labels[:-1])
    with pytest.raises(ValueError, match="num_classes=3 is for class labels"):
        gaussian_mi(x, y, num_classes=3)
    with pytest.raises(ValueError, match="num_classes is needed inside jit"):
        jax.jit(gaussian_mi)(x, labels)
    with pytest.raises(ValueError, match=r"4 samples of 6 columns .* pass shrinkage"):
        gaussian_mi(x[:4], y[:4])
    with pytest.raises(ValueError, match="weights must have the shape"):
        gaussian_mi(x, y, weights=np.ones(3))
    for shrinkage in (1.0, -0.1, float("nan"), "ledoit"):
        with pytest.raises(ValueError, match=r"shrinkage must be in \[0, 1\) or 'oas'"):
            gaussian_mi(x, y, shrinkage=shrinkage)
    with pytest.raises(TypeError, match="shrinkage must be a Python float"):
        gaussian_mi(x, y, shrinkage=None)
    for correction in (True, "jackknife"):
        with pytest.raises(
            ValueError, match="must be None or 'wishart', got bias_corr"
        ):
            gaussian_mi(x, y, bias_correction=correction)
    with pytest.raises(TypeError, match="labels must be real"):
        gaussian_mi(x, y.astype(complex))
