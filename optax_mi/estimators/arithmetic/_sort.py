"""Sorting floating numbers, by sorting whole ones.

XLA on the CPU sorts one array of integers by a comparison that it knows, and anything
else (floating numbers, keys that take others along) by one that it calls: four times as
slow. So numbers are sorted as integers in the same order, and an order is found by
sorting words that hold a number and, in their low bits, its place.
"""

import jax
import jax.numpy as jnp


def sort(x: jax.Array) -> jax.Array:
    """The elements of x [N], float32 or float64, in ascending order.

    nan is not expected, and -0 is below 0.
    """
    return _as_float(jax.lax.sort(_as_integer(x), is_stable=False))


def argsort(x: jax.Array) -> jax.Array:
    """The places [N] of the elements of x [N] in ascending order, as int32.

    Equal elements stay in order; otherwise as :func:`sort`. Where a number and a place
    do not fit one word, of 64 bits if JAX has them and of 32 otherwise, the words hold
    as many of its bits as do, the lowest first: each sort keeps the order of the last.
    """
    keys = _as_integer(x)
    word = jax.dtypes.canonicalize_dtype(jnp.uint64)
    place_bits = (len(x) - 1).bit_length()
    room, key_bits = jnp.iinfo(word).bits - place_bits, jnp.iinfo(keys.dtype).bits
    places = jnp.arange(len(x), dtype=word)
    order = places.astype(jnp.int32)
    for low in range(0, key_bits, room):
        # Bits above the room are shifted out.
        digits = (keys[order] >> low).astype(word) << place_bits
        words = jax.lax.sort(digits | places, is_stable=False)
        order = order[words & (2**place_bits - 1)]
    return order


def _as_integer(x: jax.Array) -> jax.Array:
    """Unsigned integers in the order of floating numbers."""
    bits = jnp.finfo(x.dtype).bits
    words = jax.lax.bitcast_convert_type(x, f"uint{bits}")
    sign = _sign(words)
    # Negative numbers descend in their bits, and are above positive ones.
    return jnp.where(words < sign, words | sign, ~words)


def _as_float(words: jax.Array) -> jax.Array:
    """The floating numbers that :func:`_as_integer` came from."""
    sign = _sign(words)
    bits = jnp.where(words < sign, ~words, words ^ sign)
    return jax.lax.bitcast_convert_type(bits, f"float{words.itemsize * 8}")


def _sign(words: jax.Array) -> jax.Array:
    """The bit that tells the sign of a floating number."""
    return jnp.asarray(2 ** (8 * words.itemsize - 1), words.dtype)
