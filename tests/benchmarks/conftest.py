"""What the tests of benchmarks share."""

import jax
import pytest


@pytest.fixture
def compiles_fast():
    """Programs that compile in half the time, and run slower."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
