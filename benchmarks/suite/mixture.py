r"""Mutual information of a layer with noise on it, where all inputs are known.

M inputs of equal probability, a layer that puts out :math:`f(x)`, and noise: then
:math:`T = f(X) + \epsilon` is a mixture of M Gaussians, and the posterior of the class
is known at every point t,

.. math::
    p(y \mid t) = \sum_x w_x(t)\, p(y \mid x), \qquad
    w_x(t) \propto e^{-\|t - f(x)\|^2 / 2}
    \quad \text{in coordinates where } \epsilon \sim \mathcal{N}(0, 1) .

Then :math:`I(T; Y)` is the mean over t of the Kullback-Leibler divergence of that
posterior from p(y), and :math:`I(X; T) = h(T) - h(\epsilon)` that of w from 1 / M. The
mean is taken over draws, the same number around every input:
unbiased, with a standard error of what differs between the draws of one input.
"""

import functools
import math

import jax
import jax.numpy as jnp

# Rows of the weights that are held at a time.
_ROWS = 512


def mixture_mi(
    centres: jax.typing.ArrayLike,
    shares: jax.typing.ArrayLike | None,
    key: jax.Array,
    *,
    draws: int = 4,
) -> tuple[float, float]:
    """I(T; Y) or I(X; T) in nats, and the standard error of that number.

    Args:
      centres: what the layer puts out, [M, d], in units of the noise.
      shares: p(y | x) of every input, [M, C]; None for I(X; T).
      key: of the draws.
      draws: points around every input, at least 2.
    """
    keys = jax.random.split(key, draws)
    shares = None if shares is None else jnp.asarray(shares)
    mi, variance = _draw(jnp.asarray(centres), shares, keys)
    return float(mi), math.sqrt(float(variance))


@jax.jit
def _draw(
    centres: jax.Array, shares: jax.Array | None, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The mean and the variance of that mean."""
    # About their mean, so that the squares keep their digits.
    centres = centres - jnp.mean(centres, 0, keepdims=True)
    exact = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    half = 0.5 * jnp.sum(jnp.square(centres), 1)
    prior = 1 / len(centres) if shares is None else jnp.mean(shares, 0)
    log_prior = jnp.log(prior)

    def divergence(t: jax.Array) -> jax.Array:
        weights = jax.nn.softmax(exact(centres, t) - half)
        posterior = weights if shares is None else exact(weights, shares)
        ratio = jnp.log(jnp.where(posterior > 0, posterior, 1.0)) - log_prior
        return jnp.sum(posterior * ratio)

    def around(key: jax.Array) -> jax.Array:
        points = centres + jax.random.normal(key, centres.shape)
        return jax.lax.map(divergence, points, batch_size=_ROWS)

    values = jax.lax.map(around, keys)
    size = len(keys) * len(centres)
    return jnp.mean(values), jnp.mean(jnp.var(values, 0, ddof=1)) / size
