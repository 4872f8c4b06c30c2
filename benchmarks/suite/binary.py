"""A network whose hidden units are on or off, trained by a surrogate gradient."""

import functools

import jax
import jax.numpy as jnp

from suite.nets import MLP


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


# Dense layers with `spike` between them.
BinaryMLP = functools.partial(MLP, activation=spike)
