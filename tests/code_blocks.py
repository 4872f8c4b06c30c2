"""The code of README.md and of the pages, and what a type checker says of it.

`python -m tests.code_blocks`, a part of `make lint`, writes the code of each page to a
file and runs pyright on all of them. `tests/whole/test_code_blocks.py` runs the code.
"""

import doctest
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = ("python", "{doctest}")


def pages() -> list[str]:
    """README.md and every page of the site, but for the tables in results."""
    found = [path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md")]
    written = [path for path in found if not {"results", "_build"} & set(path.parts)]
    return ["README.md", *sorted(map(str, written))]


def blocks(text: str, kinds: tuple[str, ...] = PYTHON) -> list[tuple[str, str]]:
    """Kind and code of every block of these kinds, in order; also of those in lists."""
    named = "|".join(map(re.escape, kinds))
    fence = rf"^( *)```({named})\n(.*?)^\1```$"
    found = re.findall(fence, text, re.DOTALL | re.MULTILINE)
    return [
        (kind, re.sub(f"^{indent}", "", code, flags=re.MULTILINE))
        for indent, kind, code in found
    ]


def source(text: str) -> str:
    """All Python of a page as one module, without what doctests should print."""
    parts = [
        code if kind == "python" else doctest.script_from_examples(code)
        for kind, code in blocks(text)
    ]
    return "\n".join(parts)


def main() -> int:
    """Runs pyright on the code of all pages; prints and returns its exit status."""
    config = {
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pyrightconfig.json").write_text(json.dumps(config))
        for page in pages():
            if code := source((ROOT / page).read_text()):
                path = place / page.replace("/", "_").replace(".md", "_md.py")
                path.write_text(code)
        pyright = Path(sys.executable).with_name("pyright")
        command = [pyright, "--level=error", f"--pythonpath={sys.executable}"]
        return subprocess.run([*command, f"--project={place}"]).returncode


if __name__ == "__main__":
    sys.exit(main())
