"""How rows compare over tasks: losses, ranks, ratios, and what each part adds."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from suite.results import HORIZONS

WHOLE = "all"
# Optimizer -> what the ablation calls a row -> the row.
PARTS = {
    base: {
        "neither": base,
        "decay": f"mi {base}",
        "average": f"{base} + average",
        "both": f"mi {base} + average",
        "cosine, told": f"{base} cosine",
        "cosine, told, and average": f"{base} cosine + average",
    }
    for base in ("sgd", "adamw")
}


class Ratio(NamedTuple):
    """A geometric mean of ratios of losses, and its standard error over seeds."""

    value: float
    error: float


def mean(values: Sequence[float | None]) -> float:
    """Mean over seeds, infinite if a run has diverged."""
    if any(value is None for value in values):
        return math.inf
    return float(np.mean(values))  # pyright: ignore[reportArgumentType, reportCallIssue]


def standard_error(values: Sequence[float | None]) -> float:
    """Of the mean over seeds."""
    finite = [value for value in values if value is not None]
    if len(finite) < max(2, len(values)):
        return math.nan
    return float(np.std(finite, ddof=1) / math.sqrt(len(finite)))


def figures(
    results: Any, tasks: Iterable[str], metric: str, horizon: str = WHOLE
) -> pd.DataFrame:
    """Means over seeds, a line a task and a column a row that ran on all of them."""
    lines = {
        task: {
            row: mean(cell["horizons"][horizon][metric])
            for row, cell in results["cells"][task].items()
        }
        for task in tasks
    }
    return pd.DataFrame.from_dict(lines, orient="index").dropna(axis="columns")


def losses(results: Any, tasks: Iterable[str], horizon: str = WHOLE) -> pd.DataFrame:
    """Mean test loss at a horizon."""
    return figures(results, tasks, "test_loss", horizon)


def ranked_tasks(results: Any) -> list[str]:
    """The classification tasks, where every method can run; without any, all tasks."""
    ran = [task for task, cells in results["cells"].items() if cells]
    return [t for t in ran if results["tasks"][t]["num_classes"]] or ran


def ratio(
    results: Any, row: str, other: str, tasks: Iterable[str], horizon: str = WHOLE
) -> Ratio:
    """Test loss over that of another row: seed by seed, then a mean over tasks.

    It is infinite if a run of the row has diverged, and nan where one of them is
    missing.
    """
    logs = []
    for task in tasks:
        cells = results["cells"][task]
        if row not in cells or other not in cells:
            return Ratio(math.nan, math.nan)
        own, base = (
            np.asarray(cells[name]["horizons"][horizon]["test_loss"], float)
            for name in (row, other)
        )
        logs.append(np.log(np.nan_to_num(own, nan=np.inf) / base))
    by_seed = np.exp(np.mean(logs, 0))
    if not np.all(np.isfinite(by_seed)):
        return Ratio(math.inf, math.nan)
    value = float(np.exp(np.mean(logs)))
    return Ratio(value, standard_error(by_seed.tolist()))


def rank_table(
    results: Any, horizon: str = WHOLE, tasks: Sequence[str] | None = None
) -> pd.DataFrame:
    """Rows by average rank of the mean test loss at a horizon.

    Only rows that ran on every ranked task take part. "not told" ranks them among
    those that are not told the horizon, nan for those that are.
    """
    tasks = ranked_tasks(results) if tasks is None else tasks
    table = losses(results, tasks, horizon)
    free = [row for row in table.columns if row not in results["knows_horizon"]]
    held = [t for t in tasks if results["tasks"][t]["held_out"]]
    columns: dict[str, Any] = {
        f"rank ({len(tasks)})": table.rank(axis=1).mean(),
        "not told": table[free].rank(axis=1).mean(),
    }
    for name, part in (
        ("tuned on", [t for t in tasks if t not in held]),
        ("held out", held),
    ):
        if part:
            ranks = table.loc[part].rank(axis=1).mean()
            columns[f"{name} ({len(part)})"] = ranks
    rivals = results["rivals"]
    ratios = {row: ratio(results, row, rivals[row], tasks, horizon) for row in table}
    columns["loss / cosine"] = pd.Series({r: q.value for r, q in ratios.items()})
    columns["±"] = pd.Series({r: q.error for r, q in ratios.items()})
    # How far behind the best of each task, which ranks do not tell.
    best = table.min(axis=1)
    columns["loss / best"] = np.exp(np.log(table.div(best, axis=0)).mean())
    accuracy = figures(results, tasks, "test_accuracy", horizon)
    columns["accuracy"] = accuracy.mean().reindex(table.columns)
    return pd.DataFrame(columns).sort_values(next(iter(columns)))


def steady_rates(results: Any, row: str, task: str) -> list[int]:
    """Places in the grid of the learning rates at which a row does not diverge.

    A row diverges where it ends the whole budget with no number, or with a loss above
    ln C, that of a network that knows nothing of C classes.
    """
    chance = math.log(results["tasks"][task]["num_classes"])
    ends = results["cells"][task][row]["trials"][WHOLE]["test_loss"]
    return [i for i, loss in enumerate(ends) if loss is not None and loss < chance]


class Part(NamedTuple):
    """A line of an ablation: horizon -> a ratio to "neither", and an accuracy."""

    name: str
    loss: dict[str, float]
    error: dict[str, float]
    accuracy: dict[str, float]


def ablation(results: Any, base: str, whole_grid: bool = False) -> list[Part]:
    """What the decay, the average, and both add to an optimizer, at each horizon.

    Loss is over that of "neither", a geometric mean over classification tasks, at the
    best learning rate of each row or over the `whole_grid`: the same learning rates
    for all rows, those at which "neither" does not diverge, each task counting the
    same. Accuracy is a plain mean. There are no lines where "neither" is missing.
    """
    named = {
        name: row
        for name, row in PARTS[base].items()
        if all(row in results["cells"][task] for task in ranked_tasks(results))
    }
    tasks = [t for t in ranked_tasks(results) if results["tasks"][t]["num_classes"]]
    if "neither" not in named or not tasks:
        return []
    lines = []
    for name, row in named.items():
        loss, error, accuracy = {}, {}, {}
        for horizon in HORIZONS:
            if whole_grid:
                seen = [
                    _over_grid(results, task, row, base, horizon)
                    for task in tasks
                    if steady_rates(results, base, task)
                ]
                log, hits = np.mean(seen, 0) if seen else (math.nan, math.nan)
                loss[horizon], error[horizon] = float(np.exp(log)), math.nan
                accuracy[horizon] = float(hits)
            else:
                loss[horizon], error[horizon] = ratio(
                    results, row, base, tasks, horizon
                )
                hits = figures(results, tasks, "test_accuracy", horizon)[row]
                accuracy[horizon] = float(np.mean(hits.to_numpy()))
        lines.append(Part(name, loss, error, accuracy))
    return lines


def _over_grid(
    results: Any, task: str, row: str, base: str, horizon: str
) -> tuple[float, float]:
    """Mean log of the loss over the base's, and mean accuracy, at steady rates."""
    places = steady_rates(results, base, task)
    cells = results["cells"][task]
    own, other = (cells[name]["trials"][horizon] for name in (row, base))
    loss, base_loss = (np.asarray(x["test_loss"], float)[places] for x in (own, other))
    logs = np.log(np.nan_to_num(loss, nan=np.inf) / base_loss)
    hits = np.asarray(own["test_accuracy"], float)[places]
    return float(logs.mean()), float(hits.mean())
