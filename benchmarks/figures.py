"""Draws the figures of docs/results again, from the JSON beside them; runs nothing."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.arguments import OneLineParser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/results"))
    args = parser.parse_args(argv)
    if not args.folder.is_dir():
        parser.error(f"no folder {args.folder}; run it where docs/results is")
    return args


if __name__ == "__main__":
    parse()  # before what is slow to import

from matplotlib.figure import Figure
from suite import (
    images_report,
    language_report,
    layer_study,
    report,
    study_figures,
)
from suite.files import load_json
from suite.study_figures import FACTORS
from suite.style import save

# Name of a JSON -> the figure of what it holds.
FIGURES: dict[str, Callable[[Any], Figure]] = {
    "budgets": lambda table: study_figures.draw_factors("budgets", table, FACTORS),
    "epochs": lambda table: study_figures.draw_factors("epochs", table, FACTORS),
    "fine_tuning": study_figures.draw_ways,
    "image_pairs": study_figures.draw_pairs,
    "language": lambda found: language_report.draw(found["languages"]),
    "layer_estimators": study_figures.draw_readings,
    "layers": layer_study.draw,
    "range": study_figures.draw_suggestions,
}
# Name of a JSON -> what draws all of its figures beside it.
REPORTS: dict[str, Callable[[Path], list[Path]]] = {
    "compare": report.write_figures,
    "images": images_report.write_figures,
}


def main(argv: list[str] | None = None) -> None:
    """Draws the figures of every JSON there is."""
    folder = parse(argv).folder
    for name in sorted(FIGURES | REPORTS):
        source = folder / f"{name}.json"
        if not source.is_file():
            print(f"skipped {name}: no {source}")
        elif name in REPORTS:
            for path in REPORTS[name](source):
                print(f"drew {path}")
        else:
            path = source.with_suffix(".png")
            save(FIGURES[name](load_json(source)), path)
            print(f"drew {path}")


if __name__ == "__main__":
    sys.exit(main())
