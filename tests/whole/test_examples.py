"""The examples run as a newcomer runs them."""

import pathlib
import re
import shutil
import subprocess
import sys

import chex
import digits
import fashion_mnist
import information_plane
import jax
import layerwise_nnx
import logging_tensorboard
import lr_range_test
import no_knob
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tensorboardX.proto import event_pb2

from optax_mi import LRRangeResult
from tests.benchmarks.test_images import idx_bytes, write_idx

ROOT = pathlib.Path(__file__).parents[2]


def run(script, *arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / script, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_demo_learns_the_digits_and_draws_its_figure(tmp_path):
    done = run("digits.py", "--seed=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = r"test accuracy ([\d.]+)% after \d+ s \(not averaged ([\d.]+)%\)"
    ((share, last_share),) = re.findall(last, done.stdout)
    assert float(share) >= 98
    assert float(last_share) >= 90
    assert "↓" in done.stdout
    assert (tmp_path / "outputs" / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_takes_its_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    digits.main(["--epochs=2", "--rule=proportional", "--no-plot"])
    assert "  2/2  loss " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (digits.main, ["--epochs", "0"], "must be a whole number of at least 1, got"),
        (digits.main, ["--seed", "x"], "--seed: must be a whole number of at least 0"),
        (digits.main, ["--rule", "cosine"], "--rule: invalid choice: 'cosine'"),
        (layerwise_nnx.main, ["--epochs", "0"], "at least 1, got '0'"),
        (layerwise_nnx.main, ["--epochs", "two"], "at least 1, got 'two'"),
        (layerwise_nnx.main, ["--seed", "-1"], "--seed: must be a whole number of at"),
        (layerwise_nnx.main, ["--output"], "--output: expected one argument"),
        (layerwise_nnx.main, ["--stages=3"], "unrecognized arguments: --stages=3"),
        (information_plane.main, ["--epochs", "0"], "at least 1, got '0'"),
        (information_plane.main, ["--epochs", "1.5"], "at least 1, got '1.5'"),
        (information_plane.main, ["--seed", "-1"], "--seed: must be a whole number of"),
        (information_plane.main, ["--output"], "--output: expected one argument"),
        (information_plane.main, ["--noise=1"], "unrecognized arguments: --noise=1"),
        (no_knob.main, ["--optimizer", "adagrad"], "invalid choice: 'adagrad'"),
        (no_knob.main, ["--epochs", "0"], "at least 1, got '0'"),
        (logging_tensorboard.main, ["--epochs", "0"], "at least 1, got '0'"),
        (lr_range_test.main, ["--steps", "19"], "at least 20, got '19'"),
        (lr_range_test.main, ["--optimizer", "lion"], "invalid choice: 'lion'"),
        (lr_range_test.main, ["--data", "mnist"], "give --data-dir, a folder with"),
        (
            lr_range_test.main,
            ["--data=cifar10", "--data-dir=nowhere"],
            "data_batch_5.bin, test_batch.bin not found in nowhere",
        ),
    ],
)
def test_a_wrong_value_gets_one_clear_line(main, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture
def small_fashion(tmp_path):
    """Images of the format of Fashion-MNIST that show their class: three batches."""
    folder = tmp_path / "fashion_mnist"
    train_x, train_y, *_ = write_idx(folder, rows=(400, 40))
    for image, label in zip(train_x, train_y, strict=True):
        image[2 * label : 2 * label + 4] = 255
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(train_x))
    return [f"--data-dir={tmp_path}"]


@pytest.mark.slow
@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_fashion_mnist_goes_on_as_if_it_had_never_stopped(
    small_fashion, tmp_path, monkeypatch, capsys, net
):
    monkeypatch.setattr(fashion_mnist, "RANGE_STEPS", 20)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = [*small_fashion, f"--net={net}", "--seed=3"]
    fashion_mnist.main([*arguments, "--epochs=3", f"--output={whole}"])
    assert "after 3 epochs" in capsys.readouterr().out
    fashion_mnist.main([*arguments, "--epochs=2", f"--output={parts}", "--no-plot"])
    # As if it had been killed after the log and before the checkpoint.
    shutil.rmtree(parts / f"fashion_mnist_{net}_3/checkpoints/2")
    fashion_mnist.main([*arguments, "--epochs=3", f"--output={parts}", "--resume"])
    logs = [
        fashion_mnist.read_log(d / f"fashion_mnist_{net}_3/log.csv", 9)
        for d in (whole, parts)
    ]
    assert [row["step"] for row in logs[0]] == [3, 6, 9]
    for log in logs:
        seconds = [row.pop("seconds") for row in log]
        assert seconds == sorted(seconds)
    assert logs[0] == logs[1]
    # As in the state, to the last bit.
    saved = []
    for folder in (whole, parts):
        path = folder / f"fashion_mnist_{net}_3/checkpoints"
        with ocp.CheckpointManager(path) as manager:
            assert manager.latest_step() == 3
            saved.append(manager.restore(3, args=ocp.args.StandardRestore()))
    chex.assert_trees_all_equal(*saved)
    assert (whole / f"fashion_mnist_{net}_3.png").read_bytes().startswith(b"\x89PNG")
    assert (parts / f"fashion_mnist_{net}_3.png").is_file()
    # What is finished has nothing left to do, and says what it came to.
    fashion_mnist.main([*arguments, "--epochs=3", f"--output={parts}", "--resume"])
    assert "after 3 epochs" in capsys.readouterr().out


def test_fashion_mnist_says_what_is_missing(small_fashion, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    write_idx(damaged / "fashion_mnist")
    (damaged / "fashion_mnist" / "t10k-labels-idx1-ubyte").write_bytes(b"")
    for arguments, message in (
        ([f"--data-dir={tmp_path / 'x'}"], "put there the four idx-ubyte.gz files"),
        ([*small_fashion, "--resume", f"--output={tmp_path}"], "no checkpoints in"),
        ([f"--data-dir={damaged}"], "t10k-labels-idx1-ubyte: offset 0: expected"),
        ([*small_fashion, "--net=vgg"], "invalid choice: 'vgg'"),
        ([*small_fashion, "--epochs=0"], "at least 1, got '0'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            fashion_mnist.main(arguments)
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("rule", ["log-time", "residual"])
def test_the_demo_compiles_its_step_once(rule):
    digits.train_step.clear_cache()
    rows = digits.train(2, 0, rule, lambda row: None)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert digits.train_step._cache_size() == 1


def scalars_of(path):
    """From each name in an event file to its steps and values."""
    data, found = path.read_bytes(), {}
    while data:
        size = int.from_bytes(data[:8], "little")  # then its checksum, and that of all
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
        data = data[16 + size :]
    return found


def test_tensorboard_gets_the_learning_rate_the_mi_and_the_accuracy(tmp_path, capsys):
    logging_tensorboard.main(["--epochs=3", f"--output={tmp_path}"])
    printed = capsys.readouterr().out
    (share,) = re.findall(r"3 epochs: test accuracy ([\d.]+)%", printed)
    (path,) = (tmp_path / "tensorboard" / "digits_0").iterdir()
    found = scalars_of(path)
    # 1437 images in batches of 32.
    assert {tuple(values) for values in found.values()} == {(44, 88, 132)}
    rates, mi = found["mi/learning_rate"], found["mi/mi"]
    assert 0.001 <= rates[132] < rates[88] < rates[44] <= np.float32(0.1)
    assert 0 < mi[44] < mi[88] < found["mi/entropy"][88] < np.log(10) + 1e-4
    accuracy = found["accuracy/test"][132]
    np.testing.assert_allclose(accuracy, float(share) / 100, atol=6e-4)
    assert accuracy > 0.8
    assert found["accuracy/test_raw"][132] > 0.8


def test_a_network_trains_with_nothing_given(tmp_path, capsys):
    no_knob.main(["--epochs=20", "--optimizer=momentum", f"--output={tmp_path}"])
    printed = capsys.readouterr().out
    assert re.search(r"lr_max 0\.\d+: at 0\.\d+ averaging", printed)
    assert (tmp_path / "no_knob.png").read_bytes().startswith(b"\x89PNG")
    (share,) = re.findall(r"test accuracy ([\d.]+)%", printed)
    assert float(share) >= 95


def test_the_range_test_finds_bounds_and_trains_between_them(tmp_path, capsys):
    lr_range_test.main(["--steps=40", "--epochs=8", f"--output={tmp_path}"])
    printed = capsys.readouterr().out
    found = LRRangeResult.from_json((tmp_path / "lr_range_test.json").read_text())
    assert str(found) in printed
    assert 0.02 < found.lr_max < 1.0
    assert (tmp_path / "lr_range_test.png").read_bytes().startswith(b"\x89PNG")
    (share,) = re.findall(r"test accuracy ([\d.]+)%", printed)
    assert float(share) >= 93


def test_the_range_test_reads_image_files_and_invents_no_bounds(tmp_path, capsys):
    write_idx(tmp_path / "mnist", rows=(1000, 12))
    arguments = ["--data=mnist", f"--data-dir={tmp_path}", "--steps=20", "--seeds=1"]
    # Random pixels, none seen twice: there is nothing to learn, not even by heart.
    with pytest.raises(SystemExit, match="1"):
        lr_range_test.main([*arguments, f"--output={tmp_path}"])
    printed = capsys.readouterr().out
    assert "lr_max not found: no learning rate learns" in printed
    assert "no training without an upper bound" in printed


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
def test_the_stages_of_a_resnet_get_learning_rates_of_their_own(tmp_path, capsys):
    layerwise_nnx.main(["--epochs=2", "--seed=1", f"--output={tmp_path}"])
    printed = capsys.readouterr().out
    rows = re.findall(r"(\w+(?: \d)?) *│ *([\d.]+) │ *([\d.]+)% │ *([\d.]+)", printed)[
        -5:
    ]
    assert [layer for layer, *_ in rows] == list(layerwise_nnx.LAYERS)
    assert len({rate for *_, rate in rows}) > 2
    assert "epoch 2/2" in printed

    last = r"\nloss .* test accuracy ([\d.]+)%, of the averaged weights ([\d.]+)%"
    (shares,) = re.findall(last, printed)
    assert all(float(share) >= 80 for share in shares)
    assert (tmp_path / "layerwise_nnx.png").read_bytes().startswith(b"\x89PNG")


def test_the_plane_measures_what_is_known():
    """Points in groups far apart: X counts points, or groups where they coincide."""
    key, label = jax.random.key(0), np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    ln2 = np.log(2)
    for places, kept, told in (
        # H(1/4), and H(Y) but for what the group of three leaves open.
        ([0, 0, 0, 9], 2 * ln2 - 0.75 * np.log(3), 1.5 * ln2 - 0.75 * np.log(3)),
        ([0, 0, 9, 9], ln2, ln2),
        ([0, 9, 0, 9], ln2, 0.0),
        ([5, 5, 5, 5], 0.0, 0.0),
    ):
        rows = np.array(places, np.float32)[:, None]
        input_mi, label_mi, error = information_plane.measure(rows, label, key)
        assert error < 2e-3
        assert abs(input_mi - kept) < 2e-3
        assert abs(label_mi - told) < 2e-3
    two = information_plane.measure(np.float32([[-1], [1]]), label[1:3], key)
    np.testing.assert_allclose(two, [ln2, ln2, 0], atol=2e-3)
    # Noise of a quarter of the spread, whatever the scale and the place.
    rows = np.float32([[-1], [0.1], [0.3], [1]])
    one = information_plane.measure(rows, label, key)
    np.testing.assert_allclose(
        one, information_plane.measure(1000 * rows + 50, label, key), atol=1e-4
    )
    assert 0.1 < one[1] < ln2
    assert ln2 < one[0] < 2 * ln2


def test_the_moments_of_the_plane():
    assert information_plane.moments(1) == [0, 1]
    assert information_plane.moments(2) == [0, 1, 2]
    later = information_plane.moments(128)
    assert later[0] == 0
    assert later[-1] == 128
    assert 12 < len(later) < 17


@pytest.mark.slow
def test_the_layers_of_the_digits_move_through_the_plane(tmp_path, capsys):
    information_plane.main(["--epochs=2", "--seed=1", f"--output={tmp_path}"])
    printed = capsys.readouterr().out
    rows = re.findall(r"│ +(\d+) │ +([\d.]+)% │(.*)│", printed)[-3:]
    assert [epoch for epoch, *_ in rows] == ["0", "1", "2"]
    assert float(rows[-1][1]) > 80 > float(rows[0][1])
    for *_, cells in rows:
        pairs = re.findall(r"([\d.]+), ([\d.]+)", cells)
        assert len(pairs) == 4
        assert all(0 < float(y) < float(x) < np.log(1797) for x, y in pairs)
        assert all(float(y) < np.log(10) for _, y in pairs)
    assert re.search(r"standard errors of the integrals: at most 0\.0\d+ nats", printed)
    assert (tmp_path / "information_plane.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_nnx_example_learns_the_digits():
    done = run("digits_nnx.py")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert float(re.search(r"test ([\d.]+)%", last).group(1)) >= 97
