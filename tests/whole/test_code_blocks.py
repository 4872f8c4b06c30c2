"""The code of the pages: it runs as it stands, from top to bottom of each page.

Doctests run by themselves. What they do not reach runs here, after them and in their
namespace: blocks of plain Python. `make lint` checks the types of both.
"""

import doctest
import re

import pytest

from optax_mi import learning_rates
from tests.code_blocks import NOT_INSTALLED, ROOT, blocks, pages, source
from tests.data import user

TEXTS = {page: (ROOT / page).read_text() for page in pages()}
PLAIN = [
    page
    for page, text in TEXTS.items()
    if blocks(text, ("python",)) and page not in {"README.md", *NOT_INSTALLED}
]


def run(page):
    """What the code of a page leaves behind."""
    names = {"__name__": "__main__"}
    runner = doctest.DebugRunner()
    for kind, _, code in blocks(TEXTS[page]):
        if kind != "{doctest}":
            exec(compile(code, page, "exec"), names)
        else:
            test = doctest.DocTestParser().get_doctest(code, names, page, page, 0)
            runner.run(test, clear_globs=False)
            names = test.globs
    return names


def test_blocks_are_found_in_order_and_in_lists():
    text = """
```{doctest}
>>> x = 1
>>> x
1

```

- In a list:

  ```python
  y = x
  def f():
      return y
  ```

```sh
python x.py
```
"""
    assert [kind for kind, *_ in blocks(text)] == ["{doctest}", "python"]
    assert blocks(text, ("sh",)) == [("sh", 17, "python x.py\n")]
    lines = source(text).splitlines()
    for line in ("x = 1", "x", "y = x", "def f():"):
        assert text.splitlines()[lines.index(line)].endswith(line)
    names = {}
    exec("\n".join(lines), names)
    assert names["f"]() == 1


def test_the_readme_runs_from_top_to_bottom():
    names = run("README.md")
    right = (names["images"] @ names["averaged"]).argmax(-1) == names["labels"]
    assert right.mean() > 0.9
    assert learning_rates(names["opt_state"])["all"] < 0.3


@pytest.mark.parametrize("page", PLAIN)
def test_blocks_of_plain_python_run(page):
    run(page)


def test_commands_name_what_exists():
    rules = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", rules, re.MULTILINE)
    found = [code for text in TEXTS.values() for *_, code in blocks(text, ("sh",))]
    commands = "\n".join(found)
    made = re.findall(r"^make ([a-z-]+)", commands, re.MULTILINE)
    scripts = re.findall(r"\bpython (?:-m pytest -s )?([\w/]+\.py)", commands)
    assert {"demo", "mutants"} <= set(made) <= set(targets)
    assert "benchmarks/gpu.py" in scripts
    assert [path for path in scripts if not (ROOT / path).is_file()] == []


def test_the_code_of_a_typed_user_runs():
    logged, estimate = user.train(0.3, 0.003)
    assert re.fullmatch(r"learning rate 0\.\d+, \d+% known", logged)
    assert 0 < estimate.mi < estimate.entropy
