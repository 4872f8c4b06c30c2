"""How long a range test takes, against other ways to try as many learning rates.

48 learning rates on the digits network, MI measured by all in the same way: side by
side in `lr_range_test`; one after another in a compiled loop that takes the learning
rate as an argument; one after another in a compiled loop for each, as when it is a
constant of the optimizer; and in one ramp of as many steps in all, a compiled step at a
time, as torch-lr-finder does. `auto` has 1000 updates for all of its learning rates,
and is held against a plain loop of as many. The ways take turns; times include
compilation.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from suite.arguments import OneLineParser, at_least


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--rounds", type=partial(at_least, 1), default=3)
    parser.add_argument(
        "--steps", type=partial(at_least, 1), default=400, help="updates a run"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from suite.tasks import Task, bundled_tasks
from suite.training import make_loss
from timing import median_interval, seconds

from optax_mi import auto, lr_range_test
from optax_mi.estimators import contingency

TASK = next(task for task in bundled_tasks() if task.name == "digits_mlp")
NUM = 48
ESTIMATOR = contingency(num_classes=10)


def make_ways(steps: int, task: Task = TASK) -> dict[str, Callable[[], object]]:
    """Each way by its name, ours first, on a task of ten classes."""
    x, y = task.load(0).train
    count = len(x) // task.batch
    batches = (
        x[: count * task.batch].reshape(count, task.batch, *x.shape[1:]),
        y[: count * task.batch].reshape(count, task.batch),
    )
    on_device = jax.tree.map(jnp.asarray, batches)
    rates = np.geomspace(1e-6, 10.0, NUM).astype(np.float32)
    params = task.model.init(jax.random.key(0), x[:1])
    loss_of = make_loss(task)

    def loss_fn(params: Any, batch: Any) -> Any:
        return loss_of(params, *batch)

    def update(tx: Any, carry: Any, i: Any) -> Any:
        params, state, sums = carry
        batch = jax.tree.map(lambda a: a[i % count], on_device)
        (loss, seen), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, batch)
        updates, state = tx.update(grads, state, params)
        sums = ESTIMATOR.update(sums, **seen)
        return (optax.apply_updates(params, updates), state, sums), loss

    def start(tx: Any) -> Any:
        return params, tx.init(params), ESTIMATOR.init()

    def loop(rate: Any) -> Any:
        tx = optax.sgd(rate)
        step = partial(update, tx)
        carry, losses = jax.lax.scan(step, start(tx), jnp.arange(steps))
        return ESTIMATOR.estimate(carry[2]).mi, losses

    def ours() -> object:
        return lr_range_test(
            loss_fn,
            params,
            batches,
            estimator=ESTIMATOR,
            num=NUM,
            num_steps=steps,
            key=jax.random.key(0),
        )

    def no_knob() -> object:
        return auto(
            loss_fn,
            params,
            batches,
            estimator=ESTIMATOR,
            optimizer=optax.sgd,
            key=jax.random.key(0),
        )

    plain_step = jax.jit(partial(update, optax.sgd(0.1)))

    def plain_loop() -> object:
        carry = start(optax.sgd(0.1))
        for i in range(1000):
            carry, _ = plain_step(carry, i)
        return jax.device_get(carry[0])

    def one_loop() -> object:
        run = jax.jit(loop)
        return [jax.device_get(run(rate)) for rate in rates]

    def loop_each() -> object:
        return [jax.device_get(jax.jit(partial(loop, r))()) for r in rates]

    def ramp() -> object:
        total = NUM * steps
        schedule = optax.exponential_decay(1e-6, total, 1e7)
        tx = optax.sgd(schedule)
        step = jax.jit(partial(update, tx))
        carry, losses = start(tx), []
        for i in range(total):
            carry, loss = step(carry, i)
            losses.append(float(loss))
        return losses

    return {
        "lr_range_test": ours,
        "one after another, one compilation": one_loop,
        "one after another, a compilation each": loop_each,
        "one ramp, step by step": ramp,
        "auto, 1000 updates": no_knob,
        "a plain loop of 1000 updates": plain_loop,
    }


def main(argv: list[str] | None = None) -> None:
    """Prints a table."""
    args = parse(argv)
    ways = make_ways(args.steps)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        # Of other functions each time, since programs are kept for as long as those.
        ways = make_ways(args.steps)
        for name, way in ways.items():
            jax.clear_caches()
            times[name].append(seconds(way))
    # Compiled before.
    again = [*list(ways)[:2], "auto, 1000 updates", "a plain loop of 1000 updates"]
    for name in again:
        ways[name]()
        label = f"{name}, a second time"
        times[label] = [seconds(ways[name]) for _ in range(args.rounds)]
    console = Console()
    table = Table(
        title=f"{NUM} learning rates x {args.steps} steps on the digits, compilation "
        f"included, {args.rounds} rounds"
    )
    for column in ("way", "seconds", "times ours", "95 %"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name, spent in times.items():
        low, middle, high = median_interval(
            [b / a for a, b in zip(times["lr_range_test"], spent, strict=True)]
        )
        seconds_taken = median_interval(spent)[1]
        interval = f"{low:.2f} to {high:.2f}"
        table.add_row(name, f"{seconds_taken:.2f}", f"{middle:.2f}", interval)
    console.print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    console.print(table)


if __name__ == "__main__":
    main()
