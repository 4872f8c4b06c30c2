"""Command lines of the examples, which report a wrong argument in one clear line."""

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with the message alone."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def at_least(minimum: int, text: str) -> int:
    """The whole number in `text`."""
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if number < minimum:
        message = f"must be a whole number of at least {minimum}, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return number
