"""MI of two arrays of class ids."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import mutual_info_score

from optax_mi.estimators import plugin_mi
from peers.case import Case, infomeasure


def bincount_mi(outputs: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """What NumPy can do: one pass over both arrays, then the table."""
    cells = np.bincount(labels * num_classes + outputs, minlength=num_classes**2)
    p = cells.reshape(num_classes, num_classes) / len(labels)
    product = p.sum(1, keepdims=True) * p.sum(0)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / product[used])))


def cases() -> Iterator[Case]:
    """From ten thousand samples to ten millions."""
    rng = np.random.default_rng(0)
    for samples in (10**4, 10**5, 10**6, 10**7):
        for num_classes in (10, 100, 1000):
            labels = rng.integers(0, num_classes, samples, dtype=np.int32)
            noise = rng.integers(0, num_classes, samples, dtype=np.int32)
            outputs = np.where(rng.random(samples) < 0.5, labels, noise)
            on_device = jnp.asarray(outputs), jnp.asarray(labels)
            read = jax.jit(lambda x, y: jnp.max(x) + jnp.max(y))

            def ours(arrays=on_device, num_classes=num_classes):
                return float(plugin_mi(*arrays, num_classes=num_classes).mi)

            def sklearn(outputs=outputs, labels=labels):
                return float(mutual_info_score(labels, outputs))

            def numpy(outputs=outputs, labels=labels, num_classes=num_classes):
                return bincount_mi(outputs, labels, num_classes)

            def read_once(arrays=on_device, read=read):
                read(*arrays).block_until_ready()

            peers = {
                "scikit-learn": sklearn,
                "NumPy bincount": numpy,
                "reading both arrays": read_once,
            }
            if infomeasure is not None:
                peers["infomeasure"] = partial(
                    infomeasure.mutual_information, outputs, labels, approach="discrete"
                )
            yield Case(
                f"plugin_mi, N = {samples:.0e}, C = {num_classes}", ours, peers, 1e-5
            )
