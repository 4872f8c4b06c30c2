"""Mutation testing: small faults in a module, each of which a test should notice.

    python -m tests.mutants [module[:first line[-last line]] ...]

One process takes one mutant after the other, since a start of Python and JAX for each
would take most of the time. It runs the module's tests, the fastest first, up to the
first that fails. Which mutants survive, and why, is in docs/testing.md.
"""

import ast
import copy
import importlib.machinery
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import jax
import optax  # noqa: F401 - before the fork
import pytest

ROOT = Path(__file__).parent.parent
# The modules that are run without arguments, and what their mutants meet beside the
# tests of their names.
SUITES = {
    "_decay": ["test_checks.py", "test_epoch.py"],
    "_epoch": [
        "test_decay.py",
        "test_devices.py",
        "test_restore.py::test_wrong_types_are_told_what_to_do",
        "whole/test_modes.py::test_states_may_be_of_numpy",
        "whole/test_faults.py::test_a_schedule_that_fails_for_a_step",
        "whole/test_sharding.py::test_shard_map_over_two_axes",
        "whole/test_sharding.py::test_shard_map_takes_a_measurement",
        "whole/test_sharding.py::test_shard_map_without_an_axis_name_is_an_error",
    ],
    "rules/_log_time": ["rules/test_base.py"],
    "rules/_proportional": ["rules/test_base.py"],
    "rules/_residual": ["rules/test_base.py"],
    "estimators/arithmetic/_blocks": [],
    "estimators/arithmetic/_digamma": [],
    "estimators/arithmetic/_logs": [],
    "estimators/arithmetic/_scatter": [],
    "estimators/arithmetic/_sort": [],
    "estimators/arithmetic/_sums": [
        "estimators/arithmetic/test_varying.py",
        "estimators/tables/test_contingency.py",
        "test_devices.py",
    ],
    "estimators/arithmetic/_units": [],
    "estimators/arithmetic/_varying": [],
    "estimators/inputs/_class_ids": ["estimators/inputs/test_read.py"],
    "estimators/inputs/_read": [
        "estimators/inputs/test_class_ids.py",
        "estimators/inputs/test_dropped.py::test_a_nan_is_found_in_large_arrays_too",
        "test_checks.py",
        "whole/test_messages.py",
    ],
    "estimators/samples/_ties": [],
    "estimators/tables/_chance": ["estimators/tables/test_plugin.py"],
    "estimators/tables/_contingency": [
        "test_checks.py",
        "estimators/tables/test_plugin_mi.py::"
        "test_buckets_are_classes_modulo_their_number",
    ],
    "estimators/tables/_entropies": ["estimators/tables/test_plugin.py"],
    "estimators/tables/_joint": ["estimators/tables/test_contingency.py"],
}
OPTIONS = ["-x", "-p", "no:cacheprovider", "-o", "addopts="]
# Hypothesis is there before pytest can rewrite its assertions.
OPTIONS += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
SWAPS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Div],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
NAMES = {"minimum": "maximum", "fmin": "fmax", "min": "max", "isfinite": "isnan"}
NAMES |= {new: old for old, new in NAMES.items()}
# Types, texts, and what only the type checker reads.
SKIPPED_FIELDS = {"annotation", "returns"}
ASSERTIONS = {"strict"}  # that of `zip`
SKIPPED_NODES = (ast.Raise, ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)


def mutants(tree):
    """Pairs of a node of the module and one to put in its place."""
    modules = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return list(mutants_below(tree, modules))


def mutants_below(node, modules):
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            skipped = field in SKIPPED_FIELDS or isinstance(child, SKIPPED_NODES)
            skipped |= isinstance(child, ast.keyword) and child.arg in ASSERTIONS
            if isinstance(child, ast.AST) and not skipped:
                yield from ((child, new) for new in replacements(child, modules))
                # A check that is left out stands for one whose call is replaced.
                inner = child.value if isinstance(child, ast.Expr) else child
                yield from mutants_below(inner, modules)


def replacements(node, modules):
    """What could stand where this node stands, by a slip."""
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(2 * value or 1.0)
        case ast.BinOp() | ast.BoolOp():
            for swapped in SWAPS.get(type(node.op), []):
                yield changed(node, op=swapped())
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for swapped in SWAPS[type(op)]:
                    yield changed(node, ops=[*ops[:i], swapped(), *ops[i + 1 :]])
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.If(test=ast.Name() as test):
            yield changed(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=[test]):
            yield changed(node, ifs=[ast.UnaryOp(ast.Not(), test)])
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Call(func=func, args=args, keywords=keywords):
            # A function's arguments for its value, and an object for its method's.
            # Whatever else stands for a new tuple of a named type is no such tuple.
            method = isinstance(func, ast.Attribute) and not (
                isinstance(func.value, ast.Name | ast.Attribute)
                and ast.unparse(func.value).split(".")[0] in modules
            )
            if not (isinstance(func, ast.Name) and func.id.strip("_")[0].isupper()):
                args = [a.value if isinstance(a, ast.Starred) else a for a in args]
                yield from [func.value] if method else args
            for i, keyword in enumerate(keywords):
                if keyword.arg not in ASSERTIONS:
                    yield changed(node, keywords=keywords[:i] + keywords[i + 1 :])
        case ast.Attribute(attr=name) if name in NAMES:
            yield changed(node, attr=NAMES[name])
        case ast.Name(id=name) if name in NAMES:
            yield changed(node, id=NAMES[name])


def changed(node, **fields):
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


class Substitute(ast.NodeTransformer):
    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        return self.new if node is self.old else self.generic_visit(node)


class Plugin:
    """Runs the fastest tests first, and remembers what happened."""

    def __init__(self, cache, seconds):
        self.cache, self.seconds, self.failed = cache, dict(seconds), ""

    def pytest_sessionstart(self):
        # After tests/conftest.py, which gives each run a cache of its own.
        jax.config.update("jax_compilation_cache_dir", self.cache)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed = report.nodeid

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed = report.nodeid
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration


def run(path, mutant, tests, cache, seconds):
    """The tests under a mutant, as JSON: status, the test that failed, seconds."""
    tree = ast.parse(path.read_text())
    if mutant is not None:
        tree = Substitute(*mutants(tree)[mutant]).visit(tree)
    code = compile(ast.fix_missing_locations(tree), path, "exec")
    for name in list(sys.modules):
        # Only the first conftest comes before JAX has its devices.
        if name.split(".")[0] in ("optax_mi", "tests") and "conftest" not in name:
            del sys.modules[name]
    load = importlib.machinery.SourceFileLoader.get_code
    importlib.machinery.SourceFileLoader.get_code = lambda self, name: (
        code if self.path == str(path) else load(self, name)
    )
    plugin, cpu = Plugin(cache, seconds), time.process_time()
    try:
        status = pytest.main([*OPTIONS, *tests], [plugin])
    finally:
        importlib.machinery.SourceFileLoader.get_code = load
    cpu = time.process_time() - cpu
    return json.dumps([int(status), plugin.failed, plugin.seconds, cpu])


def worker(path, every, tests, cache, seconds, limit):
    """A process that runs these mutants, and a pipe with a line for each.

    A loop that does not end takes the process with it, and so does a deadlock.
    """
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, os.fdopen(read)
    os.close(read)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with os.fdopen(write, "w") as pipe:
        for mutant in every:
            end = int(time.process_time() + limit)
            resource.setrlimit(resource.RLIMIT_CPU, (end, hard))
            signal.alarm(20 * limit)
            answer = run(path, mutant, tests, cache, seconds)
            print(answer, file=pipe, flush=True)
            # A mutant's neighbor is likely to fail the same test: it comes first.
            seconds[json.loads(answer)[1]] = -mutant if mutant else 0.0
    os._exit(0)


def survivors(name, first, last, cache):
    """Prints a module's mutants as they come, and returns those that survive."""
    path = ROOT / "optax_mi" / f"{name}.py"
    room, _, stem = name.rpartition("/")
    own = Path(room, f"test_{stem.lstrip('_')}.py")
    tests = [str(ROOT / "tests" / test) for test in (own, *SUITES.get(name, []))]
    # The second run has the times of a mutant: the first compiles.
    child, lines = worker(path, [None, None], tests, cache, {}, 3000)
    status, failed, seconds, cpu = [json.loads(line) for line in lines][-1]
    os.waitpid(child, 0)
    if status:
        sys.exit(f"{name}: {failed} fails without a mutant")
    texts = {}
    for i, (old, new) in enumerate(mutants(ast.parse(path.read_text()))):
        line = getattr(old, "lineno", None) or old.target.lineno
        if first <= line <= last:
            text = f"{name}:{line}: {ast.unparse(old)}  ->  {ast.unparse(new)}"
            texts[i] = " ".join(text.split())
    print(f"{name}: {len(texts)} mutants; all tests take {cpu:.0f} s", flush=True)
    alive, left = [], list(texts)
    while left:
        child, lines = worker(path, left, tests, cache, seconds, int(2 * cpu) + 20)
        for line in lines:
            status, failed = json.loads(line)[:2]
            if status == 0:
                alive.append(texts[left[0]])
            how = failed.split("/")[-1] if status else "SURVIVES"
            print(f"{how}\t{texts[left.pop(0)]}", flush=True)
        os.waitpid(child, 0)
        if left:
            print(f"limit of time\t{texts[left.pop(0)]}", flush=True)
    print(f"{name}: {len(texts) - len(alive)} of {len(texts)} killed", flush=True)
    return alive


def main():
    os.chdir(ROOT)
    hypothesis.settings.register_profile(
        "mutants", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )
    hypothesis.settings.load_profile("mutants")
    alive = []
    with tempfile.TemporaryDirectory(prefix="optax_mi-mutants-") as cache:
        for argument in sys.argv[1:] or SUITES:
            name, _, lines = argument.partition(":")
            first, _, last = lines.partition("-")
            alive += survivors(name, int(first or 1), int(last or 10**6), cache)
    print("Survivors:", *alive, sep="\n")


if __name__ == "__main__":
    main()
