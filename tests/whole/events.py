"""Events of training, good and faulty, and a slow model of the decay that takes them.

An event is a batch and a gradient out of a small pool, good or faulty in every way that
a train step can be.
"""

import collections
import functools
import math

import numpy as np

from optax_mi.rules import log_time_rule, proportional_rule, residual_rule
from tests import reference

SAMPLES, CLASSES = 6, 3
RIGHT = np.arange(SAMPLES) % CLASSES
EYE = np.eye(CLASSES)


def in_place_of(array, bad, rows):
    array = np.array(array, float)
    array[rows] = bad
    return array


# The first of each are good, and the last faulty: sequences shrink to the good.
LOGITS = {
    "knows": 4 * EYE[RIGHT],
    "knows less": EYE[RIGHT] + 0.3 * EYE[::-1][RIGHT],
    "is mistaken": 3 * EYE[(RIGHT + (np.arange(SAMPLES) > 3)) % CLASSES],
    "certain": 1e4 * (2 * EYE[RIGHT] - 1),
    "all equal": np.full((SAMPLES, CLASSES), 1e4),
    "one class": np.tile([9.0, 0.0, 0.0], (SAMPLES, 1)),
    "masked": in_place_of(2 * EYE[RIGHT], -np.inf, (slice(2), 2)),
    "some nan": in_place_of(2 * EYE[RIGHT], np.nan, (slice(1, 4), 0)),
    "nan": np.full((SAMPLES, CLASSES), np.nan),
    "inf": in_place_of(EYE[RIGHT], np.inf, (slice(None), 1)),
}
LABELS = {
    "right": RIGHT,
    "swapped": RIGHT[::-1],
    "one class": np.ones(SAMPLES, int),
    "some out of range": np.array([-1, 1, 3, 0, 2, 2**31 - 1]),
    "out of range": np.full(SAMPLES, CLASSES),
}
WEIGHTS = {
    "ones": np.ones(SAMPLES),
    "tenths": np.full(SAMPLES, 0.1),
    "some": np.array([0.0, 0.5, 1.0, 2.0, 1.0, 1.0]),
    "bad": np.array([np.nan, -1.0, np.inf, 1.0, 0.5, 0.0]),
    "zero": np.zeros(SAMPLES),
}
GRADIENTS = {"plain": 1.5, "small": -0.3, "nan": np.nan, "inf": np.inf}
POOLS = (LOGITS, LABELS, WEIGHTS, GRADIENTS)
SIZES = [len(pool) for pool in POOLS]
ARRAYS = [
    np.stack([*pool.values()]).astype(np.int32 if pool is LABELS else np.float32)
    for pool in POOLS
]

RULES = {
    "log-time": (log_time_rule(2.0, 4.0), lambda: reference.LogTimeRule(2.0, 4.0)),
    "residual": (residual_rule(0.1, 0.4), lambda: reference.ResidualRule(0.1, 0.4)),
    "proportional": (proportional_rule(0.05), lambda: reference.ProportionalRule(0.05)),
}


Batch = collections.namedtuple("Batch", "table weights dropped spread")
Settings = collections.namedtuple("Settings", "lr_min lr_max steps_per_epoch")
SETTINGS = [
    Settings(np.float32(low), np.float32(high), steps)
    for low, high in ((0.01, 0.5), (0.0, 0.1), (0.2, 0.2), (0.3, 2.0))
    for steps in (1, 2, 3, 7)
]


@functools.cache
def batch_of(logits, labels, weights, samples=SAMPLES, soft=True):
    """The batch as the slow reference sees it, from its places in the pools."""
    rows, ids, given_weights = (
        array[i][:samples]
        for array, i in zip(ARRAYS[:3], (logits, labels, weights), strict=True)
    )
    with np.errstate(invalid="ignore"):
        rows = reference.softmax(rows.astype(float))
    used = [
        reference.is_usable(row, label, weight, CLASSES)
        for row, label, weight in zip(rows, ids, given_weights, strict=True)
    ]
    if not soft:
        rows = np.where(np.isfinite(rows), EYE[np.argmax(rows, -1)], rows)
    table = reference.joint_table(rows, ids, CLASSES, given_weights)
    spread = reference.spread(rows, ids, CLASSES, given_weights)
    return Batch(table, given_weights[used].astype(float), samples - sum(used), spread)


class Model:
    """`mi_decay`, an update at a time."""

    def __init__(self, decay_rule, learning_rate):
        self.decay_rule, self.learning_rate = decay_rule, float(learning_rate)
        self.step = self.epoch = self.held = self.joined = 0
        self.open, self.look_at = [], 1

    def update(self, batch, now, reported):
        """The rule reads the estimate as `reported`: its last bit may decide."""
        self.step += 1
        self.open.append(batch)
        while len(self.open) >> self.joined >= now.steps_per_epoch:
            self.end(now, reported)
        looks = 0 < len(self.open) == self.look_at
        if looks and hasattr(self.decay_rule, "look"):
            self.look()
        self.learning_rate = min(max(self.learning_rate, now.lr_min), now.lr_max)
        return self.learning_rate, self.epoch, self.held, self.joined, len(self.open)

    def read(self):
        """The table of the open epoch, its weights, and what they tell."""
        table = sum(batch.table for batch in self.open)
        weights = np.concatenate([batch.weights for batch in self.open])
        if len(weights) == 0:
            return table, weights, 0.0, math.nan, math.nan
        kish = weights.sum() ** 2 / (weights**2).sum()
        spread = sum(batch.spread for batch in self.open)
        chance = reference.chance(table, spread, kish)
        return (
            table,
            weights,
            kish,
            chance,
            reference.entropy(table.sum(1) / table.sum()),
        )

    def look(self):
        """Of the first epoch, unless it is over with this update."""
        table, weights, _, chance, h = self.read()
        if len(weights) > 0 and chance <= h / 2:
            self.decay_rule.look(reference.mutual_information(table), h, chance)
            self.look_at = 0
        else:
            self.look_at *= 2

    def end(self, now, reported):
        table, weights, kish, chance, h = self.read()
        if len(weights) > 0:
            half = h / 2
            # Where they are equal but for rounding, it may go either way.
            doubtful = math.isclose(chance, half, rel_tol=1e-4, abs_tol=1e-6)
            if reported.epoch == self.epoch if doubtful else chance > half:
                self.joined += 1
                if len(self.open) == self.look_at:
                    self.look_at *= 2
                return
            assert math.isclose(reported.chance, chance, rel_tol=1e-4, abs_tol=1e-5)
        assert reported.dropped == sum(batch.dropped for batch in self.open)
        self.open, self.joined, self.look_at = [], 0, 0
        self.epoch += 1
        if len(weights) == 0:
            self.held += 1
            assert reported.num_samples == 0
            return
        assert math.isclose(reported.num_samples, kish, rel_tol=1e-6)
        for got, truth in (
            (reported.mi, reference.mutual_information(table)),
            (reported.entropy, reference.entropy(table.sum(1) / table.sum())),
        ):
            assert math.isclose(got, truth, rel_tol=1e-5, abs_tol=1e-6)
        proposed = self.decay_rule(
            reported.mi,
            reported.entropy,
            self.learning_rate,
            now.lr_min,
            now.lr_max,
            self.step,
            chance=reported.chance,
            std_error=reported.std_error,
        )
        self.learning_rate = min(self.learning_rate, proposed)


def check(model, timeline, batches, gradients, seen, open_steps, updates):
    """The model and the laws against what came out of each step of a sequence."""
    reported = [type(seen)(*fields) for fields in zip(*seen, strict=True)]
    steps = zip(batches, timeline, reported, strict=True)
    model_says = zip(*(model.update(*s) for s in steps), strict=True)
    rates, epoch, held, joined, left = model_says
    np.testing.assert_array_equal(seen.epoch, epoch)
    np.testing.assert_array_equal(seen.held, held)
    np.testing.assert_array_equal(seen.joined, joined)
    np.testing.assert_array_equal(open_steps, left)
    np.testing.assert_allclose(seen.learning_rate, rates, rtol=1e-4, atol=1e-7)
    check_laws(stacked(timeline), seen.learning_rate, gradients, updates)


def check_laws(now, rates, gradients, updates):
    """Those that hold whatever the model says, to the bit."""
    assert np.all((now.lr_min <= rates) & (rates <= now.lr_max))
    # Only a lower bound that moves lifts it.
    assert np.all(rates[1:] <= np.maximum(rates[:-1], now.lr_min[1:]))
    # The product of two float32 is exact in float64.
    with np.errstate(invalid="ignore"):
        exact = gradients.astype(float) * rates.astype(float)
    np.testing.assert_array_equal(updates, exact.astype(np.float32))


def stacked(timeline):
    """Settings of arrays, from the settings of each step."""
    return Settings(*(np.array(values) for values in zip(*timeline, strict=True)))
