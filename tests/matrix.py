"""Tests on the oldest versions that pyproject.toml declares, and on the newest.

    .venv/bin/python tests/matrix.py --pythons 3.11 3.12 -- tests/test_flax.py -k linen

What follows `--` goes to pytest. Each cell has an environment in .venv-matrix, resolved
anew on every run without constraints.txt, so that a release which breaks the library
shows here before it is pinned.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).parent.parent
UV = pathlib.Path(sys.executable).with_name("uv")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
PACKAGES = ("jax", "optax", "flax", "orbax-checkpoint")
# Whatever reaches for a version: every wrapper of Optax, modules and checkpoints of
# Flax and Orbax, and JAX's meshes. What -k leaves out differs in our own code alone.
TESTS = [
    *("-m", "not slow", "-k", "not (gaussian or mi_sgd)"),
    *("optax_mi/flax.py", "tests/layerwise", "tests/test_devices.py"),
    "tests/test_equinox.py",
    *("tests/test_flax.py", "tests/test_flax_capture.py", "tests/test_inspect.py"),
    *("tests/test_restore.py", "tests/whole/test_checkpoint.py"),
    *("tests/whole/test_contract.py", "tests/whole/test_sharding.py"),
    "tests/whole/test_wrappers.py",
]
# Old releases call what newer ones of their dependencies deprecate, as Matplotlib 3.9
# does of pyparsing 3.3: not ours to mend, nor a reason to ask users for more. A warning
# that our own lines cause is still an error.
LENIENT = ["--override-ini=filterwarnings=error:::(optax_mi|tests|__main__)"]


def find(python):
    """The path of an interpreter, or None: none is downloaded."""
    command = [UV, "python", "find", "--system", "--no-python-downloads", python]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None


def build(cell, interpreter, resolution):
    """An environment with the extra `test`; None if there is no solution."""
    environment = ROOT / ".venv-matrix" / cell
    shutil.rmtree(environment, ignore_errors=True)
    venv = [UV, "venv", "--quiet", "--python", interpreter, environment]
    # Wheels alone: the oldest release that an interpreter can install.
    install = [UV, "pip", "install", "--quiet", "--no-build", "--python", environment]
    install += ["--resolution", resolution, "-r", "pyproject.toml", "--extra", "test"]
    if resolution == "lowest-direct":
        # What Flax or Orbax would raise in silence is a bound that nothing tests.
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        install += [bound.replace(">=", "==") for bound in project["dependencies"]]
    for command in (venv, install):
        if subprocess.run(command, cwd=ROOT).returncode:
            return None
    return environment / "bin" / "python"


def versions(python):
    code = "import sys; from importlib.metadata import version as v"
    code += "\nfor name in sys.argv[1:]: print(v(name))"
    command = [python, "-c", code, *PACKAGES]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"])
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    arguments = parser.parse_args()
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    rows = [("python", "versions", *PACKAGES, "result")]
    for python in arguments.pythons:
        interpreter = find(python)
        if interpreter is None:
            print(f"python {python}: not on this machine, skipped", flush=True)
            continue
        for name, resolution in RESOLUTIONS.items():
            print(f"python {python}, {name} versions", flush=True)
            executable = build(f"{python}-{name}", interpreter, resolution)
            if executable is None:
                rows.append((python, name, *("-" for _ in PACKAGES), "not installed"))
                continue
            command = [executable, "-m", "pytest", "-q", "--disable-warnings"]
            command += LENIENT if name == "oldest" else []
            command += arguments.pytest or TESTS
            done = subprocess.run(command, cwd=ROOT, env=environ)
            result = "FAILED" if done.returncode else "passed"
            rows.append((python, name, *versions(executable), result))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    sys.exit(len(rows) == 1 or any(row[-1] != "passed" for row in rows[1:]))


if __name__ == "__main__":
    main()
