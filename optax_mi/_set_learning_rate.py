"""Writing a learning rate into the state of an optimizer that somebody else updates."""

from collections.abc import Mapping
from typing import TypeVar

import chex
import jax
import jax.numpy as jnp

from optax_mi._checks import check_number
from optax_mi._find import Path, check_state, leaf_names

StateT = TypeVar("StateT")


def set_learning_rate(opt_state: StateT, learning_rate: chex.Numeric) -> StateT:
    """Sets the learning rate of an optimizer made by `optax.inject_hyperparams`.

    For trainers that call `update` themselves and pass it neither outputs nor a loss.
    Keep a state of :func:`mi_decay` beside the trainer's, update it with no updates,
    `()`, and write what it decided into the trainer's state.

    Args:
      opt_state: an optimizer state, or any pytree that contains one, such as a train
        state. Exactly one state in it is of `optax.inject_hyperparams`, with a
        `learning_rate` that is a number and not a schedule.
      learning_rate: the new learning rate, at least 0.

    Returns:
      A copy of `opt_state` with the new learning rate, in the dtype of the old one: a
      compiled train step takes it without compiling again. It traces.

    Raises:
      TypeError: `opt_state` is a transformation or an `nnx.Optimizer`, whose
        `opt_state` to pass; `learning_rate` is not a number, or the one in the state is
        an integer.
      ValueError: `opt_state` has no learning rate to set, several, or that of a
        schedule, which would overwrite it; or `learning_rate` is negative or not
        finite. Arrays of JAX are not looked at.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import learning_rates, mi_decay, set_learning_rate
      >>> params = {"w": jnp.ones(3)}
      >>> optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.01)
      >>> opt_state = optimizer.init(params)  # the trainer's
      >>> decay = mi_decay(0.01, num_classes=2, steps_per_epoch=2)
      >>> side = decay.init(())
      >>> labels = jnp.arange(32) % 2
      >>> for _ in range(4):
      ...     _, side = decay.update((), side, outputs=labels, labels=labels)
      ...     opt_state = set_learning_rate(opt_state, learning_rates(side)["all"])
      >>> print(f"{opt_state.hyperparams['learning_rate']:.4f}")
      0.0057
    """
    check_state("opt_state", opt_state)
    updates_itself = hasattr(opt_state, "opt_state") and hasattr(opt_state, "update")
    if updates_itself and not isinstance(opt_state, Mapping):
        raise TypeError(
            "opt_state is an optimizer that updates itself, as in nnx, which a copy "
            "would not change: optimizer.opt_state = "
            "set_learning_rate(optimizer.opt_state, learning_rate)."
        )
    if not isinstance(learning_rate, jax.Array) or learning_rate.ndim:
        # A number of JAX's may not be there yet: nobody waits for it.
        check_number(
            "learning_rate", learning_rate, lambda lr: lr >= 0, "at least 0 and finite"
        )
    leaves, structure = jax.tree.flatten(opt_state)
    place = _find_one(leaf_names(opt_state))
    old = jnp.asarray(leaves[place])
    if not jnp.issubdtype(old.dtype, jnp.floating):
        raise TypeError(
            f"opt_state has a learning rate of dtype {old.dtype}, which would round "
            f"the new one: write {old}.0 where the optimizer is made."
        )
    if not isinstance(learning_rate, jax.Array):
        learning_rate = float(learning_rate)
        if learning_rate > (largest := float(jnp.finfo(old.dtype).max)):
            raise ValueError(
                f"learning_rate must be at most {largest:.3g}, the largest number in "
                f"the dtype of opt_state, {old.dtype}, got {learning_rate!r}."
            )
    # This keeps the weak type, if there is one.
    leaves[place] = old.at[...].set(jnp.asarray(learning_rate).astype(old.dtype))
    return structure.unflatten(leaves)


def _find_one(names: list[Path]) -> int:
    """Where the learning rate is.

    Raises:
      ValueError: there is none, or more than one, or that of a schedule.
    """
    injected = [i for i, name in enumerate(names) if name[-2:-1] == ("hyperparams",)]
    rates = [i for i in injected if names[i][-1] == "learning_rate"]
    if not rates:
        has = ", ".join(sorted({names[i][-1] for i in injected})) or "nothing"
        raise ValueError(
            "opt_state has no learning_rate of optax.inject_hyperparams, which has "
            f"injected {has}. Make the optimizer by "
            "optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)."
        )
    if len(rates) > 1:
        where = ", ".join("/".join(names[i][:-2]) or "the top" for i in rates)
        raise ValueError(
            f"opt_state has {len(rates)} learning rates, at {where}: pass the part "
            "that has only the one to set."
        )
    (place,) = rates
    schedule = (*names[place][:-2], "hyperparams_states", "learning_rate")
    if any(name[: len(schedule)] == schedule for name in names):
        raise ValueError(
            "opt_state has the learning rate of a schedule, which would overwrite what "
            "is set: give optax.inject_hyperparams a number as learning_rate."
        )
    return place
