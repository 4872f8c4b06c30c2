"""What a train step pays for its mutual information.

Times a train step under `optax.sgd` alone and under sgd with `mi_decay`, in one
process, in many short pairs that take turns, and prints the median ratio of the pairs
with its confidence interval. The row `A/A` pits sgd against itself: what it shows is
what this machine cannot tell from 1.

A second table has what compiling the step costs, timed the same way, tracing included,
and how many instructions the compiled program has.

The MLP's steps run inside `lax.scan`. The CNN's run one by one: on the CPU, XLA's
convolutions are several times slower inside a scan than in a step jitted by itself.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any

from timing import compare, median_interval, parse_timing, seconds


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return parse_timing(__doc__, 300, argv, keeps=True)


if __name__ == "__main__":
    parse()  # before what is slow to import

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import optax.contrib
from rich.console import Console
from rich.table import Table
from suite.results import machine, save_json

from optax_mi import mi_decay
from optax_mi.estimators import contingency

BATCH = 128


class MLP(nn.Module):
    """784-256-C."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of images [N, 28, 28, 1]."""
        x = nn.relu(nn.Dense(256)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes)(x)


class CNN(nn.Module):
    """Two strided convolutions and a dense layer."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of images [N, 28, 28, 1]."""
        x = nn.relu(nn.Conv(16, (3, 3), strides=2)(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


def make_step(model: nn.Module, tx: Any) -> Callable:
    """One update, as users write it."""

    def step(carry: Any, batch: Any) -> tuple[Any, jax.Array]:
        params, state = carry
        images, labels = batch

        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits: Any = model.apply(params, images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, state = tx.update(
            grads, state, params, outputs=logits, labels=labels, value=loss
        )
        return (optax.apply_updates(params, updates), state), loss

    return step


def make_run(
    model: nn.Module,
    tx: Any,
    batches: Any,
    scanned: bool,
    make_step: Callable = make_step,
    donate: bool = False,
    params: Any = None,
) -> Callable[[], Any]:
    """A function that makes one update per batch from the same start.

    Where the start is donated to the step, the next call goes on where this one ended.
    It is drawn unless `params` are given.
    """
    tx = optax.with_extra_args_support(tx)
    step = make_step(model, tx)
    if params is None:
        params = model.init(jax.random.key(0), batches[0][0])
    start = (params, tx.init(params))
    if scanned:
        run = jax.jit(functools.partial(jax.lax.scan, step))
        return lambda: jax.block_until_ready(run(start, batches))
    jitted = jax.jit(step, donate_argnums=0 if donate else ())
    rows = [jax.tree.map(lambda x, i=i: x[i], batches) for i in range(len(batches[0]))]

    def run_steps() -> Any:
        nonlocal start
        carry = start
        for row in rows:
            carry, _ = jitted(carry, row)
        if donate:
            start = carry
        return jax.block_until_ready(carry)

    return run_steps


def make_compile(
    model: nn.Module, tx: Any, batches: Any, make_step: Callable = make_step
) -> Callable[[], jax.stages.Compiled]:
    """A function that traces and compiles one update, anew at every call."""
    tx = optax.with_extra_args_support(tx)
    batch = jax.tree.map(lambda x: x[0], batches)
    params = model.init(jax.random.key(0), batch[0])
    start = (params, tx.init(params))
    return lambda: jax.jit(make_step(model, tx)).lower(start, batch).compile()


def count_instructions(compiled: jax.stages.Compiled) -> int:
    """Instructions of the program that XLA made, those inside its fusions included."""
    return sum(" = " in line for line in (compiled.as_text() or "").splitlines())


def add_compile_rows(
    table: Table, rows: dict[str, tuple[Any, Callable]], model: nn.Module, pairs: int
) -> None:
    """A row for each transformation and the step that feeds it, against the first."""
    batches = make_batches(10, 1)
    compiles = {
        name: make_compile(model, tx, batches, make_step)
        for name, (tx, make_step) in rows.items()
    }
    base = next(iter(compiles.values()))
    instructions = count_instructions(base())
    for name, other in compiles.items():
        size = count_instructions(other())
        time_base, ratios = compare(base, other, pairs)
        low, middle, high = median_interval(ratios)
        table.add_row(
            type(model).__name__,
            name,
            f"{time_base:.2f}",
            f"{middle:.2f}",
            f"{low:.2f} to {high:.2f}",
            str(size),
            f"{size / instructions:.2f}",
        )


def make_compile_table(pairs: int) -> Table:
    """Without rows."""
    table = Table(title=f"compiling the step, median of {pairs} interleaved pairs")
    for column in ("model", "transformation", "base, s", "ratio", "95 %"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for column in ("instructions", "ratio"):
        table.add_column(column, justify="right")
    return table


def make_batches(num_classes: int, steps: int) -> tuple[jax.Array, jax.Array]:
    """Random images [steps, N, 28, 28, 1] and labels [steps, N]."""
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (steps, BATCH, 28, 28, 1))
    return images, jax.random.randint(keys[1], (steps, BATCH), 0, num_classes)


def update_alone(num_classes: int, soft: bool, steps: int = 2000) -> float:
    """Seconds of one update of mi_decay, with a gradient of one number."""
    estimator = contingency(num_classes=num_classes, soft=soft)
    tx = mi_decay(0.1, estimator=estimator, steps_per_epoch=50)
    keys = jax.random.split(jax.random.key(0))
    logits = jax.random.normal(keys[0], (8, BATCH, num_classes))
    labels = jax.random.randint(keys[1], (8, BATCH), 0, num_classes)

    @jax.jit
    def run(state: Any) -> Any:
        def step(state: Any, i: jax.Array) -> tuple[Any, Any]:
            updates, state = tx.update(
                jnp.ones(()), state, outputs=logits[i % 8], labels=labels[i % 8]
            )
            return state, updates

        return jax.lax.scan(step, state, jnp.arange(steps))

    state = tx.init(jnp.ones(()))
    jax.block_until_ready(run(state))
    times = [seconds(lambda: jax.block_until_ready(run(state))) for _ in range(5)]
    return statistics.median(times) / steps


def begin() -> Console:
    """A console with the headline of a benchmark of steps."""
    console = Console()
    device = jax.devices()[0].device_kind
    console.print(f"jax {jax.__version__} on {device}, batch {BATCH}")
    return console


def main(argv: list[str] | None = None) -> None:
    """Prints three tables, and writes the first."""
    args, console = parse(argv), begin()
    table = Table(title=f"train step, median of {args.pairs} interleaved pairs")
    measured: list[dict[str, Any]] = []
    for column in ("model", "C", "against sgd", "sgd, us", "ratio", "95 %"):
        table.add_column(column, justify="left" if column == "model" else "right")
    # A step of the CNN takes about ten of the MLP.
    for model_class, scanned, steps in (
        (MLP, True, args.steps),
        (CNN, False, max(1, args.steps // 10)),
    ):
        for num_classes in (10, 100):
            model = model_class(num_classes)
            batches = make_batches(num_classes, steps)
            sgd = optax.sgd(0.1)
            base = make_run(model, sgd, batches, scanned)
            rows = {"A/A": sgd}
            for name, soft in (("soft", True), ("hard", False)):
                estimator = contingency(num_classes=num_classes, soft=soft)
                rows[name] = optax.chain(
                    optax.sgd(1.0),
                    mi_decay(0.1, estimator=estimator, steps_per_epoch=steps),
                )
            for name, tx in rows.items():
                other = make_run(model, tx, batches, scanned)
                base()
                other()
                time_base, ratios = compare(base, other, args.pairs)
                low, middle, high = median_interval(ratios)
                measured.append(
                    {
                        "model": model_class.__name__,
                        "classes": num_classes,
                        "against": name,
                        "sgd_us": time_base / steps * 1e6,
                        "ratio": middle,
                        "interval": [low, high],
                    }
                )
                table.add_row(
                    f"{model_class.__name__}{' (scan)' if scanned else ''}",
                    str(num_classes),
                    name,
                    f"{time_base / steps * 1e6:.0f}",
                    f"{middle:.3f}",
                    f"{low:.3f} to {high:.3f}",
                )
    console.print(table)
    if args.output is not None:
        content = {**machine(), "pairs": args.pairs, "batch": BATCH, "steps": measured}
        save_json(args.output, content)

    table = make_compile_table(args.compiles)
    decay = mi_decay(0.1, num_classes=10, steps_per_epoch=args.steps)
    rows = {
        "A/A": (optax.sgd(0.1), make_step),
        "mi_decay": (optax.chain(optax.sgd(1.0), decay), make_step),
    }
    plateau = optax.contrib.reduce_on_plateau()
    against_plateau = {
        "plateau, A/A": (optax.chain(optax.sgd(0.1), plateau), make_step),
        "mi_decay / plateau": rows["mi_decay"],
    }
    for model_class in (MLP, CNN):
        for group in (rows, against_plateau):
            add_compile_rows(table, group, model_class(10), args.compiles)
    console.print(table)

    table = Table(title="update of mi_decay alone, in a scan")
    for column in ("C", "counts", "us"):
        table.add_column(column, justify="right")
    for num_classes in (10, 100, 1000):
        for name, soft in (("soft", True), ("hard", False)):
            microseconds = update_alone(num_classes, soft) * 1e6
            table.add_row(str(num_classes), name, f"{microseconds:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
