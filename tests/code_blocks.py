"""The code of README.md and of the pages, and what a type checker says of it.

`python -m tests.code_blocks`, a part of `make lint`, runs pyright on the code of each
page, and asks it for public names of `optax_mi` whose type is unknown.
`tests/whole/test_code_blocks.py` runs the code.
"""

import doctest
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Sphinx shows no block of `testsetup`: it is for one that would be too long as a whole.
PYTHON = ("python", "{doctest}", "{testsetup}")
# The tests do not install Levanter. NumPyro's own types reject what its manual shows.
NOT_INSTALLED = {"docs/frameworks/levanter.md"}
NOT_TYPED = NOT_INSTALLED | {"docs/frameworks/numpyro.md"}


def pages() -> list[str]:
    """README.md and every page of the site, but for the tables in results."""
    found = [path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md")]
    written = [path for path in found if not {"results", "_build"} & set(path.parts)]
    return ["README.md", *sorted(map(str, written))]


def blocks(text: str, kinds: tuple[str, ...] = PYTHON) -> list[tuple[str, int, str]]:
    """Kind, first line and code of every block of these kinds, also of those in lists.

    Lines count from 0, that of a block is the one after its fence.
    """
    named = "|".join(map(re.escape, kinds))
    fence = rf"^( *)```({named})\n(.*?)^\1```$"
    found = re.finditer(fence, text, re.DOTALL | re.MULTILINE)
    return [
        (block[2], text.count("\n", 0, block.start(3)), textwrap.dedent(block[3]))
        for block in found
    ]


def source(text: str) -> str:
    """All Python of a page as one module, each line of it where the page has it."""
    lines = [""] * text.count("\n")
    for kind, start, code in blocks(text):
        parts = [(0, code)]
        if kind == "{doctest}":
            examples = doctest.DocTestParser().get_examples(code)
            parts = [(example.lineno, example.source) for example in examples]
        for line, part in parts:
            for number, written in enumerate(part.splitlines(), start + line):
                lines[number] = written
    return "\n".join(lines).rstrip()


def check_pages(pyright: Path) -> bool:
    """Whether the code of every page passes; prints what does not."""
    config = {
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT), str(ROOT / "benchmarks")],
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pyrightconfig.json").write_text(json.dumps(config))
        for page in set(pages()) - NOT_TYPED:
            if code := source((ROOT / page).read_text()):
                path = place / page.replace("/", "_").replace(".md", "_md.py")
                path.write_text(code)
        command = [pyright, "--level=error", f"--pythonpath={sys.executable}"]
        return not subprocess.run([*command, f"--project={place}"]).returncode


def check_public_types(pyright: Path) -> bool:
    """Whether every public name has a known type; prints those that have none."""
    command = [pyright, "--verifytypes=optax_mi", "--ignoreexternal"]
    # It asks the first Python on the path where packages are.
    path = f"{pyright.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout)
    return not done.returncode


def main() -> int:
    """Checks the pages and the public types; returns the exit status."""
    pyright = Path(sys.executable).with_name("pyright")
    return 0 if check_pages(pyright) & check_public_types(pyright) else 1


if __name__ == "__main__":
    sys.exit(main())
