"""What the estimators of samples share."""

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
            f"is not its own neighbour, got k={k}. Pass a smaller k or more samples."
        )
    return k


def jitter(key: jax.Array | None, x: jax.Array, valid: jax.Array) -> jax.Array:
    """`x` with normal noise of eps**(2/3) of each column's spread; `x` without a key.

    That is 2e-5 in float32 and 4e-11 in float64: ties break, and little else moves.
    """
    if key is None:
        return x
    kept = valid[:, None]
    count = jnp.maximum(jnp.sum(kept, dtype=x.dtype), 1.0)
    mean = jnp.sum(jnp.where(kept, x, 0.0), 0) / count
    spread = jnp.sqrt(
        jnp.sum(jnp.where(kept, jnp.square(x - mean[None]), 0.0), 0) / count
    )
    scale = spread * jnp.finfo(x.dtype).eps ** (2 / 3)
    return x + jnp.where(
        kept, scale[None] * jax.random.normal(key, x.shape, x.dtype), 0.0
    )


def finish(
    mi: jax.Array,
    entropy: jax.Array,
    local: jax.Array | None,
    valid: jax.Array,
    clip: bool,
) -> MIEstimate:
    """The estimate of the valid samples; of none it is 0 nats out of 0.

    `local` [N] holds each sample's term of `mi`; its spread gives the standard error.
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
