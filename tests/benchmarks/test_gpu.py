"""The benchmark of accelerators, in short and on the CPU."""

import pathlib
import types
from concurrent.futures import ThreadPoolExecutor

import gpu
import jax
import numpy as np
import pytest
from device import card, estimators, report, training, truth
from device.cells import Cell
from suite.files import load_json

from tests.benchmarks.test_images import write_idx

ROOT = pathlib.Path(__file__).parents[2]


def test_a_product_shows_its_precision():
    of = card.measure_products(64, 2)
    assert of["float32, HIGHEST"]["error"] < 1e-6
    assert 5e-4 < of["bfloat16"]["error"] < 1e-2
    assert all(row["flops"] > 0 for row in of.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian_mi, classes", "gaussian_mi, real"])
def test_operations_are_those_that_xla_counts(name):
    samples, columns = 3000, 60
    estimator = truth.ESTIMATORS[name]
    arrays = estimator.draw(samples, columns)
    compiled = jax.jit(lambda *a: estimator.measure(*a, columns).mi).lower(*arrays)
    counted = compiled.compile().cost_analysis()["flops"]
    assert 0.7 < estimator.flops(samples, columns) / counted < 1


@pytest.mark.parametrize(
    ("change", "ok"),
    [
        (lambda value: value, True),
        (lambda value: value + 2e-5, False),
        (lambda value: value * np.nan, False),
    ],
)
def test_a_wrong_estimate_is_found_out(change, ok, monkeypatch):
    name = "plugin_mi, ids"
    right = truth.ESTIMATORS[name].measure

    def measure(*arrays):
        estimate = right(*arrays)
        return estimate._replace(mi=change(estimate.mi))

    estimator = types.SimpleNamespace(**vars(truth.ESTIMATORS[name]))
    estimator.measure = measure
    monkeypatch.setitem(truth.ESTIMATORS, name, estimator)
    row = estimators.check(name, 500, 5)
    assert row["ok"] == ok
    results = {"cells": {"check": {"all": {"figures": [row]}}}}
    assert len(report.wrong(results)) == (not ok)


@pytest.mark.parametrize("place", [0, 3])
def test_a_call_computes_on_its_device(place, monkeypatch):
    name, used = "plugin_mi, ids", []

    def measure(outputs, labels, columns):
        made = jax.numpy.ones(2)  # what the estimators make on the way
        used.extend([*jax.numpy.sum(outputs * labels).devices(), *made.devices()])
        return types.SimpleNamespace(mi=1.0)

    estimator = types.SimpleNamespace(measure=measure)
    monkeypatch.setitem(truth.ESTIMATORS, name, estimator)
    device = jax.devices()[place]
    call = estimators.make_run(name, (np.ones(3), np.ones(3)), 2, device)
    with ThreadPoolExecutor() as pool:
        assert pool.submit(call).result() == call() == 1
    assert used == [device] * 4


def test_fashion_is_judged_where_each_run_says(monkeypatch, tmp_path):
    """The loss of a fake training is its epochs, and of the second seed a bit more."""
    write_idx(tmp_path / "fashion_mnist")

    def train(task, method, trials, seeds, *, steps, evaluations):
        assert not task.one_by_one
        epochs = steps / 421 / evaluations * np.arange(1, evaluations + 1)
        loss = epochs + 0.1 * np.array(seeds)[:, None]
        values = {"test_loss": loss[None], "test_accuracy": 0 * loss[None] + 0.5}
        return types.SimpleNamespace(
            seconds=2.0,
            compile_seconds=1.0,
            steps=np.array([steps]),
            values=dict.fromkeys(method.rows, values),
        )

    monkeypatch.setattr("device.training.train", train)
    sizes = training.FULL._replace(seeds=2)
    kept = {}
    for name, of in training.fashion_runs(sizes).items():
        figures = training.train_fashion(of, sizes, tmp_path)
        kept[name] = {"figures": figures, "peak_bytes": None, "seconds": 3.0}
    assert len(kept) == 15
    seen = kept["mi sgd"]["figures"]["rows"]["mi sgd + average"]
    assert list(seen) == ["2", "4", "8", "16", "60"]
    for epochs, judged in seen.items():
        np.testing.assert_allclose(judged["loss"], int(epochs) + np.array([0, 0.1]))
    told = kept["sgd cosine, told 8"]["figures"]["rows"]
    assert list(told["sgd cosine"]) == ["8"]
    lines = report.SECTIONS["fashion"][1](kept).splitlines()
    cosine = "| 2.0500 ± 0.0500 | 50.00% | 4.0500 ± 0.0500 | 50.00% |"
    assert lines[2].startswith(f"| sgd cosine {cosine}")
    # 60 epochs took as long as the last of the cosines.
    assert lines[3].startswith("| sgd | ")
    assert lines[3].endswith(" | 1.00 |")


def ratio(of, against, form, ratio):
    return {
        "of": of,
        "against": against,
        "form": form,
        "base_seconds": 2e-5,
        "ratio": [ratio - 0.1, ratio, ratio + 0.1],
        "pairs": 9,
    }


def test_the_tables_say_what_was_measured():
    step = {
        "seconds": 4.0,
        "peak_bytes": 3 * 10**9,
        "figures": [
            ratio("sgd", "sgd", "call", 1.0),
            ratio("soft", "sgd", "call", 1.25),
            ratio("soft", "sgd", "scan", 1.5),
        ],
    }
    way = {"first_seconds": 3.0, "seconds": 0.5, "ratio": [20, 21, 22]}
    ways = {training.OURS: {**way, "ratio": [1, 1, 1]}, "far": way}
    ways["near"] = {**way, "ratio": [19, 19.9, 21]}
    results = {
        "device": {
            "device": "Some Card",
            "accelerator": True,
            "memory_bytes": 8 * 2**30,
            "cores": 4,
            "jax": "1.0",
        },
        "short": False,
        "missing": ["fashion: sgd"],
        "cells": {
            "step": {"MLP": step},
            "range": {"digits": {"seconds": 1, "peak_bytes": None, "figures": ways}},
        },
    }
    text = report.tables(results)
    assert "Some Card, 8 GiB, beside 4 cores, jax 1.0." in text
    assert "Not measured: fashion: sgd." in text
    assert "CPU:" not in text
    assert (
        "| MLP | A/A | sgd | 20 | 1.000 | 0.900 to 1.100 | - | - | - | 3 |\n"
        "|  | soft | sgd | 20 | 1.250 | 1.150 to 1.350 "
        "| 20 | 1.500 | 1.400 to 1.600 |  |\n"
    ) in text
    assert "| digits | lr_range_test | 3.00 | 0.5 | 1 | 1 to 1 |  |" in text
    assert "|  | far | 3.00 | 0.5 | 21 | 20 to 22 | yes |" in text
    assert "|  | near | 3.00 | 0.5 | 19.9 | 19 to 21 | no |" in text
    results["device"]["accelerator"] = False
    assert "This is a CPU" in report.tables(results)


def test_the_script_stops_in_time_and_fails_where_an_estimate_is_wrong(
    tmp_path, monkeypatch, capsys
):
    row = {
        "name": "plugin_mi",
        "samples": 9,
        "columns": 3,
        "truth": 0.5,
        "device": 0.7,
        "cpu": 0.5,
        "off_truth": 0.2,
        "off_cpu": 0.2,
        "tolerance": 1e-5,
        "ok": False,
    }
    found = [
        Cell("check", "all", {}, 0.0, lambda: [row]),
        Cell("step", "MLP", {}, 1e9, lambda: None),
    ]
    monkeypatch.setattr("gpu.find_cells", lambda *_: found)
    arguments = [f"--output={tmp_path}", "--only=check,step"]
    assert gpu.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "Out of time, so not begun: step: MLP." in printed
    assert "wrong: plugin_mi, 3 columns: 0.7 nats on the device, 0.5" in printed
    assert "WRONG" in (tmp_path / "gpu.md").read_text()
    assert load_json(tmp_path / "gpu.json")["missing"] == ["step: MLP"]
    # What is kept is as wrong the second time.
    assert gpu.main([*arguments, "--only=check"]) == 1
    row["ok"] = True
    assert gpu.main([f"--output={tmp_path / 'new'}", "--only=check"]) == 0


def test_a_report_is_for_accelerators(tmp_path, monkeypatch):
    monkeypatch.setattr("gpu.on_accelerator", lambda: True)
    monkeypatch.setattr("gpu.find_cells", lambda *_: [])
    folders = [f"--output={tmp_path / 'out'}", f"--report={tmp_path / 'docs'}"]
    assert gpu.main([*folders, "--only=step"]) == 0
    for folder in ("out", "docs"):
        names = {path.name for path in (tmp_path / folder).iterdir()}
        assert names == {"gpu.json", "gpu.md"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only=step,range test"], "--only: no range test; there are check, step,"),
        (["--minutes=0"], "--minutes: must be a positive number, got '0'"),
        (["--minutes=nan"], "--minutes: must be a positive number, got 'nan'"),
        (["--report=docs/results"], "--report docs/results is for the figures of an"),
        (["--data-dir=nowhere"], "train-images-idx3-ubyte, train-labels-idx1-ubyte"),
        (["--data-dir=nowhere"], "or leave it out: --only check,step,layers,average,"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_cpu_that_is_left_out_gets_one_line(monkeypatch, capsys):
    def cpu():
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr("gpu.cpu", cpu)
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--only=check"])
    error = capsys.readouterr().err
    assert "JAX_PLATFORMS leaves out the CPU" in error
    assert error.count("\n") == 1


def test_the_page_has_tables_only_of_an_accelerator():
    page = (ROOT / "docs/gpu.md").read_text()
    figures = ROOT / "docs/results/gpu.json"
    included = "```{include} results/gpu.md" in page
    assert included == figures.is_file() == figures.with_suffix(".md").is_file()
    assert included != ("No accelerator has run it yet" in page)
    if included:
        assert load_json(figures)["device"]["accelerator"]


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_it_runs_in_short_and_resumes(tmp_path, capsys):
    write_idx(tmp_path / "fashion_mnist")
    out = tmp_path / "out"
    arguments = ["--short", f"--data-dir={tmp_path}", f"--output={out}"]
    assert gpu.main([*arguments, "--minutes=60"]) == 0
    files = list((out / "short" / "cells").rglob("*.json"))
    assert len(files) == len(gpu.find_cells(True, tmp_path))
    written = [path.stat().st_mtime_ns for path in files]
    # No time is left, and none is needed.
    assert gpu.main([*arguments, "--minutes=1e-9"]) == 0
    assert [path.stat().st_mtime_ns for path in files] == written
    results = load_json(out / "short" / "gpu.json")
    assert results["missing"] == []
    assert list(results["cells"]) == list(report.SECTIONS)
    steps = results["cells"]["step"]["MLP, C = 64"]["figures"]
    kinds = {(row["of"], row["form"]) for row in steps}
    large = ("sgd", "variational", "soft, 16 buckets")
    assert kinds == {(of, form) for of in large for form in ("call", "scan")}
    assert all(row["ratio"][0] > 0 for row in steps)
    text = (out / "short" / "gpu.md").read_text()
    assert "nan" not in text
    assert "WRONG" not in text
    for title, _ in report.SECTIONS.values():
        assert f"### {title}\n" in text


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_every_estimator_is_right_on_the_cpu():
    rows = estimators.check_all(estimators.FULL)
    assert {row["name"] for row in rows} == set(truth.ESTIMATORS)
    assert [row for row in rows if not row["ok"]] == []
