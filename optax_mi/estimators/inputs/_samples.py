"""Samples with their weights, after they are read.

A sample is dropped, and counted, if its label is outside [0, num_classes) or not
finite, if its output is not finite, or if its weight is zero, negative or not finite.
Dropped samples keep their places with weight 0, because shapes are static.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_mi.estimators.inputs._arrays import as_array

# Smaller squares have lost digits in float32.
_LEAST = 1e-36


class Samples(NamedTuple):
    """Samples of one update, or of whole arrays; `[...]` is [N] for vectors."""

    outputs: jax.Array  # logits [..., C], class ids int32 [...], or vectors [N, d]
    labels: jax.Array  # class ids int32 [...], or vectors [N, m]
    weights: jax.Array  # float [...]; 0 for dropped samples

    @property
    def kept(self) -> jax.Array:
        """Whether each sample is kept, bool [...]."""
        return self.weights > 0

    @property
    def totals(self) -> jax.Array:
        """Sums of the weights and of their squares, and number dropped, float [3]."""
        w = self.weights
        terms = jnp.stack([w, jnp.square(w), (~self.kept).astype(w.dtype)])
        return jnp.sum(terms.reshape(3, -1), -1)


def weigh(
    valid: jax.Array,
    weights: jax.typing.ArrayLike | None,
    dtype: jax.typing.DTypeLike,
    name: str = "weights",
) -> jax.Array:
    """The weights of samples; 0 for samples that are not `valid` or have none."""
    if weights is None:
        return valid.astype(dtype)
    given = as_array(name, weights)
    if jnp.issubdtype(given.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real, got dtype {given.dtype}.")
    given = given.astype(dtype)
    check_shape(name, given, valid.shape)
    return jnp.where(valid & (given > 0) & jnp.isfinite(given), given, 0.0)


def check_shape(name: str, array: jax.Array, shape: tuple[int, ...]) -> None:
    """Raises unless the array has one element for each sample."""
    if array.shape != shape:
        raise ValueError(
            f"{name} must have the shape of the samples, {shape}, got {array.shape}. "
            "Use jnp.broadcast_to if it should apply to all."
        )


def health(totals: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Total weight, effective number of samples and dropped samples.

    The number is nan if the squares of the weights overflow or underflow in float32.
    """
    weight, squares, dropped = totals
    some = squares > 0
    # Kish's effective sample size; divides first, because weight**2 could overflow.
    effective = jnp.where(some, weight * (weight / jnp.where(some, squares, 1.0)), 0.0)
    held = jnp.isfinite(squares) & ((squares >= _LEAST) | (weight == 0))
    effective = jnp.where(held, effective, jnp.nan)
    return weight, effective, dropped
