"""The figure of the layers shows what it is given, under the right name."""

import itertools
import math

import numpy as np
import pytest

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
    legend = [text.get_text() for text in rates.get_legend().get_texts()]
    assert legend == [tick.get_text() for tick in over_depth.get_xticklabels()]
    assert legend == ["conv", "dense"]
    assert [list(line.get_ydata()) for line in over_depth.lines[:3]] == [
        [0.2, 0.6],
        [0.4, 1.1],
        [0.5, 1.3],
    ]
    assert over_epochs.get_ylim() == over_depth.get_ylim()
    assert {over_epochs.get_ylabel(), over_depth.get_ylabel()} == {
        "usable information (nats)"
    }
    assert [text.get_text() for text in over_epochs.texts] == ["H(labels)"]
    # The names have the colors of the lines.
    for name, line in zip(
        over_depth.get_xticklabels(), over_epochs.lines[1:], strict=True
    ):
        np.testing.assert_array_equal(name.get_color(), line.get_color())
    assert scale.get_ylim() == (1, 3)


def test_layers_of_one_epoch_and_real_labels(tmp_path):
    figure = plot_layers(
        mi={"only": [0.5]}, entropy=[math.inf], learning_rate={"only": [0.1]}
    )
    figure.savefig(tmp_path / "layers.png")
    assert len(figure.axes) == 3  # no scale of a single epoch
    assert len(figure.axes[0].lines) == len(figure.axes[2].lines) == 1
    assert list(figure.axes[1].get_xticks()) == [1]


def boxes(texts):
    """The corners of texts [N, 4, 2], in axes in which they lie level."""
    found = []
    for text in texts:
        turn = np.deg2rad(text.get_rotation())
        cos, sin = np.cos(turn), np.sin(turn)
        text.set_rotation(0)
        width, height = text.get_window_extent().size
        x, y = text.get_transform().transform(text.get_position())
        right, up = x * cos + y * sin, y * cos - x * sin
        assert text.get_ha() == "right"
        found.append((right - width, right, up - height, up))
    return found


def test_many_layers_of_long_names_over_many_epochs():
    names = [f"transformer_blocks_{i}/attention_out" for i in range(12)]
    curves = {name: np.linspace(0.1, 1.0, 200) for name in names}
    figure = plot_layers(mi=curves, entropy=[1.4] * 200, learning_rate=curves)
    over_epochs, rates, over_depth, _ = figure.axes
    assert rates.get_legend() is None
    assert {line.get_marker() for line in over_epochs.lines[1:]} == {""}
    assert {line.get_marker() for line in over_depth.lines[:-1]} == {""}
    assert len(over_depth.lines) == 201
    figure.draw_without_rendering()
    ticks = over_depth.get_xticklabels()
    assert [tick.get_text() for tick in ticks] == names
    for tick in ticks:
        low, high = tick.get_window_extent().get_points()
        assert (low >= 0).all()
        assert (high <= figure.bbox.size).all()
    # Along the slant, no line of text touches the next.
    places = boxes(ticks)
    gaps = [one[2] - two[3] for one, two in itertools.pairwise(places)]
    assert min(gaps) > 0


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
