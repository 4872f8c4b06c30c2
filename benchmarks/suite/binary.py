"""A network whose hidden units are on or off, trained by a surrogate gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp


@jax.custom_jvp
def spike(x: jax.Array) -> jax.Array:
    """1 where x > 0, else 0, differentiated as clip(x + 1/2, 0, 1).

    A unit fires or adds nothing, as in Vaila, "Deep convolutional spiking neural
    networks for image classification", 2021. The slope, 1 for |x| <= 1/2 and else 0,
    is the clipped straight-through estimator (Bengio et al. 2013, Hubara et al. 2016)
    for a step of height 1; it need not be the surrogate of Vaila.
    """
    return (x > 0).astype(x.dtype)


@spike.defjvp
def _spike_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    return spike(x), jnp.where(jnp.abs(x) <= 0.5, tangent, 0)


class BinaryMLP(nn.Module):
    """Dense layers with `spike` between them."""

    widths: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, outputs] of inputs [N, ...]."""
        x = x.reshape(len(x), -1)
        for width in self.widths:
            x = spike(nn.Dense(width)(x))
        return nn.Dense(self.outputs)(x)
