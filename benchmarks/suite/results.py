"""What a run leaves behind: one JSON file a cell, and their summary.

A cell is one method on one task: all its trials, seeds and horizons, and all the rows
that they fill. A finished cell is never run again with the same settings, so an
interrupted run resumes where it stopped.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import optax_mi
from suite.files import load_json, replacing
from suite.training import METRICS, Curves

# Measurements of a run of the whole budget, and at which of them methods are judged.
EVALUATIONS = 16
HORIZONS = {"1/8": 2, "1/4": 4, "1/2": 8, "all": 16}

# The runs of a cell: horizon -> what its run measured. A method that is not told the
# horizon has the run of "all" alone, which tells of the shorter ones too.
Runs = Mapping[str, Curves]


def machine() -> dict[str, Any]:
    """What the figures were measured with, and on."""
    return {
        "versions": {
            "jax": jax.__version__,
            "optax": optax.__version__,
            "optax_mi": optax_mi.__version__,
        },
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores",
    }


def cell_path(folder: Path, task: str, method: str) -> Path:
    """File of a cell."""
    return folder / "cells" / f"{task}--{method.replace(' ', '-')}.json"


def save_json(path: Path, content: Any) -> None:
    """Writes all or nothing, a list of numbers a line.

    Numbers that are not finite become null.
    """
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    # No string has a bare newline in it, so that none is mistaken for a list.
    lists = re.compile(r'\[\n([^][{}"]*)\n *\]')
    text = lists.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    with replacing(path) as part:
        part.write_text(text + "\n")


def save_cell(path: Path, config: Mapping[str, Any], runs: Runs) -> Runs:
    """Keeps what was measured and the settings; returns it as a rerun will read it."""
    kept = {horizon: curves._asdict() for horizon, curves in runs.items()}
    save_json(path, {"config": config, "runs": kept})
    loaded = load_cell(path, config)
    assert loaded is not None
    return loaded


def load_cell(path: Path, config: Mapping[str, Any]) -> Runs | None:
    """What is kept of a cell, or None if nothing is, or it had other settings."""
    if not path.is_file():
        return None
    content = load_json(path)
    if content["config"] != _plain(config) or "runs" not in content:
        return None
    return {horizon: _curves(kept) for horizon, kept in content["runs"].items()}


def _curves(kept: dict[str, Any]) -> Curves:
    values = {
        row: {name: np.asarray(v, float) for name, v in metrics.items()}
        for row, metrics in kept.pop("values").items()
    }
    steps, rates = np.asarray(kept.pop("steps")), np.asarray(kept.pop("rates"), float)
    noise = {
        row: {name: np.asarray(v, float) for name, v in accuracies.items()}
        for row, accuracies in kept.pop("noise", {}).items()
    }
    return Curves(steps, values, rates, noise=noise, **kept)


def at_horizon(runs: Runs, horizon: str, row: str) -> dict[str, np.ndarray]:
    """What a row had reached at a horizon: metric -> [trials, seeds]."""
    own = horizon in runs
    place = -1 if own else HORIZONS[horizon] - 1
    values = runs[horizon if own else "all"].values[row]
    return {name: values[name][:, :, place] for name in METRICS}


def summarise(runs: Runs, row: str, trials: tuple[float, ...], target: float) -> Any:
    """Figures of a row of a cell.

    At each horizon the row has the trial whose mean validation loss is the lowest
    there. Curves, steps to target and "best", the measurement with the lowest
    validation loss of a seed, are of the trial chosen for the whole budget. Test
    figures play no part in any choice.
    """
    horizons, whole, chosen = {}, runs["all"], 0
    tried: dict[str, Any] = {"learning_rates": trials}
    for horizon in HORIZONS:
        reached = at_horizon(runs, horizon, row)
        chosen = int(np.argmin(_finite(reached["valid_loss"]).mean(1)))
        horizons[horizon] = {
            "learning_rate": trials[chosen],
            "at_edge": len(trials) > 1 and chosen in (0, len(trials) - 1),
            **{name: reached[name][chosen] for name in METRICS},
        }
        tried[horizon] = {
            name: reached[name].mean(1) for name in ("test_loss", "test_accuracy")
        }
    # The last horizon is the whole budget.
    curves = {name: whole.values[row][name][chosen] for name in METRICS}
    best = _finite(curves["valid_loss"]).argmin(1)
    seeds = np.arange(len(best))
    hit = curves["valid_loss"] <= target
    count = whole.rates[:, :, 0].size
    updates = sum(int(run.steps[-1]) for run in runs.values())
    seconds = sum(run.seconds for run in runs.values())
    return {
        "horizons": horizons,
        "best": {name: curves[name][seeds, best] for name in METRICS},
        "steps_to_target": np.where(hit.any(1), whole.steps[hit.argmax(1)], math.inf),
        "microseconds_per_step": seconds / count / updates * 1e6,
        "compile_seconds": sum(run.compile_seconds for run in runs.values()),
        "steps": whole.steps,
        "curves": {
            "test_loss": curves["test_loss"].mean(0),
            "test_accuracy": curves["test_accuracy"].mean(0),
            "learning_rate": whole.rates[chosen].mean(0),
        },
        "trials": tried,
        "noise": {
            name: accuracy[chosen]
            for name, accuracy in whole.noise.get(row, {}).items()
        },
    }


def _finite(losses: np.ndarray) -> np.ndarray:
    """Losses with infinity where a run has diverged."""
    return np.where(np.isfinite(losses), losses, math.inf)


def _plain(content: Any) -> Any:
    """What JSON can hold; five digits are more than any figure here deserves."""
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray):
        content = content.tolist()
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float):
        return float(f"{content:.5g}") if math.isfinite(content) else None
    return content
