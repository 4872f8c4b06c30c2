"""Command lines of the examples, which report a wrong argument in one clear line."""

import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from suite.arguments import OneLineParser, add_output, at_least
from suite.sources import add_data_dir, missing_files

__all__ = ["OneLineParser", "add_data_dir", "add_output", "at_least", "missing_files"]


def demo_parser(description: str | None, epochs: int) -> OneLineParser:
    """A seed, so many epochs, and the folder of what is written."""
    parser = OneLineParser(description=description)
    parser.add_argument("--seed", type=partial(at_least, 0), default=0)
    parser.add_argument("--epochs", type=partial(at_least, 1), default=epochs)
    add_output(parser, "outputs")
    return parser
