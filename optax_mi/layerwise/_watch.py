"""Adds a batch to the layers' accumulators; similar ones are updated together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from optax_mi import _epoch
from optax_mi._epoch import MIDecayState, Settings
from optax_mi.estimators import MIEstimator

States = Mapping[str, MIDecayState]


def make_watch(
    settings: Mapping[str, Settings],
    shared: Mapping[str, MIEstimator],
    readers: Mapping[str, Callable[..., Any]],
) -> Callable[[States, dict[str, Any]], dict[str, MIDecayState]]:
    """Makes a function that adds a batch to the epochs of all groups.

    Groups with the same estimator in `shared` are updated together, which compiles once
    and takes less time. Each group's reader makes the arguments of the estimator.
    """
    alike: dict[Any, list[str]] = {}
    for group, estimator in shared.items():
        alike.setdefault(estimator.estimate, []).append(group)
    together = [groups for groups in alike.values() if len(groups) > 1]
    shapes = [jax.eval_shape(shared[group].init) for group, *_ in together]
    updates = [
        _update_all(settings[group]._replace(estimator=shared[group]))
        for group, *_ in together
    ]

    def watch(states: States, extra_args: dict[str, Any]) -> dict[str, MIDecayState]:
        after = {}
        for groups, update, shape in zip(together, updates, shapes, strict=True):
            checked = [
                _epoch.check_update(settings[group], states[group], extra_args)
                for group in groups
            ]
            for group, state in zip(groups, checked, strict=True):
                _check_width(group, state, shape)
            batches = [readers[group](dict, **extra_args) for group in groups]
            if len({batch["outputs"].shape for batch in batches}) == 1:
                new = update([state.estimator_state for state in checked], batches)
                after |= {
                    group: _epoch.count_update(state, accumulator)
                    for group, state, accumulator in zip(
                        groups, checked, new, strict=True
                    )
                }
        return {
            group: after.get(group) or _epoch.observe(s, states[group], extra_args)
            for group, s in settings.items()
        }

    return watch


def _check_width(group: str, state: MIDecayState, expected: Any) -> None:
    """Raises unless the accumulator has the columns of the widest layer."""
    found, wanted = (
        [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
        for tree in (state.estimator_state, expected)
    )
    if found != wanted:
        raise TypeError(
            f"state must have an accumulator as wide as that of the widest layer for "
            f"{group!r}, with the shapes {wanted}, got {found}: it belongs to other "
            "estimators. Pass the state that tx.init(params) returned."
        )


def _update_all(
    settings: Settings,
) -> Callable[[Sequence[Any], Sequence[dict[str, Any]]], list[Any]]:
    """Makes a function that adds outputs of one shape, which share their labels."""

    def add(
        accumulators: Sequence[Any], outputs: Sequence[jax.Array], same: dict[str, Any]
    ) -> list[Any]:
        def add_one(accumulator: Any, rows: jax.Array) -> Any:
            return _epoch.add(settings, accumulator, {"outputs": rows, **same})

        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *accumulators)
        after = jax.vmap(add_one)(stacked, jnp.stack(outputs))
        return [
            jax.tree.map(lambda part, i=i: part[i], after)
            for i in range(len(accumulators))
        ]

    # Outside of jit, each call would compile the loop again.
    add = jax.jit(add)

    def update_all(
        accumulators: Sequence[Any], batches: Sequence[dict[str, Any]]
    ) -> list[Any]:
        same = {key: batches[0].get(key) for key in ("labels", "weights")}
        return add(accumulators, [batch["outputs"] for batch in batches], same)

    return update_all
