r"""Mutual information of two samples of any kind, by the method that suits them.

If both are symbols, they are counted. Otherwise there are two estimates: from a model,
which is a copula or a discriminant, and from nearest neighbors in the columns that
matter. Both tend to miss information rather than invent it, so

.. math::
    \hat I = \begin{cases}
        \hat I_\mathrm{neighbors} & \text{if } \hat I_\mathrm{neighbors} >
            \hat I_\mathrm{model} + 2 \sigma_\mathrm{neighbors}, \\
        \hat I_\mathrm{model} & \text{otherwise.}
    \end{cases}
"""

import math
from typing import NamedTuple

import jax
import numpy as np

from optax_mi._checks import check_static_int
from optax_mi.estimators.choice._columns import (
    Columns,
    entropy_of,
    read_columns,
    symbols,
)
from optax_mi.estimators.choice._copula import copula_mi
from optax_mi.estimators.choice._interval import Reading, constant, interval, nothing
from optax_mi.estimators.choice._neighbors import (
    at_most,
    neighbors_of_classes,
    neighbors_of_vectors,
)
from optax_mi.estimators.choice._posteriors import logits_mi, posterior_mi
from optax_mi.estimators.choice._ranks import (
    independent,
    normal_scores,
    ranks,
    related,
    related_to_classes,
    standardize,
)
from optax_mi.estimators.choice._tables import symbols_mi

# With fewer samples there is no estimate.
_FEWEST = 10
# Samples per column that a model needs.
_A_COLUMN = 4
# Standard errors by which neighbors must exceed a model.
_CLEARLY = 2.0
# A table is sparse if its chance level is above this share of the entropy.
_SPARSE = 0.1


class MutualInformation(NamedTuple):
    """The result of :func:`mutual_information`.

    Attributes:
      mi: I(x; y) in nats, in [0, `entropy`]; nan if there is no estimate.
      low, high: ends of its 95 % confidence interval, in nats. If `high` is infinite,
        `mi` is the most that this number of samples can show.
      entropy: the smaller of H(x) and H(y), in nats; infinite if neither repeats.
      num_samples: number of samples used.
      dropped: number of samples ignored because of padding or a value that is not
        finite.
      method: the estimator that was chosen.
      why: how x and y were interpreted, and the reason for the choice.
    """

    mi: float
    low: float
    high: float
    entropy: float
    num_samples: int
    dropped: int
    method: str
    why: str

    def __str__(self) -> str:
        """The estimate in one line."""
        dropped = f", {self.dropped:,} dropped" * bool(self.dropped)
        return (
            f"{self.mi:.3f} nats (95 %: {self.low:.3f} to {self.high:.3f}) from "
            f"{self.num_samples:,} samples{dropped}. {self.method}: {self.why}."
        )


def mutual_information(
    x: jax.typing.ArrayLike,
    y: jax.typing.ArrayLike,
    *,
    discrete_x: bool | None = None,
    discrete_y: bool | None = None,
    seed: int = 0,
) -> MutualInformation:
    r"""Estimates I(x; y) in nats from samples of any kind, and explains the method.

    It reads the values, so call it outside of `jit`. The method depends on the samples:

    - symbols and symbols: their joint table, adjusted for chance;
    - real columns and symbols: a linear or quadratic discriminant, evaluated on
      held-out samples, the softmax of x if it has a column for each class, or
      :func:`ross_mi`;
    - real columns on both sides: the Gaussian or Student t copula with the largest
      likelihood, or :func:`ksg_mi`.

    Neighbors are used if they find clearly more than the model. They use at most 8,192
    samples, and the normal scores of the columns that depend on a column of the other
    side, if there are any. Rows must be independent draws: repeated rows and time
    series seem to have more information than they do.

    Args:
      x: samples [N] or [N, d] of numbers, booleans or strings.
      y: samples [N] or [N, e] of the same kinds.
      discrete_x: whether values of x are symbols, which have no order. None decides for
        each column: strings, booleans, class ids from 0 on, and columns of two values,
        or of up to 32 values with ten samples each, are symbols.
      discrete_y: the same for y.
      seed: seed of the random numbers that break ties and permute sparse tables.

    Returns:
      A :class:`MutualInformation`. Samples with a missing or infinite value are
      dropped, and so is padding: ids of -1 and -100 if all others are from 0 on. The
      confidence interval is right if the assumptions of the method are right; it does
      not include what the model cannot see, or what neighbors miss in many columns.

    Raises:
      TypeError, ValueError: x and y do not fit together, have other than one or two
        axes, or are traced.

    Example:
      >>> import numpy as np
      >>> from optax_mi.estimators import mutual_information
      >>> x = np.random.default_rng(0).uniform(-1.0, 1.0, 1000)
      >>> found = mutual_information(x, x > 0.5)
      >>> print(f"{found.mi:.2f} of {found.entropy:.2f} nats, by {found.method}")
      0.58 of 0.58 nats, by nearest neighbors

    References:
      Kraskov, Stögbauer and Grassberger, Physical Review E 69, 066138, 2004, for
      vectors; Ross, PLoS ONE 9(2):e87357, 2014, for classes; Vinh, Epps and Bailey,
      Journal of Machine Learning Research 11, 2837-2854, 2010, for chance.
    """
    found_x = read_columns("x", x, discrete_x)
    found_y = read_columns("y", y, discrete_y)
    seed = check_static_int("seed", seed, 0)
    if len(found_x.values) != len(found_y.values):
        raise ValueError(
            "x and y must have the same number of samples, got "
            f"{len(found_x.values)} and {len(found_y.values)}."
        )
    valid = found_x.valid & found_y.valid
    samples, dropped = int(valid.sum()), int((~valid).sum())
    a, b = found_x.values[valid], found_y.values[valid]
    if samples < _FEWEST:
        reading = nothing(f"{samples} usable samples are fewer than {_FEWEST}")
        return _report(reading, math.nan, samples, dropped, found_x, found_y)
    entropy = min(_entropy(a, found_x.discrete), _entropy(b, found_y.discrete))
    rng = np.random.default_rng(seed)
    if not (found_x.discrete or found_y.discrete):
        reading, chance = _of_vectors(a, b, rng, seed), 0.0
    elif found_x.discrete and found_y.discrete:
        reading, chance = symbols_mi(symbols(a)[0], symbols(b)[0], rng)
    else:
        sides = (a, b) if found_y.discrete else (b, a)
        reading, chance = _of_classes(*sides, rng, seed), 1.0
    numbers = all(side.ordered or not side.discrete for side in (found_x, found_y))
    if chance > _SPARSE and numbers:
        # The order of numbers may have information that small classes do not show.
        vectors = _of_vectors(a, b, rng, seed)
        if not vectors.mi <= reading.mi + _CLEARLY * math.sqrt(vectors.variance):
            why = f"as numbers they show more than as symbols, {reading.mi:.3f} nats"
            reading = vectors._replace(why=why)
    return _report(reading, entropy, samples, dropped, found_x, found_y)


def _report(
    reading: Reading,
    entropy: float,
    samples: int,
    dropped: int,
    x: Columns,
    y: Columns,
) -> MutualInformation:
    # The estimate may be negative after the chance level is subtracted.
    mi = float(np.clip(reading.mi, 0.0, entropy))
    low, high = math.nan, math.nan
    if not math.isnan(mi):
        low, high = interval(reading, samples)
    return MutualInformation(
        mi=mi,
        low=min(low, mi),
        high=max(high, mi),
        entropy=entropy,
        num_samples=samples,
        dropped=dropped,
        method=reading.method,
        why="; ".join(filter(None, (f"x is {x.kind}, y {y.kind}", reading.why))),
    )


def _entropy(values: np.ndarray, discrete: bool) -> float:
    """Entropy of symbols, or of rows that mostly repeat; otherwise infinite."""
    _, sizes = symbols(values)
    if not discrete and 2 * len(sizes) > len(values):
        return math.inf
    return entropy_of(sizes)


def _of_classes(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, seed: int
) -> Reading:
    labels, sizes = symbols(y)
    u, kept = ranks(x, rng), independent(standardize(x))
    if not len(kept) or len(sizes) == 1:
        return constant()
    if 2 * len(sizes) > len(x):
        return nothing(f"{len(x):,} samples are too few for {len(sizes):,} classes")
    matter = related_to_classes(u, labels)
    readings = []
    if len(kept) * _A_COLUMN > len(x):
        kept = np.intersect1d(kept, matter)
    if 0 < len(kept) * _A_COLUMN <= len(x):
        readings.append(posterior_mi(x[:, kept], u[:, kept], labels, sizes))
    if x.shape[1] == len(sizes) > 2:
        readings.append(logits_mi(x, labels, sizes))
    if not readings and not len(matter):
        return _too_many(x.shape[1], len(x))
    if len(matter):
        u = u[:, matter]
    return _larger(readings, neighbors_of_classes(u, labels, seed))


def _of_vectors(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, seed: int
) -> Reading:
    u, v = ranks(x, rng), ranks(y, rng)
    kept = [independent(normal_scores(a)) for a in (u, v)]
    if not all(map(len, kept)):
        return constant()
    matter = related(u, v)
    readings = []
    if sum(map(len, kept)) * _A_COLUMN > len(x):
        kept = [np.intersect1d(*pair) for pair in zip(kept, matter, strict=True)]
    if all(map(len, kept)) and sum(map(len, kept)) * _A_COLUMN <= len(x):
        readings.append(copula_mi(u[:, kept[0]], v[:, kept[1]]))
    if readings and readings[0].at_least:
        return readings[0]
    if not readings and not len(matter[0]):
        return _too_many(x.shape[1] + y.shape[1], len(x))
    if len(matter[0]):
        u, v = u[:, matter[0]], v[:, matter[1]]
    return at_most(_larger(readings, neighbors_of_vectors(u, v, seed)), len(x))


def _too_many(columns: int, samples: int) -> Reading:
    return nothing(
        f"{samples} samples are too few for {columns} columns, none of which shows "
        "information by itself"
    )


def _larger(readings: list[Reading], near: Reading) -> Reading:
    """The largest reading of a model, or that of neighbors if it is clearly larger."""
    if not readings:
        return near._replace(why=f"{near.why}; too few samples for a model")
    model = max(readings, key=lambda reading: reading.mi)
    error = math.sqrt(near.variance)
    if near.mi <= model.mi + _CLEARLY * error:
        return model._replace(why=f"neighbors show no more, {near.why}")
    other = f"more than by {model.method}, {max(model.mi, 0.0):.3f} nats"
    return near._replace(why=f"{near.why}, {other}")
