"""Estimators of what a layer knows, given its activations as a train step would."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from optax_mi import reduce_activations
from optax_mi.estimators import MIEstimator, binned, gaussian, kde, nearest_neighbors
from suite.known import BATCH, Case, draw_labels
from suite.mixture import mixture_mi

FULL = 10**6
# All are padded to one of these: constant columns change nothing, and programs are few.
WIDTHS = (32, 128, 1024)


class Reader(NamedTuple):
    """An estimator, and what it is given."""

    make: Callable[[int, int], MIEstimator]  # of columns and classes
    columns: int = FULL  # projected to, if there are more
    # Other than "spread": reads the layer as it is, in units of the noise "now", of the
    # noise in the "first" epoch, or in that share of the spread of each "batch".
    unit: str = "spread"


def plain_gaussian(columns: int, classes: int) -> MIEstimator:
    """As in the examples."""
    return gaussian(features=columns, num_classes=classes)


def lower_kde(columns: int, classes: int) -> MIEstimator:
    """The one that reads less."""
    return kde(
        features=columns, num_classes=classes, bandwidth=1.0, distance="bhattacharyya"
    )


READERS = {
    "gaussian": Reader(plain_gaussian),
    "gaussian, oas": Reader(
        lambda d, c: gaussian(features=d, num_classes=c, shrinkage="oas")
    ),
    "gaussian, shrunk": Reader(
        lambda d, c: gaussian(features=d, num_classes=c, shrinkage=0.5)
    ),
    "gaussian, noise": Reader(
        lambda d, c: gaussian(features=d, num_classes=c, noise=0.25)
    ),
    "gaussian of 8": Reader(plain_gaussian, columns=8),
    "nearest_neighbors": Reader(
        lambda d, c: nearest_neighbors(features=d, num_classes=c)
    ),
    "kde, upper": Reader(
        lambda d, c: kde(features=d, num_classes=c, bandwidth=1.0), unit="now"
    ),
    "kde, lower": Reader(lower_kde, unit="now"),
    "kde, lower, by batch": Reader(lower_kde, unit="batch"),
    "kde, lower, fixed": Reader(lower_kde, unit="first"),
    "binned, 30 bins": Reader(lambda d, c: binned(num_classes=c, low=-3.0, high=3.0)),
    "binned, 2 bins": Reader(
        lambda d, c: binned(num_classes=c, low=-3.0, high=3.0, num_bins=2)
    ),
}


@functools.cache
def estimator_of(make: Callable, columns: int, classes: int) -> MIEstimator:
    """The same object each time, so that it compiles once."""
    return make(columns, classes)


@functools.partial(jax.jit, static_argnums=0)
def read(estimator: MIEstimator, rows: jax.Array, labels: jax.Array) -> jax.Array:
    """Estimates [E] of epochs, of rows [E, steps, batch, d], labels without d."""

    def epoch(batches: Any) -> jax.Array:
        def step(state: Any, batch: Any) -> tuple[Any, None]:
            x, y = batch
            return estimator.update(state, outputs=x, labels=y), None

        state, _ = jax.lax.scan(step, estimator.init(), batches)
        return estimator.estimate(state).mi

    return jax.lax.map(epoch, (rows, labels))


def spread(rows: np.ndarray) -> float:
    """Root of the total variance, 1 for a layer that is constant."""
    return math.sqrt(float(rows.var(0).sum())) or 1.0


def reduce(rows: np.ndarray, columns: int = 32) -> np.ndarray:
    """As `layerwise_mi_decay` has it, of all rows."""
    return np.asarray(reduce_activations(rows, features=columns, max_rows=FULL))


def pad(rows: np.ndarray) -> np.ndarray:
    """With columns of zeros, up to one of a few widths."""
    columns = rows.shape[-1]
    width = next(width for width in WIDTHS if width >= columns)
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, width - columns)])


def truth_of(rows: np.ndarray, case: Case) -> tuple[float, float]:
    """I(T; Y), and its standard error, of a layer in units of its noise."""
    centres = pad(rows.astype(np.float32))
    return mixture_mi(centres, case.shares, jax.random.key(0), draws=2)


def readings(
    z: np.ndarray,
    case: Case,
    noise: float,
    repeats: int,
    names: Iterable[str],
    first: float = 1.0,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Readings [E] with noise of that standard deviation, and without.

    All read the same epochs, in units in which a column has a variance of about 1.
    """
    rng = np.random.default_rng(0)
    samples = len(z) // BATCH * BATCH
    order = np.stack([rng.permutation(len(z))[:samples] for _ in range(repeats)])
    labels = np.stack([draw_labels(rng, case.shares) for _ in range(repeats)])
    labels = np.take_along_axis(labels, order, 1).reshape(repeats, -1, BATCH)
    plain = z[order].reshape(repeats, -1, BATCH, z.shape[1])
    noisy = plain + noise * rng.normal(size=plain.shape).astype(np.float32)
    unit = spread(z) / math.sqrt(z.shape[1])
    batch = np.sqrt(plain.var(2, keepdims=True).sum(3, keepdims=True))
    units = {"now": noise, "first": first, "batch": noise / spread(z) * batch}
    found: tuple[dict, dict] = {}, {}
    for name in names:
        reader = READERS[name]
        for seen, out in zip((noisy, plain), found, strict=True):
            x = seen / unit
            if reader.unit != "spread":
                x = plain / units[reader.unit]
            if z.shape[1] > reader.columns:
                flat = reduce(x.reshape(-1, x.shape[-1]), reader.columns)
                x = flat.reshape(*x.shape[:-1], -1)
            x = pad(x)
            estimator = estimator_of(reader.make, x.shape[-1], case.shares.shape[1])
            out[name] = np.asarray(read(estimator, x, labels))
    return found
