"""Bins of equal width, and one number for the bins of a row."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optax_mi._checks import check_number
from optax_mi.estimators.inputs import as_numpy


def check_ends(low: Any, high: Any) -> None:
    """Raises unless low < high, of every column, as far as they are given and concrete.

    Raises:
      TypeError, ValueError: an end is no real number or array of those, or not finite;
        they cross.
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
    """Raises if JAX's floating numbers make one of both ends."""
    single = jnp.result_type(float)
    with np.errstate(over="ignore"):
        ends = [np.asarray(end, float).astype(single) for end in (low, high)]
    if not np.all(np.less(*ends)):
        raise ValueError(
            f"low={low} and high={high} are one number in {single}: take off the means "
            "of the columns of outputs."
        )


def bins_of(
    x: jax.Array, low: jax.typing.ArrayLike, high: jax.typing.ArrayLike, num_bins: int
) -> jax.Array:
    """The bin of each value, int32 in [0, num_bins); 0 for nan."""
    # As many axes as x, for those who forbid that ranks be promoted.
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    low, high = (jnp.broadcast_to(jnp.asarray(e, x.dtype), row) for e in (low, high))
    width = (high - low) / num_bins
    # A column of one value has no width, and one bin.
    place = (x - low) / jnp.where(width > 0, width, 1.0)
    place = jnp.clip(jnp.where(jnp.isnan(place), 0.0, place), 0.0, num_bins - 1)
    return place.astype(jnp.int32)


def hash_of(bins: jax.Array, seed: int) -> jax.Array:
    """A hash of 32 bits, uint32 [...], of integers [..., d]."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(2**31, size=bins.shape[-1], dtype=np.uint32) * 2 + 1
    h = jnp.matmul(bins.astype(jnp.uint32), jnp.asarray(factors))
    # The low bits of a product know little of the high ones: the finalizer of
    # MurmurHash3 makes every bit depend on all.
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> shift)) * jnp.uint32(factor)
    return h ^ (h >> 16)
