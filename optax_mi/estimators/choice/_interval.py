r"""Confidence intervals for mutual information, also near 0.

An estimate :math:`\hat I`, minus its chance level, has the variance

.. math::
    \mathrm{Var}(\hat I) \approx \frac{f}{2 N^2} + b\, I,

where f is the number of degrees of freedom of the chance level, and b accounts for the
rest. Near 0, b is 2 / N, and :math:`f + 2 N \hat I` has a noncentral chi-square
distribution with noncentrality 2 N I. The interval contains every I for which it lies
within the quantiles. For another b, 4 / b replaces 2 N. The interval contains 0 if
chance alone may give as large an estimate.
"""

import math
from typing import NamedTuple

from scipy.special import chdtr, chdtrc, chndtrinc

# The half-width of 95 % of the normal distribution, and the tail on each side.
_Z, _TAIL = 1.959964, 0.025
# A larger chi-square is treated as normal.
_LARGE = 1e4


class Reading(NamedTuple):
    """The estimate of a method from N samples, in nats."""

    mi: float  # minus the chance level; may be negative
    variance: float  # variance of the estimate if I is `mi`
    freedom: float  # degrees of freedom of the chance level
    method: str
    why: str
    at_least: bool = False  # whether the true value may be arbitrarily larger


def nothing(why: str) -> Reading:
    """The reading if there is no estimate."""
    return Reading(math.nan, math.nan, 0.0, "none", why)


def constant() -> Reading:
    """The reading if one side is constant."""
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
    # Add the chance level again, and subtract its share of the variance.
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
