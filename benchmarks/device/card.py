"""The device that is measured: what it is, its memory, and its products of matrices."""

import functools
import os
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import seconds

# Dtype of the operands and precision of each product; results are float32.
PRODUCTS: dict[str, tuple[Any, Any]] = {
    "float32, HIGHEST": (jnp.float32, jax.lax.Precision.HIGHEST),
    "float32, DEFAULT": (jnp.float32, jax.lax.Precision.DEFAULT),
    "bfloat16": (jnp.bfloat16, jax.lax.Precision.DEFAULT),
}
# What the estimators ask for.
EXACT = "float32, HIGHEST"
# Rows of a product that are compared with NumPy's.
_ROWS = 16


def on_accelerator() -> bool:
    """Whether JAX computes on anything but the CPU."""
    return jax.default_backend() != "cpu"


def kind() -> str:
    """The device's own name."""
    return jax.devices()[0].device_kind


def cpu() -> Any:
    """The CPU, beside the device if that is another.

    Raises:
      RuntimeError: JAX was told to leave it alone.
    """
    return jax.devices("cpu")[0]


def facts() -> dict[str, Any]:
    """What a report says of the machine."""
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "device": kind(),
        "accelerator": on_accelerator(),
        "memory_bytes": stats.get("bytes_limit"),
        "cores": os.cpu_count(),
        "jax": jax.__version__,
    }


def peak_bytes() -> int | None:
    """The most memory that the process has held on the device; None if untold."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def product(name: str, size: int) -> Callable[[], jax.Array]:
    """A function that multiplies two square matrices on the device, and waits."""
    dtype, precision = PRODUCTS[name]
    a, b = (factor.astype(dtype) for factor in _factors(size))
    return lambda: jax.block_until_ready(_multiply(a, b, precision))


def product_rate(name: str, size: int, rounds: int) -> float:
    """Operations a second: 2 n**3 in the median time."""
    run = product(name, size)
    run()
    return 2 * size**3 / statistics.median(seconds(run) for _ in range(rounds))


def product_error(name: str, size: int) -> float:
    """Root mean square of the error over that of the product, of the float32 operands.

    It tells in which precision the device has multiplied: some 1e-7 of float32, 1e-4 of
    TF32, 1e-3 of bfloat16.
    """
    a, b = (np.asarray(factor) for factor in _factors(size))
    truth = a[:_ROWS].astype(float) @ b.astype(float)
    found = np.asarray(product(name, size)()[:_ROWS])
    return float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)))


def measure_products(size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Rate and error of each kind of product."""
    return {
        name: {
            "flops": product_rate(name, size, rounds),
            "error": product_error(name, size),
        }
        for name in PRODUCTS
    }


def _factors(size: int) -> list[jax.Array]:
    """The same two matrices each time, in float32."""
    keys = jax.random.split(jax.random.key(0))
    return [jax.random.normal(key, (size, size)) for key in keys]


@functools.partial(jax.jit, static_argnames="precision")
def _multiply(a: jax.Array, b: jax.Array, precision: jax.lax.Precision) -> jax.Array:
    return jnp.matmul(a, b, precision=precision, preferred_element_type=jnp.float32)
