"""MI of Gaussian vectors: NumPy's covariances, and the covariance product alone.

For two columns there is benchmark-mi's canonical correlation, too.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.estimators.moments._gaussian_mi import gaussian_mi
from peers import benchmark_mi
from peers.case import Case

SAMPLES = 5120
CLASSES = 10


def cases() -> Iterator[Case]:
    """Class labels and real labels, of 2 to 512 columns."""
    for columns in (2, 64, 512):
        rng = np.random.default_rng(columns)
        labels = rng.integers(0, CLASSES, SAMPLES)
        means = rng.normal(size=(CLASSES, columns)) / columns**0.5
        x = (rng.normal(size=(SAMPLES, columns)) + means[labels]).astype(np.float32)
        noise = rng.normal(size=x.shape)
        y = (0.1 * x + noise).astype(np.float32)
        # Log-determinants in float32 err by some eps a column.
        agree = 1e-6 + 1e-6 * columns
        yield _classes(x, labels, agree)
        yield _real(x, y, 2 * agree)


def _classes(x: np.ndarray, labels: np.ndarray, agree: float) -> Case:
    columns = x.shape[1]
    on_device = jnp.asarray(x), jnp.asarray(labels)

    def ours() -> float:
        return float(
            gaussian_mi(
                *on_device, num_classes=CLASSES, bias_correction=None, clip=False
            ).mi
        )

    peers = {
        "numpy": functools.partial(class_mi, x, labels),
        "product alone": _product(on_device[0]),
    }
    return Case(f"gaussian, {CLASSES} classes, d = {columns}", ours, peers, agree)


def _real(x: np.ndarray, y: np.ndarray, agree: float) -> Case:
    on_device = jnp.asarray(x), jnp.asarray(y)

    def ours() -> float:
        return float(gaussian_mi(*on_device, bias_correction=None, clip=False).mi)

    peers = {
        "numpy": functools.partial(real_mi, x, y),
        "product alone": _product(jnp.concatenate(on_device, 1)),
    }
    columns = x.shape[1]
    # It goes from one pair of canonical variables to the next, each by iteration.
    if columns == 2:
        peers |= benchmark_mi.peer("CCAMutualInformationEstimator", x, y)
    return Case(f"gaussian, real, d = {columns} + {columns}", ours, peers, agree)


def class_mi(x: np.ndarray, labels: np.ndarray) -> float:
    """From the scatter about the mean, and about those of the classes."""
    total, within = x - x.mean(0), np.empty_like(x)
    for c in range(CLASSES):
        own = labels == c
        within[own] = x[own] - x[own].mean(0)
    return _log_det(total.T @ total) / 2 - _log_det(within.T @ within) / 2


def real_mi(x: np.ndarray, y: np.ndarray) -> float:
    """From the covariances of both, and of both together."""
    columns = x.shape[1]
    joint = np.concatenate([x, y], 1)
    joint -= joint.mean(0)
    s = joint.T @ joint
    parts = s[:columns, :columns], s[columns:, columns:]
    return (_log_det(parts[0]) + _log_det(parts[1]) - _log_det(s)) / 2


def _log_det(matrix: np.ndarray) -> float:
    return float(np.linalg.slogdet(matrix)[1])


def _product(x: jax.Array) -> Callable[[], float]:
    """The matrix product of a covariance: no estimate, and so nan nats."""
    product = jax.jit(lambda a: jnp.matmul(a.T, a, precision=jax.lax.Precision.HIGHEST))

    def run() -> float:
        product(x).block_until_ready()
        return float("nan")

    return run
