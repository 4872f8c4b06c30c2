"""The definitions of WordNet 3.0, 8.8 million characters, as Debian packages them."""

import gzip
import re
from collections.abc import Iterable
from pathlib import Path

PACKED = Path("/usr/share/dictd/wn.dict.dz")  # dictzip, which gzip reads
WORDS = "apt-get install dict-wn, a package of Debian and Ubuntu: it has"
# Under a headword: "    n 1: an arch supported by ...", "    adj : ...", "   2: ...".
_SENSE = re.compile(r" +(?:(?:n|v|adj|adv) )?\d*: (.*)")
_LINKS = re.compile(r" *\[(?:syn|ant|also):.*")


def missing_wordnet() -> str:
    """How to get the text; empty if it is there."""
    return "" if PACKED.is_file() else f"{WORDS} {PACKED}"


def read_wordnet() -> list[str]:
    """Every definition once, with its examples, without headwords and synonyms.

    Raises:
      FileNotFoundError: the text is missing; says how to get it.
    """
    if reason := missing_wordnet():
        raise FileNotFoundError(reason)
    return parse(gzip.decompress(PACKED.read_bytes()).decode("utf-8").splitlines())


def parse(lines: Iterable[str]) -> list[str]:
    """The definitions in a dictionary of dictd; words that share one count once."""
    found: list[str] = []
    inside = False
    for line in lines:
        sense = _SENSE.match(line)
        if sense:
            found.append(sense[1].strip())
        elif inside and line.startswith(" "):
            # Lines are broken at hyphens too.
            space = "" if re.search(r"\w-$", found[-1]) else " "
            found[-1] += space + line.strip()
        inside = line.startswith(" ") and (inside or sense is not None)
    return list(dict.fromkeys(_LINKS.sub("", text).strip() for text in found))
