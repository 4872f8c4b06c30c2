"""Units in which squares neither overflow nor vanish."""

import jax
import jax.numpy as jnp


def power_of_two(rows: jax.Array) -> jax.Array:
    """Powers of 2, [1, d], times which no square of a column overflows or vanishes.

    That of a column of zeros is the largest: in a minimum over columns it has no say.
    """
    largest = jnp.max(jnp.abs(rows), 0, keepdims=True)
    _, exponent = jnp.frexp(largest)
    limit = -jnp.finfo(rows.dtype).minexp
    exponent = jnp.where(largest > 0, jnp.clip(exponent, -limit, limit), -limit)
    return jnp.ldexp(jnp.ones_like(largest), -exponent)
