"""The figures that pages quote are those of the results, and a wrong one is found."""

import functools
import pathlib
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


def test_ranks_agree_with_the_tables():
    # The tables are written by other code, of the same JSON.
    table = (ROOT / "docs/results/untuned.md").read_text()
    (line,) = (x for x in table.splitlines() if x.startswith("| **auto adamw** | 7.8"))
    assert line.split(" | ")[2] == f"{results().given_nothing['auto adamw']:.1f}"
    table = pathlib.Path(ROOT / "docs/results/compare.md").read_text()
    whole = table.split("### At all of the budget")[1]
    (line,) = (
        x for x in whole.split("###")[0].splitlines() if "| **mi adamw + average**" in x
    )
    assert line.split(" | ")[1] == f"{results().rank('mi adamw + average', 'rank'):.2f}"


@pytest.mark.parametrize(
    ("page", "old", "new", "message"),
    [
        ("README.md", "DoG at 3.8", "DoG at 3.7", "2.7, 3.7 should be 2.7, 3.8"),
        ("README.md", "takes 1.3 %", "takes 1.2 %", "1.2 should be"),
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
