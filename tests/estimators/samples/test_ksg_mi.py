"""Kraskov's estimators against scikit-learn, their definition and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma
from sklearn.feature_selection._mutual_info import _compute_mi_cc

from optax_mi.estimators.samples import _ksg_band, _ksg_mi, _ksg_tile
from optax_mi.estimators.samples._ksg_mi import ksg_mi


def definition(x, y, k, algorithm):
    """Equations 8 and 9; all samples at the distance of the k-th are among the k."""
    dx, dy = (abs(a[:, None, :] - a[None, :, :]).max(-1) for a in (x, y))
    joint = np.maximum(dx, dy)
    np.fill_diagonal(joint, np.inf)
    far = np.sort(joint, 1)[:, k - 1 : k]
    samples = len(x)
    if algorithm == 1:
        # The sample itself is at distance 0, and what equals it counts as nearer.
        n_x, n_y = (((d < far) | (d == 0)).sum(1) for d in (dx, dy))
        terms = digamma(k) - digamma(n_x) - digamma(n_y)
    else:
        near = joint <= far
        n_x, n_y = (
            (d <= np.where(near, d, 0).max(1, keepdims=True)).sum(1) - 1
            for d in (dx, dy)
        )
        terms = digamma(k) - 1 / k - digamma(n_x) - digamma(n_y)
    return digamma(samples) + terms.mean()


def pairs(kind, samples, seed=0):
    """Two columns of samples, of a kind that one of the passes may stumble over."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, samples))
    return {
        "independent": (x, z),
        "correlated": (x, 0.9 * x + 0.4 * z),
        "almost equal": (x, x + 1e-3 * z),
        "heavy tails in x": (np.sinh(4 * x), z),
        "heavy tails in y": (x, np.sinh(4 * z)),
        "heavy tails in both": (np.sinh(4 * x), np.sinh(4 * z)),
        "tied": (np.round(x), np.round(x + z)),
        "tied in x": (np.round(x), x + z),
        "tied in y": (x, np.round(x + z)),
        "half zeros": (np.maximum(x, 0), np.maximum(x + z, 0)),
        "on a grid": (np.round(x, 1), np.round(x + z, 1)),
        "an atom and tails": (np.where(z > 0, 1, np.sinh(4 * x)), np.sinh(4 * z)),
    }[kind]


KINDS = [
    *("independent", "correlated", "almost equal", "heavy tails in x"),
    *("heavy tails in y", "heavy tails in both", "tied", "tied in x", "tied in y"),
    *("half zeros", "on a grid", "an atom and tails"),
]


@pytest.mark.parametrize(
    ("samples", "k"), [(13, 3), (700, 1), (700, 3), (700, 10), (7000, 3)]
)
def test_equals_scikit_learn(samples, k):
    # The largest takes all three passes.
    all_passes = _ksg_band._SECOND * np.sqrt(k * samples) < samples // 7
    assert all_passes == (samples == 7000)
    with jax.enable_x64(True):
        for kind in KINDS:
            x, y = pairs(kind, samples)
            got = ksg_mi(x, y, k=k)
            assert got.mi.dtype == np.float64
            truth = _compute_mi_cc(x, y, k)
            np.testing.assert_allclose(got.mi, truth, atol=1e-9, err_msg=kind)


@pytest.mark.parametrize(
    ("samples", "columns", "algorithm", "k"),
    [
        (500, (1, 1), 2, 2),
        (500, (1, 1), 2, 9),
        (150, (1, 1), 2, 2),
        (150, (2, 1), 1, 3),
        (150, (3, 20), 2, 3),
    ],
)
@pytest.mark.usefixtures("strict")
def test_equals_its_definition(samples, columns, algorithm, k):
    with jax.enable_x64(True):
        for kind in KINDS:
            drawn = [pairs(kind, samples, seed) for seed in range(max(columns))]
            x, y = (
                np.stack([pair[i] for pair in drawn[:width]], -1)
                for i, width in enumerate(columns)
            )
            got = ksg_mi(x, y, k=k, algorithm=algorithm, clip=False).mi
            truth = definition(x, y, k, algorithm)
            np.testing.assert_allclose(got, truth, atol=1e-9, err_msg=kind)


def compiled_anew(x, y, k=3, algorithm=1):
    """The estimate with module constants as they are now."""
    core = _ksg_mi._ksg.__wrapped__
    f = jax.jit(lambda x, y: core(x, y, None, None, k, algorithm == 2, False).mi)
    return f, f(x, y)


def test_tiles_of_any_size_give_the_same(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(2, 101, 3)).astype(np.float32)
    for size in (1, 2**20):
        monkeypatch.setattr(_ksg_tile, "_TILE", size)
        got = compiled_anew(x, y)[1]
        np.testing.assert_allclose(got, definition(x, y, 3, 1), atol=1e-5)


@pytest.mark.parametrize("algorithm", [1, 2])
def test_bands_too_narrow_leave_it_to_the_other_passes(monkeypatch, algorithm):
    monkeypatch.setattr(_ksg_band, "_FIRST", 0.1)
    monkeypatch.setattr(_ksg_band, "_SECOND", 1.0)
    with jax.enable_x64(True):
        f, _ = compiled_anew(*pairs("tied", 900), 3, algorithm)
        for kind in KINDS:
            x, y = pairs(kind, 900)
            truth = definition(x[:, None], y[:, None], 3, algorithm)
            np.testing.assert_allclose(f(x, y), truth, atol=1e-9, err_msg=kind)


@pytest.mark.parametrize("columns", [1, 2])
def test_float32_counts_as_float64_does(columns):
    # Multiples of 1/64 below 128: differences are exact in float32.
    x, y = np.random.default_rng(0).integers(0, 4096, (2, 500, columns)) / 64
    y += x
    got = ksg_mi(x, y).mi
    assert got.dtype == np.float32
    truth = definition(x, y, 3, 1)
    # Four digammas of at most ln(500), each rounded, and their sum.
    np.testing.assert_allclose(got, truth, atol=20 * np.finfo(np.float32).eps)


def test_memory_is_linear_in_samples():
    for columns in (1, 3):
        x = jax.ShapeDtypeStruct((20_000, columns), jnp.float32)
        compiled = _ksg_mi._ksg.lower(x, x, None, None, 3, False, True).compile()
        # 4 MiB; the matrix of distances would be 1.6 GB.
        assert compiled.memory_analysis().temp_size_in_bytes < 2**22


def many(draw, runs, samples, columns, **options):
    """Estimates of so many simulated data sets."""

    def one(key):
        x, y = draw(key, (samples, columns))
        return ksg_mi(x, y, clip=False, **options)

    return jax.jit(lambda keys: jax.lax.map(one, keys))(
        jax.random.split(jax.random.key(7), runs)
    )


def gaussian(rho):
    def draw(key, shape):
        x, z = jax.random.normal(key, (2, *shape))
        return x, rho * x + np.sqrt(1 - rho**2) * z

    return draw


# The bias of either is known from experiments only (section III of the paper), and
# grows with dimension and dependence; bounds in nats here, besides the noise.
@pytest.mark.parametrize(
    ("columns", "rho", "algorithm", "bias"),
    [(3, 0.5, 1, 0.05), (3, 0.5, 2, 0.05), (10, 0.2, 1, 0.1)],
)
def test_gaussians_have_their_closed_form(columns, rho, algorithm, bias):
    runs = 24
    got = many(gaussian(rho), runs, 1000, columns, algorithm=algorithm).mi
    truth = -columns / 2 * np.log(1 - rho**2)
    noise = np.std(got) / np.sqrt(runs)
    np.testing.assert_allclose(np.mean(got), truth, atol=bias + 4 * noise)


def test_uniform_noise_has_its_closed_form():
    def draw(key, shape):
        x, z = jax.random.uniform(key, (2, *shape))
        return x, x + 0.5 * z

    # With noise of width a = 1/2, Y has a trapezoid of height 1 for density: H(Y) = a/2
    # and I = a/2 - ln a. The k-th neighbour is at about r = sqrt(k a / N) / 2, and a
    # share 4 r / a = 11 % of the samples has either edge of the noise within reach. Off
    # by less than ln 2 each, less than half of that on average, and only downwards.
    got = many(draw, 32, 2000, 1).mi
    noise = np.std(got) / np.sqrt(32)
    truth = 0.25 + np.log(2)
    assert truth - 0.11 * np.log(2) / 2 - 4 * noise < np.mean(got) < truth + 4 * noise


@pytest.mark.parametrize(("columns", "algorithm"), [(3, 1), (1, 2)])
def test_of_independent_samples_it_is_zero_on_average(columns, algorithm):
    runs = 100
    got = many(gaussian(0.0), runs, 400, columns, algorithm=algorithm).mi
    # The first is unbiased here, as far as the paper could see (its equation 17).
    noise = np.std(got) / np.sqrt(runs)
    assert abs(np.mean(got)) < 4 * noise + (0.005 if algorithm == 2 else 0)


def test_gaussian_columns_and_the_standard_error_within_a_third():
    runs, samples = 300, 500

    @jax.jit
    def simulate(rho):
        def one(key):
            x, z = jax.random.normal(key, (2, samples))
            return ksg_mi(x, rho * x + jnp.sqrt(1 - rho**2) * z, clip=False)

        return jax.lax.map(one, jax.random.split(jax.random.key(7), runs))

    for rho in (0.3, 0.6, 0.9):
        got = simulate(rho)
        ratio = np.mean(got.std_error) / np.std(got.mi)
        # The spread of 300 is itself known to 4 / sqrt(600) = 16 %.
        assert 0.67 < ratio < 1.5
        noise = np.std(got.mi) / np.sqrt(runs)
        truth = -np.log(1 - rho**2) / 2
        np.testing.assert_allclose(np.mean(got.mi), truth, atol=0.02 + 4 * noise)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    tied=st.booleans(),
    algorithm=st.sampled_from([1, 2]),
)
def test_symmetric_and_indifferent_to_order_signs_and_shifts(seed, tied, algorithm):
    rng = np.random.default_rng(seed)
    # Multiples of 1/8: shifts are exact.
    x, y = rng.integers(-4 if tied else -(2**16), 4 if tied else 2**16, (2, 60)) / 8
    y += x
    order = rng.permutation(60)

    def mi(x, y):
        return ksg_mi(x, y, k=4, algorithm=algorithm, clip=False).mi

    wanted = mi(x, y)
    for other in (mi(y, x), mi(x[order], y[order]), mi(-x, y + 16), mi(4 * x, 4 * y)):
        # The same counts; their terms may be added up in another order.
        np.testing.assert_allclose(other, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "columns", "k", "algorithm"),
    [(400, 1, 3, 1), (400, 1, 3, 2), (400, 1, 9, 1), (120, 2, 3, 2)],
)
def test_what_is_dropped_is_as_if_left_out(samples, columns, k, algorithm):
    x, y = np.random.default_rng(3).integers(-99, 99, (2, samples, columns)) / 64.0
    y += x
    mask = np.arange(samples) % 5 > 0
    mask[:4] = True
    kept = mask.copy()
    kept[:4] = False
    truth = definition(x[kept], y[kept], k, algorithm)
    x[0, -1], x[1, 0], y[2, 0], y[3, -1] = np.nan, np.inf, -np.inf, np.nan
    got = ksg_mi(x, y, k=k, mask=mask, algorithm=algorithm, clip=False)
    np.testing.assert_allclose(got.mi, truth, atol=1e-5)
    assert got.num_samples == kept.sum()
    assert got.dropped == samples - kept.sum()
    assert got.entropy == np.inf
    assert got.std_error > 0


@pytest.mark.parametrize(("samples", "columns"), [(300, 1), (40, 2)])
def test_too_few_or_constant_samples_are_zero(samples, columns):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, samples, columns)).astype(np.float32)
    one, everything = np.ones_like(x), np.ones(samples, bool)
    for few in (0, 1, 3):
        got = ksg_mi(x, y, mask=np.arange(samples) < few, clip=False)
        assert got.mi == 0
        assert got.num_samples == few
        assert np.isnan(got.std_error)
    grid = np.arange(x.size, dtype=np.float32).reshape(samples, columns)
    for a, b in ((one, y), (x, one), (one, grid)):
        got = ksg_mi(a, b, mask=everything, clip=False)
        assert got.mi == got.std_error == 0


def test_clip_cuts_below_zero_only():
    x, y = np.random.default_rng(0).integers(0, 3, (2, 60))
    assert ksg_mi(x, y, k=4, clip=False).mi < 0
    assert ksg_mi(x, y, k=4).mi == 0
    x, y = pairs("correlated", 60)
    assert ksg_mi(x, y, k=4, clip=False).mi == ksg_mi(x, y, k=4).mi > 0


def test_noise_breaks_ties_in_x_and_in_y_apart():
    labels = np.random.default_rng(0).integers(0, 4, 400)
    got = ksg_mi(labels, labels, key=jax.random.key(0))
    shares = np.bincount(labels) / 400
    # Within a value x and y are independent noise, and all samples of other values are
    # out of reach: the information is that of the value. One noise for both would give
    # psi(400) - psi(3) = 5.1.
    truth = -np.sum(shares * np.log(shares))
    assert abs(got.mi - truth) < 4 * got.std_error + 0.05
    assert got.mi == ksg_mi(labels, labels, key=jax.random.key(0)).mi
    assert got.mi != ksg_mi(labels, labels, key=jax.random.key(1)).mi


@pytest.mark.usefixtures("strict")
def test_vmap_is_a_loop_and_jit_compiles_once():
    x = np.random.default_rng(0).normal(size=(3, 300)).astype(np.float32)
    y = x[0] + x[1]
    mask = np.arange(300) < np.array([300, 200, 20])[:, None]
    f = jax.jit(lambda x, w: ksg_mi(x, y, mask=w, key=jax.random.key(0)))
    together = jax.vmap(f)(x, mask)
    for i in range(3):
        alone = f(x[i], mask[i])
        for got, wanted in zip(together, alone, strict=True):
            np.testing.assert_allclose(got[i], wanted, atol=1e-5)
    assert f._cache_size() == 1


def test_dtypes_and_no_gradient():
    x = np.random.default_rng(0).normal(size=80)

    def dtype(x, y):
        return jax.eval_shape(ksg_mi, x, y).mi.dtype

    with jax.enable_x64(True):
        assert dtype(x.astype(np.float32), x) == np.float64
        assert dtype(np.arange(80), x.astype(np.float16)) == np.float32
    assert dtype(x, x) == np.float32
    slope = jax.grad(lambda x: ksg_mi(x, 2 * x).mi)(jnp.asarray(x, jnp.float32))
    np.testing.assert_array_equal(slope, 0)


X = np.arange(10.0)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((X, X[:9]), {}, ValueError, r"labels must have the shape \[10, d\].* \(9,\)"),
        ((X.reshape(5, 2, 1), X), {}, ValueError, r"outputs must have .*\(5, 2, 1\)"),
        ((X, X[:, None, None]), {}, ValueError, "labels must have the shape"),
        ((X[:0], X[:0]), {}, ValueError, "along one axis, at least one"),
        ((X * 1j, X), {}, TypeError, "outputs must be real"),
        ((X, X), {"k": 10}, ValueError, "k must be less than .* N = 10"),
        ((X, X), {"k": 0}, ValueError, "k must be at least 1, got k=0"),
        ((X, X), {"k": 2.0}, TypeError, "k must be an int"),
        ((X, X), {"k": jnp.int32(2)}, TypeError, "Python int"),
        ((X, X), {"algorithm": 3}, ValueError, "1 or 2, got algorithm=3"),
        ((X, X), {"mask": X}, TypeError, "mask must be boolean"),
        ((X, X), {"mask": X[:3] > 0}, ValueError, "mask must have the shape"),
    ],
)
def test_errors_name_what_is_wrong(args, options, error, message):
    with pytest.raises(error, match=message):
        ksg_mi(*args, **options)
