"""Networks whose inputs are all known, and what their layers put out in training."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_mi.flax import capture_layers
from suite.data import bundled, load_digits
from suite.nets import MLP

BATCH = 128


class Case(NamedTuple):
    """A network, all of its inputs [M, ...], and p(y | x) of each, [M, C]."""

    name: str
    model: nn.Module
    layers: dict[str, str]
    activation: Callable[[jax.Array], jax.Array]
    inputs: np.ndarray
    shares: np.ndarray


class Bits(nn.Module):
    """12-10-7-5-4-3-2, as in the first studies of layers' information."""

    activation: Callable[[jax.Array], jax.Array]
    widths: tuple[int, ...] = (10, 7, 5, 4, 3)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, 2] of signs [N, 12]."""
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
        return nn.Dense(2)(x)


class CNN(nn.Module):
    """Two convolutions and two dense layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, 10] of images [N, 8, 8, 1]."""
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


def bits() -> tuple[np.ndarray, np.ndarray]:
    """All rows of 12 signs, and p(y | x): whether their sum is far from 0, mostly.

    No sign alone tells anything, and neither do the class means of the input.
    """
    x = 1.0 - 2.0 * (np.arange(4096)[:, None] >> np.arange(12) & 1)
    one = 1 / (1 + np.exp(3 - np.abs(x.sum(1))))
    return x.astype(np.float32), np.stack([1 - one, one], 1).astype(np.float32)


def cases() -> list[Case]:
    """Two networks on bits, read after the activation; two on digits, read before."""
    signs, noisy = bits()
    pixels, labels = bundled(load_digits)
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    classes = np.eye(10, dtype=np.float32)[labels]
    dense = {f"{i + 1}": f"Dense_{i}" for i in range(6)}
    deep = {f"dense {i + 1}": f"Dense_{i}" for i in range(4)}
    conv = {"conv 1": "Conv_0", "conv 2": "Conv_1", "dense 1": "Dense_0"}
    conv["dense 2"] = "Dense_1"
    return [
        Case("bits, tanh", Bits(nn.tanh), dense, nn.tanh, signs, noisy),
        Case("bits, relu", Bits(nn.relu), dense, nn.relu, signs, noisy),
        Case("digits, MLP", MLP((64, 64, 64), 10), deep, lambda x: x, images, classes),
        Case("digits, CNN", CNN(), conv, lambda x: x, images, classes),
    ]


def draw_labels(rng: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """A label for each input, int32 [M]."""
    u = rng.random((len(shares), 1))
    return np.minimum((shares.cumsum(1) < u).sum(1), shares.shape[1] - 1).astype("i4")


def train(
    case: Case, epochs: list[int], rate: float, seed: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """After each of the epochs, what every layer puts out for all inputs, [M, ...]."""
    rng = np.random.default_rng(seed)
    tx = optax.adam(rate)
    params = case.model.init(jax.random.key(seed), case.inputs[:1])
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        def loss_fn(params: Any) -> jax.Array:
            logits: Any = case.model.apply(params, x)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean()

        updates, state = tx.update(jax.grad(loss_fn)(params), state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def read(params: Any) -> dict[str, jax.Array]:
        logits, seen = capture_layers(
            case.model, params, case.inputs, layers=case.layers
        )
        last = list(case.layers)[-1]
        seen = {layer: case.activation(h) for layer, h in seen.items()}
        return {layer: seen[layer] for layer in case.layers if layer != last} | {
            last: jnp.asarray(logits)
        }

    for epoch in range(max(epochs) + 1):
        if epoch:
            labels = draw_labels(rng, case.shares)
            order = rng.permutation(len(labels))
            for rows in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
                params, state = step(params, state, case.inputs[rows], labels[rows])
        if epoch in epochs:
            yield epoch, jax.device_get(read(params))
