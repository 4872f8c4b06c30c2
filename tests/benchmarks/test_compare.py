"""The comparison in short: fewer steps and rows, and what a terminal shows of it."""

import io
import json
import re

import compare
import numpy as np
import pytest
from rich.console import Console
from suite.tasks import bundled_tasks, fashion_mlp, shortened

from tests.benchmarks.test_images import idx_bytes, write_idx

TASKS = {task.name: task for task in bundled_tasks()}


def write_fashion(folder, rows):
    """Images nine in ten of which show their class."""
    train_x, train_y, test_x, test_y = write_idx(folder, rows)
    for name, x, y in (("train", train_x, train_y), ("t10k", test_x, test_y)):
        for place, (image, label) in enumerate(zip(x, y, strict=True)):
            if place % 11 == 0:
                continue
            image[2 * label : 2 * label + 4] = 255
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(x))


def test_a_short_run_is_judged_on_fewer_images_and_has_fewer_steps(tmp_path):
    write_idx(tmp_path / "images", (60, 50))
    task = fashion_mlp(tmp_path / "images")
    whole = task.load(0)
    few, all_of_it = (shortened(task, many, 5).load(0) for many in (49, 50))
    for part, other in zip(whole, all_of_it, strict=True):
        np.testing.assert_array_equal(part[0], other[0])
    np.testing.assert_array_equal(few.train[0], whole.train[0])
    assert len(few.valid[0]) == len(few.test[1]) == 5
    np.testing.assert_array_equal(few.test[0], whole.test[0][:5])
    assert compare.budget(task, short=True) == compare.SHORT < task.steps // 10
    assert compare.budget(TASKS["digits_mlp"], short=True) == 192


def results_of(tasks, rows):
    horizon = {"test_loss": [0.5, 0.7], "test_accuracy": [0.8, 0.9]}
    cell = {"horizons": {"all": horizon}}
    described = {"num_classes": 10, "held_out": True}
    return {
        "tasks": dict.fromkeys(tasks, described),
        "cells": {task: dict.fromkeys(rows, cell) for task in tasks},
        "knows_horizon": [],
        "rivals": dict.fromkeys(rows, "sgd cosine"),
    }


def test_a_terminal_shows_numbers_alone():
    def shown(*args):
        out = io.StringIO()
        Console(file=out, width=100).print(compare.in_terminal(results_of(*args)))
        return out.getvalue()

    text = shown(["one"], ["sgd", "adam"])
    heads = [head.strip() for head in re.split("[┃│]", text.splitlines()[2])]
    shown_columns = ["rank (1)", "test loss", "not told", "loss / best", "accuracy"]
    assert heads[1:-1] == ["method", *shown_columns]
    assert re.search(r"sgd +│ +1.5 │ +0.6 │ +1.5 │ +1 │ +0.85 ", text)
    assert "nan" not in text
    # Losses of several tasks have no mean that means something.
    assert "test loss" not in shown(["one", "two"], ["sgd"])
    assert "loss / cosine" in shown(["one"], ["sgd", "sgd cosine"])


def test_one_folder_does_not_pass_for_two_data_sets(tmp_path):
    write_idx(tmp_path / "files", (1, 1))
    console = Console(file=io.StringIO())

    def names(wanted):
        found = compare.find_tasks(wanted, {}, tmp_path / "files", console)
        return [task.name for task in found]

    assert names(["fashion_mlp", "fashion_mnist"]) == ["fashion_mlp", "fashion_mnist"]
    assert names(["cancer", "mnist", "cifar10"]) == ["cancer", "mnist"]
    assert "skipped cifar10: data_batch_1.bin" in console.file.getvalue()
    with pytest.raises(ValueError, match="name one by --tasks"):
        names(["fashion_mlp", "mnist"])


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_a_short_run_on_images_ends_in_what_was_learned(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("suite.tasks.BATCH", 16)
    write_fashion(tmp_path / "images", (400, 40))
    compare.main(
        [
            "--short",
            "--tasks=fashion_mlp",
            "--methods=sgd",
            "--seeds=2",
            "--trials=1",
            f"--data-dir={tmp_path / 'images'}",
            f"--output={tmp_path / 'out'}",
        ]
    )
    printed = capsys.readouterr().out
    assert "  1/1  fashion_mlp, sgd\n" in printed
    row = re.search(r"│ sgd \+ average +│(.*)│", printed)[1].split("│")
    loss, accuracy = float(row[1]), float(row[-1])
    results = json.loads((tmp_path / "out/short/compare.json").read_text())
    end = results["cells"]["fashion_mlp"]["sgd + average"]["horizons"]["all"]
    assert loss == pytest.approx(np.mean(end["test_loss"]), rel=1e-2)
    assert accuracy == pytest.approx(np.mean(end["test_accuracy"]), rel=1e-2)
    assert loss < 1.0 < np.log(10)
    assert accuracy > 0.8
