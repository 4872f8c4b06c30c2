"""Logarithms of shares."""

import jax
import jax.numpy as jnp


def log_or_zero(p: jax.Array) -> jax.Array:
    """Natural logarithm, or 0 if p is 0: such cells have no weight in any sum."""
    return jnp.log(jnp.where(p > 0, p, 1.0))
