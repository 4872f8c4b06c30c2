"""The figures that pages quote are those of the results, and a wrong one is found."""

import functools
import shutil

import check_figures
import pytest
from check_figures import CLAIMS, ROOT, Results, find_errors


@functools.cache
def results():
    return Results(ROOT / "docs/results")


def pages(folder):
    for page in {claim.page for claim in CLAIMS}:
        (folder / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, folder / page)
    return folder


def change(folder, page, old, new):
    path = folder / page
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def test_pages_quote_what_was_measured(capsys):
    assert check_figures.main([]) == 0, capsys.readouterr().out


def first_row(page, name):
    """The cells of the first line of a row in a page of results."""
    lines = (ROOT / "docs/results" / page).read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"| **{name}** |"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_ranks_agree_with_the_tables():
    # Other code writes the tables, from the same JSON.
    rank = results().given_nothing["auto adamw"]
    assert first_row("untuned.md", "auto adamw")[2] == f"{rank:.1f}"
    ours = "mi adamw + average"
    columns = ("rank", "not told", "tuned on", "held out")
    table = (ROOT / "docs/results/compare.md").read_text().split("### At ")[1]
    (line,) = (x for x in table.splitlines() if x.startswith(f"| **{ours}** |"))
    shown = [cell.strip() for cell in line.split("|")[2:6]]
    assert shown == [f"{results().rank(ours, column):.2f}" for column in columns]


@pytest.mark.parametrize(
    ("page", "old", "new", "message"),
    [
        ("README.md", "DoG at 3.8", "DoG at 3.7", "2.7, 3.7 should be 2.7, 3.8"),
        ("README.md", "takes 3.0 %", "takes 1.2 %", "1.2, 2.4, 4.3 should be"),
        ("README.md", "rank of 21", "rank of 20", "20, ten should be 21, ten"),
        ("README.md", "before DoG at", "then DoG at", "0 places match"),
        ("README.md", "no choice was made on,", "we left out,", "0 places match"),
        ("README.md", "mends learning rates", "mends 3 rates", "covers '3'"),
        ("README.md", "## What to expect", "## Hopes", "no section"),
        ("docs/comparison.md", "4.80 of 21", "4.90 of 21", "4.90, 5.50, 5.80 should"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, page, old, new, message):
    folder = pages(tmp_path)
    assert not list(find_errors(folder, results()))
    change(folder, page, old, new)
    errors = list(find_errors(folder, results()))
    assert errors
    assert message in errors[0]
    assert errors[0].startswith(page)
