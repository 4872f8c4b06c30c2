"""The figure shows the run that it is given."""

import math

import numpy as np
import pytest

from optax_mi.plotting import plot_training

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


def test_one_epoch_shows_its_rate_and_its_number():
    figure = plot_training(mi=[0.5], entropy=[1.4], learning_rate=[0.03])
    ceiling, _ = figure.axes[0].lines
    (rate,) = figure.axes[1].lines
    assert ceiling.get_marker() == "_"
    assert rate.get_marker() == "o"
    assert list(figure.axes[1].get_xticks()) == [1]


def test_long_runs_have_neither_dots_nor_lines_at_decays():
    for count, marked in ((41, 40), (42, 0)):
        rates = 0.3 * 0.99 ** np.arange(count)
        curve = np.linspace(0, 1, count)
        figure = plot_training(mi=curve, entropy=0 * curve + 1.4, learning_rate=rates)
        # The two lines of the panel, and those at decays.
        assert len(figure.axes[0].lines) == 2 + marked
        assert len(figure.axes[1].lines) == 1 + marked + bool(marked)


def test_an_epoch_without_a_reading_is_a_gap():
    figure = plot_training(**{**RUN, "mi": [0.5, math.nan, 1.2, 1.2]})
    assert np.isnan(figure.axes[0].lines[-1].get_ydata()[1])
    assert 1.4 < figure.axes[0].get_ylim()[1] < 2


@pytest.mark.parametrize("change", [{"mi": [0.5]}, {k: [] for k in RUN}])
def test_refuses_curves_of_different_lengths(change):
    with pytest.raises(ValueError, match=r"one value per epoch, got lengths \{'mi': "):
        plot_training(**{**RUN, **change})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mi", 0.5),
        ("mi", None),
        ("entropy", ["high"] * 4),
        ("learning_rate", [[0.1]] * 4),
        ("accuracy", [0.5] * 4),
        ("accuracy", {"test": 0.5}),
    ],
)
def test_refuses_what_is_no_curve(name, value):
    with pytest.raises(TypeError, match=rf"^{name}.* must be a "):
        plot_training(**{**RUN, name: value})
