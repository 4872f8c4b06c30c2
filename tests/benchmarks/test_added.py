"""Tasks and methods from a file of the user's, as docs/comparison.md has it."""

import json
import pathlib
import re

import compare
import numpy as np
import pytest
from suite.added import joined, read_added
from suite.methods import Method
from suite.tasks import Task

from tests.benchmarks.test_suite import plain_loop

PAGE = pathlib.Path(__file__).parents[2] / "docs/comparison.md"
((CODE),) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "my_method.py"
    path.write_text(CODE)
    return path


def test_the_file_of_the_page_adds_a_task_and_a_method(mine):
    added = read_added(mine)
    assert list(added.tasks) == ["wine"]
    assert list(added.methods) == ["lion"]
    assert isinstance(added.tasks["wine"], Task)
    assert isinstance(added.methods["lion"], Method)
    sizes = [len(y) for _, y in added.tasks["wine"].load(0)]
    assert sizes == [178 - 72, 36, 36]
    assert added.methods["lion"].trials[0] == 1e-5
    # Another version of the file has another place.
    assert added.folder == read_added(mine).folder
    mine.write_text(CODE + "\n# changed\n")
    assert read_added(mine).folder != added.folder


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1", r"mine\.py must have TASKS, a list of suite\.tasks\.Task, or METH"),
        ("TASKS = [1]", r"TASKS of .* must be a list of suite\.tasks\.Task, got 1 in"),
        ("METHODS = ['sgd']", r"METHODS of .* suite\.methods\.Method, got 'sgd' in it"),
        (
            "from suite.methods import Method\nMETHODS = [Method('a,b', None)]",
            "'a,b' must be without commas and slashes",
        ),
        (
            "from suite.methods import Method\nMETHODS = 2 * [Method('a', None)]",
            "'a' is there twice",
        ),
    ],
)
def test_another_file_is_refused(code, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(code)
    with pytest.raises(ValueError, match=f"--add: .*{message}"):
        read_added(path)


def test_no_name_stands_for_two_things():
    assert joined({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="--add: a: the suite has that name"):
        joined({"a": 1}, {"a": 2})


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (
            CODE,
            ["--methods=tiger"],
            "--methods: no tiger; there are core, untuned, ",
        ),
        (CODE, ["--tasks=beer"], "--tasks: no beer; there are digits_mlp"),
        (CODE.replace('"lion"', '"adam"'), [], "--add: adam: the suite has that name"),
        (CODE.replace('"wine"', '"rare"'), [], "--add: rare: the suite has that name"),
        ("", [], "must have TASKS"),
    ],
)
def test_the_command_says_what_is_wrong_with_it(code, arguments, message, mine, capsys):
    mine.write_text(code)
    with pytest.raises(SystemExit, match="2"):
        compare.main([f"--add={mine}", *arguments])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_what_is_added_is_trained_and_an_edit_trains_it_anew(mine, tmp_path, capsys):
    arguments = [f"--add={mine}", "--tasks=wine", "--methods=lion", "--short"]
    arguments += ["--seeds=2", "--trials=2", f"--output={tmp_path / 'out'}"]
    compare.main(arguments)
    assert "1/1  wine, lion" in capsys.readouterr().out
    folder = tmp_path / "out" / "short"
    results = json.loads((folder / "compare.json").read_text())
    assert results["shown"] == ["lion"]
    added, lion = read_added(mine), results["cells"]["wine"]["lion"]
    assert (folder / added.folder / "cells" / "wine--lion.json").is_file()
    assert not (folder / "cells").exists()
    rates = lion["trials"]["learning_rates"]
    assert rates == [1e-5, 1e-3]
    for rate, loss in zip(rates, lion["trials"]["all"]["test_loss"], strict=True):
        plain = [
            plain_loop(added.tasks["wine"], added.methods["lion"], rate, seed, 48)[0]
            for seed in range(2)
        ]
        assert loss == pytest.approx(np.mean([p["lion"] for p in plain]), rel=1e-3)
    mine.write_text(CODE.replace("optax.lion", "optax.sgd"))
    compare.main(arguments)
    again = json.loads((folder / "compare.json").read_text())
    assert again["cells"]["wine"]["lion"]["trials"] != lion["trials"]
