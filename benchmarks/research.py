"""The trials behind the default rule: what was varied, and what came of it.

    epochs     the final test loss when steps_per_epoch varies 16-fold
    budgets    when the number of steps varies 16-fold, settings kept
    variants   parts of the default rule changed one at a time
    batches    when the batch varies 16-fold, for the same number of steps
    layers     ways to give every layer a learning rate of its own

Every figure is the mean over five seeds of the final test loss, at the learning rate
with the lowest final validation loss, chosen once for a row at the task's own settings;
`layers` shows all learning rates. Weights are averaged, cosine's too, but for rows that
say otherwise.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from suite.arguments import OneLineParser, add_output, at_least, one_of

STUDIES = ("epochs", "budgets", "variants", "batches", "layers")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "studies",
        nargs="*",
        type=partial(one_of, STUDIES),
        metavar="study",
        help="all by default",
    )
    parser.add_argument("--seeds", type=partial(at_least, 2), default=5)
    add_output(parser, "outputs/research")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from suite import candidates, layer_study
from suite.files import load_json, replacing
from suite.markdown import markdown
from suite.methods import PLAIN, Method, averaged, ours
from suite.progress import bars
from suite.results import save_json
from suite.study_figures import FACTORS, draw_factors
from suite.style import save
from suite.tasks import Task, bundled_tasks
from suite.training import train

from optax_mi import average_params, eval_params
from optax_mi.estimators import MIEstimate, contingency, measured
from optax_mi.rules import log_time_rule

RATES = (0.01, 0.03, 0.1, 0.3)
# Studies of methods at the task's own settings: nothing is varied.
ONE_TABLE = ("variants", "layers")


def on_validation(outputs: jax.Array, labels: jax.Array) -> MIEstimate:
    """MI of a whole validation set."""
    estimator = contingency(num_classes=outputs.shape[-1])
    seen = estimator.update(estimator.init(), outputs=outputs, labels=labels)
    return estimator.estimate(seen)


def rules() -> dict[str, Method]:
    """The rules that `epochs` compares, and a peer; all with averaged weights."""
    methods = {
        "log_time_rule": PLAIN["mi sgd"],
        "residual_rule": PLAIN["mi sgd residual"],
        "proportional_rule": PLAIN["mi sgd proportional"],
        "reduce_on_plateau": PLAIN["sgd plateau"],
    }
    return {name: averaged(m, keep_raw=False) for name, m in methods.items()}


def with_power(method: Method, power: float) -> Method:
    """The average of a method's weights with another memory."""

    def make(setting: Any) -> optax.GradientTransformation:
        return optax.chain(method.make(setting), average_params(power))

    return dataclasses.replace(method, make=make, views={"": eval_params})


def variants() -> dict[str, Method]:
    """The default with averaged weights, and the same with one part changed."""
    default = PLAIN["mi sgd"]
    hard = partial(contingency, soft=False)

    def changed(**options: Any) -> Method:
        return ours("", lambda: candidates.open_rule(**options))

    plain = {
        "default": default,
        "rate 0.4": changed(rate=0.4),
        "rate 1.6": changed(rate=1.6),
        "sharpness 5": changed(sharpness=5.0),
        "sharpness 20": changed(sharpness=20.0),
        "weighted by the root of U": changed(knows=jnp.sqrt),
        "not weighted by U": changed(knows=jnp.ones_like),
        "recent average of a third": changed(memory=3.0),
        "log-odds, sharpness 3": changed(sharpness=3.0, odds=True),
        "the default before averages": ours("", candidates.log_time),
        "residual_rule": PLAIN["mi sgd residual"],
        "stall by significance": ours("", candidates.significant),
        "residual in log-time": ours("", candidates.residual_in_log_time),
        "hard counts": ours("", log_time_rule, estimator=hard),
        "variational bound": PLAIN["mi sgd variational"],
        "validation MI": dataclasses.replace(
            ours("", log_time_rule, estimator=lambda num_classes: measured()),
            watch=on_validation,
        ),
        "epochs of its own": ours("", log_time_rule, own_epochs=True),
        "constant": PLAIN["sgd"],
        "cosine, told the horizon": PLAIN["sgd cosine"],
    }
    return {
        **{name: averaged(method, keep_raw=False) for name, method in plain.items()},
        **{f"power {p:g}": with_power(default, p) for p in (0.0, 2.0, 4.0, 16.0)},
        "default, not averaged": default,
        "constant, not averaged": PLAIN["sgd"],
        "cosine, not averaged": PLAIN["sgd cosine"],
    }


def final_losses(
    task: Task, method: Method, seeds: int, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Mean final validation and test loss of each rate."""
    rates = np.asarray(RATES, np.float32)
    values = train(task, method, rates, range(seeds), evaluations=1, **options).first
    valid, test = (values[f"{part}_loss"][:, :, -1] for part in ("valid", "test"))
    return np.where(np.isfinite(valid), valid, np.inf).mean(1), test.mean(1)


def sweep(
    tasks: Sequence[Task],
    methods: dict[str, Method],
    vary: Callable[[Task, float], tuple[Task, dict[str, Any]]],
    seeds: int,
    factors: tuple[float, ...],
    done: Callable[[str, int], None],
) -> dict[str, Any]:
    """Test losses by task, method and factor; the rate is chosen at factor 1."""
    table: dict[str, Any] = {}
    total = len(tasks) * len(methods) * len(factors)
    for task in tasks:
        for name, method in methods.items():
            losses = {}
            for factor in factors:
                changed, options = vary(task, factor)
                losses[factor] = final_losses(changed, method, seeds, **options)
                done(f"{task.name}, {name}, x {factor:g}", total)
            chosen = int(np.argmin(losses[1.0][0]))
            row = {f"{factor:g}": test[chosen] for factor, (_, test) in losses.items()}
            table.setdefault(task.name, {})[name] = {"rate": RATES[chosen], **row}
    return table


def vary_epochs(task: Task, factor: float) -> tuple[Task, dict[str, Any]]:
    """Another steps_per_epoch."""
    assert task.steps_per_epoch is not None
    return task, {"steps_per_epoch": max(1, round(task.steps_per_epoch * factor))}


def vary_budget(task: Task, factor: float) -> tuple[Task, dict[str, Any]]:
    """Another number of steps."""
    return task, {"steps": round(task.steps * factor)}


def vary_batch(task: Task, factor: float) -> tuple[Task, dict[str, Any]]:
    """Another batch; the number of steps and of steps an epoch stay."""
    return dataclasses.replace(task, batch=round(task.batch * factor)), {}


def study(name: str, seeds: int, done: Callable[[str, int], None]) -> dict[str, Any]:
    """Runs one study; `done(title, total)` hears of each part of so many."""
    tasks = [task for task in bundled_tasks() if task.num_classes]
    tuned = [task for task in tasks if not task.held_out]
    peers = {
        name: averaged(PLAIN[name], keep_raw=False) for name in ("sgd cosine", "sgd")
    }
    if name == "epochs":
        # The language model alone would take as long as the others together.
        cheap = [task for task in tasks if task.name != "text"]
        return sweep(cheap, rules(), vary_epochs, seeds, FACTORS, done)
    if name == "variants":
        return sweep(tuned, variants(), vary_epochs, seeds, (1.0,), done)
    if name == "layers":
        return layer_study.run(tasks, seeds, done)
    kept = ("log_time_rule", "reduce_on_plateau")
    methods = {k: v for k, v in rules().items() if k in kept} | peers
    small = [task for task in tasks if task.name in ("digits_mlp", "teacher")]
    vary = vary_budget if name == "budgets" else vary_batch
    return sweep(small, methods, vary, seeds, FACTORS, done)


def as_markdown(name: str, table: dict[str, Any]) -> str:
    """A table a task; for variants, one table with a column a task."""
    if name == "layers":
        return layer_study.as_markdown(table)
    if name in ONE_TABLE:
        rows = [
            [row, *(f"{table[task][row]['1']:.4f}" for task in table)]
            for row in next(iter(table.values()))
        ]
        return markdown(["variant", *table], rows)
    parts = []
    for task, methods in table.items():
        rows = []
        for method, row in methods.items():
            losses = [row[f"{factor:g}"] for factor in FACTORS]
            shown = ["diverged" if v is None else f"{v:.4f}" for v in losses]
            rows.append([method, f"{row['rate']:g}", *shown])
            # Longer runs and larger batches should end lower; other epochs should not.
            if name == "epochs":
                whole = None not in losses
                spread = f"{max(losses) / min(losses) - 1:.1%}" if whole else "-"
                rows[-1].append(spread)
        header = [task, "LR", *(f"x {factor:g}" for factor in FACTORS)]
        header += ["spread"] if name == "epochs" else []
        parts.append(markdown(header, rows))
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Runs the studies asked for and writes their tables."""
    args = parse(argv)
    console = Console()
    for name in args.studies or STUDIES:
        with bars(console) as progress:
            bar = progress.add_task(name, total=None)

            def done(title: str, total: int, bar: Any = bar) -> None:
                progress.update(bar, advance=1, total=total, description=title)

            table = study(name, args.seeds, done)
        source = args.output / f"{name}.json"
        save_json(source, table)
        table = load_json(source)
        text = as_markdown(name, table)
        with replacing(source.with_suffix(".md")) as part:
            part.write_text(text)
        if name == "layers":
            save(layer_study.draw(table), source.with_suffix(".png"))
        elif name not in ONE_TABLE:
            figure = draw_factors(name, table, FACTORS)
            save(figure, source.with_suffix(".png"))
        console.print(f"{name} ({jax.devices()[0].device_kind})\n\n{text}")


if __name__ == "__main__":
    sys.exit(main())
