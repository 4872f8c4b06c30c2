r"""Plug-in mutual information of a joint table.

With :math:`\hat p` the table divided by its sum,

.. math::
    \hat I = \sum_{yx} \hat p_{yx} \ln \frac{\hat p_{yx}}{\hat p_{y} \hat p_{x}},
    \qquad \hat H(Y) = -\sum_y \hat p_y \ln \hat p_y .

The delta method gives its variance for N multinomial draws, that of the pointwise
information divided by N. Miller's correction adds (K - 1) / 2N to each entropy with K
cells in use, and so (K_Y + K_X - K_YX - 1) / 2N to the information.
"""

import jax
import jax.numpy as jnp

from optax_mi.estimators._base import MIEstimate


def plugin_estimate(
    joint: jax.Array, count: jax.Array, dropped: jax.Array, miller_madow: bool = False
) -> MIEstimate:
    """MI of a joint table [label, prediction] of weights, from `count` samples."""
    by_label = joint.sum(1)
    total = by_label.sum()
    scale = jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)
    p, p_label, p_output = joint * scale, by_label * scale, joint.sum(0) * scale
    pointwise = jnp.where(
        p > 0,
        log_or_zero(p) - log_or_zero(p_label)[:, None] - log_or_zero(p_output)[None, :],
        0.0,
    )
    mi = jnp.sum(jnp.sum(p * pointwise, 1))
    entropy = -jnp.sum(p_label * log_or_zero(p_label))
    variance = jnp.sum(jnp.sum(p * jnp.square(pointwise - mi), 1))
    samples = jnp.maximum(count, 1.0)
    if miller_madow:
        cells, labels, outputs = (
            jnp.sum(table > 0, dtype=jnp.float32) for table in (p, p_label, p_output)
        )
        some = jnp.where(total > 0, 0.5 / samples, 0.0)
        mi += (labels + outputs - cells - 1.0) * some
        entropy += (labels - 1.0) * some
    return MIEstimate(
        mi=jnp.clip(mi, 0.0, entropy),
        entropy=entropy,
        count=count,
        std_error=jnp.where(count > 0, jnp.sqrt(variance / samples), jnp.nan),
        dropped=dropped,
    )


def log_or_zero(p: jax.Array) -> jax.Array:
    """Natural logarithm, 0 where p is 0: such cells have no weight in any sum."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), 0.0)
