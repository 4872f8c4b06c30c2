r"""A race of learning rates, on a budget of updates.

Let f(t) be the loss of the averaged weights on held-out batches after t updates, and
h(t) the loss of the weights themselves. The learning rates are 0.01 * 10^(k/2).

1. Bracket: measure f after one chunk of updates at k = 0, 2, 4, ..., or downwards,
   until f rises; then at the neighbors. The lowest learning rate that keeps 90 % of
   the largest fall, f(0) - f, is too high for long runs, because a short run shows
   little of the cost of noise.
2. Balance: run 8 chunks at half a decade below that. Then go upwards while the average
   gains less than 1.5 % of the fall, or of the remaining loss if that is larger,

       gain = (h - f) / max(f(0) - f, f) < 0.015,    over the last 3 chunks,

   and downwards otherwise. If the average gains nothing, the learning rate is too low,
   and the average lags behind. If it gains much, noise keeps the loss up. `lr_max` is
   the learning rate between two runs at which the gain is 1.5 %.
3. Continue the run above that to time T, when the budget is spent. Let S(t) be the sum
   of its learning rates so far, g the loss at T on batches that it has trained on, and
   r = 1 - g / f(T) the share that it has memorized. If r is above 0.08 and any batch
   was seen twice, the sum of the learning rates gets a limit: 1.2 S(T) /
   min(r / 0.2, 1)^2 while f falls; and if f is level, S at the first f within 2 % of
   the lowest.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_START = 0.01
_FARTHEST = 16  # half decades from the start: from 1e-10 to 1e6
_CHUNKS = 30
_LEAST_CHUNK = 3
_BRACKET_SHARE = 0.3
_BALANCED = 8
_MOST_BALANCED = 2
_LAST = 3
_GAIN = 0.015
_TOLERANCE = 0.1
_BY_HEART, _MUCH = 0.08, 0.2
_BEYOND = 1.2
_LEVEL = 0.02
LEAST_UPDATES = 20 * _LEAST_CHUNK


@dataclass
class Run:
    """A copy of the network at one learning rate, with its measurements.

    Attributes:
      learning_rate: learning rate before any decay.
      carry: the copy itself; None once it is no longer needed.
      updates: number of updates before each measurement.
      losses: losses of the held-out batches at each measurement, with the averaged
        weights and with the weights themselves, [2, batches].
      lr_sums: sum of the learning rates until each measurement.
    """

    learning_rate: float
    carry: Any
    updates: list[int] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)
    lr_sums: list[float] = field(default_factory=list)

    def curves(self) -> np.ndarray:
        """The losses f and h at each measurement, [2, M]; inf if one is not finite."""
        means = np.array([losses.mean(1) for losses in self.losses]).T
        return np.where(np.isfinite(means), means, np.inf)


class Race:
    """The runs, keyed by half decades from 0.01, and the budget that they share.

    Args:
      start: `start(learning_rate)` makes the carry of a copy.
      train: `train(run, updates)` trains a copy, measures it, and adds to its lists.
      untrained: mean loss of the held-out batches before any training, f(0).
      budget: updates of all copies together.
    """

    def __init__(
        self,
        start: Callable[[float], Any],
        train: Callable[[Run, int], None],
        untrained: float,
        budget: int,
    ):
        self.start, self.train = start, train
        self.untrained, self.budget = untrained, budget
        self.chunk = chunk_of(budget)
        self.spent = 0
        self.runs: dict[int, Run] = {}
        self.balanced: list[int] = []

    def affords(self, chunks: int, share: float = 1.0) -> bool:
        """Whether so many more chunks stay within a share of the budget."""
        return self.spent + chunks * self.chunk <= share * self.budget

    def go_on(self, k: int) -> None:
        """Trains a new or existing copy for one chunk."""
        if k not in self.runs or self.runs[k].carry is None:
            rate = rate_of(k)
            self.runs[k] = Run(rate, self.start(rate))
        self.train(self.runs[k], self.chunk)
        self.spent += self.chunk

    def first(self, k: int) -> float:
        """The loss f after one chunk."""
        if k not in self.runs:
            self.go_on(k)
        return self.runs[k].curves()[0, 0]

    def keep(self, some: Iterable[int]) -> None:
        """Frees all copies except `some`."""
        for k in self.runs.keys() - set(some):
            self.runs[k].carry = None

    def bracket(self) -> int:
        """The best half decade after one chunk."""
        way, k = (2, 2) if self.first(0) > self.first(2) else (-2, 0)
        while self.affords(3, _BRACKET_SHARE) and abs(k + way) <= _FARTHEST:
            here, there = self.first(k), self.first(k + way)
            # If both diverge there is no slope, but the learning rate must be lower.
            unstable = way < 0 and not here < self.untrained
            if not (there < here or unstable):
                break
            k += way
            self.keep([k - way, k])
        for neighbor in (k + 1, k - 1):
            self.first(neighbor)
        losses = {q: self.first(q) for q in self.runs}
        lowest = min(losses.values())
        limit = lowest + _TOLERANCE * max(self.untrained - lowest, 0.0)
        return min(q for q, loss in losses.items() if loss <= limit)

    def settled(self, k: int) -> np.ndarray:
        """The mean losses f and h of the last 3 of the first 8 chunks, [2]."""
        return self.runs[k].curves()[:, :_BALANCED][:, -_LAST:].mean(1)

    def gain(self, k: int) -> float:
        """The relative gain of the average; inf if f is worse than at the run below."""
        averaged, raw = self.settled(k)
        fall = self.untrained - averaged
        if not fall > 0:
            return math.inf
        if k - 1 in self.balanced:
            below = self.settled(k - 1)[0]
            if averaged > below + _TOLERANCE * (self.untrained - below):
                return math.inf
        return float((raw - averaged) / max(fall, averaged))

    def balance(self, k: int) -> None:
        """Runs from k upwards or downwards until the gain crosses its level."""
        while self.affords(_BALANCED):
            self.balanced.append(k)
            self.keep(self.balanced)
            while k not in self.runs or len(self.runs[k].losses) < _BALANCED:
                self.go_on(k)
            way = 1 if self.gain(k) < _GAIN else -1
            k += way
            if k in self.balanced or len(self.balanced) == _MOST_BALANCED:
                break

    def between(self) -> tuple[int | None, int | None]:
        """The highest run with too small a gain, and the next run, if any."""
        low = max((k for k in self.balanced if self.gain(k) < _GAIN), default=None)
        first = min(self.balanced) if low is None else low + 1
        return low, first if first in self.balanced else None

    def best(self) -> float:
        """The half decade at which the gain crosses 1.5 %, or the nearest one tried."""
        low, high = self.between()
        if low is None or high is None:
            return max(self.balanced) if high is None else high
        below, above = self.gain(low), self.gain(high)
        return low + (_GAIN - below) / (above - below)

    def run(self) -> tuple[float, int]:
        """Runs the race; returns the best half decade, and the key of the long run."""
        self.balance(self.bracket() - 1)
        best = self.best()
        # The run above begins to memorize sooner.
        above = [k for k in self.balanced if k >= best]
        longest = min(above, default=max(self.balanced))
        self.keep([longest])
        while self.affords(1):
            self.go_on(longest)
        return best, longest


def chunk_of(budget: int) -> int:
    """Updates between two measurements."""
    return max(_LEAST_CHUNK, budget // _CHUNKS)


def rate_of(k: float) -> float:
    """The learning rate of half decade `k`."""
    return _START * 10 ** (k / 2)


def limit_of(run: Run, trained: np.ndarray | None) -> tuple[float | None, str]:
    """The limit on the sum of the learning rates, or None, and the reason.

    `trained` has the losses, at the end, of batches that the run was trained on; it is
    None if the run saw no batch twice.
    """
    if trained is None:
        return None, "no batch was seen twice, so none was memorized."
    curve, sums = run.curves()[0], run.lr_sums
    end, known = curve[-2:].mean(), trained.mean()
    if not end > 0:
        return None, "the loss is not positive, so a share of it means nothing."
    by_heart = max(1 - known / end, 0.0)
    said = f"the loss is {known:.3g} on batches trained on, {end:.3g} on held-out ones"
    # This ignores noise: a needless limit costs little, a missing one costs much.
    if by_heart <= _BY_HEART:
        return None, f"the network generalizes: {said}."
    limit = float(_BEYOND * sums[-1] / min(by_heart / _MUCH, 1.0) ** 2)
    third = len(curve) // 3
    if curve[-third:].mean() < 0.99 * curve[third:-third].mean():
        return limit, f"the network memorizes, but still generalizes better: {said}."
    at = int(np.argmax(curve <= (1 + _LEVEL) * curve.min()))
    why = f"the network memorizes from {run.updates[at]} updates on: {said}."
    return min(limit, float(sums[at])), why
