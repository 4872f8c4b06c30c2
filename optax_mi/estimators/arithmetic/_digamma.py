r"""The digamma function, exact to rounding; XLA's has errors of 2e-6 in float32.

.. math::
    \psi(x) = \ln x - \frac{1}{2x} - \sum_{j=1}^{5} \frac{B_{2j}}{2j\, x^{2j}}

for x of at least 16. For smaller whole numbers there is a table. Smaller real numbers
use :math:`\psi(x) = \psi(x + 1) - 1 / x` sixteen times.
"""

import jax
import jax.numpy as jnp
import numpy as np

# B_2j / 2j for j = 1 to 5.
_TERMS = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132)
# From here on, the series is exact to rounding.
_LARGE = 16
# psi(n) for n = 1 to 16, from psi(1) = -gamma and the recurrence.
_TABLE = np.cumsum([-np.euler_gamma, *(1 / np.arange(1, _LARGE))])


def digamma(n: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """psi(n) of integers [...], as `dtype`; psi(1) for n < 1."""
    n = jnp.maximum(n, 1)
    small = jnp.asarray(_TABLE, dtype)[n - 1]
    large = n.astype(dtype)
    # JAX clips indices beyond the table; `where` ignores those values.
    return jnp.where(n <= _LARGE, small, jnp.log(large) + _series(large))


def digamma_difference(x: jax.Array, step: jax.Array) -> jax.Array:
    """psi(x + step) - psi(x) of positive reals, without cancellation of logarithms."""
    high, low = _less_log(jnp.stack([x + step, x]))
    return high - low + jnp.log1p(step / x)


def _less_log(x: jax.Array) -> jax.Array:
    """psi(x) - ln x of positive reals."""
    # With one axis more than x, because a user may forbid rank promotion.
    each = jax.lax.broadcasted_iota(x.dtype, (*(1,) * x.ndim, _LARGE), x.ndim)
    steps = jnp.sum(1.0 / (x[..., None] + each), -1)
    return jnp.log1p(_LARGE / x) + _series(x + _LARGE) - steps


def _series(x: jax.Array) -> jax.Array:
    """psi(x) - ln x of large x."""
    inverse = 1.0 / jnp.square(x)
    series = jnp.zeros_like(x)
    for term in reversed(_TERMS):
        series = (series + term) * inverse
    return -0.5 / x - series
