"""Nothing here goes to the network, unpickles, or leaves half a file."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("optax_mi", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
UNPICKLERS = ("pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
PICKLED = ("read_pickle", "to_pickle", "allow_pickle")
NETWORK = ("socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "ftplib")
WRITERS = ("savefig", "write_text", "write_bytes", "dump", "save", "savez", "tofile")


def names_of(node):
    """Names by which a node may reach a module or a function."""
    match node:
        case ast.Import(names=names):
            return [part for alias in names for part in alias.name.split(".")]
        case ast.ImportFrom(module=module, names=names):
            return [*(module or "").split("."), *(alias.name for alias in names)]
        case ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
            return [name]
    return []


def is_writer(node):
    """Whether a node is a call that makes a file."""
    match node:
        # That of Orbax renames what is whole: test_checkpoint kills it while it saves.
        case ast.Call(func=ast.Attribute(value=ast.Name(id="manager"), attr="save")):
            return False
        case ast.Call(func=ast.Attribute(attr="open") | ast.Name(id="open")):
            return True
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in WRITERS
    return False


def replaced(tree):
    """The calls that write to what `with replacing(...) as part` gives."""
    for node in ast.walk(tree):
        match node:
            case ast.With(
                items=[
                    ast.withitem(
                        context_expr=ast.Call(func=ast.Name(id="replacing")),
                        optional_vars=ast.Name(id=part),
                    )
                ]
            ):
                for call in filter(is_writer, ast.walk(node)):
                    places = [call.func.value, *call.args[:1]]
                    if any(isinstance(p, ast.Name) and p.id == part for p in places):
                        yield call


def misuses(source):
    """What a source must not do."""
    tree = ast.parse(source)
    whole = set(replaced(tree))
    found = []
    for node in ast.walk(tree):
        found += [
            name
            for name in names_of(node)
            if name in (*UNPICKLERS, *NETWORK, *PICKLED) or name.startswith("fetch_")
        ]
        if is_writer(node) and node not in whole:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("import os, joblib.externals", ["joblib"]),
        ("from shelve import open as o", ["shelve"]),
        ("from sklearn.datasets import fetch_openml", ["fetch_openml"]),
        ("import urllib.request as u", ["urllib"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("pd.read_pickle(path)", ["read_pickle"]),
        ("path.write_text(text)", ["path.write_text(text)"]),
        ("with open(path, 'w') as f: pass", ["open(path, 'w')"]),
        ("with replacing(a) as part: f.savefig(a)", ["f.savefig(a)"]),
        ("with replacing(a) as part: f.savefig(part, dpi=9)", []),
        ("with replacing(a) as part: part.write_text(text)", []),
        ("np.load(path)", []),
        ("np.save(path, x)", ["np.save(path, x)"]),
        ("manager.save(epoch, args=now)", []),
    ],
)
def test_a_misuse_is_seen(source, found):
    assert misuses(source) == found


def test_no_source_unpickles_downloads_or_writes_in_place():
    assert len(SOURCES) > 50
    found = {str(path): misuses(path.read_text()) for path in SOURCES}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


OFFLINE = """
import io, sys

seen = []
sys.addaudithook(lambda event, _: event.startswith("socket.") and seen.append(event))

import jax
import jax.numpy as jnp
import optax_mi, optax_mi.flax, optax_mi.plotting

tx = optax_mi.mi_sgd(0.1, num_classes=2, steps_per_epoch=1)
params = jnp.ones(2)


@jax.jit
def step(state):
    x, y = jnp.eye(2), jnp.arange(2)
    return tx.update(params, state, params, outputs=x, labels=y)[1]


told = optax_mi.mi_diagnostics(step(tx.init(params)))["all"]
assert told.mi > 0
curves = {name: [getattr(told, name)] for name in ("mi", "entropy", "learning_rate")}
optax_mi.plotting.plot_training(**curves).savefig(io.BytesIO())
assert not seen, seen

import socket

socket.socket().close()
assert seen
"""


def test_imports_training_and_figures_open_no_socket():
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
