"""The figure of a range test shows its runs and its bounds."""

import math

import numpy as np
from matplotlib.figure import Figure

from tests.range_test.test_result import CURVE, LRS, judge


def test_the_figure_shows_the_curves_and_the_bounds():
    found = judge(np.stack([CURVE, 2 * np.array(CURVE)], 1))
    mi = found.plot()
    losses = mi.figure.axes[1]
    assert mi.get_xscale() == "log"
    for axes, values in ((mi, found.mi), (losses, found.loss)):
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), LRS)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), values.mean(1))
    bounds = [line.get_xdata()[0] for line in mi.lines[-2:]]
    assert bounds == [found.lr_max, found.lr_min]
    named = [text.get_text() for text in mi.texts[-2:]]
    assert named == [f"lr_max {found.lr_max:.3g}", f"lr_min {found.lr_min:.3g}"]
    # Into axes that there are, with a cross where a run diverged, and no bounds.
    axes = Figure().subplots()
    lost = judge([1.0] * 9, loss=[1.0] * 8 + [math.nan])
    assert lost.plot(axes) is axes
    assert list(axes.lines[-1].get_xdata()) == [LRS[-1]]
    assert not [text for text in axes.texts if "lr_" in text.get_text()]
