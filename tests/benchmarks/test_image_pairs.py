"""Pairs that share bits: the truth in closed form, the draws, and the script."""

import image_pairs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from image_pairs import KINDS, Seen, readings, split
from scipy.stats import entropy
from suite.data import centre
from suite.nets import MLP
from suite.pairs import Interval, bounds, channel, confusions, draw_rows, information
from suite.readers import reduce

from optax_mi.estimators import plugin_mi
from tests.benchmarks.test_images import write_idx


def binary(p):
    """A bit through a binary symmetric channel, nats."""
    return np.log(2) - entropy([p, 1 - p])


@pytest.mark.parametrize("p", [0.0, 0.05, 0.3, 0.5])
def test_a_channel_keeps_what_the_closed_form_says(p):
    np.testing.assert_allclose(information(channel(2, p) / 2), binary(p), atol=1e-12)
    ten = np.log(10) - entropy([p, 1 - p]) - p * np.log(9)
    np.testing.assert_allclose(information(channel(10, p) / 10), ten, atol=1e-12)
    np.testing.assert_allclose(information(channel(10, 0.9) / 10), 0, atol=1e-12)


def test_guesses_are_one_more_channel():
    p, a = 0.1, 0.02
    once = p * (1 - a) + a * (1 - p)
    twice = once * (1 - a) + a * (1 - once)
    told = bounds(channel(2, p), channel(2, a), paired=False)
    np.testing.assert_allclose(told, (binary(once), binary(p)), rtol=1e-12)
    told = bounds(channel(2, p), channel(2, a), paired=True)
    np.testing.assert_allclose(told, (binary(twice), binary(p)), rtol=1e-12)


def test_an_error_begins_where_the_truth_ends():
    truth = Interval(0.2, 0.5)
    errors = [truth.error(value) for value in (0.1, 0.2, 0.4, 0.75)]
    np.testing.assert_allclose(errors, [-0.1, 0, 0, 0.25])


def test_a_classifier_is_judged_on_rows_that_it_has_not_seen():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    told = confusions(rng.normal(size=(400, 300)), labels, 2)
    # On those that it was fitted to, it would name every one right.
    assert np.all(np.abs(told - 0.5) < 4 * 0.5 / np.sqrt(200))
    apart = rng.normal(size=(400, 2)) + 20 * labels[:, None]
    np.testing.assert_array_equal(confusions(apart, labels, 2), np.eye(2))


def test_rows_are_of_the_classes_that_are_drawn_and_none_twice():
    classes = np.random.default_rng(1).permutation(np.arange(9000) % 3)
    x, out, y = draw_rows(np.random.default_rng(0), classes, channel(3, 0.4), 3000)
    assert len(np.unique(np.concatenate([x, y]))) == 6000
    np.testing.assert_array_equal(classes[y], out)
    joint = np.zeros((3, 3))
    np.add.at(joint, (classes[x], out), 1 / 3000)
    error = np.sqrt(channel(3, 0.4) / 3 / 3000)
    assert np.all(np.abs(joint - channel(3, 0.4) / 3) < 4 * error)
    with pytest.raises(ValueError, match="and there are 3000; draw fewer"):
        draw_rows(np.random.default_rng(0), classes, channel(3, 0.4), 6000)


def signs(x, y):
    """What the signs tell that stand in the same column, summed over columns."""
    y = y if y.ndim == 2 else y[:, None]
    pairs = zip(x.T > 0, y.T > 0, strict=True)
    parts = [plugin_mi(a.astype(int), b.astype(int), num_classes=2) for a, b in pairs]
    return parts[0]._replace(mi=sum(part.mi for part in parts))


@pytest.mark.parametrize("kind", ["bit", "pair", "four"])
def test_made_up_images_read_what_the_channel_keeps(kind, monkeypatch):
    """Images of one pixel that is the class: an estimate errs by its draw alone."""
    monkeypatch.setattr(image_pairs, "LABELLED", {"signs": signs})
    monkeypatch.setattr(image_pairs, "PAIRED", {"signs": signs})
    labels = np.random.default_rng(0).permutation(np.arange(15_000) % 10)
    sign = np.where(labels == KINDS[kind].classes[1], 1.0, -1.0)
    noise = np.random.default_rng(1).uniform(0.5, 1.5, len(labels))
    layers = [Seen("pixel", 0, (sign * noise)[:, None].astype(np.float32))]
    found = list(readings(kind, layers, labels, samples=1000, draws=2))
    assert [r.crossover for r in found] == list(KINDS[kind].crossovers)
    bits = KINDS[kind].bits
    for r in found:
        p = r.crossover
        np.testing.assert_allclose(r.truth, bits * binary(p), atol=1e-12)
        # Of the plug-in estimate over 2000 bits; its bias is below 1 / 2000 a bit.
        odds = np.log((1 - p) / p) if p else 0
        error = np.sqrt(bits * p * (1 - p) * odds**2 / 2000)
        assert abs(r.value - r.truth.high) < 4 * error + bits * 3e-3


def test_training_images_are_not_held_out():
    y = np.arange(50) % 5
    (x, of_x), (rest, of_rest) = split(np.arange(50), y, 3)
    np.testing.assert_array_equal(np.bincount(of_x), 3)
    np.testing.assert_array_equal(np.bincount(of_rest), 7)
    np.testing.assert_array_equal(np.sort(np.concatenate([x, rest])), np.arange(50))


def test_layers_are_those_of_the_network_as_it_learns(monkeypatch):
    monkeypatch.setattr(image_pairs, "LAYERS", {"dense": "Dense_0"})
    rng, model = np.random.default_rng(0), MLP((8,), 2)
    labels = np.arange(256) % 2
    images = rng.integers(0, 128, (256, 28, 28, 1)) + 128 * labels[:, None, None, None]
    train = images.astype(np.uint8), labels
    seen = list(image_pairs.snapshots(model, train, train[0], (0, 1)))
    names = [(s.layer, s.epoch) for s in seen]
    both = ("dense", "logits")
    assert names == [("pixels", 0), *((layer, n) for n in (0, 1) for layer in both)]
    # 784 columns, of which 32 are left, as of 784 columns of any other layer.
    pixels = (train[0].reshape(256, 784) / 255).astype(np.float32)
    np.testing.assert_allclose(seen[0].rows, reduce(pixels), rtol=1e-5)
    start = model.init(jax.random.key(0), centre(jnp.asarray(train[0][:1])))
    inputs = centre(jnp.asarray(train[0])).reshape(256, 784)
    dense = start["params"]["Dense_0"]
    by_hand = inputs @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(seen[1].rows, by_hand, rtol=1e-3, atol=1e-4)
    logits = [s.logits for s in seen if s.layer == "logits"]
    right = [np.mean(each.argmax(1) == labels) for each in logits]
    assert right[1] > max(right[0], 0.9)


def test_the_script_in_short(tmp_path, monkeypatch, capsys):
    def made_up(model, train, held_out, epochs):
        yield Seen("pixels", 0, held_out.reshape(len(held_out), -1)[:, :2] - 127.0)

    monkeypatch.setattr(image_pairs, "snapshots", made_up)
    monkeypatch.setattr(
        image_pairs, "LABELLED", {"signs": lambda x, y: signs(x[:, :1], y)}
    )
    monkeypatch.setattr(image_pairs, "PAIRED", {"signs": signs})
    write_idx(tmp_path / "fashion_mnist", rows=(3000, 40))
    where = [f"--data-dir={tmp_path}", f"--output={tmp_path}"]
    image_pairs.main([*where, "--short", "--kinds=bit,pair", "--draws=1"])
    text = (tmp_path / "image_pairs.md").read_text()
    assert "*a layer and a bit, N = 100: mean (largest) error, nats*" in text
    assert "*pairs of images, one bit, N = 100: pixels after the last epoch" in text
    rows = [line.split(" | ")[0] for line in text.splitlines() if line[:2] == "| "]
    assert rows.count("| pixels") == 2
    assert rows.count("| 0.05") == 2
    assert "pairs of images, one bit" in capsys.readouterr().out
    assert (tmp_path / "image_pairs.png").read_bytes().startswith(b"\x89PNG")


def test_the_script_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        image_pairs.main([f"--data-dir={tmp_path}"])
    assert "train-images-idx3-ubyte" in capsys.readouterr().err
    write_idx(tmp_path / "fashion_mnist")
    with pytest.raises(SystemExit, match="2"):
        image_pairs.main([f"--data-dir={tmp_path}", "--kinds=bits"])
    assert (
        "--kinds: no bits; there are bit, class, pair, four" in capsys.readouterr().err
    )
