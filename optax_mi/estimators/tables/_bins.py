"""Bins of equal width, and a hash of the bins of a row."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optax_mi._checks import check_number
from optax_mi.estimators.inputs import as_numpy


def check_ends(low: Any, high: Any) -> None:
    """Raises unless low < high in every column; None and traced ends are not checked.

    Raises:
      TypeError, ValueError: an end is not a real number or an array of real numbers, or
        is not finite; or `low` is not below `high`.
    """
    given = [end for end in (low, high) if end is not None]
    if any(isinstance(end, Tracer) for end in given):
        return
    if not any(isinstance(end, list | tuple) or np.ndim(end) for end in given):
        if low is not None:
            check_number("low", low, lambda _: True, "finite")
        if high is not None:
            above = "" if low is None else f" and more than low={low}"
            check_number(
                "high", high, lambda top: low is None or top > low, f"finite{above}"
            )
    else:
        for name, end in (("low", low), ("high", high)):
            if end is not None:
                end = as_numpy(name, end)
                if end.dtype.kind == "c" or not np.isfinite(end).all():
                    raise ValueError(
                        f"{name} must be real and finite, got {name}={end}."
                    )
        if len(given) == 2 and not np.all(np.less(low, high)):
            raise ValueError(f"low must be below high, got low={low} and high={high}.")
    if len(given) == 2:
        _check_apart(low, high)


def _check_apart(low: Any, high: Any) -> None:
    """Raises if both ends are the same number in JAX's floating dtype."""
    single = jnp.result_type(float)
    with np.errstate(over="ignore"):
        ends = [np.asarray(end, float).astype(single) for end in (low, high)]
    if not np.all(np.less(*ends)):
        raise ValueError(
            f"low={low} and high={high} are one number in {single}: subtract the means "
            "of the columns of outputs."
        )


def bins_of(
    x: jax.Array, low: jax.typing.ArrayLike, high: jax.typing.ArrayLike, num_bins: int
) -> jax.Array:
    """The bin of each value, int32 in [0, num_bins); 0 for nan."""
    # With the rank of x, because a user may forbid rank promotion.
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    low, high = (jnp.broadcast_to(jnp.asarray(e, x.dtype), row) for e in (low, high))
    width = (high - low) / num_bins
    # The bins of a constant column have width 0; use one bin.
    place = (x - low) / jnp.where(width > 0, width, 1.0)
    place = jnp.clip(jnp.where(jnp.isnan(place), 0.0, place), 0.0, num_bins - 1)
    return place.astype(jnp.int32)


def hash_of(bins: jax.Array, seed: int) -> jax.Array:
    """A 32-bit hash, uint32 [...], of integers [..., d]."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(2**31, size=bins.shape[-1], dtype=np.uint32) * 2 + 1
    h = jnp.matmul(bins.astype(jnp.uint32), jnp.asarray(factors))
    # The low bits of a product depend little on the high bits of its factors. The
    # finalizer of MurmurHash3 makes every bit depend on all.
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> shift)) * jnp.uint32(factor)
    return h ^ (h >> 16)
