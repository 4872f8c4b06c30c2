"""Ross's estimator against scikit-learn, KD-trees and closed forms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma
from sklearn.feature_selection._mutual_info import _compute_mi_cd

from optax_mi.estimators.samples import _ross_mi
from optax_mi.estimators.samples._ross_mi import ross_mi
from tests.estimators.samples.helpers import by_trees

# Most tests share a shape, a number of classes and a mask, and so two programs, for one
# column and for three: every other compiles anew.
SAMPLES = CLASSES = 301
ALL = np.ones(SAMPLES, bool)


def sample(kind, dimensions, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, SAMPLES)
    if kind == "unbalanced":
        labels = np.repeat([0, 7, 3, 50, 199], [1, 1, 8, 20, 271])
    x = rng.normal(size=(SAMPLES, dimensions)) + 0.5 * (labels[:, None] % 3)
    if kind == "ties":
        x = np.round(2 * x) + 1000
    elif kind == "constant":
        x = np.full_like(x, 0.1)
    elif kind == "twice":
        x[150:300], labels[150:300] = x[:150], labels[:150]
    return x, labels


def measure(x, labels, k=3, mask=ALL, clip=False, key=None, **options):
    """Of the samples as they are, ties and all."""
    fixed = {"num_classes": CLASSES, "mask": mask, "clip": clip, "key": key}
    return ross_mi(x, labels, k=k, **fixed, **options)


slow = pytest.mark.slow
columns = pytest.mark.parametrize("dimensions", [1, 3])
KINDS = [
    ("plain", 4, 3),
    ("plain", 200, 3),
    ("unbalanced", 200, 3),
    ("constant", 4, 3),
    ("twice", 4, 3),
    ("ties", 4, 3),
    ("ties", 200, 3),
    # More than there are in a class.
    pytest.param("ties", 4, 90, marks=slow),
]


# Where scikit-learn has classes of at most 2 k it takes radii from a product of
# matrices and counts from a tree, and its result depends on rounding, but for ties.
@pytest.mark.parametrize(
    ("kind", "classes", "k"), [kind for kind in KINDS if kind != ("plain", 200, 3)]
)
def test_equals_scikit_learn_in_one_dimension(kind, classes, k):
    x, labels = sample(kind, 1, classes)
    with jax.enable_x64(True):
        estimate = measure(x, labels, k)
    assert estimate.mi.dtype == jnp.float64
    # Theirs is cut off below 0.
    truth = _compute_mi_cd(x[:, 0], labels, k)
    np.testing.assert_allclose(max(float(estimate.mi), 0), truth, rtol=0, atol=1e-12)


@columns
@pytest.mark.parametrize(("kind", "classes", "k"), KINDS)
def test_equals_trees(dimensions, kind, classes, k):
    x, labels = sample(kind, dimensions, classes)
    truth = by_trees(x, labels, k)
    with jax.enable_x64(True):
        estimate = measure(x, labels, k)
        np.testing.assert_allclose(estimate.mi, truth, rtol=0, atol=1e-12)
    if k == 3:
        # Rounding may exchange two neighbours, which moves a count by 1 of its size.
        estimate = measure(x, labels)
        assert estimate.mi.dtype == jnp.float32
        np.testing.assert_allclose(estimate.mi, truth, rtol=0, atol=3 / SAMPLES)


def test_equal_vectors_are_ties_in_float32():
    # Coordinates on no grid: distances of equal vectors round to other values than 0.
    x, labels = sample("plain", 20)
    x, labels = np.tile(x[:100], (5, 1)).astype(np.float32), np.tile(labels[:100], 5)
    estimate = ross_mi(x, labels, key=None)
    truth = digamma(len(x)) - digamma(np.bincount(labels)[labels]).mean()
    np.testing.assert_allclose(
        estimate.mi, truth + digamma(3) - digamma(5), rtol=0, atol=1e-5
    )


def test_tiles_add_up(monkeypatch):
    x, labels = sample("ties", 3)
    one = measure(x, labels).mi
    np.testing.assert_allclose(one, by_trees(x, labels, 3), rtol=0, atol=1e-5)
    # Tiles of 16 rows, the last one of 13, and not one of 512.
    monkeypatch.setattr(_ross_mi, "_TILE_SIZE", 1)
    core = _ross_mi._ross.__wrapped__
    many = jax.jit(lambda x, y: core(x, y, None, None, 3, CLASSES, False).mi)
    np.testing.assert_allclose(many(x, labels), one, rtol=0, atol=1e-6)


@columns
def test_measures_the_information_of_two_gaussians(dimensions):
    # I = H(Y) - E ln(1 + exp(-t)), t normal with mean a**2 / 2 and variance a**2, for
    # unit Gaussians a apart.
    apart, seeds = 2.0, 60
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    loss = np.logaddexp(0.0, -(apart**2 / 2 + apart * points))
    truth = np.log(2) - weights @ loss / np.sqrt(2 * np.pi)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (seeds, SAMPLES))
    x = rng.normal(size=(seeds, SAMPLES, dimensions)).astype(np.float32)
    x[..., 0] += apart * labels
    mi = [float(measure(*data).mi) for data in zip(x, labels, strict=True)]
    error = np.std(mi, ddof=1) / np.sqrt(seeds)
    # The bias in three dimensions: the density is not constant within the radius.
    bias = {1: 0.0, 3: 0.01}[dimensions]
    assert abs(np.mean(mi) - truth) < 4 * error + bias


@pytest.mark.parametrize(
    ("dimensions", "apart", "k"),
    [(1, 0.0, 3), pytest.param(1, 2.0, 10, marks=slow), (3, 2.0, 3)],
)
def test_standard_error_is_within_a_factor_of_the_spread(dimensions, apart, k):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (200, SAMPLES))
    x = rng.normal(size=(200, SAMPLES, dimensions)).astype(np.float32)
    x[..., 0] += apart * labels
    draws = [measure(*data, k) for data in zip(x, labels, strict=True)]
    mi, std_error = np.array([(one.mi, one.std_error) for one in draws]).T
    # The spread of 200 is known to 5 percent.
    ratio = np.mean(std_error) / np.std(mi, ddof=1)
    assert 1 / 1.4 - 0.1 < ratio < 1.1


@columns
@pytest.mark.usefixtures("strict")
def test_drops_and_counts_what_cannot_be_used(dimensions):
    x, labels = sample("ties", dimensions)
    x = x.astype(np.float32)
    mask = np.random.default_rng(1).random(SAMPLES) < 0.8
    bad, padded = x.copy(), labels.copy()
    bad[3, 0], bad[4, -1], padded[5:8] = np.nan, -np.inf, [-1, CLASSES, -7]
    good = mask & ~np.isin(np.arange(SAMPLES), range(3, 8))
    estimate = measure(bad, padded, mask=mask)
    truth = by_trees(x[good], labels[good], 3)
    np.testing.assert_allclose(estimate.mi, truth, rtol=0, atol=1e-5)
    shares = np.bincount(labels[good]) / good.sum()
    np.testing.assert_allclose(estimate.entropy, -shares @ np.log(shares), rtol=1e-5)
    assert float(estimate.num_samples) == good.sum()
    assert float(estimate.dropped) == SAMPLES - good.sum()


@columns
def test_documented_values_where_there_is_no_information(dimensions):
    x, labels = sample("plain", dimensions)
    one = measure(x, np.zeros(SAMPLES, int))
    np.testing.assert_allclose(one.mi, 0, atol=1e-6)
    assert one.entropy == 0
    constant = measure(np.ones_like(x), labels)
    assert constant.mi <= 0
    assert constant.entropy > 1
    unique = measure(x, np.arange(SAMPLES))
    assert unique.mi == 0
    assert unique.num_samples == SAMPLES
    np.testing.assert_allclose(unique.entropy, np.log(SAMPLES), rtol=1e-5)
    assert np.isnan(unique.std_error)
    none = measure(x, labels, mask=~ALL)
    assert none.mi == none.entropy == none.num_samples == 0
    assert none.dropped == SAMPLES


def test_samples_alone_in_their_class_count_for_the_entropy_only():
    x, labels = sample("plain", 1)
    labels[:5] = np.arange(10, 15)
    estimate = measure(x, labels)
    others = measure(x, labels, mask=np.arange(SAMPLES) >= 5)
    np.testing.assert_allclose(estimate.mi, others.mi, atol=1e-6)
    np.testing.assert_allclose(estimate.std_error, others.std_error, rtol=1e-5)
    shares = np.unique(labels, return_counts=True)[1] / SAMPLES
    np.testing.assert_allclose(estimate.entropy, -shares @ np.log(shares), rtol=1e-5)
    assert estimate.num_samples == SAMPLES


@slow
def test_classes_too_many_for_one_key_to_hold_label_and_place():
    x, labels = sample("plain", 1)
    many = ross_mi(x, labels * 5_000_000, num_classes=15_000_001, clip=False, key=None)
    chex.assert_trees_all_close(measure(x, labels), many, rtol=1e-5)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), dimensions=st.sampled_from([1, 3]))
def test_invariant_under_what_keeps_the_order_of_distances(seed, dimensions):
    # On a grid, so that doubling and shifting are exact.
    x, labels = sample("ties", dimensions, seed=seed)
    mi = measure(x, labels).mi
    order = np.random.default_rng(seed).permutation(SAMPLES)
    for other in (
        measure(x[order], labels[order]),
        measure(x, 3 - labels),
        measure(8 - 2 * x[:, ::-1], labels),
    ):
        np.testing.assert_allclose(other.mi, mi, atol=1e-6)


@pytest.mark.parametrize(
    ("dimensions", "over"),
    [
        # As the docstring has it.
        (1, lambda f, x: jax.lax.map(f, x, batch_size=2)),
        (3, lambda f, x: jax.vmap(f)(x)),
    ],
    ids=["map", "vmap"],
)
def test_maps_over_features(dimensions, over):
    x, labels = sample("plain", 4 * dimensions)
    features = x.astype(np.float32).reshape(SAMPLES, 4, dimensions).swapaxes(0, 1)
    measure(features[0], labels)
    with jax.no_tracing():
        each = [measure(feature, labels) for feature in map(jnp.asarray, features)]
    mapped = over(lambda feature: measure(feature, labels), features)
    for i, alone in enumerate(each):
        one = jax.tree.map(lambda field, i=i: field[i], mapped)
        chex.assert_trees_all_close(one, alone, rtol=1e-5)


def test_no_gradient_flows_through_the_estimate():
    x, labels = sample("plain", 1)
    gradient = jax.jit(jax.grad(lambda x: measure(x, labels).mi))(x)
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


@columns
def test_ties_are_broken_by_default_and_nothing_else_moves(dimensions):
    x, labels = sample("plain", dimensions)
    as_it_is, broken = measure(x, labels), measure(x, labels, key=0)
    # Whoever has no ties gets the same but for where the samples lie.
    np.testing.assert_allclose(as_it_is.mi, broken.mi, atol=2 / SAMPLES)
    # Of samples with equal values, some are now nearer than others.
    x = np.sign(x)
    broken = measure(x, labels, key=0)
    assert broken.mi > measure(x, labels).mi + 0.1
    assert measure(x, labels, key=jax.random.key(0)).mi == broken.mi
    assert measure(x, labels, key=1).mi != broken.mi


@pytest.mark.parametrize("dimensions", [2, 20])
def test_clusters_far_apart_and_any_scale(dimensions):
    """Distances are told where squares of the coordinates would round them away."""
    x, labels = sample("plain", dimensions)
    x = x.astype(np.float32)
    side = np.where(np.random.default_rng(3).random(SAMPLES) < 0.5, 1, -1)[:, None]
    for apart in (0.0, 100.0, 1e4):
        far = (x + apart * side).astype(np.float32)
        truth = by_trees(far.astype(float), labels, 3)
        np.testing.assert_allclose(measure(far, labels).mi, truth, atol=6 / SAMPLES)
    truth = measure(x, labels).mi
    for scale in (2.0**-75, 2.0**75):
        np.testing.assert_allclose(measure(scale * x, labels).mi, truth, atol=1e-6)


def test_clip_is_to_the_entropy_of_the_labels():
    # Far apart the estimate is psi(N) - psi(N / 2), more than ln 2.
    labels = np.arange(SAMPLES) % 2
    x = 1000.0 * labels[:, None] + np.arange(SAMPLES)[:, None]
    raw, clipped = (measure(x, labels, clip=clip) for clip in (False, True))
    np.testing.assert_allclose(raw.mi, by_trees(x, labels, 3), atol=1e-6)
    assert raw.mi > raw.entropy == clipped.mi
    x, labels = sample("constant", 1)
    assert measure(x, labels).mi < 0 == measure(x, labels, clip=True).mi
    assert measure(x, labels * 0, clip=True).mi == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"outputs": np.zeros((4, 2, 2))}, ValueError, r"outputs .* \(4, 2, 2\)"),
        ({"outputs": np.zeros(0)}, ValueError, r"outputs must have the shape \[4, d\]"),
        ({"outputs": np.zeros(4, complex)}, TypeError, "outputs must be real"),
        ({"labels": np.zeros(3, int)}, ValueError, r"outputs .* \[3, d\].* \(4,\)"),
        ({"labels": np.zeros(4)}, TypeError, "labels must be integers"),
        ({"labels": np.full(4, -1)}, ValueError, "labels must have an element"),
        ({"k": 4}, ValueError, "k must be less than the number of samples, N = 4"),
        ({"k": 0}, ValueError, "k must be at least 1, got k=0"),
        ({"k": 1.0}, TypeError, "k must be an int"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1"),
        ({"mask": np.ones(4)}, TypeError, "mask must be boolean"),
        ({"mask": np.ones(3, bool)}, ValueError, "mask must have the shape"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, message):
    valid = {"outputs": np.zeros(4), "labels": np.zeros(4, int), "k": 1}
    with pytest.raises(error, match=message):
        ross_mi(**(valid | arguments))


def test_traced_labels_need_their_number_of_classes():
    with pytest.raises(ValueError, match="num_classes is needed inside jit"):
        jax.jit(ross_mi)(np.zeros(4), np.zeros(4, int))


def test_a_constant_column_does_not_keep_others_from_any_scale():
    """Zeros, as it becomes, set no unit."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    x = rng.normal(size=(200, 2)) + labels[:, None]
    wanted = ross_mi(x.astype(np.float32), labels).mi
    assert wanted > 0.1
    x = np.float32(np.c_[np.ones(200), x] * 2.0**-70)
    np.testing.assert_allclose(ross_mi(x, labels).mi, wanted, rtol=1e-5)


@pytest.mark.parametrize("dimensions", [5, 8])
def test_a_neighbour_is_not_nearer_than_itself_in_float32(dimensions):
    """Where distances come from a product of matrices, and rounding is not zero."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100)
    x = rng.normal(size=(100, dimensions)).astype(np.float32) + labels[:, None]
    got = ross_mi(np.float32(x), labels, clip=False).mi
    np.testing.assert_allclose(got, by_trees(x, labels, 3), atol=1e-5)
