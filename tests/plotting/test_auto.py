"""The figure of `auto` shows every run."""

import numpy as np
import pytest

from tests.range_test.test_found import FOUND, NOTHING


@pytest.mark.parametrize("found", [FOUND, NOTHING])
def test_draws_every_run(found, tmp_path):
    figure = found.plot()
    left, right = figure.axes
    lines = left.get_lines()
    assert [line.get_label() for line in lines] == ["0.01", "0.1", "1"]
    assert list(lines[1].get_ydata()) == [2.0, 1.2, 0.8]
    assert lines[1].get_linewidth() > lines[0].get_linewidth()
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [-10, 8])
    assert np.isfinite(left.get_ylim()).all()
    figure.savefig(tmp_path / "auto.png")
