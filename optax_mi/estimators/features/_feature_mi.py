"""Mutual information of each feature with a target, as in scikit-learn."""

from typing import Any, Literal

import numpy as np

from optax_mi._checks import check_int, check_static_int
from optax_mi.estimators.features._columns import Features, read_target
from optax_mi.estimators.features._scorer import Scorer

# Whole numbers with at least this many samples per value count as classes.
_EACH = 10
# Scores in nats that differ by less are equal up to rounding.
_SAME = 1e-6
# Elements of the permutations in memory at a time.
_ORDERS = 2**24


def feature_mi(
    X: Any,
    y: Any,
    *,
    discrete_features: Any = "auto",
    discrete_target: bool | Literal["auto"] = "auto",
    n_neighbors: int = 3,
    random_state: Any = 0,
    num_permutations: int = 0,
) -> Any:
    r"""Estimates the mutual information in nats of each feature with a target.

    It combines scikit-learn's `mutual_info_classif` and `mutual_info_regression`, and
    is a `score_func` for `SelectKBest` and similar. The method depends on the data:

    - codes and classes: :math:`\sum_{xy} \hat p_{xy} \ln \frac{\hat p_{xy}}{\hat p_x
      \hat p_y}`, as in :func:`plugin_mi`;
    - numbers and classes, or codes and numbers: as in :func:`ross_mi`;
    - numbers and numbers: as in :func:`ksg_mi`.

    Without ties the values equal scikit-learn's up to rounding. As in those estimators,
    small noise breaks ties between equal numbers.

    Args:
      X: features [samples, features] of NumPy, JAX, pandas or SciPy (sparse): numbers,
        booleans, strings or categories.
      y: the target [samples]: classes of any kind, or numbers.
      discrete_features: which features are codes, for which only equality counts: True,
        False, a mask [features] or indices. 'auto' means all if X is sparse, and
        otherwise booleans, strings and categories.
      discrete_target: whether y are classes. 'auto' means True for booleans, strings
        and categories, and for whole numbers with two values or with at least ten
        samples per value. It means False for other floating numbers, and for integers
        that rarely repeat; other integers are an error. Pass False for numbers such as
        ages: as classes they score about 0.05 nats more.
      n_neighbors: number of neighbors; more neighbors give less variance and more bias.
      random_state: an int, or a `RandomState` or `Generator` of NumPy, for the noise
        and the permutations; None gives new random numbers in each call.
      num_permutations: number of permutations of y to score as well, for p-values.

    Returns:
      Scores [features], NumPy float64, at least 0, and 0 for a constant feature. With
      permutations, a tuple of scores and p-values, as `SelectFdr` and `SelectFpr` need
      it; :math:`p = (1 + m) / (1 + M)` if m of M permutations have at least the score,
      before scores are clipped to 0.

    Raises:
      TypeError, ValueError: shapes do not fit, values are missing or infinite, `y` may
        be either classes or numbers, float32 cannot tell a column's values apart, or an
        array is traced.

    Example:
      >>> import numpy as np
      >>> from optax_mi.estimators import feature_mi
      >>> rng = np.random.default_rng(0)
      >>> X = rng.normal(size=(1000, 3))
      >>> scores, p = feature_mi(X, X[:, 1] > 0, num_permutations=99)
      >>> print(scores.round(2), p.round(2))
      [0.   0.69 0.02] [0.59 0.01 0.18]

    References:
      Ross, PLoS ONE 9(2):e87357, 2014. Kraskov, Stögbauer and Grassberger, Physical
      Review E 69, 066138, 2004. Phipson and Smyth, Statistical Applications in Genetics
      and Molecular Biology 9(1):39, 2010, for the p-values.
    """
    n_neighbors = check_static_int("n_neighbors", n_neighbors, 1)
    num_permutations = check_int("num_permutations", num_permutations, 0)
    seed = _seed(random_state)
    features, target = Features(X, discrete_features), read_target(y)
    samples = features.samples
    if len(target) != samples:
        raise ValueError(
            "X and y must have the same number of samples, got X of "
            f"{samples} and y of {len(target)}."
        )
    of_classes = _are_classes(target, discrete_target)
    if n_neighbors >= samples and not of_classes:
        raise ValueError(
            f"n_neighbors must be less than the number of samples, {samples}, got "
            f"n_neighbors={n_neighbors}."
        )
    scorer = Scorer(
        features, target, of_classes=of_classes, neighbors=n_neighbors, seed=seed
    )
    found = scorer.score([np.arange(samples)])[0]
    scores = np.where(found > _SAME, found, 0.0)
    if not num_permutations:
        return scores
    rng = np.random.default_rng(seed)
    no_less = np.zeros(features.number, int)
    block = max(1, _ORDERS // samples)
    for start in range(0, num_permutations, block):
        count = min(block, num_permutations - start)
        orders = [rng.permutation(samples).astype(np.int32) for _ in range(count)]
        no_less += np.sum(scorer.score(orders) >= found - _SAME, 0)
    return scores, (1 + no_less) / (1 + num_permutations)


def _are_classes(target: np.ndarray, discrete: Any) -> bool:
    """Whether the target has classes."""
    unordered, samples = target.dtype.kind in "bOUS", len(target)
    if isinstance(discrete, bool | np.bool_):
        if unordered and target.dtype.kind != "b" and not discrete:
            raise ValueError(
                "y has strings or categories, which are classes, but discrete_target "
                "is False: leave it out, or pass numbers."
            )
        return bool(discrete)
    if not (isinstance(discrete, str) and discrete == "auto"):
        raise ValueError(
            "discrete_target must be 'auto', True or False, got discrete_target="
            f"{discrete!r:.60}."
        )
    if unordered:
        return True
    floating = target.dtype.kind == "f"
    if floating and (target != np.round(target)).any():
        return False
    values = len(np.unique(target))
    if values <= max(2, samples // _EACH):
        return True
    if floating or 2 * values > samples:
        return False
    raise ValueError(
        f"y has {values} different integers in {samples} samples: they may be classes "
        "or numbers. Pass discrete_target=True if they are classes, such as species, "
        "or False if they are numbers, such as ages."
    )


def _seed(random_state: Any) -> int:
    """The seed of the random numbers of one call."""
    if random_state is None:
        random_state = np.random.default_rng()
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return check_int("random_state", random_state, 0)
