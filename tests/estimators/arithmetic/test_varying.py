"""What differs between devices, inside a `jax.shard_map`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from optax_mi.estimators import contingency, gaussian, variational
from optax_mi.estimators.arithmetic import vary_like, varying_axes

MESH = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)


def on_devices(f, *specs, out=None):
    return jax.jit(
        jax.shard_map(f, mesh=MESH, in_specs=specs, out_specs=out or jax.P())
    )


def test_axes_are_those_of_any_array_of_the_tree():
    seen = []

    def look(both, rows, whole):
        for tree in (both, rows, whole, {"rows": [rows], "whole": whole}):
            seen.append(varying_axes(tree))
        return whole

    parts = jax.P(("x", "y")), jax.P("x"), jax.P()
    jax.eval_shape(on_devices(look, *parts), *(jnp.zeros(8) for _ in parts))
    assert seen == [{"x", "y"}, {"x"}, set(), {"x"}]
    assert varying_axes(jnp.zeros(8)) == varying_axes(()) == set()


def test_an_array_is_made_to_vary_and_keeps_its_values():
    values = jnp.array([0.0, -0.0, jnp.nan, jnp.inf])

    def spread(part, whole):
        made = vary_like(whole, part)
        assert varying_axes(made) == varying_axes(part) == {"x", "y"}
        assert vary_like(part, whole) is part
        return made

    split = jax.P(("x", "y"))
    got = on_devices(spread, split, jax.P(), out=split)(jnp.zeros(8), values)
    for copy in np.split(np.asarray(got), 8):
        np.testing.assert_array_equal(copy, values)
        np.testing.assert_array_equal(np.signbit(copy), np.signbit(values))


@pytest.mark.parametrize(
    "estimator",
    [
        contingency(num_classes=3),
        variational(num_classes=3),
        gaussian(features=3, num_classes=3),
    ],
    ids=["contingency", "variational", "gaussian"],
)
def test_each_device_may_have_an_accumulator_of_its_own(estimator):
    logits = jax.random.normal(jax.random.key(0), (8, 16, 3))
    labels = jnp.arange(8 * 16).reshape(8, 16) % 3

    def one(outputs, labels):
        state = estimator.update(estimator.init(), outputs=outputs, labels=labels)
        return estimator.estimate(state).mi

    def of_device(outputs, labels):
        return one(outputs[0], labels[0])[None]

    split = jax.P(("x", "y"))
    got = on_devices(of_device, split, split, out=split)(logits, labels)
    want = jax.jit(jax.vmap(one))(logits, labels)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
