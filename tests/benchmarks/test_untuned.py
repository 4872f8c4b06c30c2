"""Methods that are given nothing: their settings, their runs and their tables."""

import dataclasses
import json

import numpy as np
import pytest
import untuned
from suite.tasks import bundled_tasks
from suite.training import train
from suite.untuned import UNTUNED, search, setting_of

from optax_mi import auto

CANCER = next(task for task in bundled_tasks() if task.name == "cancer")
CNN = next(task for task in bundled_tasks() if task.name == "digits_cnn")


def test_each_seed_trains_with_its_own_setting():
    method = UNTUNED["auto sgd"]
    own = {
        "lr_max": np.array([[0.01, 0.3]], np.float32),
        "lr_min": np.array([[0.0001, 0.0]], np.float32),
        "lr_sum_max": np.array([[np.inf, 1.0]], np.float32),
    }
    how = {"steps": 32, "evaluations": 2}
    both = train(CANCER, method, own, [0, 1], paired=True, **how)
    for seed in (0, 1):
        alone = {name: values[:, seed] for name, values in own.items()}
        curves = train(CANCER, method, alone, [seed], **how)
        for name, values in curves.first.items():
            np.testing.assert_allclose(
                both.first[name][:, seed], values[:, 0], rtol=1e-4
            )
        np.testing.assert_allclose(both.rates[:, seed], curves.rates[:, 0], rtol=1e-4)
    # The limit has stopped the second one.
    assert both.rates[0, 1, -1] < 0.01 < 0.3


@pytest.mark.parametrize("limit", [None, 2.0])
def test_a_setting_is_what_the_transformation_is_made_from(limit):
    found = search(CANCER, UNTUNED["auto adamw"].searched, 0, 60)
    found = dataclasses.replace(found, lr_max=0.03, lr_sum_max=limit)
    low = 0.0 if limit else 0.0003
    want = {"lr_max": 0.03, "lr_min": low, "lr_sum_max": limit or np.inf}
    assert setting_of(found) == pytest.approx(want)
    assert setting_of(dataclasses.replace(found, lr_max=None)) == {}


def test_augmented_batches_are_held_out_from_the_stream(monkeypatch):
    seen = {}

    def spy(loss_fn, params, batches, **how):
        seen.update(how, batches=batches)
        return auto(loss_fn, params, batches, **how)

    monkeypatch.setattr("suite.untuned.auto", spy)
    search(CNN, UNTUNED["auto sgd"].searched, 0, 60)
    assert callable(seen["batches"])
    assert len(seen["eval_batches"][0]) == 5  # 15 % of 33


def row(*losses, settings=None):
    return {"test_loss": list(losses)} | ({"settings": settings} if settings else {})


def test_tables_rank_by_mean_loss_and_hold_auto_against_its_method():
    settings = [{"lr_max": 0.1, "lr_sum_max": None}, {"lr_max": 0.3, "lr_sum_max": 2.0}]
    cells = {name: row(2.0 + i, 2.0 + i) for i, name in enumerate(UNTUNED)}
    cells["auto sgd"] = row(1.1, 1.1, settings=settings)
    cells["auto adamw"] = row(0.9, 1.2, settings=settings)
    cells["prodigy 1"] = row(None, 1.0)
    cells["mi sgd + average"] = row(1.0, 1.0)
    cells["mi adamw + average"] = row(1.0, 1.0)
    lines = untuned.as_markdown({"tasks": {"cancer": cells}}).splitlines()
    table = {line.split(" | ")[0].strip("| *"): line.split(" | ") for line in lines}
    assert table["auto sgd"][1:3] == ["4.0", "2.0"]
    assert table["auto adamw"][1:3] == ["3.0", "1.0"]
    assert table["prodigy 1"][1] == "-"
    assert table["prodigy 1"][3] == "- |"
    assert table["sgd cosine"][3] == "- |"
    assert table["adamw cosine 1e-3"][2] == "-"  # It is told the end.
    assert lines[-1] == (
        "| cancer | +10.0% ± 0.0% | 0.1 to 0.3 | 1 | +5.0% ± 15.0% | 0.1 to 0.3 | 1 |"
    )


@pytest.mark.slow
def test_the_script_runs_and_resumes(tmp_path, capsys):
    arguments = ["--short", "--tasks=cancer", "--seeds=2", f"--output={tmp_path}"]
    untuned.main(arguments)
    results = json.loads((tmp_path / "short" / "untuned.json").read_text())
    assert set(results["tasks"]["cancer"]) == set(UNTUNED)
    cells = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cells/*")}
    assert len(cells) == len(UNTUNED) + 2
    untuned.main(arguments)
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    assert "auto adamw" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["--tasks=iris", "--seeds=1"])
def test_a_wrong_argument_is_one_line(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        untuned.main([wrong])
    assert len(capsys.readouterr().err.splitlines()) == 1
