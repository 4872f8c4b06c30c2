r"""Plug-in mutual information of a joint table.

Let :math:`\hat p` be the table divided by its sum. Then

.. math::
    \hat I = \sum_{yx} \hat p_{yx} \ln \frac{\hat p_{yx}}{\hat p_{y} \hat p_{x}},
    \qquad \hat H(Y) = -\sum_y \hat p_y \ln \hat p_y .

By the delta method, the variance of the estimate is the variance of the pointwise
information divided by N. A correction replaces each entropy of :math:`I = H(Y) + H(X) -
H(Y, X)`.
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

    `spread` [2, C] has weighted sums of q (1 - q) and -q ln q for probabilities q of
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
    r"""Ratio of the variances of probabilities q and of hard outputs within a label.

    In [0, 1]: 0 if q is the same for all samples of a label, 1 if it is always 0 or 1.
    """
    single = p_output - jnp.sum(p * _divide(p, p_label[:, None]), 0)
    most = jnp.sum(_divide(single, p_output))
    less = jnp.sum(_divide(not_hard, p_output))
    return jnp.clip(1.0 - _divide(less, most), 0.0, 1.0)


def _divide(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a / b`, or 0 if b is not positive."""
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
    """MI of samples with shares p [N], for tables of mostly empty cells.

    `cells` has each sample's label and output, `share` [N] the share of its cell, and
    `margins` the shares of all labels and outputs. `entropies` has the corrected
    entropies of label, output and both. Labels may exceed their margin if p is 0.
    """
    # Take logarithms of the margins, because there are fewer of them than samples.
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
    """The remaining chance level after a correction has removed `plain - corrected`."""
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
