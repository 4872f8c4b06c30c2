"""The networks of the suite."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class MLP(nn.Module):
    """Dense layers with an activation between them."""

    widths: tuple[int, ...]
    outputs: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs [N, outputs] of inputs [N, ...]."""
        x = x.reshape(len(x), -1)
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
        return nn.Dense(self.outputs)(x)


class PatchConv(nn.Module):
    """A convolution as one matrix product of shifted copies.

    With many networks trained side by side, XLA's convolutions become grouped ones,
    which are slow on the CPU; a batched matrix product is not.
    """

    features: int
    stride: int = 1
    size: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [N, H, W, C] to [N, H / stride, W / stride, features]."""
        height, width = x.shape[1:3]
        pad = self.size // 2
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        shifts = [
            x[:, i : i + height : self.stride, j : j + width : self.stride]
            for i in range(self.size)
            for j in range(self.size)
        ]
        return nn.Dense(self.features)(jnp.concatenate(shifts, -1))


class CNN(nn.Module):
    """Two convolutions and a dense layer."""

    outputs: int
    widths: tuple[int, int] = (8, 16)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, outputs] of images [N, H, W, C]."""
        x = nn.relu(PatchConv(self.widths[0])(x))
        x = nn.relu(PatchConv(self.widths[1], stride=2)(x))
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class LeNet(nn.Module):
    """Two 5 x 5 convolutions with strides in place of pooling, and three dense layers.

    As LeNet-5, but for ReLU and the strides.
    """

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, outputs] of images [N, H, W, C]."""
        for features in (8, 16):
            x = nn.relu(PatchConv(features, stride=2, size=5)(x))
        x = x.reshape(len(x), -1)
        for width in (120, 84):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.outputs)(x)


class BatchNormResNet(nn.Module):
    """Residual blocks with batch normalisation, after a first stride of two.

    Without `batch_stats` among its variables it uses the statistics of the batch, as in
    training.
    """

    outputs: int
    widths: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, outputs] of images [N, H, W, C]."""
        kept = "batch_stats" in self.variables

        def norm(x: jax.Array) -> jax.Array:
            return nn.BatchNorm(use_running_average=kept)(x)

        x = nn.relu(norm(PatchConv(self.widths[0], stride=2)(x)))
        for stage, width in enumerate(self.widths):
            stride = 2 if stage else 1
            y = nn.relu(norm(PatchConv(width, stride)(x)))
            y = norm(PatchConv(width)(y))
            if stage:
                x = norm(nn.Dense(width)(x[:, ::stride, ::stride]))
            x = nn.relu(x + y)
        return nn.Dense(self.outputs)(x.mean((1, 2)))


class ResNet(nn.Module):
    """Residual blocks with group normalisation, which keeps no running state."""

    outputs: int
    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, outputs] of images [N, H, W, C]."""
        x = PatchConv(self.widths[0])(x)
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                y = nn.relu(nn.GroupNorm(8)(x))
                skip = (
                    nn.Dense(width)(y[:, ::stride, ::stride])
                    if x.shape[-1] != width
                    else x
                )
                y = PatchConv(width, stride)(y)
                x = skip + PatchConv(width)(nn.relu(nn.GroupNorm(8)(y)))
        x = nn.relu(nn.GroupNorm(8)(x)).mean((1, 2))
        return nn.Dense(self.outputs)(x)


class Transformer(nn.Module):
    """A decoder-only language model."""

    vocabulary: int
    width: int = 32
    layers: int = 1
    heads: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [N, T, vocabulary] of the tokens that follow x [N, T]."""
        length = x.shape[-1]
        h = nn.Embed(self.vocabulary, self.width)(x.astype(jnp.int32))
        h = h + self.param("place", nn.initializers.normal(0.02), (length, self.width))
        mask = nn.make_causal_mask(x)
        for _ in range(self.layers):
            a = nn.LayerNorm()(h)
            h = h + nn.MultiHeadDotProductAttention(self.heads)(a, mask=mask)
            a = nn.Dense(4 * self.width)(nn.LayerNorm()(h))
            h = h + nn.Dense(self.width)(nn.gelu(a))
        return nn.Dense(self.vocabulary)(nn.LayerNorm()(h))
