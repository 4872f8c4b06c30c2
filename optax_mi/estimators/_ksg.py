r"""Mutual information of real vectors by nearest neighbours.

With :math:`\psi` the digamma function and distances in the maximum norm,

.. math::
    \hat I_1 &= \psi(N) + \psi(k)
        - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle, \\
    \hat I_2 &= \psi(N) + \psi(k) - 1 / k - \langle \psi(n_x) + \psi(n_y) \rangle .

For the first, :math:`n_x` is the number of other samples nearer in x than the k-th
neighbour in (x, y); for the second, of those not farther in x than any of the k.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators._digamma import digamma
from optax_mi.estimators._ksg_band import count_in_plane
from optax_mi.estimators._ksg_tile import count_in_tiles
from optax_mi.estimators._samples import (
    check_neighbors,
    finish,
    jitter,
    keep,
    read_mask,
    read_vectors,
)


def ksg_mi(
    x: jax.typing.ArrayLike,
    y: jax.typing.ArrayLike,
    k: int = 3,
    *,
    algorithm: Literal[1, 2] = 1,
    weights: jax.typing.ArrayLike | None = None,
    key: jax.Array | None = None,
    clip: bool = True,
) -> MIEstimate:
    """Estimates."""
    if algorithm not in (1, 2):
        raise ValueError(f"algorithm must be 1 or 2, got algorithm={algorithm!r}.")
    k = check_static_int("k", k, 1)
    x, y = jnp.asarray(x), jnp.asarray(y)
    weights = None if weights is None else jnp.asarray(weights)
    return _ksg(x, y, weights, key, k, algorithm == 2, clip)


@functools.partial(jax.jit, static_argnames=("k", "box", "clip"))
def _ksg(
    x: jax.Array,
    y: jax.Array,
    weights: jax.Array | None,
    key: jax.Array | None,
    k: int,
    box: bool,
    clip: bool,
) -> MIEstimate:
    x, y = read_vectors("x", x), read_vectors("y", y)
    if len(y) != len(x):
        raise ValueError(
            f"x and y must hold as many samples, got {len(x)} in x and {len(y)} in y."
        )
    check_neighbors(k, len(x))
    dtype = jnp.promote_types(x.dtype, y.dtype)
    x, valid = keep(x.astype(dtype), read_mask(weights, len(x)))
    y, valid = keep(y.astype(dtype), valid)
    if key is not None:
        x_key, y_key = jax.random.split(key)
        x, y = jitter(x_key, x, valid), jitter(y_key, y, valid)
    # What is dropped is infinitely far from everything.
    x, y = (jnp.where(valid[:, None], a, jnp.inf) for a in (x, y))
    count = jnp.sum(valid, dtype=jnp.int32)
    if x.shape[1] == y.shape[1] == 1:
        within = count_in_plane(x[:, 0], y[:, 0], valid, k, box)
    else:
        within = count_in_tiles(x, y, k, box)
    if box:
        # Those counted hold the sample itself.
        within = [n - 1 for n in within]
    psi_k = digamma(jnp.int32(k), dtype) - jnp.asarray(1 / k if box else 0, dtype)
    local = (digamma(count, dtype) - digamma(within[0], dtype)) + (
        psi_k - digamma(within[1], dtype)
    )
    mi = jnp.sum(jnp.where(valid, local, 0.0)) / count.astype(dtype)
    mi = jnp.where(count > k, mi, 0.0)
    local = jnp.where(count > k, local, jnp.nan)
    return finish(mi, jnp.asarray(jnp.inf, dtype), local, valid, clip)
