"""How far a script is, for who waits."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn


def bars(console: Console) -> Progress:
    """What is being done, how much of it is, and for how long."""
    return Progress(
        "{task.description}",
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
