"""benchmark-mi in its own process, with a stand-in for it, and its tasks."""

import sys
from pathlib import Path

import numpy as np
import public_mi
import pytest
from peers import benchmark_mi

STAND_IN = """
import types
import numpy as np

class Task:
    def __init__(self, truth):
        self.mutual_information = np.float64(truth)
    def sample(self, n, seed):
        x = np.full((n, 2), seed + 1, np.float32)
        return x, np.arange(n, dtype=np.float64)[:, None]

class Sum:
    def __init__(self, scale=1):
        self.scale = scale
    def estimate(self, x, y):
        print("not an answer")
        if not y.any():
            raise ValueError("no y")
        return np.float32(self.scale * (x.sum() + y.sum()))

BENCHMARK_TASKS = {"low": Task(0.25), "high": Task(5)}
estimators = types.SimpleNamespace(Sum=Sum)
"""


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand_in")
    (folder / "bmi.py").write_text(STAND_IN)
    process = benchmark_mi.Child(Path(sys.executable), PYTHONPATH=str(folder))
    yield process
    process.close()


def test_arrays_go_there_and_back(child):
    x, y = (benchmark_mi.unpacked(*a) for a in child.ask("draw", "low", 3, 4))
    np.testing.assert_array_equal(x, np.full((3, 2), 5, np.float32))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(y, [[0.0], [1.0], [2.0]])
    assert child.ask("value", "Sum", *map(benchmark_mi.packed, (x, y))) == 33


def test_a_peer_keeps_its_data(child, monkeypatch):
    monkeypatch.setattr(benchmark_mi, "child", lambda: child)
    ones, twos = np.ones((4, 1)), 2 * np.ones((4, 1))
    first = benchmark_mi.peer("Sum", ones, twos)
    second = benchmark_mi.peer("Sum", ones, ones, scale=10)
    assert [f() for f in (*first.values(), *second.values())] == [12, 80]
    (again,) = first.values()
    assert again() == 12
    monkeypatch.setattr(benchmark_mi, "child", lambda: None)
    assert benchmark_mi.peer("Sum", ones, twos) == {}


def test_an_error_there_is_an_error_here(child):
    x = benchmark_mi.packed(np.zeros((2, 1)))
    with pytest.raises(RuntimeError, match="benchmark-mi: ValueError: no y"):
        child.ask("value", "Sum", x, x)
    # It goes on answering.
    assert child.ask("tasks") == [["low", 0.25], ["high", 5.0]]


def test_a_process_that_ends_is_an_error(tmp_path):
    (tmp_path / "bmi.py").write_text("raise SystemExit(3)")
    process = benchmark_mi.Child(Path(sys.executable), PYTHONPATH=str(tmp_path))
    with pytest.raises(RuntimeError, match="ended with exit status 3"):
        process.ask("tasks")
    process.close()


def test_mean_errors_over_tasks_and_draws(child, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_mi, "child", lambda: child)
    # X is full of 1 for the first draw, and of 2 for the second.
    monkeypatch.setattr(public_mi, "OURS", {"first": lambda x, y: float(x[0, 0])})
    monkeypatch.setattr(public_mi, "THEIRS", {"sum": "Sum"})
    arguments = ["--samples=2,3", "--seeds=2", f"--output={tmp_path}"]
    public_mi.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    # |1 - 0.25|, |2 - 0.25|, |1 - 5| and |2 - 5|; sums of 5, 9 and of 9, 15.
    assert "| first | 2.375 | 2.375 |" in lines
    assert "| sum | 4.375 | 9.375 |" in lines
    table = (tmp_path / "tasks.md").read_text()
    assert "| low | 0.250 | 1.500 ± 0.707 | 7.000 ± 2.828 |" in table


def test_what_is_missing_is_said(monkeypatch, capsys):
    monkeypatch.setattr(benchmark_mi, "child", lambda: None)
    with pytest.raises(SystemExit, match="2"):
        public_mi.main([])
    assert "`make bmi` installs it in .venv-bmi" in capsys.readouterr().err
