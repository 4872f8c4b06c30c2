"""The race on losses that are known in closed form, without a network."""

import math

import numpy as np
import pytest

from optax_mi.range_test._race import Race, Run, limit_of, rate_of

START = 2.0
BATCHES = np.array([-0.01, 0.0, 0.01])


def race(edge, budget=300, stable=math.inf):
    """Falls by 1 - exp(-lr t / edge / 50); averaging gains 1.5 % at the edge.

    Above `stable` the loss is not finite.
    """
    spent = []

    def train(run, updates):
        spent.append((run.learning_rate, updates))
        steps = sum(run.updates[-1:]) + updates
        ratio = run.learning_rate / edge
        fall = 1 - math.exp(-ratio * steps / 50)
        averaged = START - fall if run.learning_rate <= stable else math.nan
        gain = 0.015 + 0.02 * math.log(ratio)
        run.updates.append(steps)
        raw = averaged + gain * max(fall, averaged)
        run.losses.append(np.stack([averaged + BATCHES, raw + BATCHES]))
        run.lr_sums.append(run.learning_rate * steps)

    return Race(lambda rate: {"rate": rate}, train, START, budget), spent


@pytest.mark.parametrize("budget", [60, 100, 300, 1000])
@pytest.mark.parametrize("edge", [0.01, 0.07, 1.0])
def test_stays_within_its_budget_and_spends_most_of_it(edge, budget):
    run, spent = race(edge, budget, stable=5 * edge)
    run.run()
    assert sum(updates for _, updates in spent) == run.spent <= budget
    assert run.spent > 0.9 * budget
    # No copy but the longest is trained beyond what the others have.
    lengths = sorted((len(r.losses) for r in run.runs.values()), reverse=True)
    assert lengths[1] <= 8


@pytest.mark.parametrize("edge", [3e-7, 1.1e-4, 0.009, 0.02, 0.05, 0.3, 2.0, 400.0])
def test_finds_the_edge_wherever_it_is(edge):
    """From half a decade above the edge on nothing is stable."""
    run, _ = race(edge, 1000, stable=3 * edge)
    best, longest = run.run()
    assert rate_of(best) == pytest.approx(edge, rel=1e-6)
    low, high = run.between()
    assert rate_of(low) < edge <= rate_of(high) * (1 + 1e-9)
    assert longest == high
    assert [k for k, r in run.runs.items() if r.carry is not None] == [longest]


def test_goes_no_higher_than_what_was_tried():
    """A loss that goes on falling, and no noise at all."""
    run, _ = race(1e9, 300)
    best, longest = run.run()
    assert best == longest == max(run.balanced)
    assert run.between()[1] is None


def test_takes_the_lowest_where_averaging_gains_at_all_that_were_tried():
    run, _ = race(0.01, 1000)
    for k in (2, 1):
        for _ in range(8):
            run.go_on(k)
    run.balanced = [2, 1]
    assert run.between() == (None, 1)
    assert run.best() == 1


def test_comes_down_to_where_a_network_is_stable():
    run, spent = race(1e-7, 3000, stable=1e-6)
    best, _ = run.run()
    assert rate_of(best) <= 1e-6
    assert spent[0][0] == 0.01


def test_forgets_copies_that_are_of_no_more_use():
    run, _ = race(100.0, 3000, stable=300.0)
    kept = []
    original = run.train

    def train(one, updates):
        original(one, updates)
        kept.append(sum(r.carry is not None for r in run.runs.values()))

    run.train = train
    run.run()
    assert max(kept) <= 5


def known(curve, trained, by=0.1):
    """The limit for a run whose held-out loss is known after each chunk of 10."""
    run = Run(by, None)
    run.updates = [10 * (i + 1) for i in range(len(curve))]
    run.losses = [np.full((2, 3), loss) for loss in curve]
    run.lr_sums = [by * t for t in run.updates]
    return limit_of(run, None if trained is None else np.full(3, trained))


FALLING = [2.0, 1.5, 1.2, 1.0, 0.9, 0.8]


@pytest.mark.parametrize(
    ("curve", "trained", "limit"),
    [
        (FALLING, 0.84, None),  # 1 - 0.84 / 0.85 = 1 %
        (FALLING, 0.85 * 0.9, 1.2 * 6 / 0.5**2),  # 10 %: a quarter of 20 % squared
        (FALLING, 0.1, 1.2 * 6),
        # The lowest is at 30 updates, and within 2 % of it at 20 already.
        ([2.0, 1.01, 1.0, 1.2, 1.3, 1.4], 0.1, 2.0),
        # Level: no third falls below the one before.
        ([2.0, 1.2, 1.001, 1.0, 1.0, 1.0], 0.5, 3.0),
        ([0.5, -0.2, -0.4, -0.6], -0.8, None),
        ([2.0, 1.01, 1.0, 1.2, 1.3, 1.4], None, None),
    ],
)
def test_what_a_network_knows_by_heart_limits_the_sum(curve, trained, limit):
    got, reason = known(curve, trained)
    assert got == (None if limit is None else pytest.approx(limit))
    assert ("network memorizes" in reason) == (limit is not None)


def test_a_run_that_is_worse_than_the_one_below_gains_nothing():
    """After an overshoot the weights may be better than their average."""
    run, _ = race(0.1, 1000)
    for k, loss in ((1, 0.5), (2, 0.8)):
        run.runs[k] = Run(rate_of(k), None, [10] * 8, [], [1.0] * 8)
        run.runs[k].losses = [np.full((2, 3), loss)] * 8
    run.balanced = [1, 2]
    assert run.gain(1) == 0.0
    assert run.gain(2) == math.inf
    assert run.best() == 1
