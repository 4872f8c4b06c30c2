r"""A race of learning rates, on a budget of updates.

With f(t) the loss of the averaged weights on held-out batches after t updates, at each
of the learning rates 0.01 * 10^(k/2):

1. Bracket: f after one chunk of updates at k = 0, 2, 4, ..., or downwards, until it
   rises; then at the two neighbours of the best.
2. Compare: the best and its neighbours, for four chunks more. The winner is the lowest
   that keeps 90 % of the largest fall, f(0) - f(t).
3. Go on with the winner to time T, when the budget is spent.

`lr_max` is half of the winner, since the edge of what is stable comes down as a network
trains on. Let S(t) be the sum of the winner's learning rates so far, g the loss at T on
batches that it has trained on, and r = 1 - g / f(T) what it knows by heart. Above
r = 0.1 the sum of the learning rates gets a limit: 1.2 S(T) / r while f falls, and
where f has come to its level, S at the first f within 2 % of the lowest.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_START = 0.01
_FARTHEST = 16  # half decades from the start: from 1e-10 to 1e6
_CHUNKS = 30
_LEAST_CHUNK = 3
_BRACKET_SHARE = 0.4
_COMPARED = 4
_TOLERANCE = 0.1
_MARGIN = 2.0
_BY_HEART = 0.1
_BEYOND = 1.2
_LEVEL = 0.02
_SIGMAS = 2.0
LEAST_UPDATES = 20 * _LEAST_CHUNK


@dataclass
class Run:
    """A copy of the network at one learning rate, and what it came to.

    Attributes:
      learning_rate: before any decay.
      carry: the copy itself; None where it is of no more use.
      updates: made before each measurement.
      losses: of the held-out batches at each measurement, [batches].
      lr_sums: sum of the learning rates until each measurement.
    """

    learning_rate: float
    carry: Any
    updates: list[int] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)
    lr_sums: list[float] = field(default_factory=list)

    def curve(self) -> np.ndarray:
        """Mean held-out loss at each measurement; infinite where it was not finite."""
        means = np.array([losses.mean() for losses in self.losses], float)
        return np.where(np.isfinite(means), means, np.inf)


class Race:
    """The runs, by their half decades from 0.01, and the budget that they share.

    Args:
      start: `start(learning_rate)` makes the carry of a copy.
      train: `train(run, updates)` trains a copy, measures it, and adds to its lists.
      untrained: mean loss of the held-out batches before any training.
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
        self.chunk = max(_LEAST_CHUNK, budget // _CHUNKS)
        self.spent = 0
        self.runs: dict[int, Run] = {}
        self.compared: list[int] = []

    def affords(self, chunks: int, share: float = 1.0) -> bool:
        """Whether so many chunks more stay within a share of the budget."""
        return self.spent + chunks * self.chunk <= share * self.budget

    def go_on(self, k: int) -> None:
        """Trains a copy, new or not, for a chunk."""
        if k not in self.runs or self.runs[k].carry is None:
            rate = _START * 10 ** (k / 2)
            self.runs[k] = Run(rate, self.start(rate))
        self.train(self.runs[k], self.chunk)
        self.spent += self.chunk

    def first(self, k: int) -> float:
        """The loss after one chunk."""
        if k not in self.runs:
            self.go_on(k)
        return self.runs[k].curve()[0]

    def keep(self, some: Iterable[int]) -> None:
        """Frees all copies but some."""
        for k in self.runs.keys() - set(some):
            self.runs[k].carry = None

    def pick(self, losses: dict[int, float]) -> int:
        """The lowest learning rate that keeps most of the largest fall."""
        best = min(losses.values())
        limit = best + _TOLERANCE * max(self.untrained - best, 0.0)
        return min(k for k, loss in losses.items() if loss <= limit)

    def bracket(self) -> int:
        """The best after one chunk."""
        way, k = (2, 2) if self.first(2) < self.first(0) else (-2, 0)
        while self.affords(3, _BRACKET_SHARE) and abs(k + way) <= _FARTHEST:
            here, there = self.first(k), self.first(k + way)
            # Where everything diverges there is no slope, but it must be lower.
            unstable = way < 0 and not here < self.untrained
            if not (there < here or unstable):
                break
            k += way
            self.keep([k - way, k])
        for neighbour in (k + 1, k - 1):
            self.first(neighbour)
        return self.pick({q: run.curve()[0] for q, run in self.runs.items()})

    def compare(self, k: int) -> int:
        """The best after five chunks, k or a neighbour."""
        # Not the upper one, where it has lost what was known at the start.
        top = k + 1 if self.first(k + 1) < self.untrained else k
        self.compared = [top, top - 1, top - 2]
        self.keep(self.compared)
        for q in self.compared:
            if q not in self.runs or self.runs[q].carry is None:
                self.go_on(q)
        for _ in range(_COMPARED):
            if self.affords(len(self.compared)):
                for q in self.compared:
                    self.go_on(q)
        # Of two chunks, since one alone is noisy.
        return self.pick({q: self.settled(q) for q in self.compared})

    def as_good(self, winner: int) -> list[int]:
        """Those compared that cannot be told from the winner, itself among them."""
        last = self._rounds()

        def is_as_good(k: int) -> bool:
            more = self.runs[k].losses[last] - self.runs[winner].losses[last]
            error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else 0.0
            return k == winner or bool(more.mean() <= _SIGMAS * error)

        return [k for k in sorted(self.compared) if is_as_good(k)]

    def settled(self, k: int) -> float:
        """Mean loss of the last two measurements of those that were compared."""
        last = self._rounds()
        return self.runs[k].curve()[max(last - 1, 0) : last + 1].mean()

    def _rounds(self) -> int:
        """Place of the last measurement that all that were compared have."""
        return min(len(self.runs[k].losses) for k in self.compared) - 1

    def run(self) -> int:
        """Runs the race; the winner, or the best of a race without one."""
        winner = self.compare(self.bracket())
        self.keep([winner])
        while self.affords(1):
            self.go_on(winner)
        return winner


def lr_max_of(winner: Run) -> float:
    """The upper bound of the learning rate."""
    return winner.learning_rate / _MARGIN


def limit_of(run: Run, trained: float) -> tuple[float | None, str]:
    """The limit on the sum of the learning rates, or None, and why.

    `trained` is the loss at the end on batches that the run was trained on.
    """
    curve, sums = run.curve(), run.lr_sums
    end = curve[-2:].mean()
    if not end > 0:
        return None, "none, since a loss that is not positive tells no shares."
    by_heart = max(1 - trained / end, 0.0)
    said = (
        f"its loss is {trained:.3g} on batches trained on, {end:.3g} on held-out ones"
    )
    if by_heart <= _BY_HEART:
        return None, f"none, since it generalizes: {said}."
    limit = _BEYOND * sums[-1] / by_heart
    third = len(curve) // 3
    falls = curve[-third:].mean() < 0.99 * curve[third:-third].mean()
    lowest = curve.min()
    if falls and end <= 1.05 * lowest:
        return limit, f"it learns by heart, and still generalizes better: {said}."
    at = int(np.argmax(curve <= (1 + _LEVEL) * lowest))
    why = f"it learns by heart: {said}, no lower than after {run.updates[at]} updates."
    return min(limit, sums[at]), why
