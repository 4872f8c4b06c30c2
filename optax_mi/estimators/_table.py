"""The accumulator of a joint table of label and output, for any number of samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi.estimators import _sums
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators._batch import Batch, health
from optax_mi.estimators._plugin import BiasCorrection, plugin_estimate
from optax_mi.estimators._scatter import scatter


class Counts(NamedTuple):
    """What is summed up, for R labels and C outputs."""

    joint: jax.Array  # float32 [R, C], [label, output]
    totals: jax.Array  # float32 [3], see Batch.totals


def check_table_size(num_classes: int) -> None:
    """Raises unless the cells of a square table can be numbered by an int32."""
    if num_classes**2 >= 2**31:
        raise ValueError(
            f"num_classes={num_classes} makes a table of {num_classes**2:.2g} cells: "
            "pass buckets=1024, say, for a lower bound, or use variational()."
        )


def empty_table(labels: int, outputs: int) -> _sums.LongSum:
    """The table of no samples."""
    return _sums.zeros(Counts(jnp.zeros((labels, outputs)), totals=jnp.zeros(3)))


def add_ids(state: _sums.LongSum, batch: Batch, ids: jax.Array) -> _sums.LongSum:
    """Adds each sample's weight to the cell of its label and its output's id [...]."""
    joint = scatter(state.recent.joint, (batch.labels, ids), batch.weights)
    return add_joint(state, batch, joint)


def add_joint(state: _sums.LongSum, batch: Batch, joint: jax.Array) -> _sums.LongSum:
    """The table after a batch that made its recent part `joint`."""
    totals = state.recent.totals + batch.totals
    return _sums.advance(state, Counts(joint, totals), batch.labels.size)


def estimate_table(
    state: _sums.LongSum, bias_correction: BiasCorrection | None, clip: bool = True
) -> MIEstimate:
    """MI of the table."""
    joint, totals = _sums.value(state)
    _, count, dropped = health(totals)
    return plugin_estimate(joint, count, dropped, bias_correction, clip)
