r"""Second moments about the class means, updated by batches without cancellation.

Let :math:`n_c` be the weight of class c so far, :math:`\mu_c` its mean and S the
scatter of all samples about their class means. A batch with :math:`n'_c`,
:math:`\mu'_c` and :math:`S'` changes them by

.. math::
    \Delta\mu_c = \frac{n'_c}{n_c + n'_c} \delta_c, \qquad
    \Delta S = S' + \sum_c \frac{n_c n'_c}{n_c + n'_c} \delta_c \delta_c^\top, \qquad
    \delta_c = \mu'_c - \mu_c

(Chan, Golub and LeVeque, 1979). One product over the samples gives the same
:math:`\Delta S` without a cost of :math:`C d^2`, if distances are taken to

.. math::
    z_c = \mu'_c - \sqrt{\frac{n_c}{n_c + n'_c}}\, \delta_c .
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi.estimators.arithmetic import (
    gram,
    gram_of_pair,
    sum_by_label,
    take_by_label,
    weighted_sum,
)


class Moments(NamedTuple):
    """Moments of d columns in C classes; with C = 1, of all samples together."""

    weights: jax.Array  # [C]
    means: jax.Array  # [C, d]; 0 if the weight is 0
    scatter: jax.Array  # [d, d], about the means of the classes


def no_moments(
    num_classes: int, columns: int, dtype: jax.typing.DTypeLike = jnp.float32
) -> Moments:
    """Moments of no samples."""
    return Moments(
        jnp.zeros(num_classes, dtype),
        jnp.zeros((num_classes, columns), dtype),
        jnp.zeros((columns, columns), dtype),
    )


def centre(rows: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean of rows [N, d], [1, d]; 0 if all weights are 0."""
    total = jnp.sum(weights)
    # Divide first, because a sum of unscaled rows could overflow.
    return weighted_sum(weights / jnp.where(total > 0, total, 1.0), rows)


def increments(
    before: Moments, rows: jax.Array, labels: jax.Array, weights: jax.Array
) -> Moments:
    """The increments of the moments; rows [N, d] are finite, labels [N] in range.

    Rows and the means of `before` are relative to one origin near the mean of the rows.
    """
    num_classes = len(before.weights)
    kept = weights[:, None]
    if num_classes == 1:
        added = jnp.sum(weights, keepdims=True)
        sums = weighted_sum(weights, rows)
    else:
        # One table in place of two, which would compile more programs.
        table = jnp.concatenate([kept * rows, kept], -1)
        table = sum_by_label(labels, table, num_classes)
        sums, added = table[:, :-1], table[:, -1]
    means = sums / jnp.where(added > 0, added, 1.0)[:, None]
    delta = means - before.means
    share = _share(added, before.weights)
    centres = means - jnp.sqrt(_share(before.weights, added))[:, None] * delta
    if num_classes > 1:
        centres = take_by_label(centres, labels)
    return Moments(
        added,
        share[:, None] * delta,
        gram(jnp.sqrt(kept) * (rows - centres)),
    )


def moments_of_pair(
    x: jax.Array, y: jax.Array, units: Sequence[jax.Array], weights: jax.Array
) -> tuple[Moments, jax.Array]:
    """Moments of the columns of both in their units [1, d], and the origin [1, d].

    The result equals `increments` of the concatenated columns, without copying them.
    """
    added = jnp.sum(weights, keepdims=True)
    share = weights / jnp.where(added > 0, added, 1.0)
    origins, means, parts = [], [], []
    for rows, unit in zip((x, y), units, strict=True):
        origin = centre(rows, weights)
        rows, origin = rows * unit, origin * unit
        mean = weighted_sum(share, rows - origin)
        part = jnp.sqrt(weights)[:, None] * (rows - origin - mean)
        # Two products read each part, and XLA would compute it twice.
        parts.append(jax.lax.optimization_barrier(part))
        origins.append(origin)
        means.append(mean)
    means, origin = (jnp.concatenate(each, 1) for each in (means, origins))
    return Moments(added, means, gram_of_pair(*parts)), origin


def union_increments(before: Moments, other: Moments) -> Moments:
    """The increments from the samples of `other`, without its weights and scatter."""
    delta = other.means - before.means
    share = _share(other.weights, before.weights)
    across = jnp.sqrt(share * before.weights)[:, None] * delta
    return Moments(jnp.zeros_like(other.weights), share[:, None] * delta, gram(across))


def _share(part: jax.Array, rest: jax.Array) -> jax.Array:
    """The share of a part in the whole; 0 if both are 0."""
    whole = part + rest
    return part / jnp.where(whole > 0, whole, 1.0)
