"""Methods that are given nothing, against tuned ones.

`auto` on momentum sgd and on adamw, each seed with a search of its own in a tenth of
the steps; rivals that ask for no learning rate, at their published defaults; and adamw
at its usual ones. On the tasks of `compare.py`, five seeds, and on some of `images.py`,
three. The tuned rows, which have the best of seven learning rates, or of three on
images, are those of their tables in `docs/results`. What is done is kept in the output
folder, so that an interrupted run resumes.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from compare import budget, choose, find_settings, run_cell
from rich.console import Console
from suite.fashion import fashion_tasks
from suite.files import load_json, replacing
from suite.images import INSTALLED, missing_fashion
from suite.markdown import markdown
from suite.progress import bars
from suite.results import machine, save_json
from suite.tasks import Task, bundled_tasks
from suite.untuned import UNTUNED

RESULTS = Path(__file__).parents[1] / "docs" / "results"
# Row -> the trial that its tuned rival has chosen on validation data.
TUNED = (
    "mi sgd + average",
    "mi adamw + average",
    "sgd cosine",
    "adamw cosine",
    "schedule-free adamw",
    "adamw + average",
)
# What each `auto` row would be with the best learning rate that was tried.
BEST_OF = {"auto sgd": "mi sgd + average", "auto adamw": "mi adamw + average"}
IMAGES = ("mlp-clean", "mlp-wrong", "mlp-rare")


def final_losses(cell: Any) -> list[float]:
    """Test losses of a row at the end, of each seed."""
    return cell["horizons"]["all"]["test_loss"]


def run_task(task: Task, folder: Path, seeds: int, short: bool) -> dict[str, Any]:
    """Every row that is given nothing."""
    rows: dict[str, Any] = {}
    for name, method in UNTUNED.items():
        cells = run_cell(task, method, None, folder, seeds, 1, short)
        rows[name] = {"test_loss": final_losses(cells[name])}
        if method.searched is not None:
            found = find_settings(task, method, folder, seeds, short)
            rows[name]["settings"] = found
    return rows


def tuned_rows(task: str) -> dict[str, Any]:
    """The tuned rows of a task that are in the tables."""
    for source in ("compare.json", "images.json"):
        cells = load_json(RESULTS / source)["cells"].get(task)
        if cells is not None:
            return {
                row: {"test_loss": final_losses(cells[row])}
                for row in TUNED
                if row in cells
            }
    return {}


def mean(row: Any) -> float:
    """Mean over the seeds, infinite where one of them diverged."""
    losses = np.array(row["test_loss"], float)
    return float(np.nan_to_num(losses, nan=np.inf).mean())


def as_markdown(results: Any) -> str:
    """Ranks and losses; then, of `auto`, the share above the best of its trials."""
    tasks, text = results["tasks"], ""
    rows = [*UNTUNED, *TUNED]
    for title, names in (
        ("suite", [t for t in tasks if t not in IMAGES]),
        ("images", [t for t in tasks if t in IMAGES]),
    ):
        if not names:
            continue
        table = []
        for row in rows:
            means = [mean(tasks[t][row]) if row in tasks[t] else np.nan for t in names]
            table.append(means)
        losses = np.array(table)
        full = np.logical_not(np.isnan(losses).any(axis=1))
        ranks = np.full(len(rows), np.nan)
        ranks[full] = _ranks(losses[full]).mean(1)
        nothing = np.full(len(rows), np.nan)
        nothing[: len(UNTUNED)] = _ranks(losses[: len(UNTUNED)]).mean(1)
        text += f"\n### {title.capitalize()}\n\n" + markdown(
            ["method", "rank", "among those given nothing", *names],
            [
                [
                    f"**{row}**" if row in BEST_OF else row,
                    f"{ranks[i]:.1f}" if not np.isnan(ranks[i]) else "-",
                    f"{nothing[i]:.1f}" if i < len(UNTUNED) else "tuned",
                    *("-" if np.isnan(x) else f"{x:.4g}" for x in losses[i]),
                ]
                for i, row in enumerate(rows)
            ],
        )
    table = []
    for task, cells in tasks.items():
        row = [task]
        for ours, best in BEST_OF.items():
            shown = "-"
            if best in cells:
                ratios = np.array(cells[ours]["test_loss"], float)
                ratios = ratios / np.array(cells[best]["test_loss"], float)
                error = ratios.std(ddof=1) / np.sqrt(len(ratios))
                more = mean(cells[ours]) / mean(cells[best]) - 1
                shown = f"{more:+.1%} ± {error:.1%}"
            found = cells[ours]["settings"]
            rates = [own["lr_max"] for own in found]
            limited = sum(own["lr_sum_max"] is not None for own in found)
            row += [shown, f"{min(rates):.2g} to {max(rates):.2g}", str(limited)]
        table.append(row)
    header = ["task"]
    for ours in BEST_OF:
        header += [f"{ours}, above the best trial", "lr_max", "seeds with a limit"]
    return (
        text + "\n### Against the best of its own trials\n\n" + markdown(header, table)
    )


def _ranks(losses: np.ndarray) -> np.ndarray:
    """Ranks down the columns, ties shared."""
    below = (np.less(losses[None], losses[:, None])).sum(1)
    equal = (np.equal(losses[None], losses[:, None])).sum(1)
    return below + (equal + 1) / 2


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", help="comma-separated; all by default")
    parser.add_argument("--seeds", type=int, help="5, and 3 on images, by default")
    parser.add_argument(
        "--short", action="store_true", help="a tenth of the steps: shows that it runs"
    )
    parser.add_argument("--data-dir", type=Path, help="folder with fashion_mnist/")
    parser.add_argument("--output", type=Path, default=Path("outputs/untuned"))
    parser.add_argument(
        "--report", type=Path, help="folder of the tables; --output by default"
    )
    args = parser.parse_args(argv)
    console = Console()
    tasks = {task.name: task for task in bundled_tasks()}
    data_dir = args.data_dir or INSTALLED
    if reason := missing_fashion(data_dir):
        console.print(f"skipped {', '.join(IMAGES)}: {reason}", soft_wrap=True)
    else:
        images = fashion_tasks(data_dir)
        tasks |= {name: images[name] for name in IMAGES}
    try:
        if args.seeds is not None and args.seeds < 2:
            raise ValueError(f"--seeds must be at least 2, got {args.seeds}")
        names = choose("tasks", args.tasks, tasks)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    folder = args.output / "short" if args.short else args.output
    results: dict[str, Any] = {**machine(), "tasks": {}}
    with bars(console) as progress:
        bar = progress.add_task("", total=len(names))
        for name in names:
            progress.update(bar, description=name)
            seeds = args.seeds or (3 if name in IMAGES else 5)
            rows = run_task(tasks[name], folder, seeds, args.short)
            tuned = {} if args.short else tuned_rows(name)
            results["tasks"][name] = rows | tuned
            results["steps"] = {
                **results.get("steps", {}),
                name: budget(tasks[name], args.short),
            }
            progress.advance(bar)
    target = args.report or folder
    save_json(target / "untuned.json", results)
    text = as_markdown(load_json(target / "untuned.json"))
    with replacing(target / "untuned.md") as part:
        part.write_text(text)
    console.print(text)


if __name__ == "__main__":
    sys.exit(main())
