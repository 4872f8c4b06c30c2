"""Bars at a terminal, lines in a file."""

import io

from rich.console import Console
from suite.progress import bars, track


def shown(terminal, show):
    out = io.StringIO()
    show(Console(file=out, force_terminal=terminal, width=100))
    return out.getvalue()


def two_of_three(console):
    with bars(console) as progress:
        bar = progress.add_task("", total=3, completed=1)
        progress.update(bar, description="teacher, [mi] sgd")
        progress.advance(bar)
        progress.update(bar, advance=1, description="teacher, adam")
        progress.update(bar, completed=3, description="nothing new")
    assert [task.completed for task in progress.tasks] == [3]


def test_a_file_gets_a_line_for_each_thing_done():
    assert shown(False, two_of_three) == (
        "0:00:00  2/3  teacher, [mi] sgd\n0:00:00  3/3  teacher, adam\n"
    )


def test_a_terminal_gets_bars():
    text = shown(True, two_of_three)
    assert "━" in text
    assert "3/3" in text


def test_a_total_that_comes_later():
    def show(console):
        with bars(console) as progress:
            bar = progress.add_task("range test", total=None)
            progress.advance(bar)
            progress.update(bar, completed=2, total=4)

    assert shown(False, show) == (
        "0:00:00  1/?  range test\n0:00:00  2/4  range test\n"
    )


def test_items_are_named_as_they_are_done():
    seen = []

    def show(console):
        for name, item in track(console, {"a": 1, "b": 2}):
            seen.append((name, item))
            console.print(f"at {name}")

    assert shown(False, show) == "at a\n0:00:00  1/2  a\nat b\n0:00:00  2/2  b\n"
    assert seen == [("a", 1), ("b", 2)]
