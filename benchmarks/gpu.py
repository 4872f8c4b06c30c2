"""What the library costs and how fast it is on an accelerator.

Sections: whether the estimators are right there; a train step with `mi_decay`, with a
learning rate for every layer, with the average of the params; the estimators against
the CPU and against products of matrices; the range test; Fashion-MNIST with all seeds
side by side. Every measurement is kept, so that a run that was cut off goes on where
it stopped, and none begins that would end after `--minutes`.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
from device import estimators, steps, training
from device.card import cpu, facts, kind, on_accelerator
from device.cells import Cell, kept, measure_all
from device.report import SECTIONS, tables, wrong
from rich.console import Console
from suite.files import load_json, replacing
from suite.progress import bars
from suite.results import save_json
from suite.tasks import image_tasks


def find_cells(short: bool, data_dir: Path | None) -> list[Cell]:
    """All measurements, in the order of the sections."""
    found = [*estimators.cells(short), *steps.cells(short)]
    found += training.cells(short, data_dir)
    return sorted(found, key=lambda cell: list(SECTIONS).index(cell.section))


def check_arguments(args: argparse.Namespace, sections: list[str]) -> None:
    """Raises ValueError, in a line, unless all of it can be run here."""
    if unknown := [name for name in sections if name not in SECTIONS]:
        known = ", ".join(SECTIONS)
        raise ValueError(f"--only: no {', '.join(unknown)}; there are {known}")
    if not args.minutes > 0:
        raise ValueError(f"--minutes must be positive, got {args.minutes:g}")
    if args.report is not None and (args.short or not on_accelerator()):
        raise ValueError(
            f"--report {args.report} is for the figures of an accelerator, and this is "
            f"{'--short' if args.short else 'a CPU'}: leave it out"
        )
    if "fashion" in sections:
        missing = image_tasks(args.data_dir)[1]
        if "fashion_mlp" in missing:
            raise ValueError(
                f"fashion: {missing['fashion_mlp']}; or leave it out: "
                "--only " + ",".join(s for s in SECTIONS if s != "fashion")
            )
    if {"check", "estimators"} & set(sections):
        try:
            cpu()
        except RuntimeError as error:
            raise ValueError(
                "JAX_PLATFORMS leaves out the CPU, which the estimators are compared "
                "with: append ',cpu' to it"
            ) from error


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing and writes the tables; 1 if anything is wrong."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default=",".join(SECTIONS), help="sections, commas between"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=7.5,
        help="begin no measurement that would end later",
    )
    parser.add_argument("--short", action="store_true", help="tiny sizes, as a check")
    parser.add_argument("--data-dir", type=Path, help="folder with fashion_mnist/")
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu"))
    parser.add_argument(
        "--report", type=Path, help="folder for gpu.json and gpu.md too"
    )
    args = parser.parse_args(argv)
    sections = args.only.split(",")
    try:
        check_arguments(args, sections)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    console = Console()
    console.print(f"jax {jax.__version__} on {kind()}")
    folder = args.output / "short" if args.short else args.output
    cells = find_cells(args.short, args.data_dir)
    with bars(console) as progress:
        outcome = measure_all(
            folder,
            [cell for cell in cells if cell.section in sections],
            begin + 60 * args.minutes,
            progress,
        )
    results = {"device": facts(), "short": args.short, "missing": [], "cells": {}}
    for cell in cells:
        content = kept(folder, cell)
        if content is None:
            results["missing"].append(cell.title)
        else:
            del content["config"]
            results["cells"].setdefault(cell.section, {})[cell.name] = content
    text = ""
    for place in dict.fromkeys((folder, args.report or folder)):
        save_json(place / "gpu.json", results)
        text = tables(load_json(place / "gpu.json"))
        with replacing(place / "gpu.md") as part:
            part.write_text(text)
        console.print(f"wrote {place}/gpu.json and gpu.md", soft_wrap=True)
    console.print(f"\n{text}", soft_wrap=True, markup=False, highlight=False)
    if outcome.left:
        console.print(f"Out of time, so not begun: {'; '.join(outcome.left)}.")
        console.print("The same command goes on from here.")
    bad = wrong(results) + [f"{title}: {e}" for title, e in outcome.failed.items()]
    for line in bad:
        console.print(f"wrong: {line}", soft_wrap=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
