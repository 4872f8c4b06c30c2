"""Units in which squares neither overflow nor vanish."""

import jax
import jax.numpy as jnp


def power_of_two(rows: jax.Array) -> jax.Array:
    """Powers of 2, [1, d], times which no square of a column overflows or vanishes."""
    largest = jnp.max(jnp.abs(rows), 0, keepdims=True)
    _, exponent = jnp.frexp(largest)
    limit = -jnp.finfo(rows.dtype).minexp
    return jnp.ldexp(jnp.ones_like(largest), -jnp.clip(exponent, -limit, limit))
