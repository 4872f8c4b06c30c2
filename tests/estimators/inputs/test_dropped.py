"""Rows that are dropped steer nothing: every estimate is that of the others alone.

Neither bins, nor scales, nor centres, nor neighbours may come from what has a label out
of range, a weight of 0 or a value that is not finite, whatever else is in such a row.
"""

import chex
import jax
import numpy as np
import pytest

from optax_mi.estimators import (
    binned,
    binned_mi,
    contingency,
    gaussian,
    gaussian_mi,
    kde,
    kde_mi,
    ksg_mi,
    nearest_neighbors,
    plugin_mi,
    ross_mi,
    variational,
    variational_mi,
)

BATCHES, BATCH, CLASSES, COLUMNS = 2, 24, 3, 3
ROWS = BATCHES * BATCH
# As many in each batch, so that those without them are of one shape too: at the edges,
# where a sample to look at first may be taken from, and inside.
DROPPED = np.array([0, 11, 24, 47])
KEPT = np.setdiff1d(np.arange(ROWS), DROPPED)
# Some are finite: what makes a row drop out may be another thing than what it holds.
NOT_FINITE = [np.nan, np.inf, -np.inf]
VALUES = [*NOT_FINITE, 1e30, float(np.finfo(np.float32).min)]

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, ROWS)
# Far from 0, where a row of zeros would be far out.
X = RNG.normal(size=(ROWS, COLUMNS)) + 20 + 2 * np.eye(CLASSES)[LABELS]
X = X.astype(np.float32)
Y = (X[:, :2] + RNG.normal(size=(ROWS, 2))).astype(np.float32)
IDS = np.where(RNG.random(ROWS) < 0.7, LABELS, 0)


def stream(estimator):
    """One program of two updates and the estimate."""

    def run(outputs, labels, weights):
        def step(state, batch):
            return estimator.update(state, **batch), None

        batches = {"outputs": outputs, "labels": labels, "weights": weights}
        batches = jax.tree.map(lambda a: a.reshape(BATCHES, -1, *a.shape[1:]), batches)
        return estimator.estimate(jax.lax.scan(step, estimator.init(), batches)[0])

    return run


def once(function, **options):
    return lambda outputs, labels, weights: function(
        outputs, labels, weights=weights, **options
    )


def masked(function, **options):
    return lambda outputs, labels, weights: function(
        outputs, labels, mask=weights > 0, **options
    )


CLASSED, REAL = {"num_classes": CLASSES}, {"label_features": 2}
SIZED = {"features": COLUMNS, "sample_size": 64}
RANGE = {"low": 16.0, "high": 26.0, "num_bins": 4}
# What is given as outputs and labels, and how it is estimated.
ESTIMATORS = {
    "contingency": (X, LABELS, stream(contingency(**CLASSED))),
    "contingency, hard": (X, LABELS, stream(contingency(**CLASSED, soft=False))),
    "contingency, ids": (IDS, LABELS, stream(contingency(**CLASSED))),
    "variational": (X, LABELS, stream(variational(**CLASSED))),
    "binned": (X, LABELS, stream(binned(**CLASSED, **RANGE))),
    "gaussian": (X, LABELS, stream(gaussian(features=COLUMNS, **CLASSED))),
    "gaussian, real": (X, Y, stream(gaussian(features=COLUMNS, **REAL))),
    "neighbors": (X, LABELS, stream(nearest_neighbors(**SIZED, **CLASSED))),
    "neighbors, real": (X, Y, stream(nearest_neighbors(**SIZED, **REAL))),
    "kde": (X, LABELS, stream(kde(**SIZED, **CLASSED, bandwidth=1.0))),
    "plugin_mi": (X, LABELS, once(plugin_mi, **CLASSED)),
    "plugin_mi, hard": (X, LABELS, once(plugin_mi, **CLASSED, soft=False)),
    "plugin_mi, ids": (IDS, LABELS, once(plugin_mi, **CLASSED)),
    "variational_mi": (X, LABELS, once(variational_mi)),
    # Bins from the smallest to the largest value of those that count.
    "binned_mi": (X, LABELS, once(binned_mi, **CLASSED, num_bins=4)),
    "binned_mi, one column": (X[:, 0], LABELS, once(binned_mi, **CLASSED, num_bins=4)),
    "gaussian_mi": (X, LABELS, once(gaussian_mi, **CLASSED)),
    "gaussian_mi, real": (X, Y, once(gaussian_mi)),
    "gaussian_mi, copula": (X, Y, once(gaussian_mi, copula=True)),
    "ross_mi": (X, LABELS, masked(ross_mi, **CLASSED)),
    "ross_mi, one column": (X[:, 0], LABELS, masked(ross_mi, **CLASSED)),
    "ksg_mi": (X, Y, masked(ksg_mi)),
    "kde_mi": (X, LABELS, masked(kde_mi, **CLASSED, bandwidth=1.0)),
}


def cases(outputs, labels):
    """Arrays in which the rows to drop are spoiled, each in another way."""
    real = np.issubdtype(labels.dtype, np.floating)
    ids = np.issubdtype(outputs.dtype, np.integer)
    weights = np.ones(ROWS, np.float32)
    nothing = weights.copy()
    nothing[DROPPED] = 0
    if not real:
        padded = labels.copy()
        padded[DROPPED] = [-1, CLASSES, -7, 2**31 - 1]
    for value in [-1, CLASSES] if ids else VALUES:
        spoiled = outputs.copy()
        spoiled[DROPPED] = value
        yield f"weight 0, outputs {value}", spoiled, labels, nothing
        if not real:
            yield f"no class, outputs {value}", spoiled, padded, weights
        if ids or not np.isfinite(value):
            yield f"outputs {value}", spoiled, labels, weights
        if outputs.ndim == 2 and np.isnan(value):
            # One bad column is enough; of logits -inf only masks a class.
            spoiled = outputs.copy()
            spoiled[DROPPED, 1] = value
            yield f"one output {value}", spoiled, labels, weights
        if real:
            spoiled = labels.copy()
            spoiled[DROPPED, 1] = value
            yield f"weight 0, labels {value}", outputs, spoiled, nothing
            if not np.isfinite(value):
                yield f"labels {value}", outputs, spoiled, weights


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimate_is_that_of_the_rows_that_are_kept(name):
    outputs, labels, estimate = ESTIMATORS[name]
    # One program for the rows that are kept and one for all, whatever is in these.
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(estimate, n=2))
    alone = run(outputs[KEPT], labels[KEPT], np.ones(len(KEPT), np.float32))
    assert alone.mi > 0.02
    assert alone.dropped == 0
    assert alone.num_samples == len(KEPT)
    wanted = alone._replace(dropped=np.float32(len(DROPPED)))
    for what, *arrays in cases(outputs, labels):
        # XLA adds up sums of other lengths in another order, and nothing more: a row
        # of some weight would move the nats by a hundredth of them.
        chex.assert_trees_all_close(
            run(*arrays), wanted, rtol=2e-5, atol=2e-6, custom_message=what
        )
