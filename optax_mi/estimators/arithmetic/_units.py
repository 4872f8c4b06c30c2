"""Units in which squares neither overflow nor underflow."""

import jax
import jax.numpy as jnp


def power_of_two(rows: jax.Array) -> jax.Array:
    """Powers of 2, [1, d], that scale columns so that no square over- or underflows.

    A column of zeros gets the largest, so it does not affect a minimum over columns.
    """
    largest = jnp.max(jnp.abs(rows), 0, keepdims=True)
    _, exponent = jnp.frexp(largest)
    limit = -jnp.finfo(rows.dtype).minexp
    exponent = jnp.where(largest > 0, jnp.clip(exponent, -limit, limit), -limit)
    return jnp.ldexp(jnp.ones_like(largest), -exponent)
