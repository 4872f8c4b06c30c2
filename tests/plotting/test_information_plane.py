"""The information plane shows the paths that it is given, and what bounds them."""

import io
import math

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from optax_mi.plotting import plot_information_plane

RUN = {
    "input_mi": {"conv": [4.5, 3.0, 3.3], "dense": [3.6, 2.4, 2.8]},
    "label_mi": {"conv": [1.6, 1.5, 2.1], "dense": [1.2, 1.3, 2.0]},
    "epochs": [0, 2, 16],
    "label_entropy": 2.3,
    "input_entropy": 7.5,
}


def paths_of(axes):
    """The corners of each path, from its lines."""
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    steps = [np.array(line.get_segments()) for line in lines]
    return [np.concatenate([s[:1, 0], s[:, 1]]) for s in steps]


def markers_of(axes):
    """Offsets, colors and shapes of the markers, two collections a layer."""
    dots = [c for c in axes.collections if isinstance(c, PathCollection)]
    return [
        (np.array(c.get_offsets()), c.get_facecolors(), c.get_paths()[0].vertices)
        for c in dots
    ]


def test_a_path_a_layer_colored_by_the_epoch():
    figure = plot_information_plane(**RUN)
    axes, bar = figure.axes
    assert axes.get_xlabel() == "I(X; T) (nats)"
    assert axes.get_ylabel() == "I(T; Y) (nats)"
    expected = [
        np.stack([RUN["input_mi"][layer], RUN["label_mi"][layer]], 1)
        for layer in ("conv", "dense")
    ]
    np.testing.assert_allclose(paths_of(axes), expected)
    conv, conv_end, dense, dense_end = markers_of(axes)
    for (places, colors, _), (end, color, _), path in (
        (conv, conv_end, expected[0]),
        (dense, dense_end, expected[1]),
    ):
        np.testing.assert_allclose(places[::-1], path)
        np.testing.assert_allclose(end, path[-1:])
        np.testing.assert_allclose(color, colors[:1])
    # One epoch one color, one layer one shape.
    np.testing.assert_allclose(conv[1], dense[1])
    assert len(np.unique(conv[1], axis=0)) == 3
    assert conv[2].shape != dense[2].shape or not np.allclose(conv[2], dense[2])
    assert bar.get_ylim() == (0, 16)
    assert [tick.get_text() for tick in bar.get_yticklabels()] == [*"0125", "10"]
    # Brighter with every epoch, for those who see no color and in print.
    brightness = conv[1][::-1, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > 0.05).all()
    assert brightness[-1] < 0.8


def test_the_bounds():
    axes = plot_information_plane(**RUN).axes[0]
    (bound,) = axes.lines
    left, right = axes.get_xlim()
    # Readings lie to the right of the diagonal here.
    assert left > 2.2
    x, y = bound.get_data()
    np.testing.assert_allclose(y, np.minimum(x, 2.3))
    assert (x[0], x[-1]) == (left, right)
    assert axes.get_ylim()[1] > 2.3
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["H(Y) = 2.3", "H(X) = 7.5 \N{RIGHTWARDS ARROW}", "conv", "dense"]

    near = plot_information_plane(**{**RUN, "input_entropy": 4.9}).axes[0]
    assert list(near.lines[1].get_xdata()) == [4.9, 4.9]
    assert near.get_xlim()[1] >= 4.9
    assert near.texts[1].get_text() == "H(X) = 4.9"

    axes = plot_information_plane(**{**RUN, "input_entropy": None}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["H(Y) = 2.3", "conv", "dense"]


@pytest.mark.parametrize("width", [3.0, 3.4, 7.0])
def test_names_lie_within_the_axes_and_apart(width):
    """Four paths that end beside each other, below H(Y)."""
    layers = [f"dense {i}" for i in range(1, 5)]
    rise = np.linspace(0, 1, 6)
    figure = plot_information_plane(
        input_mi={name: 4.5 - i * 0.4 * rise for i, name in enumerate(layers)},
        label_mi={name: 1.5 + (0.5 + 0.1 * i) * rise for i, name in enumerate(layers)},
        epochs=range(6),
        label_entropy=2.3,
        input_entropy=7.5,
        width=width,
    )
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_window_extent().get_points()
    boxes = [text.get_window_extent().get_points() for text in axes.texts]
    for i, (start, end) in enumerate(boxes):
        assert (start >= low - 1).all()
        assert (end <= high + 1).all()
        for other_start, other_end in boxes[:i]:
            assert ((end <= other_start) | (other_end <= start)).any()
    # Nearest to its own end.
    ends = axes.transData.transform([text.xy for text in axes.texts[2:]])
    for i, box in enumerate(boxes[2:]):
        assert np.linalg.norm(ends - box.mean(0), axis=1).argmin() == i


def test_many_layers_have_a_legend():
    names = [f"blocks_{i}/attention" for i in range(12)]
    curve = np.linspace(1, 2, 200)
    figure = plot_information_plane(
        input_mi={name: curve + 1 + i for i, name in enumerate(names)},
        label_mi=dict.fromkeys(names, curve),
        epochs=range(200),
        label_entropy=2.3,
    )
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    markers = {line.get_marker() for line in legend.get_lines()}
    assert len(markers) == 12
    figure.draw_without_rendering()
    low, high = legend.get_window_extent().get_points()
    assert (low >= 0).all()
    assert (high <= figure.bbox.size).all()
    # So few that they stay apart, the last among them.
    places, *_ = markers_of(figure.axes[0])[0]
    assert len(places) == 25
    assert tuple(places[0]) == (3.0, 2.0)


def test_a_single_epoch_and_vectors():
    figure = plot_information_plane(
        input_mi={"only": [3.0]},
        label_mi={"only": [1.0]},
        epochs=[7],
        label_entropy=2.3,
        title="one",
    )
    (axes,) = figure.axes
    assert axes.get_title() == "one"
    np.testing.assert_allclose(markers_of(axes)[0][0], [[3.0, 1.0]])
    for kind, start in (("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
        file = io.BytesIO()
        plot_information_plane(**RUN).savefig(file, format=kind)
        assert file.getvalue().startswith(start)
        # No picture within the vectors.
        assert kind == "png" or b"/Subtype /Image" not in file.getvalue()
        assert kind == "png" or b"<image" not in file.getvalue()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"input_mi": [4.5, 3.0, 3.3]}, TypeError, "^input_mi must be a mapping from"),
        ({"label_mi": {}}, TypeError, r"^label_mi must be a mapping .* got \{\}\.$"),
        ({"label_mi": {"conv": [1, 1, 1]}}, ValueError, "must have the same layers"),
        (
            {"epochs": [0, 1]},
            ValueError,
            r"one value per epoch, got lengths \{'epochs'",
        ),
        (
            {"epochs": [0, 2, 2]},
            ValueError,
            r"^epochs must rise from 0 or more, got \[0",
        ),
        ({"epochs": [-1, 0, 1]}, ValueError, "^epochs must rise from 0 or more"),
        ({"epochs": 3}, TypeError, "^epochs must be a sequence of numbers"),
        (
            {"input_mi": {**RUN["input_mi"], "conv": [4.0, -3.0, 3.5]}},
            ValueError,
            r"^input_mi\['conv'\] must not be negative, got -3",
        ),
        (
            {"label_mi": {**RUN["label_mi"], "conv": [1.0, math.nan, 1.2]}},
            ValueError,
            r"^label_mi\['conv'\] must not have nan: leave the epoch out",
        ),
        (
            {"input_mi": {**RUN["input_mi"], "conv": [1.0, math.inf, 1.2]}},
            ValueError,
            r"^input_mi\['conv'\] must be finite",
        ),
        # One for the other, and bits.
        (
            {"input_mi": RUN["label_mi"], "label_mi": RUN["input_mi"]},
            ValueError,
            r"^label_mi\['conv'\] must not exceed label_entropy=2\.3, got 4\.5: are b",
        ),
        ({"input_entropy": 2.3}, ValueError, r"^input_mi\['conv'\] must not exceed in"),
        (
            {"label_entropy": 0},
            ValueError,
            "^label_entropy must be positive and in nats",
        ),
        ({"label_entropy": [2.3] * 3}, TypeError, "^label_entropy must be a number"),
        ({"input_entropy": math.inf}, ValueError, "^input_entropy must be positive"),
        ({"input_entropy": "ln 10"}, TypeError, "^input_entropy must be a number"),
        ({"width": 1}, ValueError, "^width must be at least 2 inches"),
        ({"width": None}, TypeError, "^width must be a number"),
    ],
)
def test_refuses_what_is_no_plane(change, error, match):
    with pytest.raises(error, match=match):
        plot_information_plane(**{**RUN, **change})
