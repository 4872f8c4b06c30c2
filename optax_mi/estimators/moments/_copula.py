r"""Columns as normal quantiles of their ranks: the Gaussian copula.

Mutual information does not change under monotone maps of single columns, so each may be
given normal marginals, by :math:`\Phi^{-1}(r / (N + 1))` of the ranks r = 1, ..., N.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri


def normal_scores(x: jax.Array, weights: jax.Array) -> jax.Array:
    """`x` [N, d] by columns; rows of weight 0 become 0.

    Tied values share the mean of their ranks. A weight counts as repetitions, scaled so
    that all are worth the effective number of samples.
    """
    total, squares = jnp.sum(weights), jnp.sum(jnp.square(weights))
    some = squares > 0
    scale = jnp.where(some, total / jnp.where(some, squares, 1.0), 0.0)
    worth = weights * scale
    count = total * scale

    def one(column: jax.Array) -> jax.Array:
        order = jnp.argsort(jnp.where(worth > 0, column, jnp.inf))
        ordered, steps = column[order], worth[order]
        upto = jnp.cumsum(steps)
        starts = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
        ends = jnp.concatenate([starts[1:], jnp.ones(1, bool)])
        before = jax.lax.cummax(jnp.where(starts, upto - steps, 0.0))
        after = jax.lax.cummin(jnp.where(ends, upto, jnp.inf), reverse=True)
        # Half a step in from either side: the mean of before + 1, ..., after.
        share = (0.5 * (before + after) + 0.5) / (count + 1.0)
        return jnp.zeros_like(column).at[order].set(ndtri(share), unique_indices=True)

    return jnp.where(weights[:, None] > 0, jax.lax.map(one, x.T).T, 0.0)
