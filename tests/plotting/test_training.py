"""The figure shows the run that it is given."""

import math

import pytest

from optax_mi.plotting import plot_layers, plot_training

RUN = {
    "mi": [0.5, 1.0, 1.2, 1.2],
    "entropy": [1.4, 1.4, 1.4, 1.4],
    "learning_rate": [0.3, 0.3, 0.1, 0.05],
}


def test_three_aligned_panels_with_the_decays_marked():
    figure = plot_training(**RUN, accuracy={"train": [0.5] * 4, "test": [0.4] * 4})
    mi, rates, accuracy = figure.axes
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert [list(line.get_ydata()) for line in mi.lines[-2:]] == [
        RUN["entropy"],
        RUN["mi"],
    ]
    assert rates.get_yscale() == "log"
    marks = rates.lines[-1]
    assert list(marks.get_xdata()) == [3, 4]
    assert list(marks.get_ydata()) == [0.1, 0.05]
    assert "test: 40.0% at the end" in accuracy.get_legend_handles_labels()[1]


def test_one_epoch_and_no_accuracy(tmp_path):
    figure = plot_training(mi=[0.0], entropy=[0.0], learning_rate=[0.1], title="short")
    assert len(figure.axes) == 2
    figure.savefig(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 1000


def test_real_labels_have_no_ceiling(tmp_path):
    figure = plot_training(
        mi=[0.5, 3.0], entropy=[math.inf] * 2, learning_rate=[0.1, 0.1]
    )
    figure.savefig(tmp_path / "run.png")
    assert len(figure.axes[0].lines) == 1
    assert 3 < figure.axes[0].get_ylim()[1] < 4


@pytest.mark.parametrize("change", [{"mi": [0.5]}, {k: [] for k in RUN}])
def test_refuses_curves_of_different_lengths(change):
    with pytest.raises(ValueError, match=r"one value per epoch, got lengths \{'mi': "):
        plot_training(**{**RUN, **change})


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
    assert scale.get_ylim() == (1, 3)


def test_layers_of_one_epoch_and_real_labels(tmp_path):
    figure = plot_layers(
        mi={"only": [0.5]}, entropy=[math.inf], learning_rate={"only": [0.1]}
    )
    figure.savefig(tmp_path / "layers.png")
    assert len(figure.axes[0].lines) == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mi": {"conv": [0.1] * 3}}, r"same layers, got \['conv'\] and \['conv', 'de"),
        ({"entropy": [1.4]}, r"one value per epoch, got lengths \{'entropy': 1, \"mi"),
    ],
)
def test_refuses_layers_that_do_not_fit(change, match):
    with pytest.raises(ValueError, match=match):
        plot_layers(**{**LAYERS, **change})


@pytest.mark.parametrize("layers", [{}, None, [0.1, 0.2]])
def test_layers_have_names(layers):
    for name in ("mi", "learning_rate"):
        with pytest.raises(TypeError, match=f"^{name} must be a mapping from each"):
            plot_layers(**{**LAYERS, name: layers})
