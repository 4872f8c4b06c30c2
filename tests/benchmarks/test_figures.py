"""Every figure of the docs can be drawn again, and shows what its JSON holds."""

import re
from pathlib import Path

import figures
import matplotlib.pyplot as plt
import numpy as np
import pytest
from suite import study_figures
from suite.files import load_json
from suite.results import save_json
from suite.style import WIDTH, line_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"


@pytest.fixture(autouse=True)
def closes_figures():
    yield
    plt.close("all")


def test_make_figures_draws_every_figure_of_the_docs():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (images,) = re.findall(r"^IMAGES := (.*)$", makefile, re.MULTILINE)
    assert {f"{name}.png" for name in images.split()} == {
        path.name for path in (ROOT / "docs/images").glob("*.png")
    }
    drawn = figures.FIGURES | figures.REPORTS
    for path in RESULTS.glob("*.png"):
        name = path.stem if path.stem in drawn else path.stem.split("-")[0]
        assert name in drawn
        # The curves behind range.md were not kept.
        assert (RESULTS / f"{name}.json").is_file() or name == "range"


def test_the_script_draws_what_there_is(tmp_path, capsys):
    rows = {"log_time_rule": {"rate": 0.1, "0.25": 1.0, "1": 2.0, "4": None}}
    save_json(tmp_path / "budgets.json", {"task": rows})
    figures.main([str(tmp_path)])
    assert (tmp_path / "budgets.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"drew {tmp_path}/budgets.png" in printed
    assert f"skipped compare: no {tmp_path}/compare.json" in printed
    with pytest.raises(SystemExit, match="2"):
        figures.main([str(tmp_path / "none")])
    assert "no folder" in capsys.readouterr().err


def test_losses_are_over_the_lowest_of_the_task():
    table = {
        "one": {
            "log_time_rule": {"rate": 0.1, "0.25": 2.0, "1": 1.5, "4": 1.0},
            "sgd": {"rate": 0.1, "0.25": 3.0, "1": None, "4": 2.0},
        }
    }
    figure = study_figures.draw_factors("budgets", table, figures.FACTORS)
    (axes,) = (ax for ax in figure.axes if ax.lines)
    ours, sgd = axes.lines
    np.testing.assert_allclose(ours.get_ydata(), [2, 1.5, 1])
    np.testing.assert_allclose(sgd.get_ydata(), [3, np.nan, 2])
    assert axes.get_title() == "one"
    low, high = axes.get_ylim()
    assert low < 1
    assert high > 3


def test_bands_reach_from_the_lowest_seed_to_the_highest():
    results = load_json(RESULTS / "fine_tuning.json")
    figure = study_figures.draw_ways({"half": results["half"]})
    top, _ = figure.axes
    row = results["half"]["rows"]["mi adamw, goes on, average"]
    seeds = np.asarray(row["loss"])[:, 1:]
    np.testing.assert_allclose(top.lines[0].get_ydata(), seeds.mean(0))
    (extent,) = top.collections[0].get_paths()
    bounds = extent.get_extents()
    assert bounds.y0 == pytest.approx(seeds.min())
    assert bounds.y1 == pytest.approx(seeds.max())
    assert "3 seeds" in figure.legends[0].get_title().get_text()


@pytest.mark.parametrize("name", ["layer_estimators", "image_pairs"])
def test_readings_are_drawn_under_their_names(name):
    seen = load_json(RESULTS / f"{name}.json")
    figure = figures.FIGURES[name](seen)
    assert figure.get_figwidth() == WIDTH
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    if name == "layer_estimators":
        layer = next(iter(seen["layers"].values()))
        assert texts == {*layer["noisy"], "truth with noise"}
        want = np.mean(layer["noisy"]["gaussian"], 1) / seen["entropy"]
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), want)
        assert [ax.get_title() for ax in figure.axes[:4]] == list(seen["layers"])
    else:
        kinds = seen["kinds"].values()
        names = {n for kind in kinds for layer in kind.values() for n in layer["read"]}
        assert texts == {*names, "truth"}
        layer = next(iter(next(iter(kinds)).values()))
        want = layer["read"]["gaussian_mi"]
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), want)


def test_methods_that_stand_side_by_side_have_colors_of_their_own():
    for methods in (load_json(RESULTS / "compare.json")["shown"], ["new", "newer"]):
        colors = [line_of(method, i)["color"] for i, method in enumerate(methods)]
        assert len(set(colors)) == len(methods)
    assert line_of("mi sgd", 0)["linewidth"] > line_of("sgd", 0)["linewidth"]
    assert line_of("mi sgd", 0)["zorder"] < line_of("sgd", 0)["zorder"]
