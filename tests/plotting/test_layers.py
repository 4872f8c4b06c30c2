"""The figure of the layers shows what it is given, under the right name."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.text import Text

from optax_mi.plotting import plot_layers

LAYERS = {
    "mi": {"conv": [0.2, 0.4, 0.5], "dense": [0.6, 1.1, 1.3]},
    "entropy": [1.4, 1.4, 1.4],
    "learning_rate": {"conv": [0.3, 0.1, 0.05], "dense": [0.3, 0.3, 0.2]},
}


def test_layers_over_epochs_and_over_depth():
    figure = plot_layers(**LAYERS, title="two layers")
    over_epochs, rates, over_depth, scale = figure.axes
    assert [list(line.get_ydata()) for line in over_epochs.lines] == [
        LAYERS["entropy"],
        *LAYERS["mi"].values(),
    ]
    assert [list(line.get_ydata()) for line in rates.lines] == [
        *LAYERS["learning_rate"].values()
    ]
    assert rates.get_yscale() == "log"
    names = [tick.get_text() for tick in over_depth.get_xticklabels()]
    assert names == ["conv", "dense"]
    assert [list(line.get_ydata()) for line in over_depth.lines[:3]] == [
        [0.2, 0.6],
        [0.4, 1.1],
        [0.5, 1.3],
    ]
    assert over_epochs.get_ylim() == over_depth.get_ylim()
    assert {over_epochs.get_ylabel(), over_depth.get_ylabel()} == {
        "usable information (nats)"
    }
    assert over_epochs.texts[0].get_text() == "H(labels)"
    # The names have the colors of the lines, beside which they stand.
    lines, ticks = over_epochs.lines[1:], over_depth.get_xticklabels()
    for axes in (over_epochs, rates):
        beside = axes.texts[-2:]
        assert [text.get_text() for text in beside] == names
        for text, tick, line in zip(beside, ticks, lines, strict=True):
            np.testing.assert_array_equal(text.get_color(), line.get_color())
            np.testing.assert_array_equal(tick.get_color(), line.get_color())
    assert scale.get_ylim() == (1, 3)


def test_layers_of_one_epoch_and_real_labels(tmp_path):
    figure = plot_layers(
        mi={"only": [0.5]}, entropy=[math.inf], learning_rate={"only": [0.1]}
    )
    figure.savefig(tmp_path / "layers.png")
    assert len(figure.axes) == 3  # no scale of a single epoch
    assert len(figure.axes[0].lines) == len(figure.axes[2].lines) == 1
    assert list(figure.axes[1].get_xticks()) == [1]


def widths_and_gaps(ticks):
    """Room between the lines of slanted or upright texts, and their height, pixels."""
    angle = np.deg2rad(ticks[0].get_rotation())
    xs = [tick.get_transform().transform(tick.get_position())[0] for tick in ticks]
    for tick in ticks:
        tick.set_rotation(0)
    heights = [tick.get_window_extent().height for tick in ticks]
    return np.diff(xs) * np.sin(angle), max(heights)


@pytest.mark.parametrize(
    ("count", "name", "angle", "every"),
    [(12, "fc_{}", 45, 1), (12, "transformer_{}/out", 90, 1), (40, "layer_{}", 90, 3)],
)
def test_names_of_many_layers_are_apart(count, name, angle, every):
    names = [name.format(i) for i in range(count)]
    curves = {name: np.linspace(0.1, 1.0, 70) for name in names}
    figure = plot_layers(mi=curves, entropy=[1.4] * 70, learning_rate=curves)
    over_epochs, rates, over_depth, _ = figure.axes
    assert not rates.texts
    assert {line.get_marker() for line in over_epochs.lines[1:]} == {""}
    assert {line.get_marker() for line in over_depth.lines[:-1]} == {""}
    assert len(over_depth.lines) == 71
    figure.draw_without_rendering()
    # Those that are visible.
    ticks = over_depth.get_xticklabels()
    assert [tick.get_text() for tick in ticks] == names[::every]
    for tick in ticks:
        low, high = tick.get_window_extent().get_points()
        assert (low >= 0).all()
        assert (high <= figure.bbox.size).all()
    assert ticks[0].get_rotation() == angle
    gaps, height = widths_and_gaps(ticks)
    assert min(gaps) > height


def test_few_short_names_stay_level():
    names = ["conv", "dense"]
    ticks = plot_layers(**LAYERS).axes[2].get_xticklabels()
    assert [tick.get_rotation() for tick in ticks] == [0] * len(names)


@pytest.mark.parametrize("low", [0.0, 0.001])
def test_no_name_lies_on_a_line(low):
    falling = np.linspace(0.1, low, 30)
    rates = {"frozen": falling * (low > 0), "first": falling, "second": falling + 1e-5}
    mi = {name: np.ones(30) for name in rates}
    figure = plot_layers(mi=mi, entropy=[1.4] * 30, learning_rate=rates)
    figure.draw_without_rendering()
    for axes in figure.axes[:2]:
        right = axes.get_window_extent().x1
        # Without their leaders, which lie partly in the axes.
        boxes = [Text.get_window_extent(text) for text in axes.texts[-3:]]
        assert min(box.x0 for box in boxes) > right
        tops = [(box.y0, box.y1) for box in boxes]
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(sorted(tops)))


def test_learning_rates_of_zero_are_drawn():
    rates = {"conv": [0.0, 0.0, 0.0], "dense": [0.3, 0.3, 0.2]}
    axes = plot_layers(**{**LAYERS, "learning_rate": rates}).axes[1]
    low, high = axes.get_ylim()
    assert low < 0 < 0.3 < high
    assert [tick.get_text() for tick in axes.get_yticklabels()][:2] == ["0", "0.2"]
    rates = {"conv": [0.0] * 3, "dense": [0.0] * 3}
    axes = plot_layers(**{**LAYERS, "learning_rate": rates}).axes[1]
    low, high = axes.get_ylim()
    assert low < 0 < high
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mi": {"conv": [0.1] * 3}}, r"same layers, got \['conv'\] and \['conv', 'de"),
        ({"learning_rate": {"dense": [0.1] * 3}}, r"'dense'\] and \['dense'\]\.$"),
        ({"mi": {**LAYERS["mi"], "conv": []}}, r"\"mi\['conv'\]\": 0"),
        ({"mi": {**LAYERS["mi"], "conv": [0.1, math.inf, 0.1]}}, r"^mi\['conv'\] must"),
        ({"entropy": [1.4]}, r"one value per epoch, got lengths \{'entropy': 1, \"mi"),
    ],
)
def test_refuses_layers_that_do_not_fit(change, match):
    with pytest.raises(ValueError, match=match):
        plot_layers(**{**LAYERS, **change})


@pytest.mark.parametrize("layers", [{}, None, [0.1, 0.2], "conv", 0.1])
def test_layers_have_names(layers):
    for name in ("mi", "learning_rate"):
        with pytest.raises(TypeError, match=f"^{name} must be a mapping from each"):
            plot_layers(**{**LAYERS, name: layers})
