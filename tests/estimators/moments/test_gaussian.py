"""The accumulator of second moments: one-shot equality, union, long epochs."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.covariance import oas

from optax_mi.estimators import contingency
from optax_mi.estimators.moments import _gaussian
from optax_mi.estimators.moments._gaussian import gaussian, widen_alike
from optax_mi.estimators.moments._gaussian_mi import gaussian_mi
from tests.estimators.moments.helpers import class_truth, real_truth, shrunk_truth

pytestmark = pytest.mark.usefixtures("strict")

# As in test_gaussian_mi; a batch adds a rounding of its own.
TOLERANCE = 2e-5
# Batches of one shape, and weights: what is compiled once for either kind serves all.
SAMPLES, BATCH = 600, 30
ONES = np.ones(SAMPLES, np.float32)


class Kind:
    """The estimator of a kind of labels, its programs, and the one-shot function."""

    def __init__(self, **options):
        self.options = options
        self.estimator = gaussian(features=4, **options)
        self.init = self.estimator.init
        self.update = jax.jit(self.estimator.update)
        self.merge = jax.jit(self.estimator.merge)
        self.read = jax.jit(self.estimator.estimate)

    def accumulate(self, x, y, weights=ONES):
        state = self.init()
        for start in range(0, len(x), BATCH):
            s = slice(start, start + BATCH)
            state = self.update(state, outputs=x[s], labels=y[s], weights=weights[s])
        return state

    def once(self, x, y, weights=ONES, **options):
        classes = self.options.get("num_classes")
        return gaussian_mi(x, y, num_classes=classes, weights=weights, **options)


KINDS = {"classes": Kind(num_classes=4), "real": Kind(label_features=2)}
either = pytest.mark.parametrize("kind", KINDS)


def data(kind, samples=SAMPLES, seed=0):
    """Outputs and labels of either kind."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 4))
    if kind == "classes":
        labels = rng.integers(-1, 4, samples)
        x += np.eye(5)[labels, :4]
        return x.astype(np.float32), labels
    y = x[:, :2] + rng.normal(size=(samples, 2))
    return x.astype(np.float32), y.astype(np.float32)


def truth(kind, x, y, corrected=True):
    """By NumPy, in nats."""
    if kind == "real":
        return real_truth(x, y, corrected)
    return class_truth(x[y >= 0], y[y >= 0], corrected)


def close(ours, wanted, tolerance=TOLERANCE):
    chex.assert_trees_all_close(ours, wanted, rtol=tolerance, atol=tolerance)


@either
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_equals_the_one_shot_function(kind, mean):
    ours, (x, y) = KINDS[kind], data(kind)
    x = x + np.float32(mean)
    weights = np.random.default_rng(1).random(SAMPLES).astype(np.float32)
    x[3, 1], weights[4], weights[5] = np.nan, 0, -1
    for given in (ONES, weights):
        seen = ours.read(ours.accumulate(x, y, given))
        wanted = ours.once(x, y, given)
        # Each batch rounds the means of the classes, to 2e-5 standard deviations for a
        # mean of 1000, and a few of them move the nats by as much a class.
        close(seen, wanted, 2e-4 if mean else TOLERANCE)
        assert seen.dropped == wanted.dropped


@either
def test_merge_of_two_parts_equals_the_union_and_the_order_is_free(kind):
    ours, (x, y) = KINDS[kind], data(kind)
    # The second part lies elsewhere: means move.
    x[180:] += 5
    weights = np.random.default_rng(2).random(SAMPLES).astype(np.float32)
    whole = ours.once(x, y, weights)
    parts = [
        ours.accumulate(x[s], y[s], weights[s]) for s in (slice(180), slice(180, None))
    ]
    close(ours.read(ours.merge(*parts)), whole)
    close(ours.read(ours.merge(*parts[::-1])), whole)
    close(ours.read(ours.accumulate(x[::-1], y[::-1], weights[::-1])), whole)
    for pair in ((parts[0], ours.init()), (ours.init(), parts[0])):
        close(ours.read(ours.merge(*pair)), ours.read(parts[0]))


def test_of_one_column_each_it_is_the_variance_explained():
    x, y = data("real")
    alone = gaussian(features=1, label_features=1, bias_correction=None)
    state = jax.jit(alone.update)(alone.init(), outputs=x[:, 0], labels=y[:, 0])
    seen = jax.jit(alone.estimate)(state)
    # Not corrected, so not adjusted for what it reads by chance either.
    explained = -np.expm1(-2 * seen.mi)
    squared = np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2
    np.testing.assert_allclose(explained, squared, atol=TOLERANCE)
    assert 0 < seen.normalized < explained


@either
def test_a_billion_samples_by_merging_are_as_good_as_a_thousand(kind):
    ours, (x, y) = KINDS[kind], data(kind)
    other = (x * np.array([1, 2, 3, 4]) + 3).astype(np.float32)
    states = [ours.accumulate(outputs, y) for outputs in (x, other)]
    for _ in range(21):
        states = [ours.merge(state, state) for state in states]
    seen = ours.read(ours.merge(*states))
    # So many samples have no bias.
    wanted = truth(kind, np.r_[x, other], np.r_[y, y], corrected=False)
    np.testing.assert_allclose(seen.mi, wanted, atol=TOLERANCE)
    used = 2 * (np.sum(y >= 0) if kind == "classes" else SAMPLES)
    np.testing.assert_allclose(seen.num_samples, used * 2.0**21, rtol=1e-6)


@pytest.mark.parametrize(
    "kind", ["classes", pytest.param("real", marks=pytest.mark.slow)]
)
def test_small_batches_late_in_a_long_epoch_are_not_lost(kind):
    ours, (x, y) = KINDS[kind], data(kind)
    classes = 4 if kind == "classes" else 1
    state = ours.accumulate(x, y)
    for _ in range(22):
        state = ours.merge(state, state)

    def weight(state):
        # The classes' weights come first in the vector of all sums.
        return np.sum([np.asarray(part[:classes], float) for part in state[:3]])

    before = weight(state)

    @jax.jit
    def more(state):
        batch = {"outputs": jnp.asarray(x[:8]), "labels": jnp.asarray(y[:8])}
        return jax.lax.fori_loop(
            0, 20_000, lambda _, s: ours.estimator.update(s, **batch), state
        )

    valid = int(np.sum(y[:8] >= 0)) if kind == "classes" else 8
    assert weight(more(state)) == before + 20_000 * valid


@either
def test_a_long_epoch_of_small_batches_is_as_accurate_as_one_pass(kind):
    ours, (x, y) = KINDS[kind], data(kind, samples=2**17)
    x = x + np.float32(100)
    batches = [jnp.asarray(a).reshape(-1, 16, *a.shape[1:]) for a in (x, y)]

    @partial(jax.jit, donate_argnums=0)
    def run(state):
        def step(state, batch):
            outputs, labels = batch
            return ours.estimator.update(state, outputs=outputs, labels=labels), None

        return jax.lax.scan(step, state, batches)[0]

    before = jax.tree.map(jax.typeof, ours.init())
    state = run(ours.init())
    assert jax.tree.map(jax.typeof, state) == before
    np.testing.assert_allclose(ours.read(state).mi, truth(kind, x, y), atol=TOLERANCE)


def test_many_columns_are_summed_like_few(monkeypatch):
    ours, (x, y) = KINDS["classes"], data("classes")
    few = ours.accumulate(x[:60], y[:60])
    monkeypatch.setattr(_gaussian, "_RAVELLED", 0)
    # Estimators of the same settings are the same object.
    _gaussian._gaussian.cache_clear()
    # The shapes are those of few, and what they are summed in is that of many.
    many = Kind(**ours.options)

    @jax.jit
    def run(x, y):
        update = partial(many.estimator.update, weights=ONES[:BATCH])
        parts = [
            update(many.init(), outputs=x[s], labels=y[s])
            for s in (slice(BATCH), slice(BATCH, None))
        ]
        return parts[0], many.estimator.estimate(many.estimator.merge(*parts))

    state, seen = run(x[:60], y[:60])
    _gaussian._gaussian.cache_clear()
    assert len(jax.tree.leaves(few)) == 4 < len(jax.tree.leaves(state))
    monkeypatch.undo()
    close(seen, ours.read(few))


@either
def test_too_few_samples_and_overflow(kind):
    ours, (x, y) = KINDS[kind], data(kind)
    nothing = ours.read(ours.init())
    assert nothing.mi == nothing.entropy == nothing.num_samples == 0
    few = ours.read(ours.accumulate(x, y, np.float32(np.arange(SAMPLES) < 3)))
    assert few.mi == 0
    assert np.isnan(few.std_error)
    # Squares that overflow, and those that vanish.
    for scale in (1e30, 1e-25):
        assert np.isnan(ours.read(ours.accumulate(x * np.float32(scale), y)).mi)
    assert ours.read(ours.accumulate(np.zeros_like(x), y)).mi == 0


def test_a_mean_near_0_is_no_column_that_vanishes():
    """One class, and values that float32 squares, though not their mean."""
    step = np.float32(1e-12)
    column = np.array([0, step, -np.nextafter(step, np.float32(1))], np.float32)
    assert 0 < abs(column.mean(dtype=float)) < 1e-18
    one = gaussian(features=1, num_classes=2)
    state = one.update(one.init(), outputs=np.tile(column, 8), labels=np.zeros(24, int))
    assert one.estimate(state).mi == 0


def test_shrinkage_of_an_epoch_of_few_samples():
    few = np.float32(np.arange(SAMPLES) < 6)
    seen = {}
    for kind, ours in KINDS.items():
        x, y = data(kind)
        shrunk = gaussian(features=4, shrinkage="oas", **ours.options)
        seen[kind] = jax.jit(shrunk.estimate)(ours.accumulate(x, y, few))
    joint = np.c_[x, y][:6].astype(float)
    _, share = oas((joint - joint.mean(0)) / joint.std(0))
    wanted = shrunk_truth(x[:6], y[:6], share)
    np.testing.assert_allclose(seen["real"].mi, wanted, atol=TOLERANCE)
    wanted = KINDS["classes"].once(*data("classes"), few, shrinkage="oas")
    close(seen["classes"], wanted)


def test_vmaps_over_networks_without_a_gradient():
    ours, (x, y) = KINDS["classes"], data("classes")
    x, y = x[:BATCH], y[:BATCH]

    def mi(outputs):
        state = ours.estimator.update(
            ours.init(), outputs=outputs, labels=y, weights=ONES[:BATCH]
        )
        return ours.estimator.estimate(state).mi

    several = np.stack([x, 2 * x, x[::-1]])
    loop = [ours.read(ours.accumulate(outputs, y)).mi for outputs in several]
    np.testing.assert_allclose(jax.jit(jax.vmap(mi))(several), loop, atol=TOLERANCE)
    np.testing.assert_array_equal(jax.jit(jax.grad(mi))(x), 0 * x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of num_classes and label_features"),
        ({"num_classes": 2, "label_features": 1}, "exactly one of num_classes and"),
        ({"features": 0, "num_classes": 2}, "features must be at least 1"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"num_classes": 2, "shrinkage": 2.0}, r"shrinkage must be in \[0, 1\)"),
        ({"num_classes": 2, "noise": -1.0}, "noise must be at least 0"),
        ({"num_classes": 2, "bias_correction": True}, "bias_correction must be None"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        gaussian(**{"features": 4, **options})


def test_batches_that_do_not_fit_are_told_how():
    x, labels = data("classes")
    _, y = data("real")
    for kind, batch, error, message in (
        ("classes", (x[:, :3], labels), ValueError, r"outputs .* \[600, 4\]"),
        ("classes", (x * 1j, labels), TypeError, "outputs must be real numbers"),
        ("classes", (x, x[:, 0]), TypeError, "labels must be integers"),
        ("classes", (x, labels, ONES[:, None]), ValueError, "weights must have the"),
        ("real", (x, y[:, 0]), ValueError, r"labels must have the shape \[600, 2\]"),
        ("real", (x, y * 1j), TypeError, "labels must be real numbers"),
    ):
        signal = dict(zip(("outputs", "labels", "weights"), batch, strict=False))
        ours = KINDS[kind]
        with pytest.raises(error, match=message):
            ours.estimator.update(ours.init(), **signal)


def test_layers_of_unlike_columns_share_the_widest_that_is_not_wide():
    settings = {"num_classes": 4, "noise": 0.25}
    columns = {"few": 3, "more": 7, "wide": 65, "single": 1}
    of = {name: gaussian(features=d, **settings) for name, d in columns.items()}
    of["other noise"] = gaussian(features=5, num_classes=4, noise=0.5)
    of["real"] = gaussian(features=3, label_features=4, noise=0.25)
    of["ours"] = contingency(num_classes=4)
    wide = widen_alike(of)
    assert list(wide) == ["few", "more", "other noise"]
    assert wide["few"].estimator is wide["more"].estimator is of["more"]
    assert wide["other noise"].estimator is of["other noise"]
    rows, labels = np.ones((9, 3), np.float16), np.arange(9) % 4
    seen = wide["few"].widen(rows, labels)
    assert seen.keys() == {"outputs", "labels"}
    np.testing.assert_array_equal(seen["outputs"], np.pad(rows, [(0, 0), (0, 4)]))
    with pytest.raises(ValueError, match="last axis of 3"):
        wide["few"].widen(np.ones((9, 7)), labels)
