"""The benchmark suite: its harness against a plain loop, and its commands."""

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
from suite import candidates, ranking
from suite.methods import METHODS, PLAIN, Setting
from suite.names import CORE
from suite.results import (
    cell_path,
)
from suite.study_figures import draw_factors, draw_suggestions
from suite.tasks import bundled_tasks
from suite.training import train

from optax_mi import LRRangeResult, learning_rates
from optax_mi.estimators import MIEstimate
from optax_mi.rules import log_time_rule

ROOT = pathlib.Path(__file__).parents[2]
TASKS = {task.name: task for task in bundled_tasks()}


def plain_loop(task, method, rate, seed, steps):
    """Test loss of each row, and the last rate, of one run, a step at a time."""
    data = task.load(seed)
    x, y = data.train
    rng = np.random.default_rng([seed, 1])
    each = len(x) // task.batch
    passes = -(-steps // each)
    order = [rng.permutation(len(x))[: each * task.batch] for _ in range(passes)]
    batches = np.concatenate(order).reshape(-1, task.batch)[:steps]
    key = jax.random.key(seed)
    params = task.model.init(key, task.prepare(x[:1]))
    if task.start is not None:
        params = task.start(seed)
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
    losses = {
        row: loss_fn(view(state, params), task.prepare(x), y)[0]
        for row, view in method.rows.items()
    }
    return losses, learning_rates(state).get("all")


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "tuning"])
def test_training_side_by_side_is_training_alone(name):
    task, method, steps = TASKS[name], METHODS["mi sgd"], 70
    rates, seeds = np.float32([0.01, 0.1]), [3, 4]
    curves = train(task, method, rates, seeds, steps=steps, evaluations=2)
    for trial, rate in enumerate(rates):
        for place, seed in enumerate(seeds):
            losses, rate_left = plain_loop(task, method, rate, seed, steps)
            for row, loss in losses.items():
                got = curves.values[row]["test_loss"][trial, place, -1]
                assert got == pytest.approx(float(loss), rel=1e-3)
            left = curves.rates[trial, place, -1]
            assert left == pytest.approx(float(rate_left), rel=1e-3)
            assert name == "tuning" or rate_left < rate


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.trials])
def test_every_method_learns(name):
    method, task = METHODS[name], TASKS["digits_mlp"]
    rates = np.float32(method.trials)
    curves = train(task, method, rates, [0], steps=300, evaluations=2)
    assert curves.values.keys() == method.rows.keys()
    for metrics in curves.values.values():
        # Chance is ln 10 nats; LARS, DoG and prodigy are slow to start.
        assert np.nanmin(metrics["test_loss"][:, :, -1]) < 0.5 * math.log(10)
    assert method.unfit(10) == ""
    assert bool(method.unfit(None)) == method.needs_classes


def test_the_core_group_runs_few_and_fills_many_rows():
    core = [METHODS[name] for name in CORE]
    rows = [row for method in core for row in method.rows]
    assert len(set(rows)) == len(rows)
    assert len(core) < len(rows)
    told = {row for method in core if method.knows_horizon for row in method.rows}
    assert {method.rival for method in core} <= told
    named = {row for parts in ranking.PARTS.values() for row in parts.values()}
    assert named <= set(rows)
    for given, first, size in (("sgd,core", "sgd", 0), ("momo,core", "momo", 1)):
        args = compare.parse([f"--methods={given}"])
        names = compare.chosen(args, [], METHODS)[1]
        assert names[0] == first
        assert len(names) == len(core) + size


@pytest.mark.usefixtures("compiles_fast")
@pytest.mark.parametrize("name", ["sgd", "adamw cosine"])
def test_the_average_leaves_the_raw_row_as_it_is(name):
    task, rates = TASKS["cancer"], np.float32([0.01])
    both = train(task, METHODS[name], rates, [0, 1], steps=32, evaluations=2)
    alone = train(task, PLAIN[name], rates, [0, 1], steps=32, evaluations=2)
    assert list(both.values) == [name, f"{name} + average"]
    assert list(alone.values) == [name]
    np.testing.assert_allclose(
        both.values[name]["test_loss"], alone.first["test_loss"], rtol=1e-5
    )
    average = both.values[f"{name} + average"]["test_loss"]
    assert not np.allclose(average, alone.first["test_loss"])


@pytest.mark.usefixtures("compiles_fast")
def test_schedule_free_adamw_under_a_constant_mi_decay_is_itself():
    """On one epoch that never closes, the decay does nothing."""
    task = dataclasses.replace(TASKS["cancer"], steps_per_epoch=1000)
    names = ("mi schedule-free", "schedule-free adamw")
    losses = [
        train(task, METHODS[name], np.float32([0.01]), [0], steps=80, evaluations=2)
        for name in names
    ]
    np.testing.assert_allclose(
        losses[0].first["test_loss"], losses[1].first["test_loss"], rtol=1e-3
    )


@pytest.mark.usefixtures("compiles_fast")
def test_one_by_one_is_side_by_side():
    task, method = TASKS["cancer"], METHODS["mi sgd"]
    rates = np.float32([0.01, 0.1])
    options = {"steps": 32, "evaluations": 2}
    together = train(task, method, rates, [0, 1, 2], **options)
    apart = train(
        dataclasses.replace(task, one_by_one=True), method, rates, [0, 1, 2], **options
    )
    for row, metrics in together.values.items():
        for name, values in metrics.items():
            np.testing.assert_allclose(values, apart.values[row][name], rtol=1e-3)


def test_kept_bounds_that_are_broken_are_named(tmp_path):
    task, method = TASKS["cancer"], METHODS["mi sgd range test"]
    path = cell_path(tmp_path, task.name, f"{method.name} bounds")
    path.parent.mkdir()
    path.write_text('{"lr_max": 0.1, ')
    with pytest.raises(ValueError, match=rf"{path.name}: .* \(char 16\)"):
        compare.find_bounds(task, method, tmp_path, short=True)


@pytest.mark.usefixtures("compiles_fast")
def test_a_cosine_that_is_told_each_horizon_has_annealed_at_each(tmp_path):
    task = dataclasses.replace(TASKS["cancer"], steps=160)
    name = "sgd cosine"
    rows = compare.run_cell(task, METHODS[name], None, tmp_path, 2, 1, short=False)
    assert list(rows) == [name, f"{name} + average"]
    kept = json.loads(cell_path(tmp_path, task.name, name).read_text())["runs"]
    assert {h: run["steps"][-1] for h, run in kept.items()} == {
        "1/8": 20,
        "1/4": 40,
        "1/2": 80,
        "all": 160,
    }
    # Half way the run that is told the end is elsewhere than the run that ends there.
    told = kept["1/2"]["values"][name]["test_loss"][0][0][-1]
    passing = kept["all"]["values"][name]["test_loss"][0][0][7]
    assert told != passing
    alone = train(
        task,
        METHODS[name],
        np.float32([rows[name]["trials"]["learning_rates"][0]]),
        range(2),
        steps=80,
        evaluations=1,
    )
    assert told == pytest.approx(alone.first["test_loss"][0, 0, 0], rel=1e-4)


@pytest.mark.parametrize("steps", [1, 13])
def test_the_candidate_with_open_parts_contains_the_library_s_rule(steps):
    states = [rule.init() for rule in (candidates.open_rule(), log_time_rule())]
    rates = [jnp.float32(1.0)] * 2
    for i, mi in enumerate([0.0, 0.2, 0.5, 0.9, 0.8, 1.0] + [1.02] * 20):
        seen = MIEstimate(*(jnp.float32(v) for v in (mi, 1.7, 9.0, 0.0, 0.0)))
        context = {"step": jnp.int32(steps * (i + 1)), "lr_min": 0.0, "lr_max": 1.0}
        for j, rule in enumerate((candidates.open_rule(), log_time_rule())):
            rates[j], states[j] = rule.update(states[j], seen, rates[j], **context)
        assert rates[0] == pytest.approx(float(rates[1]), rel=1e-5)
    assert rates[0] < 0.95


def test_a_suggestion_is_judged_against_the_best_of_the_grid():
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
    cells = {"teacher": dict.fromkeys(range_quality.OPTIMIZERS, cell)}
    text = range_quality.as_markdown(cells)
    assert "| 0.2: +10.0% ± 0.0% | 0.1: +90.9% ± 8.3% | none |" in text
    figure = draw_suggestions(cells)
    first = figure.axes[0]
    curve, *bounds = first.lines
    np.testing.assert_allclose(curve.get_ydata(), [2.1 / 1.1, 1, np.nan])
    assert [line.get_xdata()[0] for line in bounds] == [0.2, 0.1]
    assert [line.get_label() for line in bounds] == ["parallel", "ramp"]
    assert [ax.get_title() for ax in figure.axes] == [*range_quality.OPTIMIZERS]


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_a_sweep_chooses_the_rate_at_factor_one():
    task, method = TASKS["cancer"], PLAIN["mi sgd"]
    ticks = []
    table = research.sweep(
        [dataclasses.replace(task, steps=40)],
        {"ours": method},
        research.vary_epochs,
        2,
        research.FACTORS,
        lambda *done: ticks.append(done),
    )
    row = table["cancer"]["ours"]
    valid, test = research.final_losses(task, method, 2, steps=40)
    chosen = int(np.argmin(valid))
    assert row["rate"] == research.RATES[chosen]
    assert row["1"] == pytest.approx(float(test[chosen]))
    assert row["0.25"] != row["1"]
    assert ticks == [(f"cancer, ours, x {f:g}", 3) for f in research.FACTORS]
    text = research.as_markdown("epochs", table)
    assert f"{row['4']:.4f}" in text
    lowest = min(row[key] for key in ("0.25", "1", "4"))
    (line,) = draw_factors("epochs", table, research.FACTORS).axes[0].lines
    want = [row[key] / lowest for key in ("0.25", "1", "4")]
    np.testing.assert_allclose(line.get_ydata(), want)


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
    assert tested["horizons"]["all"]["learning_rate"] == pytest.approx(
        found.lr_max, rel=1e-4
    )
    assert "sgd + average" in results["cells"]["cancer"]
    cells[0].unlink()
    written = [path.stat().st_mtime_ns for path in cells[1:]]
    again = run_command(*arguments)
    assert again.returncode == 0, again.stderr
    assert cells[0].is_file()
    assert [path.stat().st_mtime_ns for path in cells[1:]] == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--tasks=mnits", "--tasks: no mnits; there are digits_mlp, pixels"),
        ("--methods=adam,sdg", "--methods: no sdg"),
        ("--seeds=1", "--seeds: must be a whole number of at least 2, got '1'"),
        ("--trials=9", "--trials: invalid choice: 9 (choose from 1, 2, 3"),
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
