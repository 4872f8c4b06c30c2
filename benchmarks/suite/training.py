"""Trains one method on one task: all learning rates and seeds in one compiled call."""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_mi.flax import recompute_batch_stats
from suite.data import Data
from suite.layers import apply_and_see, hidden_layers
from suite.methods import Method, Setting
from suite.noise import accuracy_under
from suite.tasks import Task

METRICS = ("valid_loss", "valid_accuracy", "test_loss", "test_accuracy")
# Rows that are judged at a time where one network fills the caches of a CPU.
JUDGED = 50
# Rows from which the statistics of batch norms are computed for the weights judged.
NORMED = 2000
# Rows of the test set that are judged under noise.
NOISY = 2000


class Curves(NamedTuple):
    """What a call of :func:`train` measured.

    Attributes:
      steps: updates made before each measurement, [E].
      values: row -> name of a metric -> [trials, seeds, E]. Accuracy is nan in a
        regression.
      rates: learning rates, [trials, seeds, E], nan for methods that keep none in
        their state.
      seconds: of the compiled call, all trials and seeds together.
      compile_seconds: before it.
      noise: row -> kind and norm -> test accuracy under noise, [trials, seeds].
    """

    steps: np.ndarray
    values: dict[str, dict[str, np.ndarray]]
    rates: np.ndarray
    seconds: float
    compile_seconds: float
    noise: dict[str, dict[str, np.ndarray]]

    @property
    def first(self) -> dict[str, np.ndarray]:
        """The metrics of the first row, which many methods have alone."""
        return next(iter(self.values.values()))


def train(
    task: Task,
    method: Method,
    trials: Any,
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    steps_per_epoch: int | None = None,
    evaluations: int = 16,
    paired: bool = False,
) -> Curves:
    """Trains from the same start and on the same batches at every setting.

    Rows of a method that differ only in the weights they judge share each run.

    Args:
      task: what is learned.
      method: what learns it.
      trials: what `method.make` finds in `setting.trial`: a pytree of arrays with a
        leading axis, one entry a trial.
      seeds: each gives a split of the data, a start and an order of the batches.
      steps: updates of a run, rounded down to a multiple of `evaluations`; None means
        the task's.
      steps_per_epoch: updates between decisions; None means the task's.
      evaluations: measurements of a run, at equal distances, the last at its end.
      paired: whether each entry of `trials` has a second axis, of the seeds.

    Raises:
      ValueError: fewer steps than evaluations, or fewer rows than a batch takes.
    """
    steps = task.steps if steps is None else steps
    chunk = steps // evaluations
    if chunk < 1:
        raise ValueError(f"steps={steps} must be at least evaluations={evaluations}")
    total = chunk * evaluations
    loaded = [task.load(seed) for seed in seeds]
    rows = len(loaded[0].train[0])
    if rows < task.batch:
        raise ValueError(f"{task.name}: batch={task.batch} of only {rows} rows")
    orders = np.stack([batch_order(seed, rows, total, task.batch) for seed in seeds])
    orders = orders.reshape(len(seeds), evaluations, chunk, task.batch)
    data: Data = jax.tree.map(lambda *parts: np.stack(parts), *loaded)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    starts: Any = None
    if task.start is not None:
        starts = jax.tree.map(
            lambda *parts: np.stack(parts), *(task.start(seed) for seed in seeds)
        )

    spe = task.steps_per_epoch if steps_per_epoch is None else steps_per_epoch
    x, y = loaded[0].train
    layers = (
        hidden_layers(task.model, task.prepare(jnp.asarray(x[:1])), y[:1])
        if method.watches_layers
        else {}
    )

    def run(
        trial: Any, data: Any, orders: jax.Array, key: jax.Array, params: Any
    ) -> Any:
        setting = Setting(trial, total, spe, task.num_classes, layers)
        tx = optax.with_extra_args_support(method.make(setting))
        step = make_step(task, method, tx, data, key, list(layers))
        loss_fn = make_loss(task)
        if params is None:
            params = untrained(task, key, data.train[0][:1])

        def measure(carry: Any, rows: jax.Array) -> tuple[Any, Any]:
            carry, _ = jax.lax.scan(step, carry, rows)
            params, state, _ = carry
            return carry, (
                {row: judge(shown) for row, shown in views(params, state).items()},
                method.rate(state),
            )

        def views(params: Any, state: Any) -> dict[str, Any]:
            return {
                row: with_batch_stats(task, view(state, params), data.train[0])
                for row, view in method.rows.items()
            }

        def judge(shown: Any) -> dict[str, jax.Array]:
            measured = {}
            for name, (x, y) in (("valid", data.valid), ("test", data.test)):
                loss, hits = judge_rows(task, shown, x, y)
                measured[f"{name}_loss"] = loss
                measured[f"{name}_accuracy"] = (
                    jnp.full((), jnp.nan) if task.num_classes is None else hits
                )
            return measured

        def under_noise(shown: Any) -> dict[str, jax.Array]:
            x, y = (part[:NOISY] for part in data.test)

            def apply(params: Any, x: jax.Array) -> jax.Array:
                return loss_fn(params, x, y)[1]["outputs"]

            return {
                f"{kind} {norm:g}": accuracy_under(
                    apply, shown, task.prepare(x), y, norm, way
                )
                for kind, way in (("random", key), ("gradient", None))
                for norm in task.noise
            }

        start = (params, tx.init(params), jnp.zeros((), jnp.int32))
        (params, state, _), measured = jax.lax.scan(measure, start, orders)
        noise = {}
        if task.noise:
            shown_of = views(params, state)
            noise = {row: under_noise(shown) for row, shown in shown_of.items()}
        return *measured, noise

    def run_all(trials: Any, *by_seed: Any) -> Any:
        def over_seeds(trial: Any) -> Any:
            given = (trial if paired else None, *by_seed)

            def of_seed(own: Any, *seed: Any) -> Any:
                return run(trial if own is None else own, *seed)

            if task.one_by_one:
                return jax.lax.map(lambda seed: of_seed(*seed), given)
            return jax.vmap(of_seed)(*given)

        if task.one_by_one:
            return jax.lax.map(over_seeds, trials)
        side_by_side = task.parallel or len(jax.tree.leaves(trials)[0])
        return jax.lax.map(over_seeds, trials, batch_size=side_by_side)

    begin = time.perf_counter()
    arguments = jax.device_put((trials, data, orders, keys, starts))
    compiled = jax.jit(run_all).lower(*arguments).compile()
    between = time.perf_counter()
    values, rates, noise = jax.device_get(compiled(*arguments))
    return Curves(
        chunk * np.arange(1, evaluations + 1),
        values,
        rates,
        time.perf_counter() - between,
        between - begin,
        noise,
    )


def start_of(task: Task, seed: int, key: jax.Array, x: Any) -> Any:
    """The variables that are trained, at the start that the task has or a new one."""
    return untrained(task, key, x) if task.start is None else task.start(seed)


def untrained(task: Task, key: jax.Array, x: Any) -> Any:
    """The variables that are trained, at their start."""
    return {"params": task.model.init(key, task.prepare(x))["params"]}


def make_step(
    task: Task,
    method: Method,
    tx: optax.GradientTransformationExtraArgs,
    data: Data,
    key: jax.Array,
    layers: Iterable[str] = (),
) -> Callable[[Any, jax.Array], tuple[Any, None]]:
    """`step((params, state, i), rows)`: one update, by those rows of the data."""
    loss_fn = make_loss(task, layers)
    x, y = data.train

    def step(carry: Any, rows: jax.Array) -> tuple[Any, None]:
        params, state, i = carry
        inputs = task.prepare(x[rows])
        inputs = task.augment(jax.random.fold_in(key, i), inputs)
        (loss, seen), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, inputs, y[rows]
        )
        extra = {"value": loss, **seen}
        if method.watch is not None:
            shown = task.model.apply(params, task.prepare(jnp.asarray(data.valid[0])))
            extra["mi"] = method.watch(shown, data.valid[1])
        updates, state = tx.update(grads, state, params, **extra)
        return (optax.apply_updates(params, updates), state, i + 1), None

    return step


@functools.partial(jax.jit, static_argnums=0)
def judge_rows(task: Task, shown: Any, x: jax.Array, y: jax.Array) -> Any:
    """The mean loss, and the share of rows whose class is recognised."""

    def judge(x: jax.Array, y: jax.Array) -> Any:
        loss, seen = make_loss(task)(shown, task.prepare(x), y)
        return loss, jnp.mean(seen["outputs"].argmax(-1) == seen["labels"])

    if not task.one_by_one:
        return judge(x, y)
    each = jax.lax.map(
        lambda row: judge(row[0][None], row[1][None]), (x, y), batch_size=JUDGED
    )
    return jax.tree.map(jnp.mean, each)


def with_batch_stats(task: Task, params: Any, x: Any) -> Any:
    """The variables to judge: batch norms get statistics that belong to the weights."""
    inputs = task.prepare(x[:NORMED])
    blank = jax.eval_shape(task.model.init, jax.random.key(0), inputs)
    if "batch_stats" not in blank:
        return params
    zeros = jax.tree.map(jnp.zeros_like, blank["batch_stats"])
    stats = recompute_batch_stats(
        task.model, [inputs], variables={**params, "batch_stats": zeros}
    )
    return {**params, "batch_stats": stats}


def make_loss(
    task: Task, layers: Iterable[str] = ()
) -> Callable[..., tuple[jax.Array, dict[str, Any]]]:
    """Mean cross-entropy in nats, or half the mean squared error.

    Beside it goes what a transformation may want to see: outputs, labels, and the
    activations of layers, if any are named.
    """

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> tuple[Any, dict[str, Any]]:
        outputs: Any
        if layers:
            outputs, seen = apply_and_see(task.model, params, x, y, layers)
        else:
            # Batch norms leave statistics behind, which are computed anew to judge.
            outputs, _ = task.model.apply(params, x, mutable=["batch_stats"])
            seen = {"outputs": outputs, "labels": y}
        if task.num_classes is None:
            outputs = outputs[:, 0]
            return optax.l2_loss(outputs, y).mean(), {**seen, "outputs": outputs}
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
        return losses.mean(), seen

    return loss_fn


def batch_order(seed: int, rows: int, steps: int, batch: int) -> np.ndarray:
    """Rows of each batch, [steps * batch]: shuffled anew each pass, none cut short."""
    rng = np.random.default_rng([seed, 1])
    each = rows // batch * batch
    passes = -(-steps * batch // each)
    order = [rng.permutation(rows)[:each] for _ in range(passes)]
    return np.concatenate(order)[: steps * batch].astype(np.int32)
