r"""Mutual information of symbols, adjusted for chance.

.. math::
    \hat I = H\, \frac{I - b}{H - b}, \qquad
    I = \sum_{xy} \frac{n_{xy}}{N} \ln \frac{N n_{xy}}{n_x n_y},
    \qquad H = \min(H_X, H_Y),

where b is the average of I if x and y were independent: f / 2 N with f degrees of
freedom if cells have many samples, and otherwise the mean over permutations of y.
"""

import numpy as np

from optax_mi.estimators.choice._columns import entropy_of
from optax_mi.estimators.choice._interval import Reading, constant, nothing
from optax_mi.estimators.tables import codes_mi

# From this many samples per cell, chance is a chi-square; below, permutations give it.
_FULL, _PERMUTATIONS = 20, 64
# If chance exceeds this share of the entropy, its error is too large for an estimate.
_MOST_CHANCE = 0.75


def symbols_mi(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[Reading, float]:
    """I of symbols [N], numbered from 0, and the chance level as a share of H."""
    samples = len(x)
    sizes = [np.bincount(a) for a in (x, y)]
    rows, columns = (len(size) for size in sizes)
    if min(rows, columns) == 1:
        return constant(), 0.0
    entropy = min(entropy_of(size) for size in sizes)
    mi = codes_mi(x, y, rows, columns)
    if rows * columns * _FULL <= samples:
        freedom = (rows - 1.0) * (columns - 1.0)
        chance = freedom / (2.0 * samples)
    else:
        by_chance = [
            codes_mi(x, rng.permutation(y), rows, columns) for _ in range(_PERMUTATIONS)
        ]
        chance = float(np.mean(by_chance))
        freedom = 2.0 * samples**2 * float(np.var(by_chance))
    share = chance / entropy
    if share > _MOST_CHANCE:
        why = (
            f"{samples:,} samples are too few for a table of so many symbols: chance "
            f"alone gives {chance:.2f} of {entropy:.2f} nats"
        )
        return nothing(why), share
    scale = 1.0 / (1.0 - share)
    variance = _variance(x, y, sizes, columns) / samples
    variance += freedom / (2.0 * samples**2)
    name = "joint table, adjusted for chance"
    return Reading(
        scale * (mi - chance), scale**2 * variance, scale**2 * freedom, name, ""
    ), share


def _variance(
    x: np.ndarray, y: np.ndarray, sizes: list[np.ndarray], columns: int
) -> float:
    """Variance over samples of the log ratio of densities."""
    _, cell, counts = np.unique(
        x * np.int64(columns) + y, return_inverse=True, return_counts=True
    )
    ratio = np.log(counts[cell.reshape(-1)] / (sizes[0][x] * sizes[1][y]))
    return float(np.var(ratio))
