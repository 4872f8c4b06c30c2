"""Scores of 64 features against scikit-learn's, and p-values against it in a loop."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from optax_mi.estimators import feature_mi
from peers.case import Case

FEATURES, CLASSES, PERMUTATIONS = 64, 10, 10


def cases() -> Iterator[Case]:
    """Classes and numbers as target, features of both kinds, and permutations."""
    for samples in (1000, 5000, 20_000):
        X, classes, target = _samples(samples)
        yield _case("classif", samples, X, classes, mutual_info_classif)
        yield _case("regression", samples, X, target, mutual_info_regression)
    X, classes, target = _samples(5000)
    codes = np.round(2 * X).astype(int)
    yield _case("classif, codes", 5000, codes, classes, mutual_info_classif)
    yield _case("regression, codes", 5000, codes, target, mutual_info_regression)
    # As ages in years are: whole numbers that are taken for numbers.
    yield _case("regression, tied", 5000, codes, target, mutual_info_regression)
    X, classes, target = _samples(1000)
    yield _permuted("classif", X, classes, mutual_info_classif)
    yield _permuted("regression", X, target, mutual_info_regression)


def _samples(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that each tell something of classes and of a sum."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, CLASSES, samples)
    X = rng.normal(size=(samples, FEATURES))
    X += 0.3 * rng.normal(size=(CLASSES, FEATURES))[classes]
    target = X @ rng.normal(size=FEATURES) / 8 + 0.5 * rng.normal(size=samples)
    return X, classes, target


def _case(
    name: str, samples: int, X: np.ndarray, y: np.ndarray, peer: Callable[..., Any]
) -> Case:
    options: dict[str, Any] = {"discrete_features": name.endswith("codes")}
    is_classes = peer is mutual_info_classif
    ours = partial(feature_mi, X, y, discrete_target=is_classes, **options)
    return Case(
        name=f"feature_mi, {FEATURES} features, {name}, N = {samples:,}",
        ours=lambda: float(np.mean(ours())),
        peers={
            "scikit-learn": lambda: float(
                np.mean(peer(X, y, random_state=0, **options))
            )
        },
        # Of ties the noise decides.
        agree=None if name.endswith("tied") else 1e-4,
    )


def _permuted(
    name: str, X: np.ndarray, y: np.ndarray, peer: Callable[..., Any]
) -> Case:
    """The mean of all permutations' scores is not ours to see: nothing is compared."""
    is_classes = peer is mutual_info_classif
    ours = partial(
        feature_mi, discrete_target=is_classes, num_permutations=PERMUTATIONS
    )

    def loop() -> None:
        rng = np.random.default_rng(0)
        for order in (
            np.arange(len(y)),
            *map(rng.permutation, [len(y)] * PERMUTATIONS),
        ):
            peer(X, y[order], random_state=0)

    return Case(
        name=f"feature_mi, {FEATURES} features, {name}, N = {len(X):,}, "
        f"{PERMUTATIONS} permutations",
        ours=lambda: float(np.mean(ours(X, y)[1])),
        peers={"scikit-learn in a loop": loop},
        agree=None,
    )
