"""Builds a wheel from a clean clone, and runs the README from an empty environment.

    .venv/bin/python tests/wheel.py

The environment has the wheel and what the wheel requires, from constraints.txt, and
nothing else: an import that only an extra brings fails here.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent
UV = pathlib.Path(sys.executable).with_name("uv")


def run(*command, cwd):
    subprocess.run(list(map(str, command)), cwd=cwd, check=True)


def main():
    source = (ROOT / "optax_mi" / "__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.M)
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        clone, python = here / "clone", here / "venv" / "bin" / "python"
        run("git", "clone", "--quiet", ROOT, clone, cwd=here)
        pins = clone / "constraints.txt"
        run(UV, "build", "--quiet", "--wheel", "--build-constraints", pins, cwd=clone)
        (wheel,) = (clone / "dist").glob("*.whl")
        run(UV, "venv", "--quiet", "--python", sys.executable, here / "venv", cwd=here)
        install = (UV, "pip", "install", "--quiet", "--python", python, "-c", pins)
        run(*install, wheel, cwd=here)
        snippets = re.findall(
            r"^```python\n(.*?)^```", (clone / "README.md").read_text(), re.M | re.S
        )
        assert snippets
        told = f"import optax_mi\nassert optax_mi.__version__ == {version!r}\n"
        installed = "assert 'site-packages' in optax_mi.__file__\n"
        code = told + installed + "".join(snippets)
        (here / "readme.py").write_text(code)
        run(python, here / "readme.py", cwd=here)
    print(f"{wheel.name} installs in an empty environment, and the README runs")


if __name__ == "__main__":
    main()
