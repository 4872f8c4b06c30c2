"""Noise of a given norm, against NumPy and a classifier whose margins are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm as normal
from suite.noise import accuracy_under, gradient_noise, random_noise


def norms(x):
    return np.linalg.norm(np.asarray(x, np.float64).reshape(len(x), -1), axis=1)


def images(rows, side=28):
    return jax.random.uniform(jax.random.key(7), (rows, side, side, 1), minval=-1)


def test_random_noise_is_uniform_on_the_sphere():
    noise = random_noise(jax.random.key(0), jnp.zeros((20_000, 2, 2, 1)), 3.0)
    np.testing.assert_allclose(norms(noise), 3, rtol=1e-5)
    rows = np.asarray(noise).reshape(-1, 4)
    # Of a uniform direction u in d dimensions E[u] = 0 and E[u u'] = I / d.
    np.testing.assert_allclose(rows.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(4) * 9 / 4, atol=0.1)


def test_gradient_noise_is_the_gradient_of_each_row_in_numpy():
    x = images(5)
    weights = np.random.default_rng(1).normal(size=(28, 28, 1)).astype(np.float32)

    def loss(x):
        return jnp.sin((x * weights).sum((1, 2, 3)))

    rows = np.asarray(x, np.float64)
    slope = np.cos((rows * weights).sum((1, 2, 3)))
    want = 2 * np.sign(slope)[:, None, None, None] * weights / np.linalg.norm(weights)
    found = jax.jit(lambda x: gradient_noise(loss, x, 2.0))(x)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_a_gradient_of_0_stays_0_and_a_tiny_one_keeps_its_direction():
    x = images(3)
    factors = jnp.array([0.0, 1e-30, 1.0])
    found = gradient_noise(lambda x: factors * x.sum((1, 2, 3)), x, 1.5)
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1:], 1.5 / 28, rtol=1e-5)


def linear_classifier():
    """Two classes, images, their margins, and the labels that it gives."""
    rng = np.random.default_rng(2)
    w = rng.normal(size=(28 * 28, 2)).astype(np.float32) / 28
    x = images(200)
    logits = np.asarray(x, np.float64).reshape(200, -1) @ w.astype(np.float64)
    # The norm at which the gradient's direction flips the class.
    least = np.abs(logits[:, 1] - logits[:, 0]) / np.linalg.norm(w[:, 1] - w[:, 0])

    def apply(params, x):
        return x.reshape(len(x), -1) @ params

    return apply, jnp.asarray(w), x, jnp.asarray(logits.argmax(1)), least


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_gradient_noise_flips_a_linear_classifier_at_its_margin(quantile):
    apply, w, x, y, least = linear_classifier()
    norm = np.quantile(least, quantile)
    found = accuracy_under(apply, w, x, y, norm)
    assert found == pytest.approx(np.mean(least > norm))


def test_one_image_flips_just_past_its_margin():
    apply, w, x, y, least = linear_classifier()
    row = int(np.argsort(least)[100])
    alone = jax.lax.map(
        lambda scale: accuracy_under(
            apply, w, x[row][None], y[row][None], scale * least[row]
        ),
        jnp.array([0.99, 1.01]),
    )
    np.testing.assert_array_equal(alone, [1, 0])


def test_random_noise_flips_as_often_as_its_projection_passes_the_margin():
    apply, w, x, y, least = linear_classifier()
    norm = 20 * float(np.median(least))
    keys = jax.random.split(jax.random.key(3), 20)
    found = jax.lax.map(lambda key: accuracy_under(apply, w, x, y, norm, key), keys)
    # One coordinate of a direction in d dimensions is nearly normal of variance 1 / d.
    want = normal.cdf(least * 28 / norm).mean()
    assert found.mean() == pytest.approx(want, abs=0.02)
    assert accuracy_under(apply, w, x, y, norm) == 0


def test_no_noise_is_the_plain_accuracy():
    apply, w, x, y, _ = linear_classifier()
    wrong = y.at[:50].set(1 - y[:50])
    for key in (None, jax.random.key(0)):
        assert accuracy_under(apply, w, x, wrong, 0.0, key) == pytest.approx(0.75)
