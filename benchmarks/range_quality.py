"""Whether the bounds that a range test suggests are good ones.

For each task and optimizer, networks are trained under `mi_decay` with every `lr_max`
of a fine grid, and between the bounds that range tests suggest from draws of their own:
by the MI of training batches, in runs side by side and in one ramp, and by the
variational bound on validation data. Printed is how far the final test loss between
those bounds, mean over seeds, is above the best of the grid. What is done is kept, so
that an interrupted run resumes.
"""

import argparse
import dataclasses
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

from suite.arguments import OneLineParser, add_output, at_least, one_of

TASKS = ("digits_mlp", "pixels", "teacher", "digits_cnn", "flower", "cancer")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "tasks",
        nargs="*",
        type=partial(one_of, TASKS),
        metavar="task",
        help=f"all by default: {', '.join(TASKS)}",
    )
    parser.add_argument(
        "--seeds", type=partial(at_least, 2), default=5, help="seeds a learning rate"
    )
    add_output(parser, "outputs/range")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import numpy as np
import optax
from rich.console import Console
from suite.bounds import suggest
from suite.files import load_json, replacing
from suite.markdown import markdown
from suite.methods import MOMENTUM, Method
from suite.progress import bars
from suite.results import cell_path, save_json
from suite.study_figures import draw_suggestions
from suite.style import save
from suite.tasks import Task, bundled_tasks
from suite.training import train

from optax_mi import mi_decay

# Each with the decades that its grid spans, eight learning rates a decade.
OPTIMIZERS = {
    "sgd": (optax.sgd, (-2.0, 0.875)),
    "momentum": (MOMENTUM, (-2.75, 0.25)),
    "adamw": (optax.adamw, (-3.25, -0.5)),
}
TESTS = ("parallel", "ramp", "validation")


def final_losses(task: Task, optimizer: Any, bounds: Any, seeds: int) -> np.ndarray:
    """Final test losses under mi_decay, [bounds, seeds]."""

    def make(setting: Any) -> optax.GradientTransformation:
        decay = mi_decay(
            *setting.trial,
            num_classes=setting.num_classes,
            steps_per_epoch=setting.steps_per_epoch,
        )
        return optax.chain(optimizer(1.0), decay)

    method = Method("", make)
    # Few side by side: their weights stay in the caches of a CPU.
    task = dataclasses.replace(task, parallel=3)
    trials = tuple(np.asarray(rates, np.float32) for rates in zip(*bounds, strict=True))
    curves = train(task, method, trials, range(seeds), evaluations=1)
    return curves.first["test_loss"][:, :, -1]


def run_cell(task: Task, name: str, seeds: int, path: Path) -> Any:
    """What a task and an optimizer came to, run now unless it is kept."""
    if path.is_file() and (kept := load_json(path))["seeds"] == seeds:
        return kept
    optimizer, (low, high) = OPTIMIZERS[name]
    found = {
        "parallel": suggest(task, optimizer),
        "ramp": suggest(task, optimizer, mode="ramp"),
        "validation": suggest(task, optimizer, validation=True),
    }
    grid = 10 ** np.arange(low, high + 0.01, 0.125)
    pairs = [(rate, None) for rate in grid]
    pairs += [(result.lr_max, result.lr_min) for result in found.values()]
    # As mi_decay has it where no lower bound is given.
    bounds = [
        (high or math.nan, low or (high or math.nan) / 100) for high, low in pairs
    ]
    losses = final_losses(task, optimizer, bounds, seeds)
    save_json(
        path,
        {
            "seeds": seeds,
            "grid": grid,
            "losses": losses[: len(grid)],
            "suggested": {
                test: {
                    "lr_max": result.lr_max,
                    "lr_min": result.lr_min,
                    "by_seed": result.lr_max_by_seed,
                    "losses": at,
                }
                for (test, result), at in zip(
                    found.items(), losses[len(grid) :], strict=True
                )
            },
        },
    )
    return load_json(path)


def judge(cell: Any) -> tuple[float, float, dict[str, tuple[float, float]]]:
    """Best rate of the grid, its loss, and how far above it each test ends."""
    losses = np.nan_to_num(np.array(cell["losses"], float), nan=np.inf)
    best = int(np.argmin(losses.mean(1)))
    above = {}
    for test, suggested in cell["suggested"].items():
        if suggested["lr_max"] is None:
            continue
        # The same seeds, so that what all runs of one seed share drops out.
        ratios = np.array(suggested["losses"], float) / losses[best]
        error = ratios.std(ddof=1) / math.sqrt(len(ratios))
        mean = np.mean(suggested["losses"]) / losses[best].mean() - 1
        above[test] = float(mean), float(error)
    return cell["grid"][best], float(losses[best].mean()), above


def as_markdown(cells: dict[str, dict[str, Any]]) -> str:
    """A row a task and optimizer."""
    rows = []
    for task, optimizer, cell in (
        (task, name, cell) for task, row in cells.items() for name, cell in row.items()
    ):
        rate, loss, above = judge(cell)
        row = [task, optimizer, f"{rate:.3g}", f"{loss:.4f}"]
        for test in TESTS:
            shown = "none"
            if test in above:
                mean, error = above[test]
                suggested = cell["suggested"][test]["lr_max"]
                shown = f"{suggested:.3g}: {mean:+.1%} ± {error:.1%}"
            row.append(shown)
        rows.append(row)
    return markdown(["task", "optimizer", "best of grid", "test loss", *TESTS], rows)


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes the table and the figure."""
    args = parse(argv)
    names = args.tasks or TASKS
    console = Console()
    known = {task.name: task for task in bundled_tasks()}
    cells: dict[str, dict[str, Any]] = {}
    with bars(console) as progress:
        bar = progress.add_task("", total=len(names) * len(OPTIMIZERS))
        for name in names:
            for optimizer in OPTIMIZERS:
                progress.update(bar, description=f"{name}, {optimizer}")
                path = cell_path(args.output, name, optimizer)
                found = run_cell(known[name], optimizer, args.seeds, path)
                cells.setdefault(name, {})[optimizer] = found
                progress.advance(bar)
    source = args.output / "range.json"
    save_json(source, cells)
    text = as_markdown(cells)
    with replacing(source.with_suffix(".md")) as part:
        part.write_text(text)
    save(draw_suggestions(cells), source.with_suffix(".png"))
    console.print(f"{jax.devices()[0].device_kind}\n\n{text}")


if __name__ == "__main__":
    sys.exit(main())
