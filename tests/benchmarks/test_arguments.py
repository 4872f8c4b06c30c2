"""Command lines: help and errors come before anything slow is imported."""

import argparse
import json
import pathlib
import subprocess
import sys

import digits
import fashion_mnist
import lr_range_test
import multihost
import no_knob
import pytest
import range_quality
from device import report
from suite import names
from suite.arguments import (
    OneLineParser,
    add_names,
    add_output,
    at_least,
    choose,
    file,
    folder,
    one_of,
    positive,
    python_file,
)
from suite.fashion import KINDS, NETS
from suite.language import LANGUAGES
from suite.methods import METHODS
from suite.paper import ROWS
from suite.sources import SOURCES
from suite.tasks import bundled_tasks
from suite.untuned import UNTUNED

ROOT = pathlib.Path(__file__).parents[2]
# The other files are what scripts share.
SCRIPTS = [
    str(path)
    for place in ("benchmarks", "examples")
    for path in sorted((ROOT / place).glob("*.py"))
    if "__main__" in path.read_text() or path.stem == "digits_nnx"
]
# Runs each script with each of the arguments, and prints what became of it.
RUN_ALL = """
import contextlib, io, json, runpy, sys
found = []
scripts, arguments = json.loads(sys.argv[1])
for path in scripts:
    sys.path.insert(0, path.rpartition("/")[0])
    for argument in arguments:
        sys.argv, status = [path, argument], "none"
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                runpy.run_path(path, run_name="__main__")
            except SystemExit as stop:
                status = stop.code
        slow = {"jax", "sklearn", "matplotlib", "scipy"} & set(sys.modules)
        found.append([path, argument, status, out.getvalue(), err.getvalue(), *slow])
print(json.dumps(found))
"""


def test_help_and_errors_of_every_script_import_nothing_slow():
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps([SCRIPTS, ["--help", "--xyz=1"]])],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 2 * len(SCRIPTS) > 50
    for path, argument, status, out, err, *slow in found:
        assert not slow, path
        if argument == "--help":
            assert status == 0, path
            assert "usage: " in out
        else:
            assert status == 2, path
            assert "unrecognized arguments: --xyz=1" in err


def test_the_names_are_those_of_what_they_name():
    assert [task.name for task in bundled_tasks()] == list(names.TASKS)
    assert set(names.IMAGES) == {"fashion_mlp", *SOURCES}
    assert [f"{net}-{kind}" for net in NETS for kind in KINDS] == list(names.FASHION)
    assert set(names.METHODS) == set(METHODS)
    assert set(names.CORE) <= set(METHODS)
    assert set(names.UNTUNED) == set(UNTUNED)
    assert set(names.PAPER) == set(ROWS)
    assert set(names.PAPER_CORE) <= set(ROWS)
    assert list(report.SECTIONS) == list(names.SECTIONS)
    assert list(LANGUAGES) == list(names.LANGUAGES)
    assert set(range_quality.TASKS) <= set(names.TASKS)


@pytest.mark.parametrize(
    ("script", "option", "known"),
    [
        (digits, "rule", digits.RULES),
        (fashion_mnist, "net", fashion_mnist.NETS),
        (lr_range_test, "optimizer", lr_range_test.OPTIMIZERS),
        (no_knob, "optimizer", no_knob.OPTIMIZERS),
    ],
)
def test_the_choices_of_an_example_are_those_that_it_has(
    script, option, known, monkeypatch, capsys
):
    monkeypatch.setattr("suite.sources.missing_fashion", lambda data_dir: "")
    for name in known:
        assert getattr(script.parse([f"--{option}={name}"]), option) == name
    with pytest.raises(SystemExit, match="2"):
        script.parse([f"--{option}=x"])
    choices = capsys.readouterr().err.partition("choose from ")[2]
    assert all(f"{name}" in choices for name in known)
    assert choices.count(",") == len(known) - 1


@pytest.mark.parametrize(
    ("read", "text", "want"),
    [
        (lambda text: at_least(2, text), "2", 2),
        (positive, "2.5e-1", 0.25),
        (lambda text: choose(text, "abc"), "c, a,c", ["c", "a"]),
        (lambda text: choose(text, "abc", {"all": "ab"}), "b,all", ["b", "a"]),
        (lambda text: one_of("abc", text), "b", "b"),
        (folder, "not/there", pathlib.Path("not/there")),
        (file, "not/there.md", pathlib.Path("not/there.md")),
        (python_file, __file__, pathlib.Path(__file__)),
    ],
)
def test_what_is_right_is_read(read, text, want):
    assert read(text) == want


@pytest.mark.parametrize(
    ("read", "text", "match"),
    [
        (lambda text: at_least(2, text), "1", "whole number of at least 2, got '1'"),
        (lambda text: at_least(2, text), "2.5", "got '2.5'"),
        (positive, "0", "must be a positive number, got '0'"),
        (positive, "nan", "got 'nan'"),
        (positive, "inf", "got 'inf'"),
        (positive, "many", "got 'many'"),
        (lambda text: choose(text, "abc"), "a,d,e", "no d, e; there are a, b, c"),
        (lambda text: choose(text, "ab", {"all": "ab"}), "", "no ; there are all, a"),
        (lambda text: one_of("abc", text), "d", "no d; there are a, b, c"),
        (folder, __file__, "must be a folder, and .* is a file"),
        (folder, f"{__file__}/below/it", r"and .*test_arguments\.py is a file"),
        (file, str(ROOT), "must be a file, and .* is a folder"),
        (python_file, "not/there.py", "that exists, got 'not/there.py'"),
        (python_file, str(ROOT / "README.md"), "must be a Python file"),
    ],
)
def test_what_is_wrong_is_told(read, text, match):
    with pytest.raises(argparse.ArgumentTypeError, match=match):
        read(text)


def test_an_error_is_one_line_with_the_argument_the_value_and_the_fix(capsys):
    parser = OneLineParser(description="Some.\n\nThing.")
    add_output(parser, "out")
    add_names(parser, "--kinds", ["a", "b"])
    args = parser.parse_args([])
    assert args.output == pathlib.Path("out")
    assert args.kinds == ["a", "b"]
    assert "Some.\n\nThing." in parser.format_help()
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--kinds=a,c"])
    assert capsys.readouterr().err.endswith(
        ": argument --kinds: no c; there are a, b (see --help)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs=0"], "--epochs must be at least 1, got 0"),
        (["--processes=2", "--process-id=2"], "--process-id must be from 0 to 1"),
        (["--processes=2"], "where --processes is 2, got None"),
        (["--processes=two"], "--processes: invalid int value: 'two'"),
    ],
)
def test_a_host_knows_its_place(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        multihost.parse(arguments)
    assert message in capsys.readouterr().err
    assert multihost.parse(["--processes=2", "--process-id=1"]).process_id == 1
    assert multihost.parse([]).epochs == 10
