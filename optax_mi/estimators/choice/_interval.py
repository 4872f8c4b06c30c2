r"""Confidence intervals for mutual information, also near 0.

An estimate errs by

.. math::
    \mathrm{Var}(\hat I) \approx v_0 + b\, I, \qquad v_0 = \frac{f}{2 N^2},

where f degrees of freedom make up what is read by chance alone, and b the rest. The
interval holds each I that :math:`\hat I` is not too far from, as Wilson's does for a
share: it solves :math:`(\hat I - I)^2 = z^2 (v_0 + b I)`.
"""

import math
from typing import NamedTuple

# Of the normal distribution, 95 % lie within.
Z = 1.959964


class Reading(NamedTuple):
    """What a method read of N samples, in nats."""

    mi: float  # less what chance adds; may be negative
    variance: float  # of `mi`, at `mi`
    freedom: float  # degrees of freedom of what is read by chance
    method: str
    why: str


def interval(reading: Reading, samples: int) -> tuple[float, float]:
    """Ends of the 95 % confidence interval, at least 0.

    A variance that is infinite leaves `mi` as a lower bound.
    """
    if math.isinf(reading.variance):
        return reading.mi, math.inf
    floor = reading.freedom / (2.0 * samples**2)
    # What chance adds to a reading has its share of the variance.
    read = max(reading.mi, 0.0) + reading.freedom / (2.0 * samples)
    slope = max(reading.variance - floor, 0.0) / read if read > 0 else 0.0
    middle = reading.mi + 0.5 * Z**2 * slope
    within = Z**2 * (floor + slope * reading.mi) + (0.5 * Z**2 * slope) ** 2
    half = math.sqrt(max(within, 0.0))
    return max(middle - half, 0.0), max(middle + half, 0.0)
