r"""Entropies of a sample, and corrections of their bias.

With N samples, K cells in use, :math:`n_i` samples in cell i and :math:`f_1` cells with
one sample,

.. math::
    \hat H &= -\sum_i \hat p_i \ln \hat p_i, \qquad
    \hat H_\text{MM} = \hat H + \frac{K - 1}{2N} \\
    \hat H_\text{G} &= \ln N - \frac1N \sum_i n_i G(n_i), \qquad
        G(n) = \psi(n) + \frac{(-1)^n}{2}
        \left[ \psi\left(\tfrac{n+1}{2}\right) - \psi\left(\tfrac n2\right) \right] \\
    \hat H_\text{CS} &= -\sum_i \frac{\tilde p_i \ln \tilde p_i}
        {1 - (1 - \tilde p_i)^N}, \qquad
        \tilde p_i = \left(1 - \frac{f_1}{N}\right) \frac{n_i}{N} .

References: see :func:`optax_mi.estimators.contingency`.
"""

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from optax_mi._checks import check_choice
from optax_mi.estimators.arithmetic import digamma, log_or_zero

BiasCorrection = Literal["miller_madow", "grassberger", "chao_shen"]


def check_bias_correction(value: Any) -> None:
    """Raises unless `value` is None or names a correction."""
    check_choice("bias_correction", value, (None, *get_args(BiasCorrection)))


def entropy_of(
    p: jax.Array, count: jax.Array, bias_correction: BiasCorrection | None
) -> jax.Array:
    """Entropy in nats of probabilities [...] estimated from `count` samples.

    If a formula needs whole numbers of samples, weighted cells are rounded.
    """
    plugin = jnp.abs(jnp.sum(p * log_or_zero(p)))
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
        # If every cell were single, the coverage would be 0, so leave one out.
        coverage = 1.0 - jnp.minimum(single, samples - 1.0) / samples
        covered = coverage * p
        unseen = jnp.maximum(1.0 - covered, jnp.finfo(p.dtype).tiny)
        seen = -jnp.expm1(samples * jnp.log(unseen))
        terms = covered * log_or_zero(covered) / jnp.where(p > 0, seen, 1.0)
        corrected = -jnp.sum(terms)
    return jnp.where(count > 0, corrected, 0.0)


def _grassberger(cells: jax.Array) -> jax.Array:
    """G(n) = 2 psi(2m) - psi(m) - ln 2 with m = n // 2, by the duplication formula.

    For n < 2 it is psi(1) - ln 2; `digamma` gives this because its psi(0) is psi(1).
    """
    half = (cells / 2).astype(jnp.int32)
    twice, once = digamma(2 * half, cells.dtype), digamma(half, cells.dtype)
    return 2.0 * twice - once - math.log(2)
