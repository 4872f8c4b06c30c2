"""Rows that are dropped steer nothing: every estimate is that of the others alone.

Neither bins, nor scales, nor centres, nor neighbours may come from what has a label out
of range, a weight of 0 or a value that is not finite, whatever else is in such a row.
"""

from functools import partial

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

BATCH, CLASSES, COLUMNS, SIZE = 12, 3, 3, 36
ROWS = 4 * BATCH
# At the edges of batches, where a sample to look at first may be taken from, and
# inside. The others alone fill batches of the same shape.
DROPPED = np.array([0, 1, 5, 11, 12, 20, 23, 24, 25, 30, 46, 47])
KEPT = np.setdiff1d(np.arange(ROWS), DROPPED)
# Some are finite: what makes a row drop out may be another thing than what it holds.
VALUES = [np.nan, np.inf, -np.inf, 1e30, float(np.finfo(np.float32).min)]

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, ROWS)
# Far from 0, where a row of zeros would be far out.
X = RNG.normal(size=(ROWS, COLUMNS)) + 20 + 2 * np.eye(CLASSES)[LABELS]
X = X.astype(np.float32)
Y = (X[:, :2] + RNG.normal(size=(ROWS, 2))).astype(np.float32)
IDS = np.where(RNG.random(ROWS) < 0.7, LABELS, 0)


class Streaming:
    """Batch after batch; one program, whatever the number of batches."""

    def __init__(self, estimator, compiled=True):
        self.estimator = estimator
        self.update = jax.jit(chex.assert_max_traces(estimator.update, n=1))
        # Those of a sample take the program of the one-shot function.
        self.estimate = jax.jit(estimator.estimate) if compiled else estimator.estimate

    def __call__(self, outputs, labels, weights):
        state = self.estimator.init()
        for start in range(0, len(labels), BATCH):
            s = slice(start, start + BATCH)
            state = self.update(
                state, outputs=outputs[s], labels=labels[s], weights=weights[s]
            )
        return self.estimate(state)


def once(function, **options):
    return lambda outputs, labels, weights: function(
        outputs, labels, weights=weights, **options
    )


def masked(function, **options):
    return lambda outputs, labels, weights: function(
        outputs, labels, mask=weights > 0, **options
    )


CLASSED, REAL = {"num_classes": CLASSES}, {"label_features": 2}
# The sample is that of the kept rows alone, without an empty place.
SAMPLED = {"features": COLUMNS, "sample_size": SIZE}
RANGE = {"low": 18.0, "high": 26.0, "num_bins": 4}
# What is given as outputs and labels; how it is estimated of the kept rows alone, and
# in which ways of all rows.
FAMILIES = {
    "soft counts": lambda: (
        *(X, LABELS, once(plugin_mi, **CLASSED)),
        [Streaming(contingency(**CLASSED))],
    ),
    "hard counts": lambda: (
        *(X, LABELS, once(plugin_mi, **CLASSED, soft=False)),
        [Streaming(contingency(**CLASSED, soft=False))],
    ),
    "class ids": lambda: (
        *(IDS, LABELS, once(plugin_mi, **CLASSED)),
        [Streaming(contingency(**CLASSED))],
    ),
    "cross-entropy": lambda: (
        *(X, LABELS, once(variational_mi)),
        [Streaming(variational(**CLASSED))],
    ),
    "bins": lambda: (
        *(X, LABELS, once(binned_mi, **CLASSED, **RANGE)),
        [Streaming(binned(**CLASSED, **RANGE, buckets=2**16))],
    ),
    # From the smallest to the largest value of those that count.
    "bins without ends": lambda: (
        *(X[:, 0], LABELS, once(binned_mi, **CLASSED, num_bins=4)),
        [],
    ),
    "gaussian": lambda: (
        *(X, LABELS, once(gaussian_mi, **CLASSED)),
        [Streaming(gaussian(features=COLUMNS, **CLASSED))],
    ),
    "gaussian, real": lambda: (
        *(X, Y, once(gaussian_mi)),
        [Streaming(gaussian(features=COLUMNS, **REAL))],
    ),
    "gaussian, copula": lambda: (*(X, Y, once(gaussian_mi, copula=True)), []),
    "neighbors": lambda: (
        *(X, LABELS, masked(ross_mi, **CLASSED)),
        [Streaming(nearest_neighbors(**SAMPLED, **CLASSED), compiled=False)],
    ),
    "neighbors on a line": lambda: (
        *(X[:, 0], LABELS, masked(ross_mi, **CLASSED)),
        [],
    ),
    "neighbors, real": lambda: (
        *(X, Y, masked(ksg_mi)),
        [Streaming(nearest_neighbors(**SAMPLED, **REAL), compiled=False)],
    ),
    "kernels": lambda: (
        *(X, LABELS, masked(kde_mi, **CLASSED, bandwidth=1.0)),
        [Streaming(kde(**SAMPLED, **CLASSED, bandwidth=1.0), compiled=False)],
    ),
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
        padded[DROPPED] = np.resize([-1, CLASSES, -7, 2**31 - 1], len(DROPPED))
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
@pytest.mark.parametrize("family", FAMILIES)
def test_an_estimate_is_that_of_the_rows_that_are_kept(family):
    chex.clear_trace_counter()
    outputs, labels, one_shot, streaming = FAMILIES[family]()
    alone = one_shot(outputs[KEPT], labels[KEPT], np.ones(len(KEPT), np.float32))
    assert alone.mi > 0.02
    assert alone.dropped == 0
    assert alone.num_samples == len(KEPT) == SIZE
    wanted = alone._replace(dropped=np.float32(len(DROPPED)))
    # XLA adds up sums of other lengths in another order, and batches round their means;
    # nothing more. A row of some weight would move the nats by a hundredth of them.
    close = partial(chex.assert_trees_all_close, rtol=2e-5, atol=2e-6)
    for what, *arrays in cases(outputs, labels):
        close(one_shot(*arrays), wanted, custom_message=what)
        for stream in streaming:
            close(stream(*arrays), wanted, custom_message=f"stream, {what}")
    for stream in streaming:
        # As many batches as the rows that are kept fill, and not a program more.
        rest = stream(outputs[KEPT], labels[KEPT], np.ones(SIZE, np.float32))
        close(rest, alone, custom_message="stream, the kept rows alone")


@pytest.mark.parametrize("classes", [3, 100])
@pytest.mark.parametrize("soft", [True, False])
def test_a_nan_is_found_in_large_arrays_too(soft, classes):
    """XLA's maximum of these, not of small ones, leaves out nans on the CPU."""
    rows, bad = 4096, [0, 7, 4095]
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) + 4 * np.eye(classes)[labels]
    logits[bad, [0, 1, 2]] = np.nan
    rest = np.delete(np.arange(rows), bad)
    estimator = contingency(num_classes=classes, soft=soft)

    def streaming(outputs, labels):
        state = jax.jit(estimator.update)(
            estimator.init(), outputs=outputs, labels=labels
        )
        return estimator.estimate(state)

    for measure in (partial(plugin_mi, soft=soft), streaming):
        got = measure(logits, labels)
        wanted = measure(logits[rest], labels[rest])
        wanted = wanted._replace(dropped=np.float32(len(bad)))
        chex.assert_trees_all_close(got, wanted, rtol=2e-4)
    got = variational_mi(logits, labels)
    assert (got.dropped, got.num_samples) == (len(bad), len(rest))
