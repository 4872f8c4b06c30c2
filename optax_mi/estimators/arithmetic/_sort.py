"""Sorts floating numbers by sorting integers.

On the CPU, XLA sorts a single array of integers with a built-in comparison. For
anything else, such as floating numbers or keys with values, it calls a comparison
function, which is four times slower. So this module sorts numbers as integers in the
same order. To find an order, it sorts words that have a number in the high bits and its
place in the low bits.
"""

import jax
import jax.numpy as jnp


def sort(x: jax.Array) -> jax.Array:
    """The elements of x [N], float32 or float64, in ascending order.

    x must not contain nan; -0 is below 0.
    """
    return _as_float(jax.lax.sort(_as_integer(x), is_stable=False))


def argsort(x: jax.Array) -> jax.Array:
    """The places [N] of the elements of x [N] in ascending order, as int32.

    Equal elements stay in order; otherwise the order is that of :func:`sort`. Words
    have 64 bits if x64 is enabled in JAX, and 32 otherwise. If a number and a place do
    not fit in one word, there are several sorts, from the lowest bits of the number to
    the highest: each is stable, so it keeps the order of the last.
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
    # The bits of negative numbers descend, and are above those of positive ones.
    return jnp.where(words < sign, words | sign, ~words)


def _as_float(words: jax.Array) -> jax.Array:
    """The inverse of :func:`_as_integer`."""
    sign = _sign(words)
    bits = jnp.where(words < sign, ~words, words ^ sign)
    return jax.lax.bitcast_convert_type(bits, f"float{words.itemsize * 8}")


def _sign(words: jax.Array) -> jax.Array:
    """The sign bit of a floating number."""
    return jnp.asarray(2 ** (8 * words.itemsize - 1), words.dtype)
