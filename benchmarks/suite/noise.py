"""What a network gets right when noise of a given L2 norm is added to its inputs.

Noisy inputs are not clipped to the range of images: the norm is what it says.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax


def to_norm(x: jax.Array, norm: Any) -> jax.Array:
    """Every row of x [N, ...] with the L2 norm `norm`; zeros stay zeros."""
    axes = tuple(range(1, x.ndim))
    # Gradients of a confident network are so small that their squares vanish.
    largest = jnp.abs(x).max(axes, keepdims=True)
    x = x / jnp.where(largest > 0, largest, 1)
    length = jnp.sqrt((x**2).sum(axes, keepdims=True))
    return norm * x / jnp.where(length > 0, length, 1)


def random_noise(key: jax.Array, x: jax.Array, norm: Any) -> jax.Array:
    """A direction for every row of x [N, ...], uniform on the sphere, times `norm`."""
    return to_norm(jax.random.normal(key, x.shape, x.dtype), norm)


def gradient_noise(
    loss_of_inputs: Callable[[jax.Array], jax.Array], x: jax.Array, norm: Any
) -> jax.Array:
    """The direction in which the loss of each row grows fastest, times `norm`.

    `loss_of_inputs` gives the loss of every row, [N].
    """
    return to_norm(jax.grad(lambda x: loss_of_inputs(x).sum())(x), norm)


def accuracy_under(
    apply: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    x: jax.Array,
    y: jax.Array,
    norm: Any,
    key: jax.Array | None = None,
) -> jax.Array:
    """The share of x [N, ...] that is classed as y under noise of L2 norm `norm`.

    With a key the noise is random; without one it follows the gradient of the
    cross-entropy, in one step.
    """

    def loss_of_inputs(x: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y)

    noise = (
        gradient_noise(loss_of_inputs, x, norm)
        if key is None
        else random_noise(key, x, norm)
    )
    return (apply(params, x + noise).argmax(-1) == y).mean()
