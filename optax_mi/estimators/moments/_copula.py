r"""The Gaussian copula: columns as normal quantiles of their ranks.

.. math::
    x \mapsto \Phi^{-1}(r / (N + 1)), \qquad r = 1, \ldots, N

does not change the mutual information, because it is monotone in each column.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri


def normal_scores(x: jax.Array, weights: jax.Array) -> jax.Array:
    """Normal scores of `x` [N, d], column by column; 0 in rows of weight 0.

    Ties share their mean rank. A weight counts as a number of repetitions, up to scale.
    """
    total, squares = jnp.sum(weights), jnp.sum(jnp.square(weights))
    some = squares > 0
    scale = jnp.where(some, total / jnp.where(some, squares, 1.0), 0.0)
    worth = weights * scale
    count = total * scale

    def one(column: jax.Array) -> jax.Array:
        # A row of weight 0 does not change the ranks of other rows.
        order = jnp.argsort(column)
        ordered, steps = column[order], worth[order]
        upto = jnp.cumsum(steps)
        starts = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
        ends = jnp.concatenate([starts[1:], jnp.ones(1, bool)])
        before = jax.lax.cummax(jnp.where(starts, upto - steps, 0.0))
        after = jax.lax.cummin(jnp.where(ends, upto, jnp.inf), reverse=True)
        # The mean of the ranks before + 1, ..., after.
        share = (0.5 * (before + after) + 0.5) / (count + 1.0)
        return jnp.zeros_like(column).at[order].set(ndtri(share), unique_indices=True)

    return jnp.where(weights[:, None] > 0, jax.lax.map(one, x.T).T, 0.0)
