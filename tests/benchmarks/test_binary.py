"""Units that are on or off, and their surrogate gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from suite.binary import BinaryMLP, spike


def test_spike_is_on_above_0_and_its_slope_is_the_window():
    x = jnp.array([-3, -0.51, -0.5, -1e-30, 0, 1e-30, 0.5, 0.51, 3], jnp.float32)
    np.testing.assert_array_equal(spike(x), np.asarray(x) > 0)
    assert spike(x).dtype == jnp.float32
    window = np.abs(np.asarray(x)) <= 0.5
    weights = jnp.arange(1.0, 10)
    found = jax.jit(jax.grad(lambda x: (weights * spike(x)).sum()))(x)
    np.testing.assert_array_equal(found, weights * window)
    _, pushed = jax.vmap(lambda x, t: jax.jvp(spike, (x,), (t,)))(x, weights)
    np.testing.assert_array_equal(pushed, weights * window)


def network():
    model = BinaryMLP((6, 5), 3)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(7, 2, 2, 1)), jnp.float32)
    return model, model.init(jax.random.key(0), x), x


def test_hidden_activations_are_binary_and_outputs_are_those_of_numpy():
    model, params, x = network()
    layers = [params["params"][f"Dense_{i}"] for i in range(3)]
    h = np.asarray(x).reshape(7, 4)
    for layer in layers[:-1]:
        h = (h @ np.asarray(layer["kernel"]) + layer["bias"] > 0).astype(np.float32)
        assert 0 < h.mean() < 1
    outputs = jax.jit(model.apply)(params, x)
    want = h @ np.asarray(layers[-1]["kernel"]) + layers[-1]["bias"]
    np.testing.assert_allclose(outputs, want, rtol=1e-5)


def test_gradient_is_that_of_numpy_with_the_window_for_a_slope():
    model, params, x = network()
    found = jax.grad(lambda p: (model.apply(p, x) ** 2).sum() / 2)(params)["params"]
    kernels, biases = (
        [np.asarray(params["params"][f"Dense_{i}"][k], np.float64) for i in range(3)]
        for k in ("kernel", "bias")
    )
    inputs, sums = [np.asarray(x, np.float64).reshape(7, 4)], []
    for kernel, bias in zip(kernels, biases, strict=True):
        sums.append(inputs[-1] @ kernel + bias)
        inputs.append((sums[-1] > 0).astype(float))
    back = sums[-1]
    for i in (2, 1, 0):
        layer = found[f"Dense_{i}"]
        np.testing.assert_allclose(
            layer["kernel"], inputs[i].T @ back, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(layer["bias"], back.sum(0), rtol=1e-4, atol=1e-5)
        if i:
            back = (back @ kernels[i].T) * (np.abs(sums[i - 1]) <= 0.5)
    assert np.abs(found["Dense_0"]["kernel"]).max() > 0


def test_many_networks_learn_side_by_side():
    x = jax.random.uniform(jax.random.key(0), (256, 2), minval=-1)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model, tx = BinaryMLP((32,), 2), optax.adam(0.01)

    def train(key):
        params = model.init(key, x)

        def loss(params):
            logits = model.apply(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=400)
        return (model.apply(params, x).argmax(-1) == y).mean()

    accuracy = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(1), 3))
    # Opposite quadrants share a class: a line is right in little over half.
    assert accuracy.min() > 0.8
