"""What is set before JAX starts its backend, for every test."""

import os
import tempfile

import hypothesis
import jax
import pytest

CACHE = tempfile.TemporaryDirectory(prefix="optax_mi-")

# What was compiled once in this run is not compiled again, neither here, where every
# `jax.jit` of a new function would, nor by the programs that tests start. Each process
# of a run has a cache of its own, since JAX writes entries without a lock.
compile_once = {
    "jax_compilation_cache_dir": CACHE.name,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for name, value in compile_once.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)

# `make test` asks for little effort at compiling, since most programs run but once. Of
# it JAX 0.10 spends the most on its way to emit code, and still has the one before.
little_effort = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"
if little_effort and jax.__version_info__[:2] == (0, 10):
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1"
    )

# Eight CPU devices, in this process alone.
jax.config.update("jax_num_cpu_devices", 8)


# For `make test`; the default of 100 examples is for `make test-all`.
hypothesis.settings.register_profile("quick", max_examples=10, deadline=None)


def pytest_unconfigure():
    CACHE.cleanup()


@pytest.fixture
def strict():
    """Fails on implicit promotion of dtypes and of ranks."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
