"""Averages of the weights over the steps, for methods that lack their own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class _AverageState(NamedTuple):
    step: jax.Array
    average: Any


def average_params(power: float = 8.0) -> optax.GradientTransformation:
    """Keeps an average of the params with weights t ** power; updates stay as they are.

    Last in a chain: it takes `params + updates` for the next params.
    """

    def init(params: Any) -> _AverageState:
        return _AverageState(jnp.zeros((), jnp.int32), params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        step = state.step + 1
        weight = (power + 1) / (step + power)
        average = jax.tree.map(
            lambda x, p, u: x + weight * (p + u - x), state.average, params, updates
        )
        return updates, _AverageState(step, average)

    return optax.GradientTransformation(init, update)


def eval_params(opt_state: Any) -> Any:
    """The average that :func:`average_params` keeps somewhere in a state."""
    found = [
        node.average
        for node in jax.tree.leaves(
            opt_state, is_leaf=lambda node: isinstance(node, _AverageState)
        )
        if isinstance(node, _AverageState)
    ]
    return found[0]
