"""Tables in Markdown."""

import math
from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, first column to the left, the rest to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float, form: str) -> str:
    """A dash where there is no number."""
    return f"{value:{form}}" if math.isfinite(value) else "-"
