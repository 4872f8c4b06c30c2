"""What a run leaves behind: one JSON file a cell, and their summary.

A cell is one method on one task: all its trials and seeds. A finished cell is never run
again with the same settings, so an interrupted run resumes where it stopped.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from suite.files import load_json, replacing
from suite.training import METRICS, Curves


def cell_path(folder: Path, task: str, method: str) -> Path:
    """File of a cell."""
    return folder / "cells" / f"{task}--{method.replace(' ', '-')}.json"


def save_json(path: Path, content: Any) -> None:
    """Writes all or nothing; numbers that are not finite become null."""
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    with replacing(path) as part:
        part.write_text(text + "\n")


def save_cell(path: Path, config: Mapping[str, Any], curves: Curves) -> Curves:
    """Keeps what was measured and the settings; returns it as a rerun will read it."""
    save_json(path, {"config": config, **curves._asdict()})
    kept = load_cell(path, config)
    assert kept is not None
    return kept


def load_cell(path: Path, config: Mapping[str, Any]) -> Curves | None:
    """What is kept of a cell, or None if nothing is, or it had other settings."""
    if not path.is_file():
        return None
    content = load_json(path)
    if content.pop("config") != _plain(config):
        return None
    values = {k: np.asarray(v, float) for k, v in content.pop("values").items()}
    return Curves(np.asarray(content.pop("steps")), values, **content)


def summarise(curves: Curves, trials: tuple[float, ...], target: float) -> Any:
    """Figures of the trial whose mean final validation loss is the lowest.

    "Best" is the measurement with the lowest validation loss of a seed. Test figures
    play no part in any choice.
    """
    values = curves.values
    final = _finite(values["valid_loss"][:, :, -1]).mean(1)
    trial = int(np.argmin(final))
    chosen = {name: values[name][trial] for name in (*METRICS, "learning_rate")}
    best = _finite(chosen["valid_loss"]).argmin(1)
    seeds = np.arange(len(best))
    reached = chosen["valid_loss"] <= target
    steps = np.where(reached.any(1), curves.steps[reached.argmax(1)], math.inf)
    runs = values["valid_loss"][:, :, 0].size
    return {
        "learning_rate": trials[trial],
        "at_edge": len(trials) > 1 and trial in (0, len(trials) - 1),
        "final": {name: chosen[name][:, -1] for name in METRICS},
        "best": {name: chosen[name][seeds, best] for name in METRICS},
        "steps_to_target": steps,
        "microseconds_per_step": curves.seconds / runs / curves.steps[-1] * 1e6,
        "compile_seconds": curves.compile_seconds,
        "steps": curves.steps,
        "curves": {
            name: chosen[name].mean(0) for name in ("test_loss", "learning_rate")
        },
        "trials": {
            "learning_rates": trials,
            "test_loss": values["test_loss"][:, :, -1].mean(1),
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
