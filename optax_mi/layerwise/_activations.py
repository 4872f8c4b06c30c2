r"""Activations of layers, made small enough for an estimator to take every step.

For an activation :math:`h` of N samples with c channels at each of the places s of
space or time, rows of d columns:

.. math::
    \bar h_n = \frac{1}{S} \sum_{s=1}^{S} h_{ns}, \qquad
    z_n = \bar h_n R, \qquad R_{ij} \sim \mathcal{N}(0, 1/d) \text{ where } c > d .

Whatever is computed from h knows no more of the labels than h does: by the
data-processing inequality :math:`I(z; Y) \le I(h; Y)`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi._checks import check_static_int


def reduce_activations(
    activations: Any, *, features: int = 32, max_rows: int = 256, seed: int = 0
) -> Any:
    r"""Reduces activations to a few hundred rows of a few dozen columns.

    The axes between the batch and the channels, of space or time, are averaged over.
    More than `features` channels go through a random projection, the same at every
    step: a matrix of normal numbers of variance 1 / `features`. By the data-processing
    inequality what is left knows no more of the labels than the activation does.

    Of each batch the first `max_rows` samples are kept; batches are shuffled, so they
    are as random as any others. :func:`layerwise_mi_decay` pairs them with the first
    labels.

    With the defaults `gaussian(32, num_classes=10)` holds 16 kB of state a layer,
    whatever the layer's size; it grows with the square of `features`, and passes 1 MB
    at 284.

    Args:
      activations: an array of shape [N, ..., channels], or a pytree of such arrays: the
        dict that :func:`optax_mi.flax.capture_layers` returns.
      features: most columns that are left, at least 1. A layer of fewer channels keeps
        them all.
      max_rows: most samples that are left of a batch, at least 1.
      seed: of the projection.

    Returns:
      The pytree with float32 arrays of shape [min(N, max_rows), min(channels,
      features)]. No gradient flows through them.

    Raises:
      TypeError, ValueError: an activation that is not real or has no batch and channel
        axes; `features`, `max_rows` or `seed` out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import reduce_activations
      >>> large = {"conv": jnp.ones((512, 8, 8, 16)), "dense": jnp.ones((512, 64))}
      >>> {layer: z.shape for layer, z in reduce_activations(large).items()}
      {'conv': (256, 16), 'dense': (256, 32)}

    References:
      Johnson and Lindenstrauss, Contemporary Mathematics 26, 1984, for the projection.
    """
    features = check_static_int("features", features, 1)
    max_rows = check_static_int("max_rows", max_rows, 1)
    seed = check_static_int("seed", seed, 0)

    def reduce(activation: jax.typing.ArrayLike) -> jax.Array:
        h = jax.lax.stop_gradient(jnp.asarray(activation))
        if h.ndim < 2:
            raise ValueError(
                "activations must have the shape [N, ..., channels], got the shape "
                f"{h.shape}. Give a single channel an axis: activation[:, None]."
            )
        if not jnp.issubdtype(h.dtype, jnp.floating):
            raise TypeError(
                f"activations must be real, got dtype {h.dtype}. Pass what a layer "
                "puts out, not the ids that it takes."
            )
        # An axis that is sharded on an explicit mesh cannot be sliced, not even whole.
        h = h[:max_rows] if len(h) > max_rows else h
        rows = jnp.mean(h, tuple(range(1, h.ndim - 1)), dtype=jnp.float32)
        channels = rows.shape[-1]
        if channels <= features:
            return rows
        # Of NumPy, so that the compiled step holds it as a constant.
        normal = np.random.default_rng(seed).standard_normal((channels, features))
        projection = jnp.asarray(normal / np.sqrt(features), jnp.float32)
        # The default precision of accelerators would round the rows to bfloat16.
        return jnp.matmul(rows, projection, precision=jax.lax.Precision.HIGHEST)

    return jax.tree.map(reduce, activations)
