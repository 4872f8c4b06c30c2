r"""Plug-in mutual information of two columns of codes, in float64.

.. math::
    N \hat I = \sum_{xy} n_{xy} \ln n_{xy} - \sum_x n_x \ln n_x - \sum_y n_y \ln n_y
        + N \ln N
"""

import numpy as np

# Tables of up to this many cells per sample are counted; larger ones are sorted.
_CELLS = 8


def codes_mi(x: np.ndarray, y: np.ndarray, x_codes: int, y_codes: int) -> float:
    """I(X; Y) in nats for codes [N] in [0, `x_codes`) and [0, `y_codes`)."""
    samples = len(x)
    cells = x.astype(np.int64) * y_codes + y
    if x_codes * y_codes <= _CELLS * samples:
        joint = np.bincount(cells)
    else:
        joint = np.unique(cells, return_counts=True)[1]
    joint, of_x, of_y = (
        _n_log_n(counts) for counts in (joint, np.bincount(x), np.bincount(y))
    )
    return (joint - of_x - of_y) / samples + np.log(samples)


def _n_log_n(counts: np.ndarray) -> float:
    counts = counts[counts > 0].astype(float)
    return float(np.sum(counts * np.log(counts)))
