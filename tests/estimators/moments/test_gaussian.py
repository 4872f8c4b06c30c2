"""The accumulator of second moments: one-shot equality, union, long epochs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import learning_rates, mi_decay
from optax_mi.estimators.moments import _gaussian
from optax_mi.estimators.moments._gaussian import gaussian
from optax_mi.estimators.moments._gaussian_mi import gaussian_mi
from tests.helpers import accumulate, measure, read

pytestmark = pytest.mark.usefixtures("strict")

# As in test_gaussian; a batch adds a rounding of its own.
TOLERANCE = 2e-5


def data(kind, samples=600, seed=0):
    """Outputs, labels, and the estimator of either kind."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 4))
    if kind == "classes":
        labels = rng.integers(-1, 4, samples)
        x += np.eye(5)[labels, :4]
        return x.astype(np.float32), labels, gaussian(features=4, num_classes=4)
    y = x[:, :2] + rng.normal(size=(samples, 2))
    estimator = gaussian(features=4, label_features=2)
    return x.astype(np.float32), y.astype(np.float32), estimator


def one_shot(x, y, **options):
    classes = 4 if y.dtype.kind == "i" else None
    return jax.device_get(gaussian_mi(x, y, num_classes=classes, **options))


def close(ours, truth, tolerance=TOLERANCE):
    np.testing.assert_allclose(ours, truth, rtol=tolerance, atol=tolerance)


either = pytest.mark.parametrize("kind", ["classes", "real"])


@either
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_equals_the_one_shot_function(kind, mean):
    x, y, estimator = data(kind)
    x = x + np.float32(mean)
    weights = np.random.default_rng(1).random(600).astype(np.float32)
    x[3, 1], weights[4], weights[5] = np.nan, 0, -1
    for given in (None, weights):
        ours = measure(estimator, x, y, given, batches=20)
        truth = one_shot(x, y, weights=given)
        # Each batch rounds the means of the classes, to 2e-5 standard deviations for a
        # mean of 1000, and a few of them move the nats by as much a class.
        close(ours, truth, 2e-4 if mean else TOLERANCE)
        assert ours.dropped == truth.dropped


@either
def test_merge_of_two_parts_equals_the_union_and_the_order_is_free(kind):
    x, y, estimator = data(kind)
    # The second part lies elsewhere: means move.
    x[200:] += 5
    weights = np.random.default_rng(2).random(600).astype(np.float32)
    whole = one_shot(x, y, weights=weights)
    parts = [
        accumulate(estimator, x[s], y[s], weights[s], 3)
        for s in (slice(200), slice(200, None))
    ]
    close(read(estimator, jax.jit(estimator.merge)(*parts)), whole)
    close(read(estimator, jax.jit(estimator.merge)(*parts[::-1])), whole)
    close(measure(estimator, x[::-1], y[::-1], weights[::-1], 10), whole)
    for pair in ((parts[0], estimator.init()), (estimator.init(), parts[0])):
        merged = read(estimator, jax.jit(estimator.merge)(*pair))
        close(merged, read(estimator, parts[0]))


@either
def test_leading_axes_are_flattened_and_one_label_needs_no_axis(kind):
    x, y, estimator = data(kind)
    deep = measure(
        estimator, x.reshape(30, 20, 4), y.reshape(30, 20, *y.shape[1:]), batches=1
    )
    close(deep, measure(estimator, x, y))
    if kind == "real":
        single = gaussian(features=4, label_features=1)
        close(measure(single, x, y[:, 0]), measure(single, x, y[:, :1]))
        squared = np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2
        alone = gaussian(features=1, label_features=1, bias_correction=None)
        ours = measure(alone, x[:, :1], y[:, 0])
        # Not corrected, so not adjusted for what it reads by chance either.
        explained = -np.expm1(-2 * ours.mi)
        np.testing.assert_allclose(explained, squared, atol=TOLERANCE)


@either
def test_a_billion_samples_by_merging_are_as_good_as_a_thousand(kind):
    x, y, _ = data(kind)
    options = {"num_classes": 4} if kind == "classes" else {"label_features": 2}
    estimator = gaussian(features=4, bias_correction=None, **options)
    other = (x * np.array([1, 2, 3, 4]) + 3).astype(np.float32)
    states = [accumulate(estimator, outputs, y) for outputs in (x, other)]
    merge = jax.jit(estimator.merge)
    for _ in range(21):
        states = [merge(state, state) for state in states]
    ours = read(estimator, merge(*states))
    truth = one_shot(np.r_[x, other], np.r_[y, y], bias_correction=None)
    np.testing.assert_allclose(ours.mi, truth.mi, atol=TOLERANCE)
    np.testing.assert_allclose(ours.num_samples, truth.num_samples * 2.0**21, rtol=1e-6)


@either
def test_small_batches_late_in_a_long_epoch_are_not_lost(kind):
    x, y, estimator = data(kind)
    classes = 4 if kind == "classes" else 1
    state = accumulate(estimator, x, y)
    merge = jax.jit(estimator.merge)
    for _ in range(22):
        state = merge(state, state)

    def weight(state):
        # The classes' weights come first in the vector of all sums.
        return np.sum([np.asarray(part[:classes], float) for part in state[:3]])

    before = weight(state)

    @jax.jit
    def more(state):
        batch = {"outputs": jnp.asarray(x[:8]), "labels": jnp.asarray(y[:8])}
        return jax.lax.fori_loop(
            0, 20_000, lambda _, s: estimator.update(s, **batch), state
        )

    valid = int(np.sum(y[:8] >= 0)) if kind == "classes" else 8
    assert weight(more(state)) == before + 20_000 * valid


@either
def test_a_long_epoch_of_small_batches_is_as_accurate_as_one_pass(kind):
    x, y, estimator = data(kind, samples=2**17)
    x = x + np.float32(100)
    batches = [jnp.asarray(a).reshape(-1, 16, *a.shape[1:]) for a in (x, y)]

    @partial(jax.jit, donate_argnums=0)
    def run(state):
        def step(state, batch):
            return estimator.update(state, outputs=batch[0], labels=batch[1]), None

        return jax.lax.scan(step, state, batches)[0]

    before = jax.tree.map(jax.typeof, estimator.init())
    state = run(estimator.init())
    assert jax.tree.map(jax.typeof, state) == before
    close(read(estimator, state), one_shot(x, y))


def test_many_columns_are_summed_like_few(monkeypatch):
    x, y, estimator = data("classes")

    def run():
        state = estimator.update(estimator.init(), outputs=x, labels=y)
        merged = estimator.merge(state, state)
        return state, estimator.estimate(merged)

    few, truth = jax.jit(lambda: run())()
    monkeypatch.setattr(_gaussian, "_RAVELLED", 0)
    many, ours = jax.jit(lambda: run())()
    assert len(jax.tree.leaves(few)) == 4 < len(jax.tree.leaves(many))
    close(ours, truth)


@either
def test_too_few_samples_overflow_and_shrinkage(kind):
    x, y, estimator = data(kind)
    nothing = read(estimator, estimator.init())
    assert nothing.mi == nothing.entropy == nothing.num_samples == 0
    few = measure(estimator, x[:3], y[:3])
    assert few.mi == 0
    assert np.isnan(few.std_error)
    over = measure(estimator, x * np.float32(1e30), y)
    assert np.isnan(over.mi)
    options = {"num_classes": 4} if kind == "classes" else {"label_features": 2}
    shrunk = gaussian(features=4, shrinkage="oas", **options)
    truth = one_shot(x[:6], y[:6], shrinkage="oas")
    close(measure(shrunk, x[:6], y[:6]), truth)


@either
def test_drives_the_learning_rate(kind):
    x, y, estimator = data(kind)
    tx = optax.chain(
        optax.sgd(1.0), mi_decay(0.5, 0.01, estimator=estimator, steps_per_epoch=3)
    )
    params = jnp.ones(2)

    @partial(jax.jit, donate_argnums=0)
    def step(state):
        return tx.update(params, state, outputs=x, labels=y)[1]

    state = tx.init(params)
    before = jax.tree.map(jax.typeof, state)
    for _ in range(9):
        state = step(state)
    assert jax.tree.map(jax.typeof, state) == before
    assert 0.01 <= learning_rates(state)["all"] < 0.5
    assert state[1].held == 0
    close(
        state[1].estimate.mi, measure(estimator, *(np.r_[a, a, a] for a in (x, y))).mi
    )


def test_vmaps_over_networks_without_a_gradient():
    x, y, estimator = data("classes")

    def mi(outputs):
        state = estimator.update(estimator.init(), outputs=outputs, labels=y)
        return estimator.estimate(state).mi

    several = np.stack([x, 2 * x, x[::-1]])
    loop = [jax.jit(mi)(outputs) for outputs in several]
    np.testing.assert_allclose(jax.jit(jax.vmap(mi))(several), loop, atol=TOLERANCE)
    np.testing.assert_array_equal(jax.jit(jax.grad(mi))(x), 0 * x)


def test_errors_name_the_argument_and_the_fix():
    with pytest.raises(ValueError, match="exactly one of num_classes and label_feat"):
        gaussian(features=4)
    with pytest.raises(ValueError, match="exactly one of num_classes and label_feat"):
        gaussian(features=4, num_classes=2, label_features=1)
    with pytest.raises(ValueError, match="features must be at least 1"):
        gaussian(features=0, num_classes=2)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        gaussian(features=4, num_classes=1)
    with pytest.raises(ValueError, match=r"shrinkage must be in \[0, 1\)"):
        gaussian(features=4, num_classes=2, shrinkage=2.0)
    x, labels, estimator = data("classes")
    with pytest.raises(ValueError, match=r"outputs must have the shape \[600, 4\]"):
        estimator.update(estimator.init(), outputs=x[:, :3], labels=labels)
    with pytest.raises(TypeError, match="outputs must be real numbers"):
        estimator.update(estimator.init(), outputs=x.astype(complex), labels=labels)
    with pytest.raises(TypeError, match="labels must be integers"):
        estimator.update(estimator.init(), outputs=x, labels=x[:, 0])
    with pytest.raises(ValueError, match="weights must have the shape of the samples"):
        estimator.update(
            estimator.init(), outputs=x, labels=labels, weights=np.ones((600, 1))
        )
    x, y, estimator = data("real")
    with pytest.raises(ValueError, match=r"labels must have the shape \[600, 2\]"):
        estimator.update(estimator.init(), outputs=x, labels=y[:, 0])
    with pytest.raises(TypeError, match="labels must be real numbers"):
        estimator.update(estimator.init(), outputs=x, labels=y.astype(complex))
    with pytest.raises(ValueError, match="more than 8388608 samples: split"):
        jax.eval_shape(
            partial(estimator.update, estimator.init()),
            outputs=jax.ShapeDtypeStruct((2**23 + 1, 4), jnp.float32),
            labels=jax.ShapeDtypeStruct((2**23 + 1, 2), jnp.float32),
        )
