r"""Confidence intervals for mutual information, also near 0.

A reading :math:`\hat I`, less what chance adds to it, errs by

.. math::
    \mathrm{Var}(\hat I) \approx \frac{f}{2 N^2} + b\, I,

where f degrees of freedom make up what is read by chance alone, and b the rest. Near
0, b is 2 / N, and :math:`f + 2 N \hat I` is a noncentral chi-square of noncentrality
2 N I: the interval holds each I of which it is within the quantiles. With another b,
4 / b takes the place of 2 N. It holds 0 where chance alone may read as much.
"""

import math
from typing import NamedTuple

from scipy.special import chdtr, chdtrc, chndtrinc

# Of the normal distribution, 95 % lie within; and on each side of it a tail.
_Z, _TAIL = 1.959964, 0.025
# Beyond it a chi-square is normal.
_LARGE = 1e4


class Reading(NamedTuple):
    """What a method read of N samples, in nats."""

    mi: float  # less what chance adds; may be negative
    variance: float  # of `mi`, at `mi`
    freedom: float  # degrees of freedom of what is read by chance
    method: str
    why: str
    at_least: bool = False  # whether there may be any amount more


def nothing(why: str) -> Reading:
    """That nothing can be told."""
    return Reading(math.nan, math.nan, 0.0, "none", why)


def constant() -> Reading:
    """Of samples of which one side is always the same."""
    return Reading(0.0, 0.0, 0.0, "none needed", "one of them is constant")


def interval(reading: Reading, samples: int) -> tuple[float, float]:
    """Ends of the 95 % confidence interval, at least 0."""
    low, high = _ends(reading, samples)
    if reading.freedom:
        by_chance = reading.freedom + 2.0 * samples * reading.mi
        if by_chance <= 0 or chdtrc(reading.freedom, by_chance) > _TAIL:
            low = 0.0
    return low, math.inf if reading.at_least else high


def _ends(reading: Reading, samples: int) -> tuple[float, float]:
    mi, freedom = reading.mi, reading.freedom
    # What chance adds to a reading has its share of the variance.
    read = mi + freedom / (2.0 * samples)
    rest = reading.variance - freedom / (2.0 * samples**2)
    if freedom and read > 0 and rest > 0:
        scale = 4.0 * read / rest
        square = freedom + scale * mi
        if square <= 0:
            return 0.0, 0.0
        if square < _LARGE:
            low, high = 0.0, 0.0
            if chdtrc(freedom, square) < _TAIL:
                low = chndtrinc(square, freedom, 1.0 - _TAIL) / scale
            if chdtr(freedom, square) > _TAIL:
                high = chndtrinc(square, freedom, _TAIL) / scale
            return float(low), float(high)
    half = _Z * math.sqrt(reading.variance)
    return max(mi - half, 0.0), max(mi + half, 0.0)
