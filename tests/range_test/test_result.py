"""The bounds follow from what the runs came to, and the result keeps it all."""

import json
import math

import numpy as np
import pytest

from optax_mi import LRRangeResult
from optax_mi.range_test._result import Runs, find_bounds

LRS = np.geomspace(1e-4, 1.0, 9)


def judge(mi, std_error=0.01, loss=None, chance=0.0, stable=None):
    mi = np.asarray(mi, float).reshape(9, -1)
    loss = np.ones_like(mi) if loss is None else np.reshape(loss, mi.shape)
    runs = Runs(mi, np.full_like(mi, std_error), np.full_like(mi, 2.0), loss)
    seeds = mi.shape[1]
    start = Runs(*(np.full(seeds, value) for value in (chance, 0.0, 2.0, 1.0)))
    stable = np.ones(mi.shape, bool) if stable is None else np.reshape(stable, mi.shape)
    return find_bounds(LRS, runs, start, stable, mode="parallel", num_steps=100)


CURVE = [0, 0.02, 0.1, 0.5, 1.0, 0.995, 0.98, 0.995, 0]


def test_bounds_of_a_curve():
    found = judge(CURVE)
    # 0.98 loses too much, so that what comes after it counts no more.
    assert (found.lr_min, found.lr_max) == (LRS[2], LRS[5] / math.sqrt(2))
    assert "a margin below 0.0316, above which 2.0% is lost" in found.lr_max_reason
    # With a standard error of 0.04, 0.1 is no longer above chance.
    assert judge([0, 0.02, 0.1, 0.5, 1, 1, 0, 0, 0], 0.04).lr_min == LRS[3]
    # An estimator without a standard error leaves the share of the largest gain.
    assert judge([0, 0.005, 0.1, 0.5, 1, 1, 0, 0, 0], math.nan).lr_min == LRS[2]
    # A bound may be as bad as float32 can say, and as uncertain.
    assert judge([0, -math.inf, 0.1, 0.5, 1, 1, 0, 0, 0], math.inf).lr_max is None
    # What the network knows untrained is no gain.
    assert judge([0.4, 0.4, 0.4, 0.5, 1, 1, 0.4, 0, 0], chance=0.4).lr_min == LRS[3]


def test_spread_over_seeds():
    mi = np.zeros((9, 2))
    mi[2:5, 0], mi[3:7, 1] = 1.0, 1.0
    found = judge(mi)
    np.testing.assert_allclose(found.lr_max_by_seed * math.sqrt(2), LRS[[4, 6]])
    np.testing.assert_allclose(found.lr_min_by_seed, LRS[[2, 3]])
    assert found.lr_max == pytest.approx(LRS[4] / math.sqrt(2))
    assert "lr_max 0.00707 (0.00707 to 0.0707 over seeds)" in str(found)
    # A learning rate is lost where one seed diverges.
    loss = np.ones((9, 2))
    loss[4, 1] = 4.1
    found = judge(mi, loss=loss)
    assert found.diverged.sum() == 1
    assert found.lr_max == pytest.approx(LRS[3] / math.sqrt(2))
    assert "above which runs diverge" in found.lr_max_reason


@pytest.mark.parametrize(
    ("curve", "bounds", "reason"),
    [
        ({"mi": [0.01] * 9}, (None, None), "no learning rate learns"),
        ({"mi": [1.0] * 9}, (None, None), "1 nats gained at 0.0001, the most: lower"),
        (
            {"mi": np.arange(9)},
            (LRS[8] / math.sqrt(2), LRS[1]),
            "no less up to lr_high=1; a margin below that, where the range ends",
        ),
        (
            {"mi": [1, 1, 2, 2, 0, 0, 0, 0, 0]},
            (LRS[3] / math.sqrt(2), None),
            "a margin below 0.00316, above which 100.0% is lost",
        ),
        (
            # One learning rate that learns: both bounds are the same.
            {"mi": [0, 0, 0, 2, -5, 0, 0, 0, 0]},
            (LRS[3] / math.sqrt(2), LRS[3] / math.sqrt(2)),
            "above which all of it is lost",
        ),
        (
            {"mi": [1.0] * 9, "loss": [math.nan] * 9},
            (None, None),
            "diverged everywhere above lr_low=0.0001",
        ),
        (
            {"mi": [0, 0, 0, 2, 2, 0, 0, 0, 0], "stable": [True] * 3 + [False] * 6},
            (None, None),
            "unstable wherever it learns: the mean loss of a run is above that of an "
            "untrained network. Lower lr_low=0.0001, or raise num_steps",
        ),
        (
            {"mi": [0, 0, 0, 2, 2, 2, 2, 2, 2], "stable": [True] * 5 + [False] * 4},
            (LRS[4] / math.sqrt(2), LRS[3]),
            "above which the mean loss of a run is above that of an untrained network",
        ),
        (
            # More is known above, but only after an explosion.
            {"mi": [0, 0, 0, 1, 1, 0.5, 2, 2, 2], "stable": [True] * 5 + [False] * 4},
            (LRS[4] / math.sqrt(2), LRS[3]),
            "1 nats gained at 0.00316, the most where stable; a margin below 0.01, "
            "above which 50.0% is lost",
        ),
    ],
)
def test_bounds_are_not_invented(curve, bounds, reason):
    found = judge(**curve)
    assert (found.lr_max, found.lr_min) == bounds
    assert reason in found.lr_max_reason
    assert "lr_max" in str(found)
    assert found.lr_min or found.lr_min_reason


def plain_bounds(mi, stable):
    """Both bounds of curves without noise, learning rate by learning rate."""
    best = None
    for i in range(9):
        if stable[i] and (best is None or mi[i] > mi[best]):
            best = i
    if best is None or mi[best] <= 0 or best == 0:
        return None, None
    top = bottom = best
    while top < 8 and stable[top + 1] and mi[top + 1] >= 0.99 * mi[best]:
        top += 1
    while bottom > 0 and mi[bottom - 1] > 0.01 * mi[best]:
        bottom -= 1
    lr_max = LRS[top] / math.sqrt(2)
    return lr_max, None if bottom == 0 else min(LRS[bottom], lr_max)


def test_bounds_are_those_of_a_plain_search():
    rng = np.random.default_rng(0)
    met = set()
    for _ in range(300):
        mi = rng.choice([0.0, 0.005, 0.5, 1.0, 0.995], 9) * (rng.random() > 0.05)
        stable = rng.random(9) < rng.choice([0.0, 0.5, 0.9])
        found = judge(mi, 0.0, stable=stable)
        expected = plain_bounds(mi, stable)
        assert (found.lr_max, found.lr_min) == expected
        by_seed = (found.lr_max_by_seed[0], found.lr_min_by_seed[0])
        np.testing.assert_array_equal(by_seed, np.array(expected, float))
        met.add(tuple(bound is None for bound in expected))
    assert met == {(True, True), (False, True), (False, False)}


def test_one_seed_that_is_unstable_ends_it():
    stable = np.ones((9, 2), bool)
    stable[6:, 1] = False
    mi = np.ones((9, 2))
    mi[:2] = 0.0
    found = judge(mi, stable=stable)
    np.testing.assert_allclose(found.lr_max_by_seed * math.sqrt(2), LRS[[8, 5]])
    assert found.lr_max == found.lr_max_by_seed[1]


def test_json_keeps_everything():
    result = judge(CURVE)
    again = LRRangeResult.from_json(result.to_json())
    for name, value in vars(result).items():
        np.testing.assert_array_equal(getattr(again, name), value)
        assert type(getattr(again, name)) is type(value)
    assert str(again) == str(result)
    lost = judge([1.0] * 9, math.nan, loss=[math.inf] * 9)
    again = LRRangeResult.from_json(lost.to_json())
    assert again.lr_max is None
    assert np.isnan(again.lr_max_by_seed).all()
    with pytest.raises(ValueError, match="not the JSON of an LRRangeResult: it lacks"):
        LRRangeResult.from_json('{"lr_max": 0.1}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[0.1, 0.2]", r"expected an object, got '\[0.1, 0.2\]'"),
        ("3", "expected an object, got '3'"),
        ("null", "expected an object, got 'null'"),
        ('{"lr_max": 0.1', "Expecting ',' delimiter: line 1 column 15"),
        ("", "Expecting value: line 1 column 1"),
    ],
)
def test_what_is_not_its_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        LRRangeResult.from_json(text)


@pytest.mark.parametrize("value", [{"a": 1}, "x", [[1.0], [1.0, 2.0]]])
def test_json_with_something_else_for_an_array_names_it(value):
    content = json.loads(judge(CURVE).to_json()) | {"mi": value}
    with pytest.raises(ValueError, match="not the JSON of an LRRangeResult: mi: "):
        LRRangeResult.from_json(json.dumps(content))
