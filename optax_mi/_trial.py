"""A few updates of a transformation on random gradients, and how large they are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import DictKey

from optax_mi._decay import MIDecayState
from optax_mi._find import find_states
from optax_mi._inspect import states_by_group

# Radam has no second moments before the sixth update. Where nothing moves, as within
# optax.MultiSteps, more are tried.
_STEPS, _MOST_STEPS = 8, 64


class Outcome(NamedTuple):
    """What a few updates came to."""

    states: dict[str, MIDecayState]  # of mi_decay, by group
    # Euclidean norms of each leaf, [updates, leaves], but for updates of zeros alone.
    sizes: np.ndarray
    given: np.ndarray  # those of the gradients, [leaves]
    num_steps: int


class Trial:
    """A transformation with its initial state, and gradients to try it on.

    Params and gradients are random, of mean 0 and variance 1, so that the user's have
    no say in what is measured, and the shapes of these are enough.

    Raises:
      TypeError, ValueError: the params have no arrays, or have other leaves.
    """

    def __init__(
        self,
        tx: optax.GradientTransformation,
        params: optax.Params,
        extra_args: dict[str, Any],
    ) -> None:
        if not jax.tree.leaves(params):
            raise ValueError(f"params must be a pytree of arrays, got {params!r:.60}.")
        random = np.random.default_rng(0)
        self.params, self.grads = (
            jax.tree.map(lambda leaf: _normal(leaf, random), params) for _ in range(2)
        )
        self.init = tx.init(self.params)
        # Functions and flags are a part of the program, all else is traced.
        leaves, structure = jax.tree.flatten(extra_args)
        self.arrays = [leaf if _is_numeric(leaf) else None for leaf in leaves]

        def step(
            state: Any, scale: jax.Array, grads: Any, params: Any, arrays: list[Any]
        ) -> tuple[Any, jax.Array, jax.Array]:
            # The arguments as the user passed them, in the places of the arrays.
            args = [a if n is None else n for a, n in zip(leaves, arrays, strict=True)]
            grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
            given = jnp.stack(jax.tree.leaves(jax.tree.map(_norm, grads)))
            updates, state = tx.update(
                grads, state, params, **structure.unflatten(args)
            )
            size = jnp.stack(jax.tree.leaves(jax.tree.map(_norm, updates)))
            return state, size, given

        self.step = jax.jit(step)

    def run(self, state: Any, scale: float, num_steps: int = _STEPS) -> Outcome:
        """Updates from a state with gradients of one size, until one is not 0."""
        inputs = jnp.float32(scale), self.grads, self.params, self.arrays
        sizes: list[np.ndarray] = []
        steps, given = 0, np.zeros(0)
        while steps < num_steps or (not sizes and _STEPS <= steps < _MOST_STEPS):
            state, *norms = self.step(state, *inputs)
            size, given = map(np.asarray, norms)
            sizes += [size] if size.any() else []
            steps += 1
        rows = np.array(sizes).reshape(-1, given.size)
        return Outcome(states_by_group(state), rows, given, steps)

    def changed(self, state: Any = None, **fields: Any) -> Any:
        """A state, or the initial one, with other numbers in fields of mi_decay's.

        Numbers are one for all groups, or a dict from group to number.
        """
        state = self.init if state is None else state
        groups = iter(states_by_group(state))

        def change(node: Any) -> Any:
            if not isinstance(node, MIDecayState):
                return node
            group = next(groups)
            numbers = {
                name: number[group] if isinstance(number, dict) else number
                for name, number in fields.items()
            }
            return node._replace(
                **{
                    name: jnp.full_like(getattr(node, name), number)
                    for name, number in numbers.items()
                }
            )

        return jax.tree.map(change, state, is_leaf=_is_ours)

    def later(self, count: int) -> Any:
        """The initial state with all schedules at a count, or None without any."""
        found = []

        def move(node: Any) -> Any:
            if not _is_count(node):
                return node
            found.append(node)
            return node._replace(count=jnp.full_like(node.count, count))

        state = jax.tree.map(move, self.init, is_leaf=_is_count)
        return state if found else None

    def has_moments(self, group: str) -> bool:
        """Whether beside a group's state there are others of the shape of params.

        So there are in a chain with adam, unless the group has no params.
        """
        found = find_states("tx", self.init, _is_ours)
        paths = dict(zip(states_by_group(self.init), found, strict=True))
        path, _ = paths[group]
        names = [i for i, key in enumerate(path) if isinstance(key, DictKey)]
        start = path[: names[-1] + 1] if names else ()
        leaves, _ = jax.tree_util.tree_flatten_with_path(self.init, is_leaf=_is_ours)
        return any(
            where[: len(start)] == start and jnp.ndim(leaf)
            for where, leaf in leaves
            if not _is_ours(leaf)
        )


def _is_ours(node: Any) -> bool:
    return isinstance(node, MIDecayState)


def _is_count(node: Any) -> bool:
    """Whether it is the state of a schedule: a count and nothing else."""
    return getattr(node, "_fields", None) == ("count",)


def _is_numeric(leaf: Any) -> bool:
    if not isinstance(leaf, np.ndarray):
        return isinstance(leaf, jax.Array)
    return jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool


def _normal(leaf: Any, random: np.random.Generator) -> jax.Array:
    """Random numbers like a param, on its devices; zeros where it is of integers."""
    if not (hasattr(leaf, "dtype") or isinstance(leaf, int | float | complex)):
        raise TypeError(f"params must be a pytree of arrays, got a leaf {leaf!r:.60}.")
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.zeros(jnp.shape(leaf), dtype)
    numbers = random.standard_normal(jnp.shape(leaf), np.float32)
    if isinstance(leaf, jax.Array) and leaf.committed:
        return jax.device_put(numbers.astype(dtype), leaf.sharding)
    return jnp.asarray(numbers, dtype)


def _norm(x: jax.Array) -> jax.Array:
    """Euclidean norm, in float32."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros(())
    return jnp.sqrt(jnp.sum(jnp.square(jnp.abs(x).astype(jnp.float32))))
