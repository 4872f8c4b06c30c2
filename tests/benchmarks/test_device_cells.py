"""Measurements that are kept: what is redone, what is left, and what fails."""

import io
import types

import pytest
from device import cells
from device.cells import Cell
from rich.console import Console
from rich.progress import Progress


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        clock = types.SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("device.cells.time", clock)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def fake_cells(clock, log, said=(10.0, 10.0, 10.0), takes=(10.0, 10.0, 10.0)):
    """Cells that write their name down when they are measured."""

    def measure(name, seconds):
        log.append(name)
        clock.now += seconds
        return {"name": name}

    return [
        Cell("step", name, {"size": 1}, expected, lambda n=name, s=s: measure(n, s))
        for name, expected, s in zip("abc", said, takes, strict=True)
    ]


def run(folder, found, deadline=1e9):
    with Progress(console=Console(file=io.StringIO())) as progress:
        return cells.measure_all(folder, found, deadline, progress)


def test_what_is_kept_is_not_measured_again(tmp_path, clock):
    log = []
    outcome = run(tmp_path, fake_cells(clock, log))
    assert log == ["a", "b", "c"]
    assert outcome == ([], {})
    found = fake_cells(clock, log)
    for cell in found:
        content = cells.kept(tmp_path, cell)
        assert content["figures"] == {"name": cell.name}
        assert content["seconds"] == 10
    # Other settings make it another measurement.
    found[1] = found[1]._replace(settings={"size": 2})
    run(tmp_path, found)
    assert log == ["a", "b", "c", "b"]


def test_devices_do_not_share_a_file(tmp_path, clock, monkeypatch):
    log = []
    run(tmp_path, fake_cells(clock, log))
    monkeypatch.setattr("device.cells.kind", lambda: "another card")
    run(tmp_path, fake_cells(clock, log))
    assert log == ["a", "b", "c"] * 2
    monkeypatch.undo()
    Clock(monkeypatch)
    run(tmp_path, fake_cells(clock, log))
    assert len(log) == 6


def test_a_cell_that_was_killed_is_measured_again(tmp_path, clock):
    log = []
    found = fake_cells(clock, log)

    def kill():
        raise KeyboardInterrupt

    killed = [found[0], found[1]._replace(measure=kill), found[2]]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, killed)
    assert log == ["a"]
    assert run(tmp_path, found).left == []
    assert log == ["a", "b", "c"]


def test_one_that_fails_is_named_and_the_others_go_on(tmp_path, clock, capsys):
    log = []
    found = fake_cells(clock, log)

    def fail():
        raise RuntimeError("out of memory\nat some length")

    outcome = run(tmp_path, [found[0]._replace(measure=fail), *found[1:]])
    assert outcome.failed == {"step: a": "RuntimeError: out of memory"}
    assert "some length" in capsys.readouterr().err
    assert log == ["b", "c"]
    assert cells.kept(tmp_path, found[0]) is None


@pytest.mark.parametrize(
    ("minutes", "takes", "begun"),
    [
        (9, (10, 10, 10), ""),
        (20, (10, 10, 10), "ab"),
        (29, (10, 10, 10), "ab"),
        (30, (10, 10, 10), "abc"),
        # Twice as slow as it said, and so are the next.
        (39, (20, 20, 20), "a"),
        (40, (20, 20, 20), "ab"),
        (20, (5, 5, 5), "abc"),
    ],
)
def test_none_begins_that_would_end_too_late(tmp_path, clock, minutes, takes, begun):
    log = []
    outcome = run(tmp_path, fake_cells(clock, log, takes=takes), 100.0 + minutes)
    assert "".join(log) == begun
    assert outcome.left == [f"step: {name}" for name in "abc"[len(begun) :]]


def test_a_peak_belongs_to_the_cell_that_raised_it(tmp_path, clock, monkeypatch):
    peaks = iter([5, 5, 5, 7, None, None])
    monkeypatch.setattr("device.cells.peak_bytes", lambda: next(peaks))
    found = fake_cells(clock, [])
    run(tmp_path, found)
    kept = [cells.kept(tmp_path, cell)["peak_bytes"] for cell in found]
    assert kept == [None, 7, None]
