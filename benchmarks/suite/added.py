"""Tasks and methods that a file of the user's adds to those of the suite."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from suite.methods import Method
from suite.tasks import Task


class Added(NamedTuple):
    """What a file adds, by name, and a folder's name that changes when the file does.

    Runs are kept by the names of their task and method: those of another version of
    the file must not count as runs of this one.
    """

    tasks: dict[str, Task]
    methods: dict[str, Method]
    folder: str


def read_added(path: Path) -> Added:
    """Imports a file, and takes its lists TASKS and METHODS, of which it has any.

    Raises:
      ValueError: it has none, or something else in them; says what.
    """
    module = _imported(path)
    tasks = _named(path, module, "TASKS", Task)
    methods = _named(path, module, "METHODS", Method)
    if not tasks and not methods:
        raise ValueError(
            f"--add: {path} must have TASKS, a list of suite.tasks.Task, or METHODS, a "
            "list of suite.methods.Method"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Added(tasks, methods, f"added-{digest[:12]}")


def _imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _named(path: Path, module: Any, name: str, kind: type) -> dict[str, Any]:
    """What is in one of the lists, by name."""
    found: dict[str, Any] = {}
    given = getattr(module, name, [])
    for each in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(each, kind):
            raise ValueError(
                f"--add: {name} of {path} must be a list of {kind.__module__}."
                f"{kind.__qualname__}, got {each!r} in it"
            )
        if each.name in found:
            raise ValueError(f"--add: {name} of {path}: {each.name!r} is there twice")
        if set(each.name) & set(",/"):
            raise ValueError(
                f"--add: {name} of {path}: {each.name!r} must be without commas and "
                "slashes"
            )
        found[each.name] = each
    return found


def joined(own: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Both, unless a name is taken.

    Raises:
      ValueError: one is.
    """
    if taken := own.keys() & added.keys():
        raise ValueError(
            f"--add: {', '.join(sorted(taken))}: the suite has that name; take another"
        )
    return own | added
