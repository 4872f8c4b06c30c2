"""The King James text, or how to get it."""

import string

import pytest
from suite.kjv import missing_kjv, read_kjv


@pytest.mark.skipif(bool(missing_kjv()), reason=missing_kjv())
def test_reads_the_whole_text():
    text = read_kjv()
    verses = text.splitlines()
    assert text.endswith("\n")
    assert len(verses) == 31_102
    assert verses[0] == "In the beginning God created the heaven and the earth."
    assert verses[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert verses[26_558] == "Jesus wept."  # John 11:35
    assert min(verses, key=len) == "Jesus wept."  # none is empty
    assert set(text) <= set(string.ascii_letters + " \n.,:;?!'()-")


def test_prints_verses_without_references(tmp_path, monkeypatch):
    packed = tmp_path / "bible.data"
    packed.touch()
    program = tmp_path / "bible"
    program.write_text("#!/bin/sh\necho 1Ki1:1 Now king: David\necho SSol1:2 Let $3\n")
    program.chmod(0o755)
    monkeypatch.setattr("suite.kjv.PACKED", packed)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not missing_kjv()
    assert read_kjv() == f"Now king: David\nLet {tmp_path}\n"


@pytest.mark.parametrize("there", ["program", "text"])
def test_says_how_to_get_it(tmp_path, monkeypatch, there):
    packed = tmp_path / "bible.data"
    monkeypatch.setattr("suite.kjv.PACKED", packed)
    if there == "text":
        packed.touch()
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install bible-kjv"):
        read_kjv()
    assert missing_kjv().endswith(str(packed))
