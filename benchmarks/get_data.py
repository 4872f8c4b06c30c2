"""Finds the data that examples and benchmarks read, or installs them by apt-get.

They are packages of Debian and Ubuntu. Where apt-get is absent, or would need the
rights of root, it says in words what is missing and how to get it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from suite.arguments import OneLineParser
from suite.kjv import missing_kjv
from suite.sources import INSTALLED, missing_files
from suite.wordnet import missing_wordnet


class Source(NamedTuple):
    """Data, the packages that bring them, and what is missing of them, if anything."""

    title: str
    packages: tuple[str, ...]
    missing: Callable[[], str]


SOURCES = (
    Source(
        "Fashion-MNIST",
        ("dataset-fashion-mnist",),
        lambda: missing_files("fashion_mnist", INSTALLED),
    ),
    Source("King James text", ("bible-kjv", "bible-kjv-text"), missing_kjv),
    Source("WordNet's definitions", ("dict-wn",), missing_wordnet),
)


def install(packages: list[str]) -> str:
    """Installs packages; returns why it could not, empty if it could."""
    command = ["apt-get", "install", "--yes", *packages]
    if shutil.which("apt-get") is None:
        return "there is no apt-get on this system"
    if os.geteuid() != 0:
        return f"that takes the rights of root: sudo {' '.join(command)}"
    for each in (["apt-get", "update"], command):
        done = subprocess.run(each, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            return f"`{' '.join(each)}` failed with exit status {done.returncode}"
    return ""


def main(argv: list[str] | None = None) -> int:
    """0 if everything is there in the end, else 1."""
    OneLineParser(description=__doc__).parse_args(argv)
    wanted = [package for s in SOURCES if s.missing() for package in s.packages]
    reason = install(wanted) if wanted else ""
    for source in SOURCES:
        print(f"{source.title}: {source.missing() or 'found'}")
    if reason:
        print(f"nothing was installed: {reason}")
    return int(any(source.missing() for source in SOURCES))


if __name__ == "__main__":
    sys.exit(main())
