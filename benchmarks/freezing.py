"""What layers that rest save of a run, and what they cost: images and text.

A CNN and a ResNet on Fashion-MNIST and a transformer on text train with all layers to
the end; with the first layers at rest once their MI has stopped growing; with the
schedule of FreezeOut, which is told the end; and with the first half of those layers at
rest in every other step. All are under `mi_decay`, and the averaged weights are judged.
A run's time is the number of its steps with so many layers at rest, times what such a
step takes, timed in interleaved pairs with a step of the first row; beside it are
FLOPs, as XLA counts them.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from suite.arguments import OneLineParser, add_names, add_output, at_least
from suite.sources import add_data_dir

NETS = ("cnn", "resnet", "text")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    add_names(parser, "--nets", NETS)
    parser.add_argument("--seeds", type=partial(at_least, 2), default=3)
    parser.add_argument(
        "--pairs", type=partial(at_least, 1), default=15, help="timed, of each program"
    )
    parser.add_argument(
        "--short", action="store_true", help="one epoch: shows that it runs"
    )
    add_data_dir(parser)
    add_output(parser, "outputs/freezing")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from rich.console import Console
from suite.files import load_json, replacing
from suite.frozen import Frozen, Net, make_nets
from suite.markdown import markdown, number
from suite.progress import bars
from suite.results import machine, save_json
from suite.training import (
    batch_order,
    judge_rows,
    make_loss,
    untrained,
    with_batch_stats,
)
from timing import compare, median_interval

from optax_mi import (
    average_params,
    eval_params,
    freezable,
    layerwise_mi_decay,
    mi_decay,
    mi_diagnostics,
    stop_gradients,
)
from optax_mi.estimators import contingency, gaussian

# FreezeOut's default: the first layer stops after this share of the run, cubed.
FIRST = 0.8
# Less growth of MI in an e-fold of time, as a share of it, counts as none.
GROWTH = 0.05
# Shares of the first row's loss at the end that count as the same.
SAME = 1.005


def steps_of_epoch(net: Net) -> int:
    """An even number, for steps that take turns."""
    assert net.task.steps_per_epoch
    return net.task.steps_per_epoch // 2 * 2


class Way:
    """A way to train: which layers rest in which epoch, and in which of its steps."""

    rests_at_average = True

    def __init__(self, net: Net) -> None:
        """Makes the transformation and the compiled epoch."""
        self.net = net
        self.tx = optax.chain(
            freezable(net.optimizer, net.labels),
            mi_decay(net.rate, num_classes=net.task.num_classes),
            average_params(),
            *self.watch(),
        )
        self.train = jax.jit(self._train, static_argnames="rests")

    def watch(self) -> list[optax.GradientTransformation]:
        """What is measured besides."""
        return []

    def rests(self, share: float, known: list[dict[str, float]]) -> tuple[Frozen, ...]:
        """What rests after a share of the run, in steps that take turns.

        `known` has what each layer knew in each epoch so far.
        """
        del share, known
        return ((),)

    def settle(self, run: Any, frozen: Frozen) -> Any:
        """The run with layers that go to rest at their average."""
        params, state = run
        average = eval_params(state, params)
        params = jax.tree.map(
            lambda layer, x, p: x if layer in frozen else p,
            self.net.labels(params),
            average,
            params,
        )
        return params, state

    def _train(
        self, run: Any, rows: jax.Array, x: Any, y: Any, rests: tuple[Frozen, ...]
    ) -> Any:
        """Steps on so many batches."""
        task, net = self.net.task, self.net
        loss_fn = make_loss(task, net.layers)

        def step(run: Any, rows: jax.Array, frozen: Frozen) -> Any:
            params, state = run

            def loss_of(params: Any) -> Any:
                cut = stop_gradients(params, net.labels, frozen)
                return loss_fn(cut, task.prepare(x[rows]), y[rows])

            grads, seen = jax.grad(loss_of, has_aux=True)(params)
            updates, state = self.tx.update(grads, state, params, frozen=frozen, **seen)
            return optax.apply_updates(params, updates), state

        def turn(run: Any, batches: jax.Array) -> tuple[Any, None]:
            for rows, frozen in zip(batches, rests, strict=True):
                run = step(run, rows, frozen)
            return run, None

        turns = rows.reshape(-1, len(rests), rows.shape[-1])
        return jax.lax.scan(turn, run, turns)[0]


class ByMI(Way):
    """A layer rests once its MI, and that of all before it, has stopped growing."""

    def watch(self) -> list[optax.GradientTransformation]:
        """The layers' MI, once an epoch."""
        net, classes = self.net, self.net.task.num_classes
        assert classes
        estimators = {
            layer: gaussian(features=d, num_classes=classes, noise=0.25)
            for layer, d in zip(net.layers, net.columns, strict=True)
        }
        # Between equal bounds a decay reads, and leaves updates as they are.
        return [
            layerwise_mi_decay(
                estimators,
                net.labels,
                1.0,
                1.0,
                steps_per_epoch=steps_of_epoch(net),
                default=contingency(num_classes=classes),
            )
        ]

    def rests(self, share: float, known: list[dict[str, float]]) -> tuple[Frozen, ...]:
        """By the slope of MI over ln t in the last half of the time."""
        del share
        begin = len(known) // 2
        if len(known) - begin < 3:
            return ((),)
        times = np.log(np.arange(begin, len(known)) + 1.0)

        def stands(layer: str) -> bool:
            mi = [epoch[layer] for epoch in known[begin:]]
            return np.polyfit(times, mi, 1)[0] < GROWTH * mi[-1]

        return (tuple(itertools.takewhile(stands, self.net.layers)),)


class BySchedule(Way):
    """The schedule of FreezeOut; the last layer of the network stops at the end."""

    def rests(self, share: float, known: list[dict[str, float]]) -> tuple[Frozen, ...]:
        """By the share of the run."""
        del known
        ends = np.linspace(FIRST, 1.0, len(self.net.layers) + 1)[:-1] ** 3
        return (tuple(itertools.compress(self.net.layers, ends <= share)),)


class EveryOther(Way):
    """The first half of the layers rest in every other step, at their last weights."""

    rests_at_average = False

    def rests(self, share: float, known: list[dict[str, float]]) -> tuple[Frozen, ...]:
        """Two steps that take turns."""
        del share, known
        return (), tuple(self.net.layers)[: (len(self.net.layers) + 1) // 2]


WAYS = {
    "all train": Way,
    "rest by MI": ByMI,
    "rest by schedule": BySchedule,
    "rest every other step": EveryOther,
}


def train(way: Way, seed: int, epochs: int, tick: Callable[[], None]) -> dict[str, Any]:
    """After each epoch test loss and accuracy, what rested, and what layers knew."""
    net, task = way.net, way.net.task
    data = task.load(seed)
    x, y = map(jnp.asarray, data.train)
    params = untrained(task, jax.random.key(seed), data.train[0][:1])
    run = params, way.tx.init(params)
    steps = steps_of_epoch(net)
    order = batch_order(seed, len(x), epochs * steps, task.batch)
    curves: dict[str, list[Any]] = {
        name: [] for name in ("losses", "accuracies", "rests", "known")
    }
    for epoch, rows in enumerate(order.reshape(epochs, steps, task.batch)):
        rests = way.rests(epoch / epochs, curves["known"])
        if way.rests_at_average:
            run = way.settle(run, rests[0])
        run = way.train(run, rows, x, y, rests=rests)
        shown = with_batch_stats(task, eval_params(run[1], run[0]), data.train[0])
        loss, hits = judge_rows(task, shown, *data.test)
        seen = mi_diagnostics(run[1])
        curves["losses"].append(float(loss))
        curves["accuracies"].append(float(hits))
        curves["rests"].append(rests)
        curves["known"].append({k: float(seen[k].mi) for k in net.layers if k in seen})
        tick()
    return curves


def costs(way: Way, base: Way, rests: Any, pairs: int) -> dict[str, float]:
    """Time and FLOPs of a step over those of `base`, and seconds to compile."""
    task, data = way.net.task, way.net.task.load(0)
    x, y = map(jnp.asarray, data.train)
    params = untrained(task, jax.random.key(0), data.train[0][:1])
    order = batch_order(0, len(x), 20, task.batch).reshape(20, -1)

    def compiled(way: Way, rests: Any) -> tuple[Callable[[], Any], float, float]:
        run = params, way.tx.init(params)
        begin = time.perf_counter()
        program = way.train.lower(run, order, x, y, rests=rests).compile()
        spent = time.perf_counter() - begin
        # XLA counts the body of a loop once, whatever its length.
        flops = flops_of(program) / len(rests)
        return lambda: jax.block_until_ready(program(run, order, x, y)), flops, spent

    run, flops, spent = compiled(way, rests)
    run_base, flops_base, _ = compiled(base, ((),))
    run()
    run_base()
    ratios = compare(run_base, run, pairs)[1]
    return {
        "time": median_interval(ratios)[1],
        "flops": flops / flops_base,
        "compile_seconds": spent,
    }


def flops_of(program: jax.stages.Compiled) -> float:
    """FLOPs as XLA counts them."""
    costs = program.cost_analysis()
    assert costs
    return costs["flops"]


def run_net(
    net: Net, seeds: int, epochs: int, pairs: int, tick: Callable[[str], None]
) -> dict[str, Any]:
    """The runs of each way to train, and what their steps take."""
    base, rows = Way(net), {}
    for name, make in WAYS.items():
        way = make(net)
        told = partial(tick, f"{net.task.name}, {name}")
        runs = [train(way, seed, epochs, told) for seed in range(seeds)]
        kinds = sorted({rests for run in runs for rests in run["rests"]})
        rows[name] = {
            "runs": runs,
            "costs": [[rests, costs(way, base, rests, pairs)] for rests in kinds],
        }
    return {"title": net.task.title, "epochs": epochs, "rows": rows}


def spent(row: dict[str, Any], run: dict[str, Any], by: str) -> np.ndarray:
    """Time, or FLOPs, until the end of each epoch, in whole runs of the first row."""
    of = {_key(rests): cost[by] for rests, cost in row["costs"]}
    return np.cumsum([of[_key(rests)] for rests in run["rests"]]) / len(run["rests"])


def _key(rests: Any) -> Frozen:
    """Tuples, or the lists that JSON makes of them, as one string each."""
    return tuple(",".join(frozen) for frozen in rests)


def until(losses: np.ndarray, times: np.ndarray, goal: float) -> float:
    """When the loss is first at most the goal; infinite if never."""
    reached = losses <= goal
    return float(times[reached.argmax()]) if reached.any() else math.inf


def as_table(result: dict[str, Any]) -> str:
    """A row a way to train."""
    rows, base = [], result["rows"]["all train"]["runs"]
    for name, row in result["rows"].items():
        found: dict[str, list[float]] = {}
        for run, other in zip(row["runs"], base, strict=True):
            losses, end = np.asarray(run["losses"]), other["losses"][-1]
            times = spent(row, run, "time")
            whole = spent(result["rows"]["all train"], other, "time")
            stopped = np.interp(times[-1], whole, other["losses"])
            for key, value in (
                ("loss", losses[-1]),
                ("change", 100 * (losses[-1] / end - 1)),
                ("stopped", 100 * (stopped / end - 1)),
                ("accuracy", run["accuracies"][-1]),
                ("time", times[-1]),
                ("flops", spent(row, run, "flops")[-1]),
                ("until", until(losses, times, SAME * end)),
            ):
                found.setdefault(key, []).append(float(value))
        mean = {key: float(np.mean(values)) for key, values in found.items()}
        error = float(scipy.stats.sem(found["change"]))
        rows.append(
            [
                name,
                f"{mean['loss']:.4f}",
                f"{mean['change']:+.1f} ± {error:.1f} %",
                f"{mean['stopped']:+.1f} %",
                f"{mean['accuracy']:.1%}",
                f"{mean['time']:.2f}",
                f"{mean['flops']:.2f}",
                number(mean["until"], ".2f"),
            ]
        )
    figures = ("test loss", "change", "stopped then", "accuracy", "time", "FLOPs")
    return markdown(["", *figures, "time to goal"], rows)


def main(argv: list[str] | None = None) -> None:
    """Runs the networks, then writes what was measured and tables."""
    args = parse(argv)
    nets = make_nets(args.data_dir)
    source, console = args.output / "freezing.json", Console()
    # Networks may be run one at a time.
    results = load_json(source)["nets"] if source.is_file() else {}
    with bars(console) as progress:
        for name in args.nets:
            epochs = 1 if args.short else nets[name].epochs
            bar = progress.add_task(name, total=len(WAYS) * args.seeds * epochs)

            def tick(text: str, bar: Any = bar) -> None:
                progress.update(bar, advance=1, description=text)

            results[name] = run_net(nets[name], args.seeds, epochs, args.pairs, tick)
    save_json(source, {**machine(), "nets": results})
    parts = [
        f"**{result['title']}**, {result['epochs']} epochs\n\n{as_table(result)}"
        for result in load_json(source)["nets"].values()
    ]
    with replacing(source.with_suffix(".md")) as part:
        part.write_text("\n".join(parts))
    console.print("\n".join(parts), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
