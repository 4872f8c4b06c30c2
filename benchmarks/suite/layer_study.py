"""Whether layers want learning rates unlike one another: a study of `research.py`.

All rows have averaged weights and are compared at the same learning rates.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from optax_mi.rules import log_time_rule
from suite import candidates
from suite.markdown import markdown
from suite.methods import Method, averaged, layer_by_layer, ours
from suite.nets import MLP
from suite.ranking import standard_error
from suite.style import COLORS, legend_among, lines_of, panels, styled
from suite.tasks import Task
from suite.training import train

WHOLE, CHOSEN = "whole network", "more gain, smaller share"
DEEP = "teacher, 7 layers"
# The row was chosen on the first four, under sgd, and judged on the others.
RUNS = [
    *((task, "sgd") for task in ("digits_mlp", "digits_cnn", "teacher", DEEP)),
    *((task, "sgd") for task in ("pixels", "flower", "cancer")),
    *((task, "adamw") for task in ("digits_mlp", "pixels", "flower", "cancer")),
]


def rows_of(base: str = "sgd") -> dict[str, Method]:
    """The whole network's decay, and ways to tell layers apart beside it."""
    by_gain = functools.partial(candidates.in_shares, base=base)
    fixed = functools.partial(candidates.in_fixed_shares, base=base)
    methods = {
        WHOLE: ours("", log_time_rule, base),
        "a decay for every layer": layer_by_layer("", base=base),
        "more gain, larger share": by_gain(1.0),
        CHOSEN: by_gain(-1.0),
        "first layer twice, last half": fixed(1.0),
        "first layer half, last twice": fixed(-1.0),
        "the same shares at random": fixed(1.0, shuffled=True),
    }
    return {name: averaged(m, keep_raw=False) for name, m in methods.items()}


def run(
    tasks: Iterable[Task], seeds: int, done: Callable[[str, int], None]
) -> dict[str, Any]:
    """Final losses [rates, seeds] of every row, by task and optimizer."""
    by_name = {task.name: task for task in tasks}
    teacher = by_name["teacher"]
    by_name[DEEP] = dataclasses.replace(teacher, model=MLP((64,) * 6, 10))
    table: dict[str, Any] = {}
    total = sum(len(rows_of(base)) for _, base in RUNS)
    for task, base in RUNS:
        for name, method in rows_of(base).items():
            rates = np.asarray(method.trials, np.float32)
            seen = train(by_name[task], method, rates, range(seeds), evaluations=1)
            parts = ("valid_loss", "test_loss")
            table.setdefault(f"{task}, {base}", {})[name] = {
                "rates": method.trials,
                **{part: seen.first[part][:, :, -1] for part in parts},
            }
            done(f"{task}, {base}, {name}", total)
    return table


def change(rows: dict[str, Any], name: str, near: bool = False) -> np.ndarray:
    """Test loss against the whole network's, in percent, and its standard error.

    [rates, 2], from pairs of seeds; infinite where a run has diverged, and nan where
    one of the whole network has. With `near`, one line: the mean over the whole
    network's best learning rate and its neighbours.
    """
    valid, base, own = (
        np.nan_to_num(np.array(rows[row][part], float), nan=np.inf)
        for row, part in (
            (WHOLE, "valid_loss"),
            (WHOLE, "test_loss"),
            (name, "test_loss"),
        )
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(own) - np.log(base)
    logs[~np.isfinite(base).all(1)] = np.nan
    if near:
        best = int(np.argmin(valid.mean(1)))
        logs = logs[max(best - 1, 0) : best + 2].mean(0, keepdims=True)
    # Means of logarithms, since one seed near divergence may lose a hundredfold.
    means = np.exp(logs.mean(1))
    with np.errstate(invalid="ignore"):
        errors = means * [standard_error(row.tolist()) for row in logs]
    return 100 * np.stack([means - 1, errors], 1)


def as_markdown(table: dict[str, Any]) -> str:
    """Every row near the best learning rate, then the chosen one at all of them."""

    def shown(figures: np.ndarray) -> list[str]:
        return [
            "-"
            if np.isnan(mean)
            else f"{mean:+.1f} ± {error:.1f}"
            if np.isfinite(mean)
            else "diverged"
            for mean, error in figures
        ]

    names = [name for name in next(iter(table.values())) if name != WHOLE]
    near = [
        [run, *(shown(change(rows, name, near=True))[0] for name in names)]
        for run, rows in table.items()
    ]
    parts = [markdown(["change of the loss, %", *names], near)]
    by_rates: dict[tuple[float, ...], list[list[str]]] = {}
    for run, rows in table.items():
        line = [run, *shown(change(rows, CHOSEN))]
        by_rates.setdefault(tuple(rows[WHOLE]["rates"]), []).append(line)
    for rates, lines in by_rates.items():
        parts.append(markdown([CHOSEN, *(f"{rate:g}" for rate in rates)], lines))
    return "\n".join(parts)


@styled()
def draw(table: dict[str, Any]) -> Figure:
    """The change of the loss against the learning rate, a panel a run."""
    columns = 3
    figure, stacks = panels(len(table), columns, (1.9,))
    for place, ((ax,), (run, rows)) in enumerate(
        zip(stacks, table.items(), strict=False)
    ):
        names = [name for name in rows if name != WHOLE]
        rates = np.asarray(rows[WHOLE]["rates"])
        for i, (name, color) in enumerate(zip(names, COLORS, strict=False)):
            seen = change(rows, name)
            mean, error = np.where(np.isfinite(seen), seen, np.nan).T
            # Beside one another, so that no bar hides the next.
            places = rates * 1.06 ** (i - len(names) / 2)
            width = 2.4 if name == CHOSEN else 1.1
            style: Any = {"color": color, "linewidth": width, "zorder": 4 - width}
            ax.errorbar(places, mean, error, fmt="o-", label=name, **style)
        valid = np.array(rows[WHOLE]["valid_loss"], float)
        best = np.argmin(np.nan_to_num(valid, nan=np.inf).mean(1))
        ax.axvline(rates[best], color="0.8", zorder=0)
        ax.axhline(0.0, color="0.8", zorder=0)
        ax.set(xscale="log", ylim=(-15, 15), title=run)
        if place % columns == 0:
            ax.set_ylabel("change of test loss, %")
        if place + columns >= len(table):
            ax.set_xlabel("learning rate")
    note = (
        "against one decay for the whole network; bars: standard error of pairs of "
        "seeds; gray: its best learning rate"
    )
    legend_among(stacks, len(table), lines_of(stacks[0][0]), note)
    return figure
