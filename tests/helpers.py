"""Running an estimator as a train step does, and reading it as NumPy."""

import jax
import numpy as np


def accumulate(estimator, outputs, labels, weights=None, batches=1):
    """The accumulator after the samples came in, in so many batches."""
    state = estimator.init()
    update = jax.jit(estimator.update)
    parts = [
        [None] * batches if a is None else np.array_split(np.asarray(a), batches)
        for a in (outputs, labels, weights)
    ]
    for out, lab, w in zip(*parts, strict=True):
        state = update(state, outputs=out, labels=lab, weights=w)
    return state


def read(estimator, state):
    """The estimate, as NumPy scalars."""
    # Not compiled as a whole, every operation would be compiled by itself.
    return jax.device_get(jax.jit(estimator.estimate)(state))


def measure(estimator, outputs, labels, weights=None, batches=1):
    """The estimate of all samples."""
    return read(estimator, accumulate(estimator, outputs, labels, weights, batches))
