r"""Plug-in mutual information of a joint table.

With :math:`\hat p` the table divided by its sum,

.. math::
    \hat I = \sum_{yx} \hat p_{yx} \ln \frac{\hat p_{yx}}{\hat p_{y} \hat p_{x}},
    \qquad \hat H(Y) = -\sum_y \hat p_y \ln \hat p_y .

Its variance is that of the pointwise information over N, by the delta method. A
correction replaces each entropy of :math:`I = H(Y) + H(X) - H(Y, X)`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import log_or_zero
from optax_mi.estimators.tables._chance import chance_of, group_shares
from optax_mi.estimators.tables._entropies import BiasCorrection, entropy_of


def plugin_estimate(
    joint: jax.Array,
    count: jax.Array,
    dropped: jax.Array,
    bias_correction: BiasCorrection | None = None,
    clip: bool = True,
    spread: jax.Array | None = None,
) -> MIEstimate:
    """MI of a joint table [label, output] of weights, from `count` samples.

    `spread` [2, C]: weighted sums of q (1 - q) and -q ln q, for probabilities q of
    outputs.
    """
    by_label, by_output = joint.sum(1), joint.sum(0)
    total = by_label.sum()
    scale = jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)
    p, p_label, p_output = joint * scale, by_label * scale, by_output * scale
    pointwise = jnp.where(
        p > 0,
        log_or_zero(p) - log_or_zero(p_label)[:, None] - log_or_zero(p_output)[None, :],
        0.0,
    )
    by_row = jnp.sum(p * pointwise, 1)
    mi = jnp.sum(by_row)
    variance = jnp.sum(jnp.sum(p * jnp.square(pointwise - mi), 1))
    if spread is not None:
        spread = spread * scale
        between = jnp.sum(p_label * jnp.square(_divide(by_row, p_label) - mi))
        within = jnp.maximum(variance - between, 0.0)
        variance = between + within * _softness(p, p_label, p_output, spread[0])
    entropy = entropy_of(p_label, count, bias_correction)
    chance = chance_of(p_label, p_output, count, spread)
    if bias_correction is not None:
        output, both = (entropy_of(q, count, bias_correction) for q in (p_output, p))
        corrected = entropy + output - both
        mi, chance = corrected, _chance_left(chance, mi, corrected)
    return delta_estimate(mi, entropy, variance, count, dropped, clip, chance)


def _softness(
    p: jax.Array, p_label: jax.Array, p_output: jax.Array, not_hard: jax.Array
) -> jax.Array:
    r"""Variance of probabilities q within a label over that of single outputs.

    In [0, 1]: 0 if q is the same for all samples of a label, 1 if it is always 0 or 1.
    """
    single = p_output - jnp.sum(p * _divide(p, p_label[:, None]), 0)
    most = jnp.sum(_divide(single, p_output))
    less = jnp.sum(_divide(not_hard, p_output))
    return jnp.clip(1.0 - _divide(less, most), 0.0, 1.0)


def _divide(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a / b`, and 0 where b is not positive."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)


def gathered_estimate(
    p: jax.Array,
    cells: tuple[jax.Array, jax.Array],
    share: jax.Array,
    margins: tuple[jax.Array, jax.Array],
    count: jax.Array,
    dropped: jax.Array,
    entropies: Sequence[jax.Array] | None = None,
    clip: bool = True,
) -> MIEstimate:
    """MI of samples that are p [N] of the whole, for tables of mostly empty cells.

    `cells` are each sample's label and output, `share` [N] is that of its cell, and
    `margins` those of all labels and outputs; `entropies` corrected ones of label,
    output and both. Labels may lie beyond their margin where p is 0.
    """
    # Logarithms of the margins: there are fewer of them than samples.
    label, output = (
        log_or_zero(margin).at[at].get(mode="clip")
        for margin, at in zip(margins, cells, strict=True)
    )
    pointwise = log_or_zero(share) - label - output
    mi = jnp.sum(p * pointwise)
    variance = jnp.sum(p * jnp.square(pointwise - mi))
    entropy = entropy_of(margins[0], count, None)
    outputs, copies = group_shares(margins[1], count)
    chance = chance_of(margins[0], outputs, count, copies=copies)
    if entropies is not None:
        entropy = entropies[0]
        corrected = entropies[0] + entropies[1] - entropies[2]
        mi, chance = corrected, _chance_left(chance, mi, corrected)
    return delta_estimate(mi, entropy, variance, count, dropped, clip, chance)


def _chance_left(
    chance: jax.Array, plain: jax.Array, corrected: jax.Array
) -> jax.Array:
    """What of the chance is left once a correction took `plain - corrected` off."""
    return jnp.maximum(chance - (plain - corrected), 0.0)


def delta_estimate(
    mi: jax.Array,
    entropy: jax.Array,
    variance: jax.Array,
    count: jax.Array,
    dropped: jax.Array,
    clip: bool,
    chance: jax.Array | None = None,
) -> MIEstimate:
    """The estimate with the delta method's standard error; `variance` is per sample."""
    std_error = jnp.sqrt(variance / jnp.maximum(count, 1.0))
    return MIEstimate(
        mi=jnp.clip(mi, 0.0, entropy) if clip else mi,
        entropy=entropy,
        num_samples=count,
        std_error=jnp.where(count > 0, std_error, jnp.nan),
        dropped=dropped,
        chance=jnp.zeros_like(mi) if chance is None else chance,
    )
