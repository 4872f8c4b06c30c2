"""Eight CPU devices for every test, set before JAX starts its backend."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture
def strict():
    """Fails on implicit promotion of dtypes and of ranks."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
