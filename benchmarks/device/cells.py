"""Measurements that are kept one by one, and a clock that stops between two of them."""

import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.progress import Progress
from suite.files import load_json
from suite.results import save_json

import optax_mi
from device.card import kind, peak_bytes


class Cell(NamedTuple):
    """One measurement: what makes it another one, and how to take it."""

    section: str
    name: str
    settings: Mapping[str, Any]
    seconds: float  # what it may take on a data centre's card, compilation included
    measure: Callable[[], Any]

    @property
    def title(self) -> str:
        """Both names."""
        return f"{self.section}: {self.name}"

    @property
    def config(self) -> dict[str, Any]:
        """All that must be the same for what is kept to count."""
        return {
            "settings": dict(self.settings),
            "device": kind(),
            "jax": jax.__version__,
            "optax_mi": optax_mi.__version__,
        }


class Outcome(NamedTuple):
    """What became of the cells that were to be measured."""

    left: list[str]  # not begun, for want of time
    failed: dict[str, str]  # what they raised


def path_of(folder: Path, cell: Cell) -> Path:
    """File of a cell on this device."""
    device, name = (_slug(text) for text in (kind(), f"{cell.section}--{cell.name}"))
    return folder / "cells" / device / f"{name}.json"


def kept(folder: Path, cell: Cell) -> Any:
    """What is kept of a cell, None if nothing is, or it was another."""
    path = path_of(folder, cell)
    if not path.is_file():
        return None
    content = load_json(path)
    return content if content.get("config") == cell.config else None


def measure_all(
    folder: Path, cells: Sequence[Cell], deadline: float, progress: Progress
) -> Outcome:
    """Measures what is not kept, and stops before a cell that would end too late.

    Cells are expected to take longer, or less long, than they say by as much as those
    before did. One that raises is not kept, and the others go on.

    Args:
      folder: where cells are kept.
      cells: in this order.
      deadline: in seconds of :func:`time.monotonic`.
      progress: gets a bar, and a line a cell.
    """
    wanted = [cell for cell in cells if kept(folder, cell) is None]
    bar = progress.add_task("", total=len(cells), completed=len(cells) - len(wanted))
    failed, spent, said = {}, 0.0, 0.0
    for place, cell in enumerate(wanted):
        pace = spent / said if said else 1.0
        begin = time.monotonic()
        if begin + pace * cell.seconds > deadline:
            return Outcome([cell.title for cell in wanted[place:]], failed)
        progress.update(bar, description=cell.title)
        before = peak_bytes()
        try:
            figures = cell.measure()
        except Exception as error:
            traceback.print_exc()
            failed[cell.title] = f"{type(error).__name__}: {error}".partition("\n")[0]
            progress.console.print(f"{cell.title}: failed")
        else:
            seconds, peak = time.monotonic() - begin, peak_bytes()
            content = {
                "config": cell.config,
                "seconds": seconds,
                # The peak of the process says nothing of a cell that needed less.
                "peak_bytes": peak if peak != before else None,
                "figures": figures,
            }
            save_json(path_of(folder, cell), content)
            progress.console.print(f"{cell.title}: {seconds:.1f} s")
        spent += time.monotonic() - begin
        said += cell.seconds
        progress.advance(bar)
    return Outcome([], failed)


def warm(runs: Iterable[Callable[[], object]]) -> None:
    """Calls all twice: they compile side by side, and find what they left once."""
    runs = list(runs)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda run: run(), runs))
    for run in runs:
        run()


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
