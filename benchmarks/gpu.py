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

from suite.arguments import OneLineParser, add_names, add_output, folder, positive
from suite.names import SECTIONS
from suite.sources import add_data_dir, missing_fashion


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    add_names(parser, "--only", SECTIONS)
    parser.add_argument(
        "--minutes",
        type=positive,
        default=7.5,
        help="begin no measurement that would end later",
    )
    parser.add_argument("--short", action="store_true", help="tiny sizes, as a check")
    add_data_dir(parser, needed=False)
    add_output(parser, "outputs/gpu")
    parser.add_argument(
        "--report", type=folder, metavar="DIR", help="for gpu.json and gpu.md too"
    )
    args = parser.parse_args(argv)
    if args.report is not None and args.short:
        parser.error(
            f"--report {args.report} is for the figures of an accelerator, and this is "
            "--short: leave it out"
        )
    reason = missing_fashion(args.data_dir)
    if "fashion" in args.only and reason:
        others = ",".join(name for name in SECTIONS if name != "fashion")
        parser.error(f"fashion: {reason}; or leave it out: --only {others}")
    return args


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
from device import estimators, steps, training
from device.card import cpu, facts, kind, on_accelerator
from device.cells import Cell, kept, measure_all
from device.report import tables, wrong
from rich.console import Console
from suite.files import load_json, replacing
from suite.progress import bars
from suite.results import save_json


def find_cells(short: bool, data_dir: Path | None) -> list[Cell]:
    """All measurements, in the order of the sections."""
    found = [*estimators.cells(short), *steps.cells(short)]
    found += training.cells(short, data_dir)
    return sorted(found, key=lambda cell: SECTIONS.index(cell.section))


def check_device(args: argparse.Namespace) -> None:
    """Raises ValueError, in a line, unless all of it can be run here."""
    if args.report is not None and not on_accelerator():
        raise ValueError(
            f"--report {args.report} is for the figures of an accelerator, and this is "
            "a CPU: leave it out"
        )
    if {"check", "estimators"} & set(args.only):
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
    args = parse(argv)
    try:
        check_device(args)
    except ValueError as error:
        OneLineParser().error(str(error))
    console = Console()
    console.print(f"jax {jax.__version__} on {kind()}")
    folder = args.output / "short" if args.short else args.output
    cells = find_cells(args.short, args.data_dir)
    with bars(console) as progress:
        outcome = measure_all(
            folder,
            [cell for cell in cells if cell.section in args.only],
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
