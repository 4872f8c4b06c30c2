"""Functions that the estimators from samples share."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import MIEstimate


def check_neighbors(k: Any, samples: int) -> int:
    """`k` as an int in [1, N)."""
    k = check_static_int("k", k, 1)
    if k >= samples:
        raise ValueError(
            f"k must be less than the number of samples, N = {samples}, since a sample "
            f"is not its own neighbor, got k={k}. Pass a smaller k or more samples."
        )
    return k


def finish(
    mi: jax.Array,
    entropy: jax.Array,
    local: jax.Array | None,
    valid: jax.Array,
    clip: bool,
) -> MIEstimate:
    """The estimate from the valid samples; without any, 0 nats of 0.

    `local` [N] has each sample's term of `mi`; its spread gives the standard error.
    """
    dtype = mi.dtype
    count = jnp.sum(valid, dtype=dtype)
    some = count > 0
    entropy = jnp.where(some, entropy, 0.0)
    mi = jnp.where(some, mi, 0.0)
    std_error = jnp.full((), jnp.nan, dtype)
    if local is not None:
        mean = jnp.sum(jnp.where(valid, local, 0.0)) / count
        squares = jnp.sum(jnp.where(valid, jnp.square(local - mean), 0.0))
        std_error = jnp.sqrt(squares) / count
    return MIEstimate(
        mi=jnp.clip(mi, 0.0, entropy) if clip else mi,
        entropy=entropy,
        num_samples=count,
        std_error=std_error,
        dropped=jnp.asarray(valid.size, dtype) - count,
        chance=jnp.zeros_like(mi),
    )
