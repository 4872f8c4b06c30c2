"""How far a script is, for who waits, at a terminal or with a log."""

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TimeElapsedColumn,
)

T = TypeVar("T")


def bars(console: Console) -> Progress:
    """What is being done, how much of it is, and for how long.

    Where the output is no terminal, a line for each thing that is done.
    """
    columns = (
        "{task.description}",
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    if console.is_terminal:
        return Progress(*columns, console=console)
    return Lines(console=console, disable=True)


def track(console: Console, items: Mapping[str, T]) -> Iterator[tuple[str, T]]:
    """The items, under bars that have their names."""
    with bars(console) as progress:
        bar = progress.add_task("", total=len(items))
        for name, item in items.items():
            progress.update(bar, description=name)
            yield name, item
            progress.advance(bar)


class Lines(Progress):
    """Prints time, count and description whenever the count goes up."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Does as `update`."""
        self.update(task_id, advance=advance)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Takes the changes, and prints a line if something is done."""
        task = self._tasks[task_id]
        before = task.completed
        super().update(task_id, **changes)
        if task.completed > before:
            time = datetime.timedelta(seconds=round(task.elapsed or 0))
            total = "?" if task.total is None else f"{task.total:g}"
            self.console.print(
                f"{time}  {task.completed:g}/{total}  {task.description}",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
