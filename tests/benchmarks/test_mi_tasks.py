"""The truth of tasks against scipy, and the script that reads them."""

import math
import sys

import choice
import numpy as np
import pytest
from rich.console import Console
from scipy.integrate import quad
from scipy.stats import multivariate_t, norm
from suite.mi_classes import blobs, linear, noisy_rule, two_classes
from suite.mi_tasks import SETS
from suite.mi_vectors import (
    clusters,
    curve,
    dense,
    gaussian,
    mapped,
    ring,
    spiral,
    spread,
    student,
    swiss_roll,
    uniform_noise,
)

from optax_mi.estimators import ksg_mi


def test_dense_gaussians():
    shape = np.full((6, 6), 0.4) + 0.6 * np.eye(6)
    log_size = [np.linalg.slogdet(a)[1] for a in (shape[:3, :3], shape)]
    assert dense(3, 0.4).truth == pytest.approx(log_size[0] - 0.5 * log_size[1])
    x, y = dense(3, 0.4).draw(np.random.default_rng(0), 50_000)
    np.testing.assert_allclose(np.corrcoef(np.hstack([x, y]).T), shape, atol=0.02)


def test_gaussians_keep_their_canonical_correlations():
    source = gaussian(3, 4, [0.9, 0.5], mix=1)
    assert source.truth == pytest.approx(-0.5 * math.log((1 - 0.81) * 0.75))
    x, y = source.draw(np.random.default_rng(0), 50_000)
    log_size = [np.linalg.slogdet(np.cov(a.T))[1] for a in (x, y, np.hstack([x, y]))]
    assert 0.5 * (log_size[0] + log_size[1] - log_size[2]) == pytest.approx(
        source.truth, abs=0.02
    )


def test_students():
    one, both = (multivariate_t(shape=np.eye(d), df=2.5).entropy() for d in (2, 4))
    truth = student(gaussian(2, 2, []), 2.5, 2, 2).truth
    assert truth == pytest.approx(float(2 * one - both), abs=1e-6)


def test_uniform_noise():
    def term(y):
        width = min(y + 0.2, 1.0) - max(y - 0.2, 0.0)
        p = width / 0.4
        return -p * math.log(p) if p > 0 else 0.0

    entropy = quad(term, -0.2, 1.2, points=[0.2, 0.8])[0]
    assert uniform_noise(0.2).truth == pytest.approx(entropy - math.log(0.4))


def test_maps_can_be_undone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3))
    turned = spiral(0.3, 2)(x)
    np.testing.assert_allclose(np.sum(turned**2, 1), np.sum(x**2, 1))
    np.testing.assert_allclose(spiral(-0.3, 2)(turned), x)
    rolled = swiss_roll(x)
    angle = np.hypot(rolled[:, 0], rolled[:, 1])
    np.testing.assert_allclose(norm.ppf((angle / (1.5 * np.pi) - 1) / 2), x[:, 0])
    assert (
        mapped(gaussian(1, 1, [0.5]), swiss_roll).truth == gaussian(1, 1, [0.5]).truth
    )


@pytest.mark.parametrize(
    "source",
    [
        curve(lambda x: np.sin(6 * x), 0.4),
        spread(0.5),
        ring(0.3),
        clusters([[-2], [0], [2]], [[2], [-2], [2]]),
    ],
)
def test_integrals(source):
    x, y = source.draw(np.random.default_rng(1), 6000)
    found = ksg_mi(x, y)
    assert abs(float(found.mi) - source.truth) < 4 * float(found.std_error)


def test_classes():
    def term(x):
        p = norm([0.0, 2.0], [1.0, 1.5]).pdf(x)
        mean = p @ [0.3, 0.7]
        return float(np.sum([0.3, 0.7] * p * np.log(p / mean)))

    truth = blobs([[0], [2]], [1, 1.5], [0.3, 0.7]).truth
    assert truth == pytest.approx(quad(term, -8, 12)[0], abs=0.004)


def test_rules():
    def entropy(p):
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    rest = quad(lambda x: entropy(1 / (1 + math.exp(-4 * x))) / 2, -1, 1)[0]
    source = noisy_rule(two_classes(lambda x: 4 * x[:, 0]), 1, uniform=True)
    assert source.truth == pytest.approx(math.log(2) - rest, abs=0.004)
    x, labels = noisy_rule(linear(5, 3, 1.0, 0), 5).draw(np.random.default_rng(0), 50)
    assert x.shape == (50, 5)
    assert set(labels) <= {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_sets(name):
    tasks = SETS[name]()
    assert len({task.name for task in tasks}) == len(tasks)
    for task in tasks:
        x, y = task.draw(np.random.default_rng(0), 10)
        assert len(x) == len(y) == 10
        assert -1e-9 < task.truth < 3


def test_script(monkeypatch, tmp_path, capsys):
    few = {"vectors, few": lambda: SETS["vectors, chosen on"]()[:1]}
    monkeypatch.setattr(choice, "SETS", few)
    one = {"mutual_information": choice.peers(False)["mutual_information"]}
    monkeypatch.setattr(choice, "peers", lambda labels: one)
    means, tasks = tmp_path / "means.md", tmp_path / "tasks.md"
    arguments = f"--samples 100 --draws 1 --output {means} --tasks {tasks}"
    monkeypatch.setattr(sys, "argv", ["choice.py", *arguments.split()])
    choice.main()
    assert "vectors, few, 1 tasks, N = 100" in means.read_text()
    assert "Gaussian 1 + 1, 0.6" in tasks.read_text()
    assert "mutual_information" in capsys.readouterr().out
    table = choice.table_of(np.eye(2) + 1.0)
    monkeypatch.setattr(choice, "cases", lambda: {"table": table})
    assert choice.intervals(100, 2, Console()).count("\n") == 3
