"""Scores of all features, for the target and for permutations of it."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.estimators.features._columns import Features
from optax_mi.estimators.inputs import Codes, encode
from optax_mi.estimators.samples import (
    break_ties_in_order,
    ksg_by_feature,
    ross_by_feature,
    strips_of,
)
from optax_mi.estimators.tables import codes_mi

# Largest numbers of rows, and of elements, of one call.
_ROWS, _ELEMENTS = 64, 2**22
# The share of distinct values that must stay distinct in the device's float dtype.
_DISTINCT = 0.9


class _Line(NamedTuple):
    """A column of numbers: its sorted values, and their samples."""

    ordered: np.ndarray  # [N]
    order: np.ndarray  # int [N]


class Scorer:
    """Prepares what all permutations of the target share, and scores them."""

    def __init__(
        self,
        features: Features,
        target: np.ndarray,
        *,
        of_classes: bool,
        neighbors: int,
        seed: int,
    ) -> None:
        self.features, self.k = features, neighbors
        self._seed, self._room = seed, _bucket(features.samples)
        self._target = encode(target) if of_classes else None
        lines = [i for i in range(features.number) if not features.is_discrete(i)]
        self._lines = {
            i: line
            for i in lines
            if (line := self._line("X", features[i], i, narrow=not of_classes))
        }
        self._codes = [i for i in range(features.number) if features.is_discrete(i)]
        # A numeric target, for numeric features and for features that are codes.
        self._numbers = self._beside_codes = None
        if not of_classes and self._lines:
            self._numbers = self._line("y", target, None, narrow=True)
        if not of_classes and self._codes:
            self._beside_codes = self._line("y", target, None, narrow=False)

    def score(self, orders: Sequence[np.ndarray]) -> np.ndarray:
        """Estimates [P, F] in nats, not clipped, for the target in these orders [N]."""
        scores = np.zeros((len(orders), self.features.number))
        if self._target is not None:
            self._with_classes(self._target, orders, scores)
        if self._numbers is not None:
            self._with_numbers(self._numbers, orders, scores)
        if self._beside_codes is not None:
            self._of_codes(self._beside_codes, orders, scores)
        return scores

    def _with_classes(
        self, target: Codes, orders: Sequence[np.ndarray], scores: np.ndarray
    ) -> None:
        if target.size == 1:
            return
        turned = [target.codes[order] for order in orders]
        for i in self._codes:
            x, size = encode(self.features[i])
            if size == 1:
                continue
            for p, codes in enumerate(turned):
                scores[p, i] = codes_mi(x, codes, size, target.size)
        jobs = (
            self._ross_row(line.ordered, codes[line.order], target.size)
            for codes in turned
            for line in self._lines.values()
        )
        scores[:, [*self._lines]] = self._run(self._ross, jobs, len(orders))

    def _of_codes(
        self, target: _Line, orders: Sequence[np.ndarray], scores: np.ndarray
    ) -> None:
        """Scores features that are codes against a numeric target."""
        columns: dict[int, dict[int, Codes]] = {}
        for i in self._codes:
            codes = encode(self.features[i])
            if codes.size > 1:
                columns.setdefault(_room_for(codes.size), {})[i] = codes
        turned = [_inverse(order)[target.order] for order in orders]
        # Features with a similar number of values share a program.
        for group in columns.values():
            jobs = (
                self._ross_row(target.ordered, x.codes[at], x.size)
                for at in turned
                for x in group.values()
            )
            scores[:, [*group]] = self._run(self._ross, jobs, len(orders))

    def _with_numbers(
        self, target: _Line, orders: Sequence[np.ndarray], scores: np.ndarray
    ) -> None:
        place = _inverse(target.order)
        y = self._pad(target.ordered, np.inf)
        rest = np.arange(len(place), self._room, dtype=np.int32)
        jobs = (
            self._ksg_row(line.ordered, np.append(place[order][line.order], rest))
            for order in orders
            for line in self._lines.values()
        )

        def kernel(ordered: Any, places: Any, strips: Any, jobs: int) -> jax.Array:
            count = len(place)
            return ksg_by_feature(ordered, y, places, strips, count, jobs, k=self.k)

        scores[:, [*self._lines]] = self._run(kernel, jobs, len(orders))

    def _ksg_row(self, ordered: np.ndarray, places: np.ndarray) -> tuple[Any, ...]:
        return self._pad(ordered, np.inf), places, strips_of(places, self.k)

    def _ross_row(
        self, ordered: np.ndarray, codes: np.ndarray, size: int
    ) -> tuple[np.ndarray, ...]:
        """A row for `ross_by_feature`; codes [N] are in the order of the values."""
        sizes = np.bincount(codes, minlength=_room_for(size))
        if (sizes == 1).any():
            # The only sample of a class has no neighbor, so leave it out.
            part = sizes[codes] > 1
            ordered, codes = ordered[part], codes[part]
            sizes[sizes == 1] = 0
        index = np.arange(len(codes), dtype=np.int64)
        keys = np.sort(codes * np.int64(len(codes)) + index)
        labels = np.repeat(np.arange(len(sizes)), sizes)
        return (
            self._pad(ordered, np.inf),
            self._pad(labels.astype(np.int32), len(sizes)),
            self._pad((keys - labels * len(codes)).astype(np.int32), self._room - 1),
            sizes.astype(np.int32),
        )

    def _ross(self, *rows: Any, jobs: int) -> jax.Array:
        return ross_by_feature(*rows, jobs, k=self.k)

    def _run(
        self, kernel: Callable[..., jax.Array], jobs: Iterable[Any], orders: int
    ) -> np.ndarray:
        """Scores [P, F] of rows, which come one permutation after another."""
        size = max(1, min(_ROWS, _ELEMENTS // self._room))
        found, waiting = [], []
        jobs = iter(jobs)
        while batch := list(itertools.islice(jobs, size)):
            stacked = []
            for parts in zip(*batch, strict=True):
                if parts[0] is None:
                    stacked.append(None)
                    continue
                rows = np.zeros((size, *parts[0].shape), parts[0].dtype)
                np.stack(parts, out=rows[: len(parts)])
                stacked.append(rows)
            # The device works on this batch while the host sorts the next one.
            waiting.append((kernel(*stacked, jobs=len(batch)), len(batch)))
            if len(waiting) > 1:
                scores, count = waiting.pop(0)
                found.append(np.asarray(scores, float)[:count])
        found += [np.asarray(scores, float)[:count] for scores, count in waiting]
        return np.concatenate([np.zeros(0), *found]).reshape(orders, -1)

    def _pad(self, x: np.ndarray, value: float) -> np.ndarray:
        padded = np.full(self._room, value, x.dtype)
        padded[: len(x)] = x
        return padded

    def _line(
        self, name: str, column: np.ndarray, i: int | None, *, narrow: bool
    ) -> _Line | None:
        """A column of unit variance without ties, or None if it is constant."""
        x = _unit_variance(column)
        if x is None:
            return None
        order = np.argsort(x)
        ordered, dtype = x[order], np.dtype(jnp.result_type(float))
        if (values := _values(ordered)) < len(x):
            # The noise of a feature does not depend on the other features.
            rng = np.random.default_rng([self._seed, 0 if i is None else 1 + i])
            eps = float(np.finfo(dtype).eps)
            x = break_ties_in_order(rng, ordered, eps, narrow=narrow)
            again = np.argsort(x)
            ordered, order = x[again], order[again]
        ordered = ordered.astype(dtype)
        if (left := _values(ordered)) < _DISTINCT * values:
            where = name if i is None else f"X, in {self.features.name(i)},"
            raise ValueError(
                f"{where} has {values} values, of which float32 can tell only {left} "
                "apart: take their logarithms, or enable x64 in JAX."
            )
        return _Line(ordered, order)


def _values(ordered: np.ndarray) -> int:
    """The number of distinct values."""
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def _unit_variance(column: np.ndarray) -> np.ndarray | None:
    """Numbers [N] with median 0 and variance 1 in float64; None if all are equal."""
    low, high = column.min(), column.max()
    if low == high:
        return None
    if column.dtype.kind in "iu" and high.item() - low.item() < 2**63:
        column = column - low
    x = column.astype(float)
    # So no sum or square overflows, and most values stay distinct next to outliers.
    x = x / np.max(np.abs(x))
    x = x - np.median(x)
    return x / x.std()


def _inverse(order: np.ndarray) -> np.ndarray:
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places


def _room_for(values: int) -> int:
    """The next power of 2, at least 16."""
    return 1 << (max(values, 16) - 1).bit_length()


def _bucket(samples: int) -> int:
    """The next of about sixteen lengths per doubling, so that few programs compile."""
    step = 1 << max(6, (samples - 1).bit_length() - 5)
    return -(-samples // step) * step
