"""`make data`: what is missing is installed or explained, the rest is left alone."""

import subprocess

import get_data
import pytest
from get_data import Source


@pytest.fixture
def ran(monkeypatch):
    """The commands that would have run, by a root who has apt-get."""
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return commands


def sources(monkeypatch, *answers):
    """Sources that say one answer after another, the last for ever."""

    def missing(left):
        return lambda: left.pop(0) if len(left) > 1 else left[0]

    made = [
        Source(f"set {i}", (f"package-{i}",), missing(list(answer)))
        for i, answer in enumerate(answers)
    ]
    monkeypatch.setattr(get_data, "SOURCES", made)


def test_nothing_is_run_where_all_is_there(monkeypatch, ran, capsys):
    sources(monkeypatch, [""], [""])
    assert get_data.main([]) == 0
    assert not ran
    assert capsys.readouterr().out == "set 0: found\nset 1: found\n"


def test_only_what_is_missing_is_installed(monkeypatch, ran, capsys):
    sources(monkeypatch, [""], ["b not found in /d", ""])
    assert get_data.main([]) == 0
    assert ran == [
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "package-1"],
    ]
    assert capsys.readouterr().out == "set 0: found\nset 1: found\n"


@pytest.mark.parametrize(
    ("name", "answer", "why"),
    [
        ("shutil.which", lambda name: None, "there is no apt-get on this system"),
        ("os.geteuid", lambda: 1000, "sudo apt-get install --yes package-0"),
        (
            "subprocess.run",
            lambda command, **_: subprocess.CompletedProcess(command, 100),
            "`apt-get update` failed with exit status 100",
        ),
    ],
)
def test_says_why_nothing_was_installed(monkeypatch, ran, capsys, name, answer, why):
    monkeypatch.setattr(name, answer)
    sources(monkeypatch, ["a not found in /d; put there b"])
    assert get_data.main([]) == 1
    out = capsys.readouterr().out
    assert "set 0: a not found in /d; put there b" in out
    assert why in out
    assert not ran


def test_the_real_sources_say_what_they_want(monkeypatch, tmp_path):
    monkeypatch.setattr(get_data, "INSTALLED", tmp_path)
    monkeypatch.setattr("suite.kjv.PACKED", tmp_path / "bible.data")
    monkeypatch.setattr("suite.wordnet.PACKED", tmp_path / "wn.dict.dz")
    for source in get_data.SOURCES:
        assert str(tmp_path) in source.missing()
