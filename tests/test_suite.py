"""The benchmark suite: its harness against a plain loop, its figures against scipy."""

import dataclasses
import json
import math
import pathlib
import re
import subprocess
import sys

import compare
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import range_quality
import research
from scipy import stats
from suite import candidates, report
from suite.methods import METHODS, Setting
from suite.results import cell_path, load_cell, save_cell, save_json, summarise
from suite.tasks import bundled_tasks
from suite.text import VOCABULARY, read_text
from suite.training import Curves, train

from optax_mi import (
    LRRangeResult,
    MIEstimate,
    learning_rates,
    log_time_rule,
    measured,
    mi_decay,
)

ROOT = pathlib.Path(__file__).parent.parent
TASKS = {task.name: task for task in bundled_tasks()}


@pytest.fixture
def compiles_fast():
    """Programs that compile in half the time, and run slower."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def plain_loop(task, method, rate, seed, steps):
    """The loss on the test set and the last rate of one run, a step at a time."""
    data = task.load(seed)
    x, y = data.train
    rng = np.random.default_rng([seed, 1])
    each = len(x) // task.batch
    order = [rng.permutation(len(x))[: each * task.batch] for _ in range(9)]
    batches = np.concatenate(order).reshape(-1, task.batch)[:steps]
    key = jax.random.key(seed)
    params = task.model.init(key, task.prepare(x[:1]))
    tx = method.make(Setting(rate, steps, task.steps_per_epoch, task.num_classes))
    state = tx.init(params)

    def loss_fn(params, x, y):
        logits = task.model.apply(params, x)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return losses.mean(), logits

    @jax.jit
    def step(params, state, i, x, y):
        inputs = task.augment(jax.random.fold_in(key, i), task.prepare(x))
        (_, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, inputs, y
        )
        updates, state = tx.update(grads, state, params, outputs=logits, labels=y)
        return optax.apply_updates(params, updates), state

    for i, rows in enumerate(batches):
        params, state = step(params, state, jnp.uint32(i), x[rows], y[rows])
    x, y = data.test
    return loss_fn(params, task.prepare(x), y)[0], learning_rates(state)["all"]


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_training_side_by_side_is_training_alone(name):
    task, method, steps = TASKS[name], METHODS["mi sgd"], 70
    rates, seeds = np.float32([0.01, 0.1]), [3, 4]
    curves = train(task, method, rates, seeds, steps=steps, evaluations=2)
    for trial, rate in enumerate(rates):
        for place, seed in enumerate(seeds):
            loss, rate_left = plain_loop(task, method, rate, seed, steps)
            got = {k: v[trial, place, -1] for k, v in curves.values.items()}
            assert got["test_loss"] == pytest.approx(float(loss), rel=1e-3)
            assert got["learning_rate"] == pytest.approx(float(rate_left), rel=1e-3)
            assert rate_left < rate


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.trials])
def test_every_method_learns(name):
    method, task = METHODS[name], TASKS["digits_mlp"]
    rates = np.float32(method.trials)
    curves = train(task, method, rates, [0], steps=300, evaluations=2)
    # Chance is ln 10 nats; LARS, DoG and prodigy are slow to start.
    assert np.nanmin(curves.values["test_loss"][:, :, -1]) < 0.5 * math.log(10)
    assert method.unfit(10) == ""
    assert bool(method.unfit(None)) == method.needs_classes


def test_parts_of_a_task_do_not_overlap_and_seeds_differ():
    for task in TASKS.values():
        first, again, other = task.load(0), task.load(0), task.load(1)
        for part in range(3):
            assert len(first[part][0]) == len(first[part][1])
            np.testing.assert_array_equal(first[part][0], again[part][0])
        assert not np.array_equal(first.test[0], other.test[0])
        if task.num_classes is not None:
            labels = np.concatenate([part[1].ravel() for part in first])
            assert labels.min() >= 0
            assert labels.max() < task.num_classes
    rows = np.concatenate([part[0] for part in TASKS["digits_mlp"].load(0)])
    assert len(rows) == 1797


def test_text_is_what_python_ships():
    tokens = read_text()
    assert tokens.max() == VOCABULARY - 1
    shown = "".join("\n" if t == VOCABULARY - 1 else chr(t + 32) for t in tokens[:5000])
    assert 'The "assert" statement' in shown


def made_curves():
    """Two trials, two seeds, three measurements: the first has the better test loss."""
    valid = [[[3, 2, 2.0], [3, 2, 2.2]], [[3, 1, 1.5], [3, 1.2, 1.7]]]
    test = [[[3, 2, 0.1], [3, 2, 0.3]], [[3, 1, 1.6], [3, 1.4, 1.8]]]
    values = {
        "valid_loss": np.array(valid),
        "test_loss": np.array(test),
        "valid_accuracy": np.full((2, 2, 3), 0.5),
        "test_accuracy": np.full((2, 2, 3), 0.6),
        "learning_rate": np.full((2, 2, 3), np.nan),
    }
    return Curves(np.array([10, 20, 30]), values, 1.2, 0.5)


def test_the_trial_is_chosen_on_validation_data_alone():
    cell = summarise(made_curves(), (0.1, 0.3), target=1.1)
    assert cell["learning_rate"] == 0.3
    np.testing.assert_allclose(cell["final"]["test_loss"], [1.6, 1.8])
    np.testing.assert_allclose(cell["best"]["test_loss"], [1.0, 1.4])
    np.testing.assert_allclose(cell["steps_to_target"], [20, np.inf])
    assert cell["microseconds_per_step"] == pytest.approx(1.2 / 4 / 30 * 1e6)


def test_a_run_that_diverged_is_never_chosen():
    curves = made_curves()
    curves.values["valid_loss"][1, 0, -1] = np.nan
    assert summarise(curves, (0.1, 0.3), 1.1)["learning_rate"] == 0.1


def test_a_cell_is_kept_for_its_own_settings_alone(tmp_path):
    path, config = tmp_path / "cells" / "a--b.json", {"seeds": 2, "rates": (0.1, 0.3)}
    assert load_cell(path, config) is None
    curves = made_curves()
    kept = save_cell(path, config, curves)
    for name, values in curves.values.items():
        np.testing.assert_allclose(kept.values[name], values, rtol=1e-4)
    assert load_cell(path, {**config, "seeds": 3}) is None
    assert load_cell(path, config) is not None
    assert list(path.parent.iterdir()) == [path]


def test_kept_bounds_that_are_broken_are_named(tmp_path):
    task, method = TASKS["cancer"], METHODS["mi sgd range test"]
    path = cell_path(tmp_path, task.name, f"{method.name} bounds")
    path.parent.mkdir()
    path.write_text('{"lr_max": 0.1, ')
    with pytest.raises(ValueError, match=rf"{path.name}: .* \(char 16\)"):
        compare.find_bounds(task, method, tmp_path, short=True)


def made_results():
    """Three tasks, three methods; the second diverged on a task."""
    rng = np.random.default_rng(0)
    cells, tasks = {}, {}
    for task in ("one", "two", "three"):
        tasks[task] = {
            "title": task,
            "num_classes": 10,
            "steps": 30,
            "batch": 4,
            "target": 1.0,
            "held_out": task == "three",
        }
        cells[task] = {}
        for method in ("sgd", "mi sgd", "sgd cosine"):
            curves = made_curves()
            curves.values["test_loss"][:] += rng.random()
            cells[task][method] = summarise(curves, (0.1, 0.3), 1.1)
    cells["two"]["mi sgd"]["final"]["test_loss"] = [math.nan, 1.0]
    return {
        "tasks": tasks,
        "cells": cells,
        "knows_horizon": ["sgd cosine"],
        "shown": ["sgd", "mi sgd"],
        "skipped": {"one": {"other": "no estimator"}},
    }


def test_ranks_are_those_of_scipy(tmp_path):
    source = tmp_path / "compare.json"
    save_json(source, made_results())
    results = json.loads(source.read_text())
    table = report.losses(results, results["tasks"])
    assert table.loc["two", "mi sgd"] == math.inf
    want = stats.rankdata(table.to_numpy(), axis=1).mean(0)
    ranks = report.rank_table(results)
    for method, rank in zip(table.columns, want, strict=True):
        assert ranks.loc[method, "all (3)"] == pytest.approx(rank)
    assert list(ranks.columns) == [
        "all (3)",
        "tuned on (2)",
        "held out (1)",
        "loss / best",
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


@pytest.mark.parametrize("steps", [1, 13])
def test_the_candidate_with_open_parts_contains_the_library_s_rule(steps):
    states = [rule.init() for rule in (candidates.log_time(), log_time_rule())]
    rates = [jnp.float32(1.0)] * 2
    for i, mi in enumerate([0.0, 0.2, 0.5, 0.9, 0.8, 1.0] + [1.02] * 20):
        seen = MIEstimate(*(jnp.float32(v) for v in (mi, 1.7, 9.0, 0.0, 0.0)))
        context = {"step": jnp.int32(steps * (i + 1)), "lr_min": 0.0, "lr_max": 1.0}
        for j, rule in enumerate((candidates.log_time(), log_time_rule())):
            rates[j], states[j] = rule.update(states[j], seen, rates[j], **context)
        assert rates[0] == pytest.approx(float(rates[1]), rel=1e-5)
    assert rates[0] < 0.5


def test_a_suggestion_is_judged_against_the_best_of_the_grid(tmp_path):
    cell = {
        "grid": [0.1, 0.2, 0.4],
        "losses": [[2.0, 2.2], [1.0, 1.2], [None, 1.0]],
        "suggested": {
            "parallel": {"lr_max": 0.2, "losses": [1.1, 1.32]},
            "ramp": {"lr_max": 0.1, "losses": [2.0, 2.2]},
            "validation": {"lr_max": None, "losses": [None, None]},
        },
    }
    rate, loss, above = range_quality.judge(cell)
    assert (rate, loss) == (0.2, pytest.approx(1.1))
    assert above["parallel"] == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-9))
    ratios = np.array([2.0 / 1.0, 2.2 / 1.2])
    assert above["ramp"] == (
        pytest.approx(2.1 / 1.1 - 1),
        pytest.approx(ratios.std(ddof=1) / math.sqrt(2)),
    )
    cells = {("teacher", name): cell for name in range_quality.OPTIMIZERS}
    text = range_quality.as_markdown(cells)
    assert "| 0.2: +10.0% ± 0.0% | 0.1: +90.9% ± 8.3% | none |" in text
    range_quality.draw(cells, tmp_path / "range.png")
    assert (tmp_path / "range.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_a_sweep_chooses_the_rate_at_factor_one(tmp_path):
    task, method = TASKS["cancer"], METHODS["mi sgd"]
    ticks = []
    table = research.sweep(
        [dataclasses.replace(task, steps=40)],
        {"ours": method},
        research.vary_epochs,
        2,
        research.FACTORS,
        ticks.append,
    )
    row = table["cancer"]["ours"]
    valid, test = research.final_losses(task, method, 2, steps=40)
    chosen = int(np.argmin(valid))
    assert row["rate"] == research.RATES[chosen]
    assert row["1"] == pytest.approx(float(test[chosen]))
    assert row["0.25"] != row["1"]
    assert ticks[0] == "cancer, ours, x 0.25"
    text = research.as_markdown("epochs", table)
    assert f"{row['4']:.4f}" in text
    research.draw("epochs", table, tmp_path / "epochs.png")
    assert (tmp_path / "epochs.png").read_bytes().startswith(b"\x89PNG")


def test_going_back_to_the_best_epoch():
    """A weight that walks by 1 a step, and an MI that falls in the third epoch."""
    tx = candidates.back_to_best(
        mi_decay(1.0, 1.0, estimator=measured(1.0), steps_per_epoch=2)
    )
    weight = jnp.zeros(())
    state, walk = tx.init(weight), []
    for mi in (0.1, 0.1, 0.5, 0.5, 0.2, 0.2, 0.6, 0.6):
        updates, state = tx.update(jnp.ones(()), state, weight, mi=mi)
        weight = optax.apply_updates(weight, updates)
        walk.append(float(weight))
    assert walk == [1, 2, 3, 4, 5, 4, 5, 6]


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "compare.py", *arguments],
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.slow
def test_the_command_resumes_and_reports(tmp_path):
    arguments = (
        "--short",
        "--tasks=cancer,diabetes,mnist",
        "--methods=sgd,mi sgd residual,mi sgd range test",
        "--seeds=2",
        "--trials=2",
        f"--output={tmp_path}",
    )
    done = run_command(*arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(r"skipped mnist: give --data-dir", done.stdout)
    cells = sorted((tmp_path / "short" / "cells").iterdir())
    assert [path.name for path in cells] == [
        "cancer--mi-sgd-range-test-bounds.json",
        "cancer--mi-sgd-range-test.json",
        "cancer--mi-sgd-residual.json",
        "cancer--sgd.json",
        "diabetes--mi-sgd-range-test-bounds.json",
        "diabetes--mi-sgd-range-test.json",
        "diabetes--sgd.json",
    ]
    results = json.loads((tmp_path / "short" / "compare.json").read_text())
    assert results["skipped"]["diabetes"] == {
        "mi sgd residual": "needs class labels, whose entropy is finite"
    }
    found = LRRangeResult.from_json(cells[0].read_text())
    tested = results["cells"]["cancer"]["mi sgd range test"]
    assert tested["learning_rate"] == pytest.approx(found.lr_max, rel=1e-4)
    cells[0].unlink()
    written = [path.stat().st_mtime_ns for path in cells[1:]]
    again = run_command(*arguments)
    assert again.returncode == 0, again.stderr
    assert cells[0].is_file()
    assert [path.stat().st_mtime_ns for path in cells[1:]] == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--tasks=mnits", "--tasks: no mnits; there are ['digits_mlp'"),
        ("--methods=adam,sdg", "--methods: no sdg"),
        ("--seeds=1", "--seeds must be at least 2"),
        ("--trials=9", "--trials from 1 to 7"),
        ("--tasks=cifar10", "no task is left to run"),
        ("--tasks=diabetes --methods=mi sgd residual", "no method fits diabetes"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        compare.main(arguments.split(" ", 1))
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
