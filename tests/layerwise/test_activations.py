"""Activations come out small, and tell what they told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi import reduce_activations
from optax_mi.estimators import gaussian

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(24, 6, 6, 2)), jnp.float32)
LABELS = jnp.arange(24) % 3


def as_numpy(h, features, rows):
    """The reduction again, step by step."""
    h = np.asarray(h, np.float64)[:rows]
    while h.ndim > 2:
        h = h.mean(1)
    if h.shape[1] > features:
        normal = np.random.default_rng(0).normal(size=(h.shape[1], features))
        h = h @ normal / np.sqrt(features)
    return h


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(40, 5), (40, 64), (7, 3, 4, 33), (40, 9, 2)])
def test_reduces_as_numpy_does(shape, dtype):
    h = jnp.asarray(RNG.normal(size=shape) + 3.0, dtype)
    z = jax.jit(lambda h: reduce_activations(h, features=32, max_rows=20))(h)
    assert z.dtype == jnp.float32
    assert z.shape == (min(shape[0], 20), min(shape[-1], 32))
    np.testing.assert_allclose(z, as_numpy(h, 32, 20), rtol=1e-4, atol=1e-4)


def test_a_projection_keeps_distances():
    h = RNG.normal(size=(240, 400))
    z = reduce_activations(h)
    ratios = np.linalg.norm(z[1:] - z[0], axis=1) / np.linalg.norm(h[1:] - h[0], axis=1)
    assert ratios.mean() == pytest.approx(1.0, abs=0.2)
    np.testing.assert_array_equal(z, reduce_activations(h))
    assert np.abs(z - reduce_activations(h, seed=1)).max() > 1


def test_the_default_state_of_a_layer_is_small():
    estimator = gaussian(features=32, num_classes=10)
    sizes = [leaf.nbytes for leaf in jax.tree.leaves(estimator.init())]
    assert 16_000 < sum(sizes) < 17_000
    h = {"conv": jnp.ones((300, 8, 8, 512)), "dense": jnp.ones((300, 10))}
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(reduce_activations, h))
    assert shapes == {"conv": (256, 32), "dense": (256, 10)}


def test_what_float32_cannot_tell_apart_is_named_before_it_is_cut():
    h = np.random.default_rng(0).normal(size=(60, 8))
    with pytest.raises(ValueError, match=r"activations\['a'\] lies so far from 0"):
        reduce_activations({"a": h + 1e9})
    with pytest.raises(ValueError, match=r"activations\['a'\] has values .* from 0"):
        reduce_activations({"a": h * 1e-40})


def test_no_gradient_flows_through_a_reduction():
    grads = jax.grad(lambda h: reduce_activations(h).sum())(X)
    assert not grads.any()


@pytest.mark.parametrize(
    ("h", "kwargs", "error", "match"),
    [
        (X[:, 0, 0, 0], {}, ValueError, r"got the shape \(24,\).*\[:, None\]"),
        (
            LABELS[:, None],
            {},
            TypeError,
            r"activations\['layer'\] must be real, got.*int32",
        ),
        (X[:, :0], {}, ValueError, r"\['layer'\] must not be empty.*\(24, 0, 6, 2\)"),
        (X, {"features": 0}, ValueError, "features must be at least 1"),
        (X, {"max_rows": 2.0}, TypeError, "max_rows must be an int"),
        (X, {"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_activations_that_cannot_be_reduced(h, kwargs, error, match):
    with pytest.raises(error, match=match):
        reduce_activations({"layer": h}, **kwargs)
