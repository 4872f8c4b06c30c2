r"""Plug-in mutual information of a joint table, and what corrects its bias.

With :math:`\hat p` the table divided by its sum,

.. math::
    \hat I = \sum_{yx} \hat p_{yx} \ln \frac{\hat p_{yx}}{\hat p_{y} \hat p_{x}},
    \qquad \hat H(Y) = -\sum_y \hat p_y \ln \hat p_y .

The delta method gives its variance for N multinomial draws, that of the pointwise
information divided by N. A correction replaces each entropy of
:math:`I = H(Y) + H(X) - H(Y, X)`; with K cells in use, :math:`n_i` samples in cell i
and :math:`f_1` cells of one sample,

.. math::
    \hat H_\text{MM} &= \hat H + \frac{K - 1}{2N} \\
    \hat H_\text{G} &= \ln N - \frac1N \sum_i n_i G(n_i), \qquad
        G(n) = \psi(n) + \frac{(-1)^n}{2}
        \left[ \psi\left(\tfrac{n+1}{2}\right) - \psi\left(\tfrac n2\right) \right] \\
    \hat H_\text{CS} &= -\sum_i \frac{\tilde p_i \ln \tilde p_i}
        {1 - (1 - \tilde p_i)^N}, \qquad
        \tilde p_i = \left(1 - \frac{f_1}{N}\right) \frac{n_i}{N} .

References: Miller, in Quastler (ed.), Information Theory in Psychology, 1955.
Grassberger, Entropy estimates from insufficient samplings, arXiv:physics/0307138, 2003.
Chao and Shen, Environmental and Ecological Statistics 10, 429-443, 2003.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators._chance import chance_of, group_shares
from optax_mi.estimators._digamma import digamma

BiasCorrection = Literal["miller_madow", "grassberger", "chao_shen"]


def check_bias_correction(value: Any) -> BiasCorrection | None:
    """Raises unless `value` is None or names a correction."""
    names = get_args(BiasCorrection)
    if value is not None and value not in names:
        raise ValueError(
            f"bias_correction must be None or one of {names}, got "
            f"bias_correction={value!r}."
        )
    return value


def plugin_estimate(
    joint: jax.Array,
    count: jax.Array,
    dropped: jax.Array,
    bias_correction: BiasCorrection | None = None,
    clip: bool = True,
    spread: jax.Array | None = None,
) -> MIEstimate:
    """MI of a joint table [label, output] of weights, from `count` samples.

    `spread` [2, C] are the weighted sums of q (1 - q) and -q ln q, where the samples
    were not single outputs but probabilities q of them.
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
    r"""Variance of probabilities q within a label, of what it is for single outputs.

    Single outputs of mean m have the variance :math:`m_x (1 - m_x)`; q has less, by the
    mean of :math:`q_x (1 - q_x)`. In [0, 1]: 0 if q is the same for all samples of a
    label, 1 if it is always 0 or 1.
    """
    single = p_output - jnp.sum(p * _divide(p, p_label[:, None]), 0)
    most = jnp.sum(_divide(single, p_output))
    less = jnp.sum(_divide(not_hard, p_output))
    return jnp.clip(1.0 - _divide(less, most), 0.0, 1.0)


def _divide(a: jax.Array, b: jax.Array) -> jax.Array:
    """A / b, and 0 where b is not positive."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)


def gathered_estimate(
    p: jax.Array,
    shares: Sequence[jax.Array],
    margins: tuple[jax.Array, jax.Array],
    count: jax.Array,
    dropped: jax.Array,
    entropies: Sequence[jax.Array] | None = None,
    clip: bool = True,
) -> MIEstimate:
    """MI of samples that are p [N] of the whole: for tables of mostly empty cells.

    `shares` [N] are what each sample's label, output, and both have of the whole;
    `margins` the shares of all labels and outputs; `entropies` are corrected ones of
    label, output and both.
    """
    label, output, both = (log_or_zero(share) for share in shares)
    pointwise = both - label - output
    mi = jnp.sum(p * pointwise)
    variance = jnp.sum(p * jnp.square(pointwise - mi))
    entropy = -jnp.sum(p * label)
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
    """What a correction leaves of the chance: it takes `plain - corrected` off."""
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
    """The estimate with the delta method's standard error, `variance` of one sample."""
    std_error = jnp.sqrt(variance / jnp.maximum(count, 1.0))
    return MIEstimate(
        mi=jnp.clip(mi, 0.0, entropy) if clip else mi,
        entropy=entropy,
        count=count,
        std_error=jnp.where(count > 0, std_error, jnp.nan),
        dropped=dropped,
        chance=jnp.zeros_like(mi) if chance is None else chance,
    )


def entropy_of(
    p: jax.Array, count: jax.Array, bias_correction: BiasCorrection | None
) -> jax.Array:
    """Entropy in nats of probabilities [...] estimated from `count` samples.

    Grassberger's and Chao and Shen's formulas are about whole numbers of samples, to
    which weighted cells are rounded.
    """
    plugin = -jnp.sum(p * log_or_zero(p))
    if bias_correction is None:
        return plugin
    samples = jnp.maximum(count, 1.0)
    cells = jnp.round(p * samples)
    if bias_correction == "miller_madow":
        corrected = plugin + (jnp.sum(p > 0, dtype=p.dtype) - 1.0) / (2.0 * samples)
    elif bias_correction == "grassberger":
        corrected = jnp.log(samples) - jnp.sum(p * _grassberger(cells))
    else:
        single = jnp.sum(cells == 1, dtype=p.dtype)
        # With every cell single the coverage would be 0: one is taken as seen twice.
        coverage = 1.0 - jnp.minimum(single, samples - 1.0) / samples
        covered = coverage * p
        unseen = jnp.maximum(1.0 - covered, jnp.finfo(p.dtype).tiny)
        seen = -jnp.expm1(samples * jnp.log(unseen))
        terms = covered * log_or_zero(covered) / jnp.where(p > 0, seen, 1.0)
        corrected = -jnp.sum(terms)
    return jnp.where(count > 0, corrected, 0.0)


def _grassberger(cells: jax.Array) -> jax.Array:
    """G(n) = 2 psi(2m) - psi(m) - ln 2, m = n // 2: the duplication formula of psi."""
    half = jnp.floor(cells / 2).astype(jnp.int32)
    at_least_two = (
        2.0 * digamma(2 * half, cells.dtype) - digamma(half, cells.dtype) - math.log(2)
    )
    return jnp.where(half > 0, at_least_two, digamma(half, cells.dtype) - math.log(2))


def log_or_zero(p: jax.Array) -> jax.Array:
    """Natural logarithm, 0 where p is 0: such cells have no weight in any sum."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), 0.0)
