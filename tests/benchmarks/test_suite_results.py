"""What a comparison keeps, and its tables and figures: against numpy and scipy."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from suite import ranking, report
from suite.results import (
    EVALUATIONS,
    HORIZONS,
    at_horizon,
    load_cell,
    save_cell,
    save_json,
    summarise,
)
from suite.training import Curves


def made_curves(evaluations=EVALUATIONS, row="sgd"):
    """Two trials, two seeds; the second has the lower validation loss after half.

    The first always has the lower test loss.
    """
    time = np.arange(1, evaluations + 1)
    slow, fast = 4.0 - time / 8, 2.6 - time / 100
    valid = np.array([[fast, fast + 0.2], [slow, slow + 0.2]])
    test = np.array([[0.1 + 0 * time, 0.3 + 0 * time], [slow + 0.1, slow + 0.5]])
    values = {
        "valid_loss": valid,
        "test_loss": test,
        "valid_accuracy": np.full(valid.shape, 0.5),
        "test_accuracy": np.full(valid.shape, 0.6),
    }
    rates = np.full(valid.shape, np.nan)
    return Curves(10 * time, {row: values}, rates, 1.2, 0.5, {})


def test_the_trial_is_chosen_on_validation_data_alone_at_each_horizon():
    cell = summarise({"all": made_curves()}, "sgd", (0.1, 0.3), target=2.35)
    chosen = {h: seen["learning_rate"] for h, seen in cell["horizons"].items()}
    assert chosen == {"1/8": 0.1, "1/4": 0.1, "1/2": 0.1, "all": 0.3}
    np.testing.assert_allclose(cell["horizons"]["1/8"]["test_loss"], [0.1, 0.3])
    np.testing.assert_allclose(cell["horizons"]["all"]["test_loss"], [2.1, 2.5])
    np.testing.assert_allclose(cell["steps_to_target"], [140, 150])
    np.testing.assert_allclose(cell["best"]["test_loss"], [2.1, 2.5])
    np.testing.assert_allclose(cell["trials"]["1/4"]["test_loss"], [0.2, 3.8])
    assert cell["microseconds_per_step"] == pytest.approx(1.2 / 4 / 160 * 1e6)
    assert len(cell["curves"]["test_loss"]) == EVALUATIONS


def test_a_method_that_is_told_is_judged_by_the_run_of_each_horizon():
    runs = {horizon: made_curves(1) for horizon in HORIZONS}
    runs["all"] = made_curves()
    for i, horizon in enumerate(("1/8", "1/4", "1/2")):
        runs[horizon].values["sgd"]["test_loss"][:] = i
    for i, horizon in enumerate(("1/8", "1/4", "1/2")):
        assert np.all(at_horizon(runs, horizon, "sgd")["test_loss"] == i)
    whole = made_curves().first["test_loss"][:, :, -1]
    np.testing.assert_array_equal(at_horizon(runs, "all", "sgd")["test_loss"], whole)


def test_a_run_that_diverged_is_never_chosen():
    curves = made_curves()
    curves.first["valid_loss"][1, 0, -1] = np.nan
    cell = summarise({"all": curves}, "sgd", (0.1, 0.3), 1.1)
    assert cell["horizons"]["all"]["learning_rate"] == 0.1


def test_a_cell_is_kept_for_its_own_settings_alone(tmp_path):
    path, config = tmp_path / "cells" / "a--b.json", {"seeds": 2, "rates": (0.1, 0.3)}
    assert load_cell(path, config) is None
    runs = {"1/8": made_curves(1), "all": made_curves()}
    runs["all"].first["test_loss"][0, 0, 0] = np.inf
    kept = save_cell(path, config, runs)
    assert list(kept) == list(runs)
    assert np.isnan(kept["all"].first["test_loss"][0, 0, 0])
    for horizon, curves in runs.items():
        values = curves.first["valid_loss"]
        np.testing.assert_allclose(kept[horizon].first["valid_loss"], values, rtol=1e-4)
        np.testing.assert_array_equal(kept[horizon].steps, curves.steps)
    assert load_cell(path, {**config, "seeds": 3}) is None
    assert load_cell(path, config) is not None
    assert list(path.parent.iterdir()) == [path]
    # A list of numbers takes a line.
    assert "[0.5, 0.5, 0.5" in path.read_text()


def test_a_short_list_in_json_leaves_strings_alone(tmp_path):
    content = {
        "a": ["[ 1,  2 ]", "x"],
        "b": [1, None, 2.5],
        "c": [[1], []],
        "d": "[\n1]",
    }
    save_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text()) == content
    assert '"b": [1, null, 2.5]' in (tmp_path / "a.json").read_text()


ROWS = ("sgd", "sgd + average", "mi sgd", "mi sgd + average", "sgd cosine")


def made_results():
    """Three tasks, five rows; the third row diverged on a task."""
    rng = np.random.default_rng(0)
    cells, tasks = {}, {}
    for task in ("one", "two", "three"):
        tasks[task] = {
            "title": task,
            "num_classes": 10,
            "steps": 160,
            "batch": 4,
            "target": 1.0,
            "held_out": task == "three",
        }
        cells[task] = {}
        for row in ROWS:
            curves = made_curves(row=row)
            curves.first["test_loss"][:] += rng.random()
            cells[task][row] = summarise({"all": curves}, row, (0.1, 0.3), 1.1)
    cells["two"]["mi sgd"]["horizons"]["all"]["test_loss"] = [math.nan, 1.0]
    return {
        "tasks": tasks,
        "cells": cells,
        "knows_horizon": ["sgd cosine"],
        "rivals": dict.fromkeys(ROWS, "sgd cosine"),
        "shown": ["sgd", "mi sgd"],
        "seeds": 2,
        "skipped": {"one": {"other": "no estimator"}},
    }


def read_made(folder):
    source = folder / "compare.json"
    save_json(source, made_results())
    return source, json.loads(source.read_text())


def test_ranks_are_those_of_scipy(tmp_path):
    source, results = read_made(tmp_path)
    table = ranking.losses(results, results["tasks"])
    assert table.loc["two", "mi sgd"] == math.inf
    ranks = ranking.rank_table(results)
    want = stats.rankdata(table.to_numpy(), axis=1).mean(0)
    for row, rank in zip(table.columns, want, strict=True):
        assert ranks.loc[row, "rank (3)"] == pytest.approx(rank)
    free = table.drop(columns="sgd cosine")
    want = stats.rankdata(free.to_numpy(), axis=1).mean(0)
    for row, rank in zip(free.columns, want, strict=True):
        assert ranks.loc[row, "not told"] == pytest.approx(rank)
    assert math.isnan(ranks.loc["sgd cosine", "not told"])
    assert list(ranks.columns) == [
        "rank (3)",
        "not told",
        "tuned on (2)",
        "held out (1)",
        "loss / cosine",
        "±",
        "loss / best",
        "accuracy",
    ]
    paths = report.write_report(source)
    assert {path.name for path in paths} == {
        "compare.md",
        "compare-curves.png",
        "compare-trials.png",
        "compare-ranks.png",
    }
    text = (tmp_path / "compare.md").read_text()
    assert "### three: three (held out)" in text
    assert "sgd cosine (told the horizon)" in text
    assert "other: no estimator" in text
    assert "### At an eighth of the budget" in text
    assert "### What each part adds to sgd: the whole grid" in text
    assert "What each part adds to adamw" not in text


@pytest.mark.parametrize("horizon", HORIZONS)
def test_ratios_pair_seeds(tmp_path, horizon):
    _, results = read_made(tmp_path)
    logs = []
    for cells in results["cells"].values():
        own, other = (
            np.array(cells[row]["horizons"][horizon]["test_loss"], float)
            for row in ("sgd", "sgd cosine")
        )
        logs.append(np.log(own) - np.log(other))
    value, error = ranking.ratio(
        results, "sgd", "sgd cosine", results["tasks"], horizon
    )
    by_seed = stats.gmean(np.exp(logs), axis=0)
    assert value == pytest.approx(stats.gmean(by_seed))
    assert error == pytest.approx(stats.sem(by_seed))
    diverged = ranking.ratio(results, "mi sgd", "sgd", results["tasks"], horizon)
    assert (diverged.value == math.inf) == (horizon == "all")
    missing = ranking.ratio(results, "lars", "sgd", results["tasks"], horizon)
    assert math.isnan(missing.value)


def test_an_ablation_over_the_grid_leaves_out_rates_that_diverge_for_neither(tmp_path):
    _, results = read_made(tmp_path)
    cells = results["cells"]
    cells["one"]["sgd"]["trials"]["all"]["test_loss"] = [0.5, None]
    cells["two"]["sgd"]["trials"]["all"]["test_loss"] = [0.5, 2.4]  # above ln 10
    cells["three"]["sgd"]["trials"]["all"]["test_loss"] = [0.5, 2.2]
    kept = {task: ranking.steady_rates(results, "sgd", task) for task in cells}
    assert kept == {"one": [0], "two": [0], "three": [0, 1]}
    lines = {line.name: line for line in ranking.ablation(results, "sgd", True)}
    assert list(lines) == ["neither", "decay", "average", "both", "cosine, told"]
    assert all(v == pytest.approx(1.0) for v in lines["neither"].loss.values())
    logs = []
    for task, places in kept.items():
        own, base = (
            np.array(cells[task][row]["trials"]["all"]["test_loss"], float)[places]
            for row in ("mi sgd + average", "sgd")
        )
        logs.append(np.log(own / base).mean())
    assert lines["both"].loss["all"] == pytest.approx(np.exp(np.mean(logs)))
    assert lines["both"].accuracy["all"] == pytest.approx(0.6)
    assert ranking.ablation(results, "adamw") == []
    best = {line.name: line for line in ranking.ablation(results, "sgd")}
    want = ranking.ratio(results, "sgd + average", "sgd", cells, "1/4")
    assert best["average"].loss["1/4"] == want.value
