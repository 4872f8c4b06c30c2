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

# `make test` compiles with little effort, since most programs here run but once. JAX
# 0.10 still has its older emitters, with which that takes a quarter of the time.
little_effort = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"
if little_effort and jax.__version_info__[:2] == (0, 10):
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1"
    )

# Eight CPU devices, in this process alone. XLA runs them on a pool of as many threads,
# where a collective waits for ever once another program holds one of them, as happens
# on a busy machine. It takes the size of a larger pool from this variable.
jax.config.update("jax_num_cpu_devices", 8)
os.environ["NPROC"] = "64"

# The quick one is for `make test`, 100 examples, the default, for `make test-all`. Both
# draw the same ones everywhere: what fails on one machine fails on all.
hypothesis.settings.register_profile("full", derandomize=True, deadline=None)
hypothesis.settings.load_profile("full")
hypothesis.settings.register_profile(
    "quick", max_examples=10, deadline=None, derandomize=True
)


@pytest.fixture(scope="module", autouse=True)
def forget():
    """Unmaps the programs of a module: a process may have but 65,530 maps on Linux."""
    yield
    jax.clear_caches()


def pytest_unconfigure():
    CACHE.cleanup()


@pytest.fixture
def strict():
    """Fails on implicit promotion of dtypes and of ranks."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
