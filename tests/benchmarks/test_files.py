"""Files appear whole or not at all, whatever happens in mid-write."""

import signal
import subprocess
import sys

import pytest
from matplotlib.figure import Figure
from suite.files import load_json, replacing
from suite.results import save_json


def test_others_find_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new" / "figures.json"
    for old, new in ((None, "first"), ("first", "second")):
        with replacing(path) as part:
            part.write_text(new[:3])
            assert part.suffix == path.suffix
            assert path.is_file() == bool(old)
            assert old is None or path.read_text() == old
            part.write_text(new)
        assert path.read_text() == new
        assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_one(tmp_path):
    path, link = tmp_path / "a.md", tmp_path / "link.md"
    link.symlink_to(path)
    with replacing(link) as part:
        part.write_text("text")
    assert link.is_symlink()
    assert path.read_text() == "text"


def fail(error):
    raise error


class BrokenFile:
    """A figure that fails after its first bytes."""

    def __init__(self, part):
        self.file = part.open("wb")

    def write(self, data):
        self.file.write(data[:10])
        self.file.close()
        raise OSError("disk full")


def draw(part):
    Figure().savefig(BrokenFile(part), format="png")


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda part: fail(KeyboardInterrupt()), KeyboardInterrupt),
        (lambda part: part.write_text("\ud800"), UnicodeEncodeError),
        (draw, OSError),
        (lambda part: None, FileNotFoundError),
    ],
)
def test_an_error_in_mid_write_leaves_the_old_file_alone(tmp_path, write, error):
    path = tmp_path / "figure.png"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as part:
        write(part)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_the_old(tmp_path):
    path = tmp_path / "cell.json"
    save_json(path, {"loss": 1.0})
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_json(path, {"loss": object()})
    assert load_json(path) == {"loss": 1.0}
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, pathlib, signal, sys
from suite.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as part:
    part.write_text("ne")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_in_mid_write_leaves_the_old_file_whole(tmp_path, request):
    path = tmp_path / "cell.json"
    path.write_text("old")
    folder = request.config.rootpath / "benchmarks"
    done = subprocess.run([sys.executable, "-c", KILLED, path], cwd=folder, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    # What the dead left behind is hidden, and in nobody's way.
    (left,) = set(tmp_path.iterdir()) - {path}
    assert left.name.startswith(".cell.json-")
    with replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "offset 0: Expecting value"),
        (b'{"loss": [1.0, 2', "offset 16: Expecting ',' delimiter"),
        (b'{"loss": 1.0}\n}', "offset 14: Extra data"),
        (b'{"loss": "\xff"}', "offset 10: not ASCII"),
    ],
)
def test_names_the_place_of_broken_json(tmp_path, content, place):
    path = tmp_path / "cell.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"cell.json: {place}"):
        load_json(path)
