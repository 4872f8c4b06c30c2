"""The pages of frameworks change as many lines as their table says."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "docs" / "frameworks"


def changed(page):
    """The lines marked in the first block of a page, or all if none are."""
    fence, body = re.findall(r"^```(.*)\n([^`]*)```", page.read_text(), re.M)[0]
    if included := re.match(r"{literalinclude} (.*)", fence):
        body = (page.parent / included[1]).read_text()
    return len(re.findall(r"# \+$", body, re.M) or re.findall(r"\S.*$", body, re.M))


def test_changed_lines():
    table = (PAGES / "index.md").read_text()
    rows = re.findall(r"^\| \[.*\]\((\w+\.md)\) .*\| (\d+) \|$", table, re.M)
    pages = [page for page in PAGES.glob("*.md") if page.name != "index.md"]
    said = {name: int(lines) for name, lines in rows}
    assert said == {page.name: changed(page) for page in pages}
