"""Command lines: what is wrong gets one clear line, before anything slow begins.

JAX takes a second to import, which neither `--help` nor an error needs. So each script
has its function `parse` above its slow imports, and calls it there when it is run.
"""

import argparse
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, and its help as the script has it."""

    def __init__(self, *, description: str | None = None) -> None:
        how = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=how)

    def error(self, message: str) -> NoReturn:
        """Exits with the message alone."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def at_least(minimum: int, text: str) -> int:
    """The whole number in `text`."""
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if not minimum <= number < 2**31:
        limit = f"at least {minimum}" if number < minimum else "less than 2**31"
        message = f"must be a whole number of {limit}, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return number


def positive(text: str) -> float:
    """The positive and finite number in `text`."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return number


def folder(text: str) -> Path:
    """A folder that is there or can be made."""
    path = Path(text)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            message = f"must be a folder, and {place} is a file; name another"
            raise argparse.ArgumentTypeError(message)
    return path


def file(text: str) -> Path:
    """A file that is there or can be made."""
    path = Path(text)
    if path.is_dir():
        message = f"must be a file, and {path} is a folder; name a file in it"
        raise argparse.ArgumentTypeError(message)
    folder(str(path.parent))
    return path


def python_file(text: str) -> Path:
    """A Python file that is there."""
    path = Path(text)
    if path.suffix != ".py" or not path.is_file():
        message = f"must be a Python file that exists, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return path


def choose(
    text: str, known: Iterable[str], groups: Mapping[str, Sequence[str]] = {}
) -> list[str]:
    """Names in a comma-separated list; a group stands for its names.

    Raises:
      ArgumentTypeError: a name is not known.
    """
    known, given = list(known), [name.strip() for name in text.split(",")]
    # Each once, in the order of their first mention.
    names = list(dict.fromkeys(n for name in given for n in groups.get(name, [name])))
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(
            f"no {', '.join(unknown)}; there are {', '.join([*groups, *known])}"
        )
    return names


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --output, the folder of what is written."""
    parser.add_argument("--output", type=folder, default=Path(default), metavar="DIR")


def add_names(
    parser: argparse.ArgumentParser, option: str, known: Iterable[str]
) -> None:
    """Adds an option for some of these names."""
    known = list(known)
    parser.add_argument(
        option,
        type=partial(choose, known=known),
        default=known,
        metavar="NAMES",
        help=f"comma-separated; all by default: {', '.join(known)}",
    )


def one_of(known: Collection[str], text: str) -> str:
    """One of these names, for positional arguments, of which there may be none.

    To the `choices` of argparse none would be a wrong choice.
    """
    if text not in known:
        raise argparse.ArgumentTypeError(f"no {text}; there are {', '.join(known)}")
    return text
