"""The examples and the README run as a newcomer runs them."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

ROOT = pathlib.Path(__file__).parent.parent


def run(script, *arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / script, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def load(name):
    """The example as a module."""
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_demo_learns_the_digits_and_draws_its_figure(tmp_path, seed):
    done = run("digits.py", "--seed", seed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (share,) = re.findall(r"test accuracy ([\d.]+)%", done.stdout)
    assert float(share) >= 97
    assert "↓" in done.stdout
    assert (tmp_path / "outputs" / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_takes_its_options(tmp_path):
    done = run(
        "digits.py", "--epochs=2", "--rule=proportional", "--no-plot", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: must be a whole number of at least 1, got '0'"),
        (["--seed", "x"], "--seed: must be a whole number of at least 0, got 'x'"),
        (["--rule", "cosine"], "--rule: invalid choice: 'cosine'"),
    ],
)
def test_a_wrong_value_gets_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        load("digits").main(arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_demo_compiles_its_step_once():
    digits = load("digits")
    rows = digits.train(2, 0, "residual", lambda row: None)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert digits.train_step._cache_size() == 1


@pytest.mark.slow
def test_the_layers_of_the_digits_get_learning_rates_of_their_own(tmp_path):
    done = run("layerwise_digits.py", "--epochs=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    layers = re.findall(r"(\w+_\d) *│ *([\d.]+) │ *([\d.]+)% │ *([\d.]+)", done.stdout)
    assert [layer for layer, *_ in layers] == ["Conv_0", "Conv_1", "Dense_0", "Dense_1"]
    assert len({rate for *_, rate in layers}) > 2
    path = tmp_path / "outputs" / "layerwise_digits.png"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_nnx_example_learns_the_digits():
    done = run("digits_nnx.py")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert float(re.search(r"test ([\d.]+)%", last).group(1)) >= 96


class Dense(nn.Module):
    """What the README calls `model`."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x)


def test_the_readme_code_runs():
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 4
    images, labels = jnp.ones((20, 4)), jnp.arange(20) % 10
    model = Dense()
    params = model.init(jax.random.key(0), images)["params"]
    logits = model.apply({"params": params}, images)
    names = {
        "optax": optax,
        "model": model,
        "params": params,
        "grads": jax.tree.map(jnp.ones_like, params),
        "logits": logits,
        "labels": labels,
        "steps_per_epoch": 5,
    }
    exec(blocks[0], names)
    exec(blocks[1], names)
    assert names["state"].step == 1
    linear = nnx.Linear(4, 10, rngs=nnx.Rngs(0))
    names |= {
        "nnx": nnx,
        "model": linear,
        "grads": nnx.grad(lambda m: m(images).sum())(linear),
    }
    exec(blocks[2], names)
    assert names["optimizer"].step[...] == 1
    x = np.random.default_rng(0).normal(size=(20, 2))
    names |= {"predicted": labels, "activations": x, "x": x, "y": x**2}
    exec(blocks[3], names)
    assert names["plugin_mi"](labels, labels).mi > 2
