"""The paper's comparison on real images: Fashion-MNIST, many methods, four networks.

An MLP, a LeNet-like CNN, a ResNet with batch norms and an MLP of binary activations,
with the labels as they are, with 30 % of the training labels wrong, or with classes of
1 to 100 in frequency. A method has three learning rates and three seeds, and is judged
at a quarter, a half and all of the budget with the learning rate that is best there on
validation data; "range test" rows find theirs. What is done is kept in the output
folder, a file for every method of every task, so that an interrupted run resumes.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from compare import choose, find_bounds, run_cell
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from suite.fashion import fashion_tasks
from suite.images import missing_files
from suite.methods import Method
from suite.paper import CORE, ROWS
from suite.tasks import INSTALLED, Task

# A range test tries 48 learning rates, each for so many updates, from one start.
RANGE_TEST = {"num_steps": 100, "num_seeds": 1}
GROUPS = {"core": CORE}


def run(task: Task, method: Method, folder: Path, seeds: int, short: bool) -> Any:
    """The rows of a method on a task, or why there are none; kept once they are run."""
    found = find_bounds(task, method, folder, short, **RANGE_TEST)
    if found is not None and found.lr_max is None:
        return f"range test: {found.lr_max_reason}"
    return run_cell(task, method, found, folder, seeds, 3, short)


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", help="comma-separated; all by default")
    parser.add_argument(
        "--methods", help="comma-separated, names or 'core'; all by default"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--short", action="store_true", help="a tenth of the steps: shows that it runs"
    )
    parser.add_argument("--data-dir", type=Path, help="folder with fashion_mnist/")
    parser.add_argument("--output", type=Path, default=Path("outputs/images"))
    args = parser.parse_args(argv)
    data_dir = args.data_dir or INSTALLED
    if reason := missing_files("fashion_mnist", data_dir):
        parser.exit(2, f"{parser.prog}: {reason}\n")
    tasks = fashion_tasks(data_dir)
    try:
        if args.seeds < 2:
            raise ValueError(f"--seeds must be at least 2, got {args.seeds}")
        wanted = choose("tasks", args.tasks, tasks)
        names = choose("methods", args.methods, ROWS, GROUPS)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    folder = args.output / "short" if args.short else args.output
    console = Console()
    columns = ("{task.description}", BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("", total=len(wanted) * len(names))
        for task in (tasks[name] for name in wanted):
            for name in names:
                progress.update(bar, description=f"{task.name}, {name}")
                run(task, ROWS[name], folder, args.seeds, args.short)
                progress.advance(bar)


if __name__ == "__main__":
    sys.exit(main())
