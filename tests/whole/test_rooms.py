"""The house: a test beside each module, imports downward only, no file too long."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
HOUSE = ROOT / "optax_mi"
FILES = sorted(HOUSE.rglob("*.py"))

# From the ground up, by their paths in `optax_mi`: a room imports from the floors below
# its own, and one of a single file is that file.
FLOORS = [
    ["_checks", "_find"],
    ["estimators/_base", "estimators/arithmetic", "plotting", "flax", "equinox"],
    ["estimators/inputs"],
    [
        "estimators/_from_loss",
        "estimators/_measured",
        "estimators/moments",
        "estimators/samples",
        "estimators/tables",
    ],
    ["estimators/choice", "estimators/features"],
    ["estimators"],
    [
        "rules",
        "_average",
        "_devices",
        "_layouts",
        "_printing",
        "_set_learning_rate",
    ],
    ["_epoch"],
    ["_decay", "_restore"],
    ["_inspect", "layerwise"],
    ["range_test"],
    ["_trial", "_warnings"],
    ["_check_setup"],
    ["__init__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What these see of the rest of the house, however low it lies.
SEEN = {"estimators": {"_checks"}, "rules": {"_checks", "estimators"}}


def module_of(path):
    """The name of a module, that of its folder for an `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_of(path): path for path in FILES}


def imports(source, modules):
    """Which of the modules a source imports: at once, later, or for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(name), names=names, level=0):
                parts = {f"{name}.{alias.name}" for alias in names}
                # A name of a package, unless all that is taken from it are modules.
                found |= parts & modules | ({name} if parts - modules else set())
            case ast.ImportFrom():
                raise ValueError(f"relative: {ast.unparse(node)}")
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
    return found & modules


GRAPH = {name: imports(path.read_text(), PATHS.keys()) for name, path in PATHS.items()}


def room_of(module):
    """Its room: the file or the folder of that name in FLOORS."""
    path = PATHS[module].relative_to(HOUSE).with_suffix("")
    folder = path.parent
    return path.as_posix() if path.as_posix() in FLOOR_OF else folder.as_posix()


def test_every_import_is_seen():
    modules = {"a", "a.b", "a.c", "d"}
    source = "import d\ndef f():\n    from a import b\nif TYPE_CHECKING:\n    "
    assert imports(f"{source}from a.c import x", modules) == {"d", "a.b", "a.c"}
    assert imports("from a import b, x\nimport numpy", modules) == {"a", "a.b"}
    with pytest.raises(ValueError, match=r"relative: from \. import x"):
        imports("from . import x", modules)
    # And something of the house is in the graph.
    assert "optax_mi._checks" in GRAPH["optax_mi._decay"]
    assert sum(map(len, GRAPH.values())) > 100


def test_every_room_has_a_floor():
    # A new room: give it one.
    assert {room_of(module) for module in PATHS} <= FLOOR_OF.keys()


def test_imports_go_downward():
    climbing = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if (room := room_of(module)) != (below := room_of(other))
        and FLOOR_OF[below] >= FLOOR_OF[room]
    ]
    assert not climbing, "\n".join(climbing)


@pytest.mark.parametrize("name", SEEN)
def test_what_a_room_sees_of_the_others(name):
    inside = {module for module in GRAPH if module.split(".")[1:2] == [name]}
    assert inside
    outside = {other for module in inside for other in GRAPH[module] - inside}
    assert {other.split(".")[1] for other in outside} <= SEEN[name]


def test_no_circle():
    order = [*graphlib.TopologicalSorter(GRAPH).static_order()]
    assert order[-1] == "optax_mi"


def test_every_module_has_tests_of_its_name():
    lacking = []
    for path in FILES:
        place = path.relative_to(HOUSE).parent / f"test_{path.stem.lstrip('_')}.py"
        if path.stem != "__init__" and not (ROOT / "tests" / place).is_file():
            lacking.append(place.as_posix())
    assert not lacking, "\n".join(lacking)


def test_no_file_is_too_long():
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    lines = {module_of(path): len(path.read_text().splitlines()) for path in files}
    long = [f"{name}: {n} lines" for name, n in lines.items() if n > 400]
    assert not long, "\n".join(long)
