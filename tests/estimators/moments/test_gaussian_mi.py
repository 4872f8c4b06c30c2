"""Log-determinants against NumPy, closed forms and simulation."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.covariance import oas

from optax_mi.estimators.arithmetic._scatter import gram
from optax_mi.estimators.moments._gaussian_mi import _estimate, gaussian_mi

# Entries of a float32 correlation err by a few eps; so do the log-determinants of well
# conditioned matrices, by column.
FLOAT32 = 2e-6


def log_det(x):
    return np.linalg.slogdet(np.atleast_2d(np.cov(np.asarray(x, float).T)))[1]


def real_truth(x, y, corrected):
    joint = np.concatenate([x, y], 1)
    n = len(x) - 1

    def expected(columns):
        return sum(special.digamma((n - i) / 2) for i in range(columns))

    value = (log_det(x) + log_det(y) - log_det(joint)) / 2
    if corrected:
        sizes = [z.shape[1] for z in (x, y, joint)]
        bias = [expected(size) for size in sizes]
        value -= (bias[0] + bias[1] - bias[2]) / 2
    return value


def class_truth(x, labels, corrected):
    x = np.asarray(x, float)
    n, columns = x.shape
    classes = np.unique(labels)
    total = (x - x.mean(0)).T @ (x - x.mean(0))
    parts = [x[labels == c] - x[labels == c].mean(0) for c in classes]
    within = sum(part.T @ part for part in parts)
    value = (np.linalg.slogdet(total)[1] - np.linalg.slogdet(within)[1]) / 2
    if corrected:
        for i in range(columns):
            value -= special.digamma((n - 1 - i) / 2) / 2
            value += special.digamma((n - len(classes) - i) / 2) / 2
    return value


def real_data(seed=0, samples=400, columns=3, others=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, columns))
    y = x[:, :1] + rng.normal(size=(samples, others))
    return x.astype(np.float32), y.astype(np.float32)


def class_data(seed=0, samples=400, columns=3, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    x = (
        rng.normal(size=(samples, columns))
        + rng.normal(size=(classes, columns))[labels]
    )
    return x.astype(np.float32), labels


raw = partial(gaussian_mi, clip=False)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("correction", ["wishart", None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("samples", "columns", "others"), [(50, 1, 1), (300, 20, 9)])
def test_equals_numpy(dtype, correction, samples, columns, others):
    x, y = real_data(1, samples, columns, others)
    z, labels = class_data(2, samples, columns)
    with jax.enable_x64(dtype == "float64"):
        real = raw(x.astype(dtype), y.astype(dtype), bias_correction=correction)
        label = raw(z.astype(dtype), labels, bias_correction=correction)
        real, label = jax.device_get((real, label))
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
def test_correlated_gaussians_have_their_closed_form(columns, rho):
    rng = np.random.default_rng(columns)
    x, noise = rng.normal(size=(2, 20_000, columns))
    y = rho * x + np.sqrt(1 - rho**2) * noise
    # Mixing columns changes nothing.
    y = y @ rng.normal(size=(columns, columns))
    estimate = raw(x, y)
    truth = -columns / 2 * np.log1p(-(rho**2))
    # About 0 the error is that of chi-square / 2N with columns**2 degrees of freedom.
    sigma = max(float(estimate.std_error), columns / np.sqrt(2) / 20_000)
    assert abs(estimate.mi - truth) < 4 * sigma


def test_the_bias_is_gone_at_ten_samples_a_column():
    draws, samples, columns = 40, 640, 64

    def one(key):
        x, y = jax.random.normal(key, (2, samples, columns))
        return raw(x, y).mi, raw(x, y, bias_correction=None).mi

    corrected, plain = jax.lax.map(one, jax.random.split(jax.random.key(0), draws))
    assert np.mean(plain) > 3.4
    assert abs(np.mean(corrected)) < 4 * np.std(corrected) / np.sqrt(draws)


def test_classes_of_one_covariance_have_their_population_formula():
    means = np.array([[0.0, 0, 0], [1, 1, 0], [0, -1, 2]])
    shares = np.array([0.5, 0.3, 0.2])
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 50_000, p=shares)
    mix = rng.normal(size=(3, 3))
    x = (means[labels] + rng.normal(size=(50_000, 3))) @ mix
    offsets = means - shares @ means
    between = (shares[:, None] * offsets).T @ offsets
    truth = np.linalg.slogdet(np.eye(3) + between)[1] / 2
    estimate = raw(x, labels)
    assert abs(estimate.mi - truth) < 4 * estimate.std_error


def test_a_product_in_blocks_is_the_whole_one():
    # Whole numbers: every sum is exact.
    rows = np.random.default_rng(0).integers(-3, 4, (1100, 515)).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(gram)(rows), rows.T @ rows)


def simulated(kind, key):
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (500, 3))
    if kind == "real":
        return raw(x, x[:, :2] + jax.random.normal(keys[1], (500, 2)))
    labels = jax.random.randint(keys[1], (500,), 0, 3)
    x = x.at[:, 0].add(1.5 * labels).at[:, 1].add(labels == 1)
    return raw(x, labels, num_classes=3)


@pytest.mark.parametrize("kind", ["real", "classes"])
def test_std_error_is_the_spread_of_estimates(kind):
    draws = 400
    keys = jax.random.split(jax.random.key(1), draws)
    estimates = jax.lax.map(partial(simulated, kind), keys)
    # The relative error of a standard deviation from n normal draws is 1/sqrt(2 n).
    np.testing.assert_allclose(
        np.mean(estimates.std_error), np.std(estimates.mi), rtol=4 / np.sqrt(2 * draws)
    )


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_units_and_means_of_columns_do_not_matter(scale):
    x, y = real_data()
    z, labels = class_data()
    far = (x.astype(float) + 1000).astype(np.float32)
    # What float32 itself keeps at that mean, in float64.
    kept = far.astype(float)
    units = np.float32(scale) * np.array([1, 2**20, 2.0**-20], np.float32)
    assert abs(raw(far * units, y).mi - real_truth(kept, y, True)) < 5 * FLOAT32
    far = (z.astype(float) + 1000).astype(np.float32)
    truth = class_truth(far.astype(float), labels, True)
    assert abs(raw(far * units, labels).mi - truth) < 5 * FLOAT32


def test_collinear_and_constant_columns_change_nothing_and_are_finite():
    x, y = real_data()
    z, labels = class_data()
    plain = partial(raw, bias_correction=None)
    for extra in (lambda a: a @ np.ones((3, 4), np.float32), lambda a: 0 * a + 0.1):
        more = plain(np.c_[x, extra(x)], y)
        np.testing.assert_allclose(more.mi, plain(x, y).mi, atol=1e-5)
        more = plain(np.c_[z, extra(z)], labels)
        np.testing.assert_allclose(more.mi, plain(z, labels).mi, atol=1e-5)
        np.testing.assert_allclose(
            more.std_error, plain(z, labels).std_error, rtol=1e-4
        )
    # A constant column costs no degree of freedom either.
    np.testing.assert_allclose(
        raw(np.c_[x, x * 0 + 7], y).mi, raw(x, y).mi, atol=5 * FLOAT32
    )
    known = raw(x, x[:, :1])
    assert 5 < known.mi < 9
    assert gaussian_mi(labels.astype(float), labels, clip=False).mi > 8
    assert gaussian_mi(labels.astype(float), labels).normalized == 1


def test_documented_values_where_there_is_nothing_to_know():
    x, y = real_data()
    for estimate in (
        raw(x * 0 + 0.1, y),
        raw(x, y * 0),
        raw(x, np.zeros(400, int)),
        raw(x, y, weights=np.zeros(400)),
        raw(x, np.full(400, -1), num_classes=3),
    ):
        assert estimate.mi == estimate.normalized == 0
    few = raw(x, y, weights=np.arange(400) < 5)
    assert few.mi == 0
    assert np.isnan(few.std_error)
    assert few.num_samples == 5
    # One more and there is a determinant.
    assert raw(x, y, weights=np.arange(400) < 6).std_error > 0


def test_weights_and_bad_rows_leave_samples_out_and_are_counted():
    x, y = real_data()
    z, labels = class_data()
    rng = np.random.default_rng(5)
    weights = rng.integers(0, 2, 400).astype(np.float32)
    bad, unlabelled = x.copy(), labels.copy()
    bad[3, 1], bad[4, 0] = np.nan, np.inf
    unlabelled[5], unlabelled[6] = -1, 4
    weights[3:7], weights[7], weights[8] = 1, np.nan, -1
    kept = weights > 0
    kept[3:5] = False
    ours, truth = raw(bad, y, weights=weights), raw(x[kept], y[kept])
    np.testing.assert_allclose(ours.mi, truth.mi, atol=5 * FLOAT32)
    np.testing.assert_allclose(ours.std_error, truth.std_error, rtol=1e-5)
    assert ours.num_samples == kept.sum()
    assert ours.dropped == 400 - kept.sum()
    kept = weights > 0
    kept[5:7] = False
    ours = raw(z, unlabelled, num_classes=4, weights=weights)
    truth = raw(z[kept], labels[kept])
    np.testing.assert_allclose(ours.mi, truth.mi, atol=5 * FLOAT32)
    np.testing.assert_allclose(ours.std_error, truth.std_error, rtol=1e-5)
    assert ours.dropped == 400 - kept.sum()


def test_weights_count_as_repetitions_and_their_scale_is_free():
    x, y = real_data()
    weights = np.random.default_rng(6).integers(0, 4, 400)
    plain = partial(raw, bias_correction=None)
    again = [np.repeat(a, weights, 0) for a in (x, y)]
    for scale in (1e-3, 1.0, 1e6):
        ours = plain(x, y, weights=scale * weights)
        np.testing.assert_allclose(ours.mi, plain(*again).mi, atol=5 * FLOAT32)
        kish = weights.sum() ** 2 / (weights**2).sum()
        np.testing.assert_allclose(ours.num_samples, kish, rtol=1e-6)


def test_shrinkage_multiplies_correlations():
    x, y = (a[:4].astype(float) for a in real_data())
    joint = np.corrcoef(np.c_[x, y].T)
    shrunk = 0.7 * joint + 0.3 * np.eye(5)
    parts = [np.linalg.slogdet(a)[1] for a in (shrunk[:3, :3], shrunk[3:, 3:], shrunk)]
    ours = raw(x, y, shrinkage=0.3)
    np.testing.assert_allclose(ours.mi, (parts[0] + parts[1] - parts[2]) / 2, rtol=1e-5)
    z, labels = class_data(samples=9, columns=20, classes=2)
    assert 0 < raw(z, labels, shrinkage=0.5).mi < 5


def noisy_truth(x, y, noise):
    """I(X + noise; Y) from the covariances that X + noise has in the limit."""
    x, added = np.asarray(x, float), noise**2 * x.var(0, dtype=float).sum()
    total = np.cov(x.T, bias=True) + added * np.eye(x.shape[1])
    if np.issubdtype(y.dtype, np.integer):
        parts = [x[y == c] - x[y == c].mean(0) for c in np.unique(y)]
        within = sum(part.T @ part for part in parts) / len(x)
        given_y = within + added * np.eye(x.shape[1])
    else:
        both = np.cov(np.concatenate([x, y], 1).T, bias=True)
        k = x.shape[1]
        given_y = total - both[:k, k:] @ np.linalg.solve(both[k:, k:], both[k:, :k])
    return (np.linalg.slogdet(total)[1] - np.linalg.slogdet(given_y)[1]) / 2


@pytest.mark.parametrize("kind", ["real", "classes"])
def test_noise_is_that_of_noisy_samples(kind):
    rng = np.random.default_rng(0)
    spread = np.array([3.0, 1.0, 0.01])
    x = rng.normal(size=(4000, 3)) * spread
    y = rng.normal(size=(4000, 2)) + x[:, :2] if kind == "real" else (x[:, 0] > 0) * 1
    measure = partial(gaussian_mi, num_classes=None if kind == "real" else 2)
    for scale in (1.0, 1e-25):
        found = measure(
            np.float32(x * scale), y, noise=0.3, bias_correction=None, clip=False
        )
        assert found.mi == pytest.approx(noisy_truth(x, y, 0.3), abs=5 * FLOAT32)
    # A constant column has no part in it.
    wide = np.concatenate([np.ones((4000, 1)), x], 1)
    seen, plain = (measure(np.float32(v), y, noise=0.3).mi for v in (wide, x))
    assert seen == pytest.approx(float(plain), abs=5 * FLOAT32)
    # Against noise that was drawn: its own chance is what the std_error tells.
    drawn = np.sqrt(x.var(0).sum()) * rng.normal(size=x.shape)
    closed, sampled = measure(x, y, noise=1.0), measure(x + drawn, y)
    assert abs(closed.mi - sampled.mi) < 3 * sampled.std_error
    assert abs(measure(x, y).mi - sampled.mi) > 10 * sampled.std_error


@pytest.mark.parametrize("kind", ["real", "classes"])
def test_noise_leaves_no_bias_where_nothing_is_told(kind):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(400, 100, 4)) * [4.0, 1.0, 0.3, 0.1]).astype(np.float32)
    if kind == "real":
        y = rng.normal(size=(400, 100, 3)).astype(np.float32)
    else:
        y = rng.integers(0, 5, (400, 100))
    measure = partial(
        gaussian_mi, num_classes=None if kind == "real" else 5, noise=0.2, clip=False
    )
    found = np.asarray(jax.vmap(lambda x, y: measure(x, y).mi)(x, y))
    raw = jax.vmap(lambda x, y: measure(x, y, bias_correction=None).mi)(x, y)
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 3 * error
    assert np.mean(raw) > 20 * error


def test_oas_is_that_of_scikit_learn():
    x, y = real_data(samples=12, columns=7, others=5)
    joint = np.c_[x, y].astype(float)
    joint = (joint - joint.mean(0)) / joint.std(0)
    shrunk, _ = oas(joint)
    parts = (shrunk[:7, :7], shrunk[7:, 7:], shrunk)
    parts = [np.linalg.slogdet(a)[1] for a in parts]
    with jax.enable_x64(True):
        ours = raw(x.astype(float), y.astype(float), shrinkage="oas")
        np.testing.assert_allclose(
            ours.mi, (parts[0] + parts[1] - parts[2]) / 2, rtol=1e-10
        )
        # Nothing to learn from a column that does not vary.
        more = raw(np.c_[x, 0 * x].astype(float), y.astype(float), shrinkage="oas")
        np.testing.assert_allclose(more.mi, ours.mi, rtol=1e-10)
    assert raw(x[:, 0], y[:, 0] * 0, shrinkage="oas").mi == 0


def test_copula_equals_normal_scores_of_average_ranks():
    x, y = real_data()
    x[:, 0] = np.round(x[:, 0])
    scores = [
        special.ndtri(stats.rankdata(a, axis=0) / 401).astype(np.float32)
        for a in (x, y)
    ]
    ours = raw(x, y, copula=True)
    np.testing.assert_allclose(ours.mi, raw(*scores).mi, atol=1e-5)
    monotone = raw(np.exp(3 * x), y**3, copula=True)
    np.testing.assert_allclose(monotone.mi, ours.mi, atol=1e-6)
    mask = np.arange(400) % 3 > 0
    np.testing.assert_allclose(
        raw(x, y, copula=True, weights=mask).mi,
        raw(x[mask], y[mask], copula=True).mi,
        atol=1e-5,
    )
    weights = np.random.default_rng(0).random(400)
    for scale in (1.0, 7.0):
        weighted = raw(x, y, copula=True, weights=scale * weights)
        assert abs(weighted.mi - ours.mi) < 4 * ours.std_error
    labels = (x[:, 1] > 0).astype(int)
    np.testing.assert_allclose(
        raw(x, labels, copula=True).mi, raw(scores[0], labels).mi, atol=1e-5
    )


@given(seed=st.integers(0, 2**32 - 1), shrinkage=st.sampled_from([0.0, 0.2]))
@settings(deadline=None, max_examples=15)
def test_symmetry_linear_maps_and_order(seed, shrinkage):
    x, y = real_data(seed, 40, 2, 2)
    rng = np.random.default_rng(seed)
    same = partial(raw, shrinkage=shrinkage)
    first = same(x, y).mi
    np.testing.assert_allclose(same(y, x).mi, first, atol=1e-5)
    order = rng.permutation(40)
    np.testing.assert_allclose(same(x[order], y[order]).mi, first, atol=1e-5)
    np.testing.assert_allclose(same(x * [3, -0.5] + 9, y).mi, first, atol=2e-5)
    labels = rng.integers(0, 3, 40)
    value = same(x, labels, num_classes=3).mi
    relabelled = same(x, (labels + 1) % 3, num_classes=3).mi
    np.testing.assert_allclose(relabelled, value, atol=1e-5)
    clipped = gaussian_mi(x, labels, num_classes=3, shrinkage=shrinkage)
    assert 0 <= clipped.mi <= clipped.entropy


def test_vmap_equals_a_loop_and_nothing_recompiles_or_has_a_gradient():
    z, labels = class_data(columns=5)
    one = partial(raw, labels=labels, num_classes=4)
    each = jax.vmap(lambda column: one(column).mi)(z.T)
    np.testing.assert_allclose(each, [one(column).mi for column in z.T], atol=FLOAT32)
    size = _estimate._cache_size()
    raw(z, labels)
    raw(z + 1, (labels + 1) % 4)
    assert _estimate._cache_size() == size + 1
    x, y = real_data()
    np.testing.assert_array_equal(jax.grad(lambda a: raw(a, y).mi)(x), 0 * x)
    np.testing.assert_allclose(jax.jit(raw)(x, y).mi, raw(x, y).mi, rtol=1e-6)


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        (-0.1, ValueError, r"noise must be at least 0 and finite, got noise=-0\.1\."),
        (np.inf, ValueError, "noise must be at least 0 and finite, got noise=inf"),
        ("much", TypeError, "noise must be a Python float, got 'much'"),
        (None, TypeError, "noise must be a Python float, got None"),
        (0.1, ValueError, "as shrinkage=0.5 does: pass one of the two"),
    ],
)
def test_noise_out_of_range(noise, error, message):
    x, y = real_data()
    shrinkage = 0.5 if noise == 0.1 else 0.0
    with pytest.raises(error, match=message):
        gaussian_mi(x, y, noise=noise, shrinkage=shrinkage)


def test_errors_name_the_argument_and_the_fix():
    x, y = real_data()
    labels = np.zeros(400, int)
    with pytest.raises(ValueError, match=r"labels must have the shape \[400, d\]"):
        gaussian_mi(x, y[:-1])
    with pytest.raises(ValueError, match="must hold samples along one axis|labels must have"):
        gaussian_mi(x, labels[:-1])
    with pytest.raises(ValueError, match="num_classes=3 is for class labels"):
        gaussian_mi(x, y, num_classes=3)
    with pytest.raises(ValueError, match="num_classes is needed inside jit"):
        jax.jit(gaussian_mi)(x, labels)
    with pytest.raises(ValueError, match=r"4 samples of 5 columns .* pass shrinkage"):
        gaussian_mi(x[:4], y[:4])
    with pytest.raises(ValueError, match="weights must have the shape"):
        gaussian_mi(x, y, weights=np.ones(3))
    for shrinkage in (1.0, -0.1, float("nan"), "ledoit"):
        with pytest.raises(ValueError, match=r"shrinkage must be in \[0, 1\) or 'oas'"):
            gaussian_mi(x, y, shrinkage=shrinkage)
    with pytest.raises(TypeError, match="shrinkage must be a Python float"):
        gaussian_mi(x, y, shrinkage=None)
    with pytest.raises(ValueError, match="bias_correction=True is the bias without"):
        gaussian_mi(x, y, shrinkage=0.5, bias_correction="wishart")
    with pytest.raises(TypeError, match="labels must be real"):
        gaussian_mi(x, y.astype(complex))
