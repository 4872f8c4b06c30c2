r"""Reduces activations of layers, so that an estimator can read them at every step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi._checks import check_static_int
from optax_mi.estimators.inputs import as_array, check_fits


def reduce_activations(
    activations: Any, *, features: int = 32, max_rows: int = 256, seed: int = 0
) -> Any:
    r"""Reduces activations to a few hundred rows of a few dozen columns.

    For an activation :math:`h` of N samples with c channels at S positions in space or
    time,

    .. math::
        z_n = \frac{1}{S} \sum_{s=1}^{S} h_{ns} R, \qquad
        R_{ij} \sim \mathcal{N}(0, 1 / \mathrm{features}) \text{ if } c >
        \mathrm{features},

    and without R otherwise. R is the same at every step. By the data-processing
    inequality, :math:`I(z; Y) \le I(h; Y)`. It keeps the first `max_rows` samples of
    each batch; :func:`layerwise_mi_decay` takes the same `max_rows` and pairs them with
    the first labels. The samples must be the first axis: if activations have the shape
    [T, N, d], with time first, pass `jnp.swapaxes(h, 0, 1)`.

    Args:
      activations: an array of shape [N, ..., channels], or a pytree of such arrays,
        such as the dict that :func:`optax_mi.flax.capture_layers` returns.
      features: largest number of columns to keep, at least 1.
      max_rows: largest number of samples of a batch to keep, at least 1, as in
        :func:`layerwise_mi_decay`.
      seed: seed of the projection.

    Returns:
      The pytree with float32 arrays of shape [min(N, max_rows), min(channels,
      features)], through which no gradient flows.

    Raises:
      TypeError, ValueError: an activation is not real, has no batch and channel axes,
        or is empty; or an argument is out of range.

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

    def reduce(path: Any, activation: jax.typing.ArrayLike) -> jax.Array:
        name = f"activations{jax.tree_util.keystr(path)}"
        check_fits(name, activation, single=True)
        h = as_array(name, activation)
        if h.ndim < 2:
            raise ValueError(
                f"{name} must have the shape [N, ..., channels], got the shape "
                f"{h.shape}. Give a single channel an axis: {name}[:, None]."
            )
        if not h.size:
            raise ValueError(f"{name} must not be empty, got the shape {h.shape}.")
        if not jnp.issubdtype(h.dtype, jnp.floating):
            raise TypeError(
                f"{name} must be real, got dtype {h.dtype}. Pass the outputs of a "
                "layer, not the ids that it takes."
            )
        # JAX cannot slice an axis that is sharded on an explicit mesh, not even whole.
        h = h[:max_rows] if len(h) > max_rows else h
        rows = jnp.mean(h, tuple(range(1, h.ndim - 1)), dtype=jnp.float32)
        channels = rows.shape[-1]
        if channels <= features:
            return rows
        # From NumPy, so that it is a constant of the compiled step.
        normal = np.random.default_rng(seed).standard_normal((channels, features))
        projection = jnp.asarray(normal / np.sqrt(features), jnp.float32)
        # The default precision of accelerators would round the rows to bfloat16.
        return jnp.matmul(rows, projection, precision=jax.lax.Precision.HIGHEST)

    if not jax.tree.leaves(activations):
        raise TypeError(f"activations must have arrays, got {activations!r:.60}.")
    return jax.tree_util.tree_map_with_path(reduce, activations)
