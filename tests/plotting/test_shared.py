"""Scales that can be read, and curves that fit."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import minimize

from optax_mi.plotting._shared import label_rates, read_curves, read_layers, spread_out


def rate_labels(low, high):
    """The labels within a panel as high as that of `plot_training`, and their boxes."""
    figure = Figure(figsize=(7.0, 1.9), layout="constrained")
    axes = figure.subplots()
    axes.plot([1, 2], [high, low])
    label_rates(axes)
    figure.draw_without_rendering()
    bottom, top = axes.get_window_extent().get_points()[:, 1]
    found = []
    for minor in (False, True):
        for label in axes.yaxis.get_ticklabels(minor):
            low, high = label.get_window_extent().get_points()[:, 1]
            if label.get_text() and bottom - 1 <= (low + high) / 2 <= top + 1:
                found.append((low, high, label.get_text()))
    return sorted(found)


@pytest.mark.parametrize("low", [0.0001, 0.012, 0.05, 0.37, 3.0])
@pytest.mark.parametrize("ratio", [1, 1.001, 1.05, 1.4, 2, 4, 6, 9, 11, 50, 90, 1000])
def test_labels_of_learning_rates_are_apart_and_more_than_one(low, ratio):
    labels = rate_labels(low, low * ratio)
    assert len(labels) >= 2
    assert all(one[1] < two[0] for one, two in itertools.pairwise(labels))
    assert len({text for *_, text in labels}) == len(labels)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 30])
def test_places_are_apart_and_as_near_as_can_be_to_those_wanted(count):
    wanted, gap = np.sort(np.random.default_rng(count).random(count)), 0.05
    found = spread_out(wanted, gap)
    assert (np.diff(found) > gap - 1e-9).all()
    if 0 < count * gap <= 1:
        assert found[0] >= gap / 2 - 1e-9
        assert found[-1] <= 1 - gap / 2 + 1e-9
        # No other places with such gaps are nearer.
        limits = [
            {"type": "ineq", "fun": lambda x: np.diff(x) - gap},
            {"type": "ineq", "fun": lambda x: x[0] - gap / 2},
            {"type": "ineq", "fun": lambda x: 1 - gap / 2 - x[-1]},
        ]
        nearest = minimize(
            lambda x: np.sum((x - wanted) ** 2),
            np.linspace(gap, 1 - gap, count),
            constraints=limits[1:] if count == 1 else limits,
            options={"ftol": 1e-12},
        )
        np.testing.assert_allclose(found, nearest.x, atol=1e-4)


def test_curves_are_arrays_of_one_length():
    rows = read_curves({"mi": [1, math.nan], "entropy": (math.inf, 2)})
    np.testing.assert_array_equal(rows["mi"], [1.0, math.nan])
    np.testing.assert_array_equal(rows["entropy"], [math.inf, 2.0])


@pytest.mark.parametrize(
    ("curves", "error", "match"),
    [
        ({"mi": 1.0}, TypeError, r"^mi must be a sequence of numbers, .* got 1\.0\.$"),
        ({"mi": ["a"]}, TypeError, r"^mi must be a sequence of numbers"),
        ({"mi": [[1.0]]}, TypeError, r"^mi must be a sequence of numbers"),
        ({"mi": [math.inf]}, ValueError, r"^mi must be finite, got \[inf\]\.$"),
        ({"mi": []}, ValueError, r"got lengths \{'mi': 0\}\.$"),
        ({"mi": [1.0], "a": [1, 2]}, ValueError, r"got lengths \{'mi': 1, 'a': 2\}"),
    ],
)
def test_wrong_curves_are_named(curves, error, match):
    with pytest.raises(error, match=match):
        read_curves(curves)


def test_layers_come_in_the_order_of_the_first():
    layers, curves = read_layers(
        {"mi": {"b": [1], "a": [2]}, "rate": {"a": [3], "b": [4]}}, entropy=[5]
    )
    assert {name: list(rows) for name, rows in layers.items()} == {
        "mi": ["b", "a"],
        "rate": ["b", "a"],
    }
    assert layers["rate"]["b"] == [4.0]
    assert curves["entropy"] == [5.0]
