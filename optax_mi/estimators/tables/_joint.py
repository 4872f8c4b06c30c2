"""The accumulator of a joint table of label and output, for any number of samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import _sums, scatter
from optax_mi.estimators.inputs import Samples, health
from optax_mi.estimators.tables._entropies import BiasCorrection
from optax_mi.estimators.tables._plugin import plugin_estimate


class Counts(NamedTuple):
    """The sums of a table for R labels and C outputs."""

    joint: jax.Array  # float32 [R, C], [label, output]
    totals: jax.Array  # float32 [3], see Samples.totals
    # float32 [2, C], weighted sums of q (1 - q) and -q ln q if outputs are
    # probabilities q; for class ids both would be 0.
    spread: jax.Array | None = None


def check_table_size(num_classes: int) -> None:
    """Raises unless int32 can number the cells of a square table."""
    if num_classes**2 >= 2**31:
        raise ValueError(
            f"num_classes={num_classes} makes a table of {num_classes**2:.2g} cells: "
            "pass buckets=1024, say, for a lower bound, or use variational()."
        )


def empty_table(labels: int, outputs: int, soft: bool = False) -> _sums.LongSum:
    """An empty table; `soft` if samples may be probabilities."""
    joint, totals = jnp.zeros((labels, outputs)), jnp.zeros(3)
    spread = jnp.zeros((2, outputs)) if soft else None
    return _sums.zeros(Counts(joint, totals, spread))


def add_ids(state: _sums.LongSum, samples: Samples, ids: jax.Array) -> _sums.LongSum:
    """Adds each sample's weight to the cell of its label and its output's id [...]."""
    joint = scatter(state.recent.joint, (samples.labels, ids), samples.weights)
    return add_joint(state, samples, joint)


def add_joint(
    state: _sums.LongSum,
    samples: Samples,
    joint: jax.Array,
    spread: jax.Array | None = None,
) -> _sums.LongSum:
    """Counts a batch whose samples are already in `joint`, and adds `spread`."""
    totals = state.recent.totals + samples.totals
    before = state.recent.spread
    after = before if spread is None else before + spread
    return _sums.advance(state, Counts(joint, totals, after), samples.labels.size)


def estimate_table(
    state: _sums.LongSum, bias_correction: BiasCorrection | None, clip: bool = True
) -> MIEstimate:
    """MI of the table."""
    joint, totals, spread = _sums.value(state)
    _, count, dropped = health(totals)
    return plugin_estimate(joint, count, dropped, bias_correction, clip, spread)
