"""The King James text, 4.1 million characters of ASCII, as Debian packages it."""

import shutil
import subprocess
from pathlib import Path

PACKED = Path("/usr/lib/bible.data")  # only the packages' own program unpacks it
WORDS = (
    "apt-get install bible-kjv bible-kjv-text, packages of Debian and Ubuntu: the "
    "program `bible` has to be on the path, and the text in"
)


def missing_kjv() -> str:
    """How to get the text; empty if it is there."""
    if PACKED.is_file() and shutil.which("bible"):
        return ""
    return f"{WORDS} {PACKED}"


def read_kjv() -> str:
    """All 31,102 verses from Genesis to Revelation, one a line, without references.

    Raises:
      FileNotFoundError: the text or its program is missing; says how to get them.
    """
    if reason := missing_kjv():
        raise FileNotFoundError(reason)
    # -f prints a verse a line, "Ge1:1 In the ...".
    command = ["bible", "-f", "-p", str(PACKED.parent), "gen1:1-rev22:21"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)
    verses = printed.stdout.splitlines()
    return "\n".join(verse.partition(" ")[2] for verse in verses) + "\n"
