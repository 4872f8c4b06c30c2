"""What a train step of each method costs, as a ratio to that of momentum sgd."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import compare, median_interval, seconds

from suite.methods import Method, Setting
from suite.tasks import Task
from suite.training import make_step, untrained

PAIRS = 15
# Of each pair a half is this long.
SECONDS = 0.1


def step_times(task: Task, methods: dict[str, Method], base: str) -> dict[str, Any]:
    """The time of a step over that of `base`, a row at a time, and its 95 % interval.

    A row's steps are a compiled scan, timed in pairs with those of `base`.
    """
    data = jax.device_put(task.load(0))
    one = _steps(task, methods[base], data, 10)
    one()
    count = max(10, round(10 * SECONDS / min(seconds(one) for _ in range(6))))
    runs: dict[str, Callable[[], object]] = {}
    for name, method in methods.items():
        runs[name] = _steps(task, method, data, count)
        runs[name]()
    found = {base: {"ratio": 1.0, "low": 1.0, "high": 1.0}}
    for name, run in runs.items():
        if name != base:
            low, ratio, high = median_interval(compare(runs[base], run, PAIRS)[1])
            found[name] = {"ratio": ratio, "low": low, "high": high}
    return found


def _steps(task: Task, method: Method, data: Any, count: int) -> Callable[[], object]:
    """Runs so many steps, always the same ones."""
    trial: Any = np.float32(method.trials[1] if method.trials else 0.01)
    key = jax.random.key(0)
    setting = Setting(trial, count, task.steps_per_epoch, task.num_classes)
    tx = optax.with_extra_args_support(method.make(setting))
    params = untrained(task, key, data.train[0][:1])
    start = (params, tx.init(params), jnp.zeros((), jnp.int32))
    rows = jax.random.randint(key, (count, task.batch), 0, len(data.train[0]))

    @jax.jit
    def run(start: Any, rows: jax.Array, data: Any) -> Any:
        step = make_step(task, method, tx, data, key)
        return jax.lax.scan(step, start, rows)[0]

    return lambda: jax.block_until_ready(run(start, rows, data))
