"""MI of two columns cut into bins: NumPy's histogram, and benchmark-mi's."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.estimators import binned_mi
from peers import benchmark_mi
from peers.case import Case

BINS = 5


def cases() -> Iterator[Case]:
    """One column each."""
    for samples in (1_000, 10_000, 100_000):
        rng = np.random.default_rng(0)
        x, noise = rng.normal(size=(2, samples, 1)).astype(np.float32)
        y = np.float32(0.6) * x + np.float32(0.8) * noise
        on_device = jnp.asarray(x), jnp.asarray(y)
        peers = {"NumPy": partial(histogram_mi, x[:, 0], y[:, 0])}
        peers |= benchmark_mi.peer(
            "HistogramEstimator", x, y, n_bins_x=BINS, standardize=False
        )
        yield Case(
            f"binned, 1 + 1 in {BINS} x {BINS}, N = {samples:,}",
            partial(_ours, *on_device),
            peers,
            1e-5,
        )


@jax.jit
def _binned(x: jax.Array, y: jax.Array) -> jax.Array:
    share = (y[:, 0] - y.min()) / (y.max() - y.min())
    labels = jnp.clip(jnp.floor(share * BINS), 0, BINS - 1).astype(jnp.int32)
    return binned_mi(x, labels, num_bins=BINS, num_classes=BINS).mi


def _ours(x: jax.Array, y: jax.Array) -> float:
    return float(_binned(x, y))


def histogram_mi(x: np.ndarray, y: np.ndarray) -> float:
    """From the counts of equal bins from the least to the largest value."""
    p = np.histogram2d(x, y, BINS)[0] / len(x)
    product = p.sum(1, keepdims=True) * p.sum(0)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / product[used])))
