"""Files that are written whole or not at all, and read with the place of an error."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, of the same suffix, which becomes `path` at the end.

    Who reads `path` meanwhile finds what was there before, as does whoever comes after
    an error or a kill. Folders that are missing are made, and links are followed.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, since files are renamed at once on one file system alone. In a folder,
    # since a temporary file would be its owner's alone to read.
    folder = tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent)
    with folder as name:
        part = Path(name) / path.name
        yield part
        os.replace(part, path)


def load_json(path: Path) -> Any:
    """What a file of JSON holds, which is ASCII as :func:`json.dumps` writes it.

    Raises:
      ValueError: it is not that; says which file and where.
    """
    try:
        return json.loads(path.read_text("ascii"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: offset {error.pos}: {error.msg}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: offset {error.start}: not ASCII.") from error
