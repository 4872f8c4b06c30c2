"""Compares figures that pages quote with the results that they are from.

Every claim below is a pattern that must occur once in its page, with a group for each
figure, and what those figures are according to the JSON in docs/results. A figure of
the README's section on results that no claim covers is an error too.
"""

import argparse
import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from suite.arguments import OneLineParser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, which takes no arguments."""
    return OneLineParser(description=__doc__).parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import numpy as np
import pandas as pd
from suite.files import load_json
from suite.ranking import rank_table
from suite.untuned import UNTUNED

ROOT = Path(__file__).parents[1]
SECTION = "## What to expect"
WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}
WORDS |= {9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}
FIGURE = rf"\d+(?:[.,]\d+)*|\b(?:{'|'.join(WORDS.values())})\b"


class Claim(NamedTuple):
    """A sentence of a page, its figures in groups, and what they should be."""

    page: str
    pattern: str
    figures: Callable[["Results"], list[str]]


class Results:
    """What was measured, from a folder of JSON, each read once."""

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet."""
        self.load = functools.cache(lambda name: load_json(folder / f"{name}.json"))

    @functools.cached_property
    def ranks(self) -> pd.DataFrame:
        """The ranks of `compare.py` at the end of the budget."""
        return rank_table(self.load("compare"))

    def rank(self, row: str, column: str) -> float:
        """A row's average rank over the tasks of a column, such as "held out"."""
        (name,) = (c for c in self.ranks.columns if c.startswith(column))
        return self.ranks.loc[row, name]

    @functools.cached_property
    def given_nothing(self) -> pd.Series:
        """Average ranks among the methods of `untuned.py` that are given nothing."""
        tasks = self.load("untuned")["tasks"]
        suite = set(self.load("compare")["tasks"])
        rows = [row for row, method in UNTUNED.items() if not method.knows_horizon]
        means = {
            task: {row: np.mean(cells[row]["test_loss"]) for row in rows}
            for task, cells in tasks.items()
            if task in suite
        }
        return pd.DataFrame(means).rank().mean(axis=1)

    def step(self, model: str, classes: int, against: str) -> dict[str, Any]:
        """What `overhead.py` measured of a train step."""
        (row,) = (
            row
            for row in self.load("overhead")["steps"]
            if (row["model"], row["classes"], row["against"])
            == (model, classes, against)
        )
        return row


def ranks(
    *rows: str, column: str = "rank", form: str = ".1f"
) -> Callable[[Results], list[str]]:
    """The ranks of rows of `compare.py`, one a group."""
    return lambda results: [format(results.rank(row, column), form) for row in rows]


def given_nothing(*rows: str) -> Callable[[Results], list[str]]:
    """The ranks of rows of `untuned.py`, one a group."""
    return lambda results: [f"{results.given_nothing[row]:.1f}" for row in rows]


def sizes(results: Results) -> list[str]:
    """How many methods and tasks `compare.py` ranks."""
    (tasks,) = (
        re.findall(r"\d+", c) for c in results.ranks.columns if c.startswith("rank")
    )
    return [str(len(results.ranks)), WORDS[int(tasks[0])]]


def held_out(results: Results) -> list[str]:
    """How many tasks no choice was made on."""
    tasks = results.load("compare")["tasks"].values()
    return [WORDS[sum(t["held_out"] and bool(t["num_classes"]) for t in tasks)]]


def train_steps(results: Results) -> list[str]:
    """Milliseconds of two steps, and how many percent `mi_decay` adds at most."""
    mlp, cnn = (results.step(model, 10, "soft") for model in ("MLP", "CNN"))
    worst = max(
        results.step("CNN", classes, counts)["ratio"]
        for classes in (10, 100)
        for counts in ("soft", "hard")
    )
    return [
        f"{mlp['sgd_us'] / 1000:.1f}",
        f"{100 * (mlp['ratio'] - 1):.1f}",
        f"{cnn['sgd_us'] / 1000:.1f}",
        f"{100 * (worst - 1):.1f}",
    ]


OURS, FREE, TOLD = "mi adamw + average", "schedule-free adamw", "adamw cosine"
CLAIMS = [
    Claim("README.md", r"best average rank of (\d+) methods on (\w+) tasks", sizes),
    Claim(
        "README.md",
        r"tasks: (\d\.\d), before schedule-free adamw at (\d\.\d) and a cosine that is "
        r"told the number of steps at (\d\.\d)",
        ranks(OURS, FREE, TOLD),
    ),
    Claim("README.md", r"On the (\w+) tasks that no choice was made on", held_out),
    Claim(
        "README.md",
        r"schedule-free adamw is ahead, (\d\.\d) to (\d\.\d)\.",
        ranks(FREE, OURS, column="held out"),
    ),
    Claim(
        "README.md",
        r"Its average rank is (\d\.\d) of \d+ such methods, before DoG at (\d\.\d);",
        given_nothing("auto adamw", "dog 1 + average"),
    ),
    Claim(
        "README.md",
        r"average rank is \d\.\d of (\d+) such methods",
        lambda results: [str(len(results.given_nothing))],
    ),
    Claim(
        "README.md",
        r"cosine with the best of (\w+) learning rates",
        lambda results: [WORDS[results.load("compare")["trials"]]],
    ),
    Claim(
        "README.md",
        r"of a small MLP, (\d+\.\d) ms, takes (\d+\.\d) % longer; that of a CNN, "
        r"(\d+\.\d) ms, up to (\d+\.\d) %",
        train_steps,
    ),
    Claim(
        "docs/auto.md",
        r"average rank of (\d\.\d) on the eleven tasks.{,20}on momentum sgd \w+ "
        r"(\d\.\d), DoG with an average (?:at )?(\d\.\d),? and schedule-free adamw as "
        r"published (?:at )?(\d\.\d)",
        given_nothing(
            "auto adamw", "auto sgd", "dog 1 + average", "schedule-free adamw 0.0025"
        ),
    ),
    Claim(
        "docs/comparison.md",
        r"(\d\.\d\d) of 21 rows \(.{,60}\), before schedule-free adamw at (\d\.\d\d) "
        r"\(.{,20}\) and a cosine that was told the end at (\d\.\d\d)",
        ranks(OURS, FREE, TOLD, form=".2f"),
    ),
    Claim(
        "docs/comparison.md",
        r"(\d\.\d\d) among those that are not told the end\), before schedule-free "
        r"adamw at \d\.\d\d \((\d\.\d\d)\)",
        ranks(OURS, FREE, column="not told", form=".2f"),
    ),
    Claim(
        "docs/comparison.md",
        r"rank on the held-out tasks[:,] (\d\.\d\d) against (\d\.\d\d)",
        ranks(FREE, OURS, column="held out", form=".2f"),
    ),
]


def read_page(path: Path) -> str:
    """The text of a page, without bold face, in one line."""
    return " ".join(path.read_text().replace("**", "").split())


def find_errors(root: Path, results: Results) -> Iterator[str]:
    """What is wrong: claims that are gone or not true, and figures without a claim."""
    covered: set[int] = set()
    readme = read_page(root / "README.md")
    for claim in CLAIMS:
        page = read_page(root / claim.page)
        found = list(re.finditer(claim.pattern, page))
        if len(found) != 1:
            yield (
                f"{claim.page}: {len(found)} places match {claim.pattern!r}; change "
                "the claim in benchmarks/check_figures.py with the sentence"
            )
            continue
        (place,) = found
        wanted = claim.figures(results)
        if list(place.groups()) != wanted:
            yield (
                f"{claim.page}: {place[0]!r}: {', '.join(place.groups())} should be "
                f"{', '.join(wanted)}"
            )
        if claim.page == "README.md":
            groups = range(1, len(wanted) + 1)
            covered |= {i for group in groups for i in range(*place.span(group))}
    section = re.search(rf"{SECTION}(.*?)(?= ## |$)", readme)
    if section is None:
        yield f"README.md: no section {SECTION!r}"
        return
    # Figures in the names of pages and of code claim nothing.
    for figure in re.finditer(rf"`[^`]*`|\([^()]*\.md\)|({FIGURE})", section[1]):
        start = section.start(1) + figure.start()
        if figure[1] and start not in covered:
            around = readme[max(0, start - 40) : start + 20]
            yield (
                f"README.md: no claim in benchmarks/check_figures.py covers "
                f"{figure[1]!r} in '...{around}...'"
            )


def main(argv: list[str] | None = None) -> int:
    """Prints what is wrong; 1 if anything is."""
    parse(argv)
    errors = list(find_errors(ROOT, Results(ROOT / "docs" / "results")))
    for error in errors:
        print(error)
    if not errors:
        print(f"{len(CLAIMS)} claims agree with docs/results")
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
