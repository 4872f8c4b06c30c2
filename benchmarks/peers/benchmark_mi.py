"""benchmark-mi, a library of others, in a process of its own.

It needs a JAX from before 0.4.34, a NumPy from before 2 and a Python from before 3.12,
so it cannot be installed beside what optax_mi needs. `make bmi` sets it up in
`.venv-bmi`; see `peers/benchmark_mi_child.py` for what it is asked there.
"""

import base64
import functools
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BENCHMARKS = Path(__file__).resolve().parents[1]
PYTHON = BENCHMARKS.parent / ".venv-bmi/bin/python"
MISSING = "benchmark-mi is not there; `make bmi` installs it in .venv-bmi"
# One thread, as `threadpool_limits` has it on this side; its JAX looks for TPUs.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}


class Child:
    """A Python that has benchmark-mi, and answers one question after another."""

    def __init__(self, python: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "peers.benchmark_mi_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=BENCHMARKS,
            env={**os.environ, **SETTINGS, **environment},
        )

    def ask(self, function: str, *args: Any) -> Any:
        """What a function of `benchmark_mi_child` returns; arrays go by :func:`packed`.

        Raises:
          RuntimeError: the child failed; says how.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps([function, args]) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            raise RuntimeError(
                f"benchmark-mi's process ended with exit status {status}; what it "
                "printed is above."
            )
        answer, error = json.loads(line)
        if error:
            raise RuntimeError(f"benchmark-mi: {error}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


@functools.cache
def child() -> Child | None:
    """The one process, None where benchmark-mi is not there."""
    return Child(PYTHON) if PYTHON.exists() else None


def packed(array: np.ndarray) -> tuple[str, str, tuple[int, ...]]:
    """An array in JSON."""
    content = base64.b64encode(array.tobytes()).decode()
    return content, array.dtype.str, array.shape


def unpacked(content: str, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """The array again."""
    return np.frombuffer(base64.b64decode(content), dtype).reshape(shape)


def peer(
    estimator: str, x: np.ndarray, y: np.ndarray, **options: Any
) -> dict[str, Callable[[], float]]:
    """An estimator of benchmark-mi on vectors by its name, if it is there.

    The data go to the process once; a call then costs some tens of microseconds more
    than the estimate.
    """
    process = child()
    if process is None:
        return {}
    place = process.ask("load", estimator, options, packed(x), packed(y))
    return {"benchmark-mi": functools.partial(process.ask, "estimate", place)}
