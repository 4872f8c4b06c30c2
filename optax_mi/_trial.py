"""A few updates of a transformation on random gradients, and how large they are."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import DictKey

from optax_mi._average import AverageParamsState
from optax_mi._decay import MIDecayState
from optax_mi._find import find_states, leaves_by_name
from optax_mi._inspect import states_by_group

# Radam uses no second moments before the sixth update. If nothing moves, as within
# optax.MultiSteps, the trial continues.
_STEPS, _MOST_STEPS = 8, 64


class Outcome(NamedTuple):
    """The results of a few updates."""

    states: dict[str, MIDecayState]  # of mi_decay, by group
    # Euclidean norms of each leaf, [updates, leaves], without updates that are all 0.
    sizes: np.ndarray
    given: np.ndarray  # Euclidean norms of the gradients, [leaves]
    # Inner products of all updates of a leaf with its gradient, [leaves].
    along: np.ndarray
    # Relative error of the first average of the updated params, by their dtype's eps.
    missed: float
    num_steps: int


class Trial:
    """A transformation with its initial state, and gradients to try it on.

    Params and gradients are random, of mean 0 and variance 1. So the result does not
    depend on the user's values, and their shapes are enough.

    Raises:
      TypeError, ValueError: the params have no leaves, or leaves that are not arrays.
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
        self.names = ["/".join(path) for path in leaves_by_name(params)]
        self.init = tx.init(self.params)
        # Functions and flags are static, all else is traced.
        leaves, structure = jax.tree.flatten(extra_args)
        self.arrays = [leaf if _is_numeric(leaf) else None for leaf in leaves]

        def step(
            state: Any, scale: jax.Array, grads: Any, params: Any, arrays: list[Any]
        ) -> tuple[Any, dict[str, jax.Array]]:
            # The arguments in the user's structure, with traced arrays.
            args = [a if n is None else n for a, n in zip(leaves, arrays, strict=True)]
            grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
            updates, after = tx.update(
                grads, state, params, **structure.unflatten(args)
            )
            return after, {
                "size": _by_leaf(_norm, updates),
                "given": _by_leaf(_norm, grads),
                "along": _by_leaf(_product, updates, grads),
                "missed": _missed(state, after, params, updates),
            }

        self.step = jax.jit(step)

    def run(self, state: Any, scale: float, num_steps: int = _STEPS) -> Outcome:
        """Updates from a state with gradients of one scale, until one is not 0."""
        inputs = jnp.float32(scale), self.grads, self.params, self.arrays
        seen: list[dict[str, np.ndarray]] = []
        sizes: list[np.ndarray] = []
        while len(seen) < num_steps or (
            not sizes and _STEPS <= len(seen) < _MOST_STEPS
        ):
            state, norms = self.step(state, *inputs)
            seen.append(jax.tree.map(np.asarray, norms))
            size = seen[-1]["size"]
            sizes += [size] if size.any() else []
        given = seen[-1]["given"]
        return Outcome(
            states=states_by_group(state),
            sizes=np.array(sizes).reshape(-1, given.size),
            given=given,
            along=np.sum([one["along"] for one in seen], 0),
            missed=max(float(one["missed"]) for one in seen),
            num_steps=len(seen),
        )

    def changed(self, state: Any = None, **fields: Any) -> Any:
        """A state, or the initial one, with other numbers in fields of MIDecayState.

        Each is one number for all groups, or a dict from group to number.
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

    def stretch(self, factor: float) -> None:
        """Multiplies the params by a factor."""
        self.params = jax.tree.map(lambda p: (p * factor).astype(p.dtype), self.params)

    def find(self, kind: type) -> list[Any]:
        """The states of one type in the initial state."""
        is_one = functools.partial(_is_a, kind)
        return [node for _, node in find_states("tx", self.init, is_one)]

    def later(self, count: int) -> Any:
        """The initial state with all schedules at a count; None without schedules."""
        found = []

        def move(node: Any) -> Any:
            if not _is_count(node):
                return node
            found.append(node)
            return node._replace(count=jnp.full_like(node.count, count))

        state = jax.tree.map(move, self.init, is_leaf=_is_count)
        return state if found else None

    def has_moments(self, group: str) -> bool:
        """Whether the group's optimizer has array states next to that of mi_decay.

        A chain with adam has such states, unless the group has no params.
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


def _is_a(kind: type, node: Any) -> bool:
    return isinstance(node, kind)


def _is_average(node: Any) -> bool:
    return isinstance(node, AverageParamsState)


def _is_count(node: Any) -> bool:
    """Whether it is the state of a schedule, which has only a count."""
    return getattr(node, "_fields", None) == ("count",)


def _is_numeric(leaf: Any) -> bool:
    if not isinstance(leaf, np.ndarray):
        return isinstance(leaf, jax.Array)
    return jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool


def _normal(leaf: Any, random: np.random.Generator) -> jax.Array:
    """Random numbers like a param, on its devices; zeros for a param of integers."""
    if not (hasattr(leaf, "dtype") or isinstance(leaf, int | float | complex)):
        raise TypeError(f"params must be a pytree of arrays, got a leaf {leaf!r:.60}.")
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.zeros(jnp.shape(leaf), dtype)
    numbers = random.standard_normal(jnp.shape(leaf), np.float32)
    if isinstance(leaf, jax.Array) and leaf.committed:
        return jax.device_put(numbers.astype(dtype), leaf.sharding)
    return jnp.asarray(numbers, dtype)


def _by_leaf(measure: Callable[..., jax.Array], *trees: Any) -> jax.Array:
    """A number for each leaf."""
    return jnp.stack(jax.tree.leaves(jax.tree.map(measure, *trees)))


def _norm(x: jax.Array) -> jax.Array:
    """Euclidean norm, in float32."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros(())
    return jnp.sqrt(jnp.sum(jnp.square(jnp.abs(x).astype(jnp.float32))))


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    """Inner product, in float32."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros(())
    return jnp.sum((x * jnp.conj(y)).real.astype(jnp.float32))


def _missed(before: Any, after: Any, params: Any, updates: Any) -> jax.Array:
    """The largest error of averages of one step, which should equal the new params."""
    led_to = leaves_by_name(optax.apply_updates(params, updates))
    missed = [jnp.zeros(())]
    for (_, old), (_, new) in zip(
        *(find_states("tx", state, _is_average) for state in (before, after)),
        strict=True,
    ):
        first = (old.num_averaged == 0) & (new.num_averaged == 1)
        for path, average in leaves_by_name(new.average).items():
            if jnp.issubdtype(average.dtype, jnp.inexact):
                exact = led_to[path]
                error = _norm(average - exact) / (_norm(exact) + 1e-30)
                error /= jnp.finfo(exact.dtype).eps
                missed.append(jnp.where(first, error, 0.0))
    return jnp.max(jnp.stack(missed))
