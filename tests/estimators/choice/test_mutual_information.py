"""One call for samples of any kind, against the truth."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators import mutual_information, plugin_mi

N = 1000
RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=N)
X = RNG.normal(size=N)
PAIR = np.c_[X, RNG.normal(size=N)]


def holds(found, truth):
    return found.low <= truth <= found.high


def test_symbols_are_counted():
    noisy = np.where(RNG.random(N) < 0.8, LABELS, RNG.integers(3, size=N))
    p = 0.8 * np.eye(3) / 3 + 0.2 / 9
    found = mutual_information(noisy, LABELS)
    assert found.method == "joint table, adjusted for chance"
    assert holds(found, np.sum(p * np.log(9 * p)))
    table = plugin_mi(noisy, LABELS)
    mi = float(table.adjusted * table.entropy)
    assert found.mi == pytest.approx(mi, abs=1e-3)
    names = np.array(["a", "b", "c"])
    assert mutual_information(names[noisy], names[LABELS]).mi == found.mi


def test_one_hot_rows_are_symbols():
    found = mutual_information(np.eye(3)[LABELS], LABELS)
    assert found.mi == pytest.approx(found.entropy, abs=1e-6)
    assert found.why.startswith("x is 3 columns of symbols, y 3 symbols")


def test_either_side_may_hold_the_classes():
    x = X + 2.0 * (LABELS == 1)
    one, other = mutual_information(x, LABELS), mutual_information(LABELS, x)
    assert (one.mi, one.low, one.high) == (other.mi, other.low, other.high)
    assert "discriminant" in one.method
    assert 0 < one.mi < one.entropy == other.entropy


def test_neighbours_where_no_model_fits():
    x = RNG.uniform(-1.0, 1.0, (N, 1))
    found = mutual_information(x, np.sin(20 * x[:, 0]) > 0)
    assert found.method == "nearest neighbors"
    assert found.mi == pytest.approx(math.log(2), abs=0.03)
    found = mutual_information(x, np.c_[x**2 + 0.1 * X[:, None], PAIR])
    assert found.method == "nearest neighbors"
    assert "in 1 + 1 columns" in found.why
    assert found.mi > 0.7


def test_gaussian_vectors():
    y = 0.8 * PAIR + 0.6 * RNG.normal(size=(N, 2))
    found = mutual_information(np.exp(PAIR), y)
    assert found.method == "Gaussian copula"
    assert found.entropy == math.inf
    assert holds(found, -2 * math.log(0.6))


def test_unrelated_samples_of_every_kind():
    kinds = (LABELS, X, PAIR)
    rng = np.random.default_rng(5)
    for a in kinds:
        for b in kinds:
            found = mutual_information(a, rng.permutation(b))
            assert found.low == 0.0, found
            assert found.mi < 0.02, found


def test_logits_at_any_temperature():
    logits = 3.0 * RNG.normal(size=(N, 5))
    labels = (logits + RNG.gumbel(size=logits.shape)).argmax(1)
    found = [mutual_information(a * logits, labels) for a in (0.01, 1.0, 50.0)]
    assert found[0].method == "softmax of the logits"
    np.testing.assert_allclose([one.mi for one in found], found[1].mi, rtol=1e-4)


def test_never_more_than_the_entropy():
    x = np.c_[LABELS + 1e-3 * X, PAIR]
    found = mutual_information(x, LABELS)
    assert found.mi <= found.entropy
    assert found.mi > 0.99 * found.entropy


def test_functions_are_lower_bounds():
    for y in (X, X**3, X + 1e-3 * RNG.normal(size=N), X.astype(np.float16), np.abs(X)):
        found = mutual_information(X, y)
        assert found.mi > 4
        assert found.low <= found.mi < found.high == math.inf


def test_what_repeats_tells_no_more_than_its_entropy():
    ages = RNG.integers(18, 90, size=N)
    found = mutual_information(ages, ages)
    _, sizes = np.unique(ages, return_counts=True)
    assert found.entropy == pytest.approx(-np.sum(sizes / N * np.log(sizes / N)))
    assert found.mi <= found.entropy
    assert found.mi > 0.75 * found.entropy


def test_scores_are_read_by_their_order():
    score = RNG.integers(0, 100, size=N)
    other = np.clip(score + RNG.integers(-10, 11, size=N), 0, 99)
    found = mutual_information(score, other)
    assert found.mi > 1.4  # of 1.64
    assert "as numbers they show more" in found.why
    assert mutual_information(score, other, discrete_x=True, discrete_y=True).mi < 1


def test_columns_of_every_kind_beside_one_another():
    def mixed(rng):
        kinds = np.eye(4)[rng.integers(4, size=500)], rng.integers(3, size=500)
        zeros = np.where(rng.random(500) < 0.7, 0.0, rng.exponential(size=500))
        return np.column_stack([*kinds, zeros, rng.normal(size=500)])

    found = [
        mutual_information(mixed(rng), mixed(rng))
        for rng in map(np.random.default_rng, range(20))
    ]
    assert np.mean([one.mi for one in found]) < 0.03
    assert sum(one.low > 0 for one in found) <= 4


def test_zeros_that_two_columns_share():
    zeros = RNG.random(4000) < 0.7
    x, y = (np.where(zeros, 0.0, np.exp(RNG.normal(size=4000))) for _ in "xy")
    found = mutual_information(x, y)
    truth = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    assert found.mi == pytest.approx(truth, abs=0.05)
    assert holds(found, truth)


def test_constants_tell_nothing():
    for y in (np.zeros(N), np.zeros(N, int), np.zeros((N, 2))):
        found = mutual_information(X, y)
        assert (found.mi, found.low, found.high) == (0.0, 0.0, 0.0)


def test_copies_of_columns_change_nothing():
    y = X + RNG.normal(size=N)
    found = mutual_information(np.c_[X, X, 2 * X], y)
    assert found.mi == pytest.approx(mutual_information(X, y).mi, abs=0.01)


def test_samples_that_cannot_be_used_are_counted():
    x, labels = X + LABELS, LABELS.copy()
    kept = np.arange(N) % 5 > 0
    labels[~kept] = -1
    x = np.where(np.arange(N) % 7 == 1, np.nan, x)
    both = kept & np.isfinite(x)
    found = mutual_information(x, labels)
    assert (found.num_samples, found.dropped) == (both.sum(), N - both.sum())
    assert found.mi == mutual_information(x[both], labels[both]).mi
    assert "dropped" in str(found)


def test_what_cannot_be_told_is_nan():
    for x, y in (
        (X[:9], X[:9]),
        (RNG.normal(size=(40, 30)), RNG.normal(size=40)),
        (RNG.integers(900, size=N), RNG.integers(900, size=N)),
    ):
        found = mutual_information(
            x, y, **({"discrete_x": True, "discrete_y": True} if len(x) == N else {})
        )
        assert math.isnan(found.mi), found
        assert math.isnan(found.low)
        assert "few" in found.why


def test_same_seed_same_numbers():
    x = np.round(X, 1)
    y = np.round(x**2 + 0.3 * RNG.normal(size=N), 1)
    one, same, other = (mutual_information(x, y, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one.mi == pytest.approx(other.mi, abs=0.1)


def test_jax_arrays_and_wide_ones():
    y = X + RNG.normal(size=N)
    found = mutual_information(jnp.asarray(X), jnp.asarray(y))
    assert found.mi == pytest.approx(mutual_information(X, y).mi, abs=1e-3)
    far = mutual_information(1e9 + X, y)
    assert far.mi == pytest.approx(mutual_information(X, y).mi, abs=1e-6)


def test_a_line_of_text_and_plain_numbers():
    found = mutual_information(LABELS, LABELS)
    assert str(found).startswith("1.09")
    assert "nats" in str(found)
    assert json.loads(json.dumps(found._asdict()))["num_samples"] == N


def test_errors():
    with pytest.raises(ValueError, match="number of samples, got 1000 and 5"):
        mutual_information(X, LABELS[:5])
    with pytest.raises(ValueError, match="seed must be at least 0"):
        mutual_information(X, LABELS, seed=-1)
    with pytest.raises(TypeError, match="y is traced"):
        jax.jit(lambda y: mutual_information(X, y).mi)(X)
