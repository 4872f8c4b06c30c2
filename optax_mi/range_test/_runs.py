"""Runs of a range test: copies of a network trained side by side, in chunks."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_mi.estimators import MIEstimator
from optax_mi.range_test._programs import Functions, program
from optax_mi.range_test._result import Runs

_CPU_WIDTH = 8
Optimizer = Callable[..., optax.GradientTransformation]


class Plan(NamedTuple):
    """The static inputs of a program; equal plans share their compiled program."""

    loss_fn: Callable[..., Any]
    estimator: MIEstimator
    optimizer: Optimizer
    make_params: Callable[[jax.Array], Any] | None
    make_batch: Callable[[jax.Array, jax.Array], Any] | None
    windows: int
    steps: int  # of a window
    stateful: bool


class Data(NamedTuple):
    """The arrays that all copies share."""

    params: Any
    model_state: Any
    batches: Any
    eval_batches: Any


def loss_of(plan: Plan, params: Any, model_state: Any, batch: Any) -> Any:
    """The loss, and a pair of extra arguments and the new model state."""
    if plan.stateful:
        return plan.loss_fn(params, model_state, batch)
    loss, extra_args = plan.loss_fn(params, batch)
    return loss, (extra_args, model_state)


def batch_of(plan: Plan, batches: Any, key: jax.Array, place: jax.Array) -> Any:
    """The batch at a place, or the batch made for that step."""
    if plan.make_batch is not None:
        return plan.make_batch(jax.random.fold_in(key, place), place)
    return jax.tree.map(lambda x: x[place], batches)


def _train(
    plan: Plan, data: Data, rates: jax.Array, seed: jax.Array, order: jax.Array
) -> Runs:
    """Trains one copy at `rates`, one for each window or one for all: [windows]."""
    params_key, data_key = jax.random.split(seed)
    params = data.params
    if plan.make_params is not None:
        params = plan.make_params(params_key)

    def schedule(count: jax.Array) -> jax.Array:
        return rates[count // plan.steps]

    made = plan.optimizer(schedule if len(rates) > 1 else rates[0])
    tx = optax.with_extra_args_support(made)

    loss_fn = partial(loss_of, plan)

    def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
        params, model_state, opt_state, sums, total = carry
        place = i if plan.make_batch is not None else order[i]
        batch = batch_of(plan, data.batches, data_key, place)
        (loss, (extra_args, model_state)), grads = jax.value_and_grad(
            loss_fn, has_aux=True
        )(params, model_state, batch)
        sums = plan.estimator.update(sums, **extra_args)
        updates, opt_state = tx.update(
            grads, opt_state, params, **{"value": loss, **extra_args}
        )
        params = optax.apply_updates(params, updates)
        total = total + loss.astype(total.dtype)
        return (params, model_state, opt_state, sums, total), None

    def window(carry: Any, first: jax.Array) -> tuple[Any, Any]:
        # Keep a total that is not finite: the run has diverged.
        *run, before = carry
        total = jnp.where(jnp.isfinite(before), 0.0, before)
        steps = first + jnp.arange(plan.steps)
        (*run, sums, total), _ = jax.lax.scan(
            step, (*run, plan.estimator.init(), total), steps
        )
        return (*run, total), (plan.estimator.estimate(sums), total / plan.steps)

    start = (params, data.model_state, tx.init(params), jnp.zeros((), jnp.float32))
    firsts = plan.steps * jnp.arange(plan.windows)
    (params, model_state, *_), (estimate, loss) = jax.lax.scan(window, start, firsts)
    if data.eval_batches is not None:

        def add(sums: Any, batch: Any) -> tuple[Any, None]:
            _, (extra_args, _) = loss_fn(params, model_state, batch)
            return plan.estimator.update(sums, **extra_args), None

        sums, _ = jax.lax.scan(add, plan.estimator.init(), data.eval_batches)
        estimate = jax.tree.map(lambda x: x[None], plan.estimator.estimate(sums))
    measured = estimate.mi, estimate.std_error, estimate.entropy
    return Runs(*measured, loss, estimate.chance)


def _train_all(
    plan: Plan, data: Data, rates: jax.Array, seeds: jax.Array, orders: jax.Array
) -> Runs:
    """Trains a copy for each of the rates [copies, R] and seeds [seeds]."""
    train = jax.vmap(partial(_train, plan), (None, None, 0, 0))
    return jax.vmap(train, (None, 0, None, None))(data, rates, seeds, orders)


def train_in_chunks(
    plan: Plan,
    data: Data,
    rates: np.ndarray,
    seeds: jax.Array,
    orders: np.ndarray,
    max_parallel: int,
    progress: Callable[[int, int], object] | None,
) -> Runs:
    """Trains all copies, at most `max_parallel` at a time: [copies, seeds, windows]."""
    width, height, workers = _layout(len(rates), len(seeds), max_parallel)
    of_rates, of_seeds = _chunks(len(rates), width), _chunks(len(seeds), height)
    chunks = list(itertools.product(of_seeds, of_rates))

    def arguments(chunk: tuple[np.ndarray, np.ndarray]) -> tuple[Any, ...]:
        some, few = chunk
        return data, rates[few], seeds[some], orders[some]

    functions = (
        plan.loss_fn,
        plan.optimizer,
        plan.make_params,
        plan.make_batch,
        *plan.estimator[:4],
    )
    settings = (plan.windows, plan.steps, plan.stateful)
    run = program(
        partial(_train_all, plan), Functions(functions, settings), *arguments(chunks[0])
    )
    parts = []
    with ThreadPoolExecutor(workers) as executor:
        for part in executor.map(
            lambda args: jax.device_get(run(*args)), map(arguments, chunks)
        ):
            parts.append(part)
            if progress is not None:
                progress(len(parts), len(chunks))
    columns = [
        _join(parts[i : i + len(of_rates)], 0, len(rates))
        for i in range(0, len(parts), len(of_rates))
    ]
    return _join(columns, 1, len(seeds))


def _layout(copies: int, seeds: int, max_parallel: int) -> tuple[int, int, int]:
    """Learning rates and seeds of a program, and the number of concurrent programs.

    On a CPU, narrow programs are fastest, one per core, because their weights stay in
    cache. Their width depends on `max_parallel` only if that is smaller, so otherwise
    the results are the same to the bit. On an accelerator, wide programs are fastest.
    """
    if jax.default_backend() == "cpu":
        width = min(-(-copies // -(-copies // _CPU_WIDTH)), max_parallel)
        return width, 1, max(1, min(_cores(), max_parallel // width))
    width = min(copies, max_parallel)
    return width, min(seeds, max_parallel // width), 1


def _cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _chunks(total: int, size: int) -> list[np.ndarray]:
    """Indices in chunks of one size, which share a program; the last one repeats."""
    firsts = range(0, total, size)
    return [np.minimum(np.arange(i, i + size), total - 1) for i in firsts]


def _join(parts: list[Runs], axis: int, size: int) -> Runs:
    """Joins the chunks, without the repeats of the last one."""
    fields = zip(*parts, strict=True)
    return Runs(*(np.concatenate(x, axis).take(range(size), axis) for x in fields))


def draw_orders(seeds: jax.Array, batches: Any, steps: int) -> np.ndarray:
    """The batch of each step, [seeds, steps]; each pass has its own order."""
    if batches is None:
        return np.zeros((len(seeds), steps), np.int32)
    size = len(jax.tree.leaves(batches)[0])
    passes = -(-steps // size)
    orders = []
    for seed in seeds:
        rng = np.random.default_rng(np.asarray(_key_data(seed)).tolist())
        order = [rng.permutation(size) for _ in range(passes)]
        orders.append(np.concatenate(order)[:steps])
    return np.stack(orders).astype(np.int32)


def _key_data(key: jax.Array) -> jax.Array:
    """The numbers in a new-style or old-style key."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(key) if typed else key
