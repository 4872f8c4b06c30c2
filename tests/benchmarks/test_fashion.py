"""Fashion-MNIST as tasks, and the script of images, on files of the same format."""

import dataclasses
import json

import flax.linen as nn
import images
import jax
import numpy as np
import pytest
from suite import images_report
from suite.fashion import fashion_tasks
from suite.files import load_json
from suite.images import load_images
from suite.nets import BatchNormResNet, PatchConv
from suite.paper import PLAIN, ROWS, TIMED, rows_of
from suite.results import save_json
from suite.training import with_batch_stats

from tests.benchmarks.test_images import write_idx


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    write_idx(path / "fashion_mnist", rows=(3000, 40))
    return path


def test_a_patch_convolution_is_a_convolution():
    x = jax.random.normal(jax.random.key(0), (3, 12, 12, 2))
    for size, stride in ((3, 1), (5, 2)):
        ours, theirs = PatchConv(4, stride, size), nn.Conv(4, (size, size), 1)
        variables = jax.jit(ours.init)(jax.random.key(1), x)
        dense = variables["params"]["Dense_0"]
        kernel = dense["kernel"].reshape(size, size, 2, 4)
        whole = theirs.apply({"params": {**dense, "kernel": kernel}}, x)
        np.testing.assert_allclose(
            ours.apply(variables, x), whole[:, ::stride, ::stride], rtol=1e-4, atol=1e-5
        )


def test_three_of_ten_labels_are_wrong_but_for_the_test_s(folder):
    tasks = fashion_tasks(folder)
    clean, wrong = tasks["mlp-clean"].load(1), tasks["mlp-wrong"].load(1)
    for (x, y), (same_x, other_y), share in zip(
        clean, wrong, (0.3, 0.3, 0), strict=True
    ):
        np.testing.assert_array_equal(x, same_x)
        assert np.mean(y != other_y) == pytest.approx(share, abs=1e-3)
    assert [len(part[0]) for part in clean] == [2850, 150, 40]


def test_rare_classes_are_a_hundredth_of_the_first(folder):
    task = fashion_tasks(folder)["cnn-rare"]
    data, other = task.load(0), task.load(1)
    (x, y), test = load_images("fashion_mnist", folder)
    labels = np.concatenate([data.train[1], data.valid[1]])
    wanted = np.bincount(y) * 0.01 ** (np.arange(10) / 9)
    np.testing.assert_array_equal(np.bincount(labels), np.round(wanted))
    assert len(data.valid[1]) == round(0.1 * len(labels))
    kept = np.concatenate([data.train[0], data.valid[0]])
    label_of = {image.tobytes(): label for image, label in zip(x, y, strict=True)}
    assert [label_of[image.tobytes()] for image in kept] == list(labels)
    assert len({image.tobytes() for image in kept}) == len(kept)
    np.testing.assert_array_equal(data.test[1], test[1])
    # Seeds keep other images, and as many, so that they train side by side.
    assert data.train[0].shape == other.train[0].shape
    assert not np.array_equal(data.train[0], other.train[0])


def test_statistics_of_batch_norms_belong_to_the_weights_that_are_judged(folder):
    task = fashion_tasks(folder)["resnet-clean"]
    assert isinstance(task.model, BatchNormResNet)
    task = dataclasses.replace(task, model=BatchNormResNet(10, (4, 4)))
    x = task.load(0).train[0][:64]
    inputs = task.prepare(x)
    params = {"params": jax.jit(task.model.init)(jax.random.key(0), inputs)["params"]}
    apply = jax.jit(lambda v, x: task.model.apply(v, x, mutable=["batch_stats"])[0])
    trained = apply(params, inputs)
    judged = with_batch_stats(task, params, x)
    np.testing.assert_allclose(apply(judged, inputs), trained, rtol=1e-3, atol=1e-4)
    # One image alone is judged as it is among others.
    alone = apply(judged, inputs[:1])
    np.testing.assert_allclose(alone, trained[:1], rtol=1e-3, atol=1e-4)
    other = with_batch_stats(task, jax.tree.map(lambda p: 2 * p, params), x)
    old, new = (v["batch_stats"]["BatchNorm_0"]["mean"] for v in (judged, other))
    np.testing.assert_allclose(new, 2 * old, rtol=1e-4)
    plain = fashion_tasks(folder)["mlp-clean"]
    assert with_batch_stats(plain, params, x) is params


def test_rows_are_named_after_what_they_do():
    for name, method in ROWS.items():
        assert next(iter(method.rows)) == name
        assert (method.tested is not None) == (name.endswith("range test"))
        assert len(method.trials) == (0 if method.tested else 3)
    higher = rows_of("resnet-clean")
    assert higher["adam"].trials == (1e-3, 3e-3, 1e-2)
    assert higher["lars"].trials == ROWS["lars"].trials
    assert higher["mi sgd range test"].tested is ROWS["mi sgd range test"].tested
    assert rows_of("cnn-wrong") is ROWS
    timed = {row for m in ROWS.values() for row in m.rows if "range test" not in row}
    assert set(TIMED) == timed
    assert all(TIMED[name] is PLAIN[name] for name in TIMED if name in PLAIN)


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_the_script_resumes_times_and_reports(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(images, "TIMED", {"sgd": ROWS["sgd"], "adam": ROWS["adam"]})
    where = [f"--data-dir={folder}", "--short", f"--output={tmp_path}", "--seeds=2"]
    cells = ["--tasks=mlp-clean", "--methods=sgd,adam,mi sgd range test"]
    images.main([*where, *cells])
    printed = capsys.readouterr().out
    assert "  3/3  mlp-clean, mi sgd range test\n" in printed
    assert "| **mi sgd range test + average** | " in printed
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "short/cells").iterdir()}
    assert len(kept) == 4
    images.main([*where, *cells])
    assert kept == {p: p.stat().st_mtime_ns for p in kept}
    images.main([*where, "--tasks=mlp-clean", "--times"])
    images.main([*where, f"--report={tmp_path / 'report'}"])
    results = load_json(tmp_path / "report/images.json")
    assert list(results["cells"]) == ["mlp-clean"]
    rows = results["cells"]["mlp-clean"]
    assert "adam" in rows
    assert "sgd + average" in rows
    noise = rows["adam"]["noise"]
    assert set(noise) == {
        f"{kind} {norm}"
        for kind in ("random", "gradient")
        for norm in ("0.5", "1", "2", "16")
    }
    assert np.all(np.asarray(noise["gradient 16"]) <= noise["random 0.5"])
    text = (tmp_path / "report/images.md").read_text()
    against, line, _ = (x for x in text.splitlines() if x.startswith("| adam |"))
    ours = rows["mi sgd range test + average"]["horizons"]["all"]["test_loss"]
    theirs = rows["adam"]["horizons"]["all"]["test_loss"]
    assert against.startswith(f"| adam | {np.mean(theirs) / np.mean(ours):.3f}, ")
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    chosen = rows["adam"]["horizons"]["all"]
    assert float(cells[1].strip("*")) == pytest.approx(chosen["learning_rate"])
    assert cells[4].startswith(f"{np.mean(chosen['test_loss']):.4f} ± ")
    assert cells[7] == f"{np.mean(chosen['test_accuracy']):.2%}"
    ratio = json.loads((tmp_path / "short/cells/mlp--step-times.json").read_text())
    assert cells[8] == f"{ratio['adam']['ratio']:.2f}"
    assert (tmp_path / "report/images-mlp-clean.png").stat().st_size > 10_000
    assert "images.md" in capsys.readouterr().out
    # Bounds alone are no run, and a report does not begin one.
    (tmp_path / "short/cells/mlp-clean--mi-sgd-range-test.json").unlink()
    images.main([*where, f"--report={tmp_path / 'report'}"])
    left = load_json(tmp_path / "report/images.json")["cells"]["mlp-clean"]
    assert set(left) == {"sgd", "sgd + average", "adam"}


def test_a_report_without_the_rows_that_others_are_compared_with(tmp_path):
    end = {"test_loss": [0.5, 0.7], "test_accuracy": [0.8, 0.9]}
    end |= {"learning_rate": 0.1, "at_edge": False}
    cell = {
        "horizons": dict.fromkeys(("1/4", "1/2", "all"), end),
        "curves": {"test_loss": [2, 1, 0.8, 0.6], "test_accuracy": [0, 0.5, 0.6, 0.85]},
        "steps": [1, 2, 3, 4],
        "steps_to_target": [3, 4],
        "noise": {},
    }
    info = {"title": "MLP", "steps": 4, "batch": 2, "target": 0.7}
    results = {
        "seeds": 2,
        "tasks": {"mlp-clean": info},
        "cells": {"mlp-clean": {"sgd": cell}},
        "skipped": {"mlp-clean": {}},
        "times": {},
    }
    save_json(tmp_path / "images.json", results)
    text, figure = images_report.write_report(tmp_path / "images.json")
    assert "compared with" not in text.read_text()
    assert "| sgd | 0.1 | 0.6000 | 0.6000 | 0.6000 ± 0.1000 |" in text.read_text()
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=1"], "--seeds: must be a whole number of at least 2, got '1'"),
        (["--tasks=mlp"], "--tasks: no mlp; there are mlp-clean,"),
        (["--methods=sgdd"], "--methods: no sgdd; there are core, sgd,"),
        (["--times", "--report=x"], "not allowed with argument --times"),
    ],
)
def test_the_script_says_what_is_wrong(folder, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        images.main([f"--data-dir={folder}", *arguments])
    assert message in capsys.readouterr().err


def test_the_script_says_what_data_are_missing(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        images.main([f"--data-dir={tmp_path}"])
    assert "train-images-idx3-ubyte" in capsys.readouterr().err
