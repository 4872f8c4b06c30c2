"""The benchmark of layers' estimators: its truth against integrals, its judgement."""

import jax
import layer_estimators
import numpy as np
import pytest
from scipy.stats import norm
from suite.known import bits, draw_labels
from suite.mixture import mixture_mi

# One program: three inputs on a line, two classes.
CENTRES = np.array([[-1.0], [0.5], [2.0]], np.float32)


def integral(centres, shares):
    """I(T; Y) on a line, from the density of each class on a grid."""
    t = np.linspace(-12.0, 12.0, 20_001)
    density = np.exp(-0.5 * (t[:, None] - centres[:, 0]) ** 2) / np.sqrt(2 * np.pi)
    joint = density @ shares / len(centres)
    independent = joint.sum(1, keepdims=True) * shares.mean(0)
    terms = joint * np.log(np.maximum(joint, 1e-300) / np.maximum(independent, 1e-300))
    return terms.sum() * (t[1] - t[0])


@pytest.mark.parametrize("one", [[0.0, 1.0, 0.0], [0.1, 0.8, 0.4]])
def test_the_truth_is_the_integral(one):
    shares = np.stack([one, 1 - np.array(one)], 1).astype(np.float32)
    mi, error = mixture_mi(CENTRES, shares, jax.random.key(0), draws=20_000)
    assert 0 < error < 2e-3
    assert abs(mi - integral(CENTRES, shares)) < 4 * error


def test_what_a_layer_keeps_of_the_input_is_the_integral():
    mi, error = mixture_mi(CENTRES, None, jax.random.key(0), draws=20_000)
    assert 0 < error < 2e-3
    # h(T) - h(noise), from the density of T on a grid.
    t = np.linspace(-12.0, 12.0, 20_001)
    density = norm.pdf(t[:, None], CENTRES[:, 0]).mean(1)
    kept = -np.sum(density * np.log(density)) * (t[1] - t[0]) - norm.entropy()
    assert abs(mi - kept) < 4 * error
    # The same with a class for each input.
    assert kept == pytest.approx(integral(CENTRES, np.eye(3)), rel=1e-6)


def test_the_ends_of_the_truth():
    shares = np.array([[1, 0], [0, 1], [0.5, 0.5]], np.float32)
    apart, _ = mixture_mi(1e3 * CENTRES, shares, jax.random.key(0), draws=20_000)
    # I(X; Y): H(Y) = ln 2, of which the third input hides a third.
    np.testing.assert_allclose(apart, np.log(2) * 2 / 3, rtol=1e-5)
    together, _ = mixture_mi(0 * CENTRES, shares, jax.random.key(0), draws=20_000)
    assert abs(together) < 1e-6
    for scale, kept in ((1e3, np.log(3)), (0, 0)):
        mi, _ = mixture_mi(scale * CENTRES, None, jax.random.key(0), draws=20_000)
        np.testing.assert_allclose(mi, kept, rtol=1e-5, atol=1e-6)


def test_no_bit_alone_knows_the_label():
    x, shares = bits()
    assert len(np.unique(x, axis=0)) == 4096
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(shares.T @ x, 0, atol=1e-3)
    rng = np.random.default_rng(0)
    drawn = np.mean([draw_labels(rng, shares).mean() for _ in range(50)])
    error = np.sqrt(np.mean(shares[:, 0] * shares[:, 1]) / (50 * 4096))
    assert abs(drawn - shares[:, 1].mean()) < 4 * error


def test_judgement():
    """Two layers, three epochs: one reader sees the truth, one the other way round."""
    truth = np.array([[0.1, 0.2, 0.3], [0.2, 0.4, 0.69]])
    noise = np.array([-0.01, 0.01])
    rows = [
        layer_estimators.Row(
            epoch,
            f"{layer}",
            truth[layer, epoch],
            0.0,
            (),
            {"right": truth[layer, epoch] + noise, "full": np.full(2, 0.69)},
            {"right": 0.5 - truth[layer, epoch] + noise, "full": np.full(2, 0.69)},
        )
        for epoch in range(3)
        for layer in range(2)
    ]
    h = 0.6931
    right = layer_estimators.judge(rows, "right", "noisy", h)
    assert right["follows"] == pytest.approx(1) == right["ranks"]
    assert right["rises"] == 1
    assert right["full"] == 0
    assert right["bias"] == pytest.approx(0)
    assert right["std"] == pytest.approx(0.01 * np.sqrt(2))
    change = np.sqrt(np.mean([0.1**2, 0.1**2, 0.2**2, 0.29**2]))
    assert right["noise"] == pytest.approx(0.02 / change)
    wrong = layer_estimators.judge(rows, "right", "plain", h)
    assert wrong["follows"] == pytest.approx(-1) == wrong["ranks"]
    assert wrong["rises"] == 0
    full = layer_estimators.judge(rows, "full", "noisy", h)
    assert full["follows"] == 0 == full["ranks"]
    # All but the last of the second layer, which does know everything.
    assert full["full"] == pytest.approx(5 / 6)


@pytest.mark.slow
def test_the_report_in_short(tmp_path, capsys):
    layer_estimators.main(["--short", f"--output={tmp_path}"])
    text = (tmp_path / "layer_estimators.md").read_text()
    assert "| gaussian |" in text
    assert "bits, tanh: H(Y) = 0.684, I(X; Y) = 0.253 nats" in text
    assert "bits, tanh" in capsys.readouterr().out
    picture = (tmp_path / "layer_estimators.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_a_wrong_option_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        layer_estimators.main(["--repeats=1"])
    assert "--repeats: must be a whole number of at least 2" in capsys.readouterr().err
