"""One epoch of a learning rate: its start, its updates and its end.

An epoch whose samples cannot tell knowledge from chance does not end but goes on until
it is twice as long. In the first one the rule may look at what is known, at updates 1,
2, 4, 8, ... until there is something to see.
"""

import functools
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from optax_mi._checks import required_keywords
from optax_mi._devices import check_same_on_all_devices, update_across
from optax_mi._printing import brief
from optax_mi.estimators import MIEstimate, MIEstimator
from optax_mi.estimators._base import no_estimate, pack
from optax_mi.rules import DecayRule

# Without `steps_per_epoch` an epoch lasts the updates before it divided by this. The
# default rule works in shares of the time so far, so such epochs suit it.
_EPOCHS_SO_FAR = 10

# An epoch stays open if chance alone could read more than this share of H(Y).
_MOST_CHANCE = 0.5

# The number of times that an epoch can double before its length overflows an int32.
_MOST_JOINED = 31


class MIDecayState(NamedTuple):
    """State of :func:`mi_decay`: fixed shapes, whatever the params and their dtypes.

    Attributes:
      num_updates: number of updates so far, saturating.
      updates_in_epoch: number of updates in the open epoch.
      num_epochs: number of epochs closed.
      held: number of closed epochs whose estimate was unusable: no valid sample, or
        not finite. They held the learning rate.
      joined: number of times that the open epoch could not tell knowledge from chance
        at its end, and went on until it was twice as long.
      look_at: update of the first epoch after which the rule looks at what is known
        already; 0 if it need not, or not any more.
      current_lr: what the next update is multiplied by, if no epoch closes with it.
      estimate: of the last epoch closed, usable or not; packed, with -1 for nan and -2
        for infinity. :func:`mi_diagnostics` unpacks it.
      estimator_state: accumulator of the open epoch.
      rule_state: what the rule remembers.
    """

    num_updates: jax.Array  # shape=(), dtype=int32
    updates_in_epoch: jax.Array  # shape=(), dtype=int32
    num_epochs: jax.Array  # shape=(), dtype=int32
    held: jax.Array  # shape=(), dtype=int32
    joined: jax.Array  # shape=(), dtype=int32
    look_at: jax.Array  # shape=(), dtype=int32
    current_lr: jax.Array  # shape=(), dtype=float32
    estimate: MIEstimate  # shapes=(), dtypes=float32
    estimator_state: chex.ArrayTree
    rule_state: chex.ArrayTree

    def __repr__(self) -> str:
        """Returns the state in one line, tables as dtype and shape."""
        return brief(self)


class Settings(NamedTuple):
    """The arguments of :func:`mi_decay`, checked."""

    estimator: MIEstimator
    rule: DecayRule
    lr_max: chex.Numeric
    lr_min: chex.Numeric | None = None
    init_lr: chex.Numeric | None = None
    steps_per_epoch: chex.Numeric | None = None
    axis_name: str | tuple[str, ...] | None = None


def begin(settings: Settings) -> MIDecayState:
    """The state before the first update."""
    _, high = _bounds(settings)
    first = high if settings.init_lr is None else _float32(settings.init_lr)
    # Each field has an array of its own: donated buffers must not repeat.
    num_updates, updates_in_epoch, num_epochs, held, joined = (
        jnp.zeros((), jnp.int32) for _ in range(5)
    )
    return MIDecayState(
        num_updates=num_updates,
        updates_in_epoch=updates_in_epoch,
        num_epochs=num_epochs,
        held=held,
        joined=joined,
        look_at=jnp.full((), settings.rule.look is not None, jnp.int32),
        current_lr=_within_bounds(settings, first),
        estimate=no_estimate(),
        estimator_state=settings.estimator.init(),
        rule_state=settings.rule.init(),
    )


def observe(
    settings: Settings, state: MIDecayState, extra_args: dict[str, Any]
) -> MIDecayState:
    """Adds an update to the epoch of a state.

    Raises:
      TypeError: the state is of something else, or a keyword is missing or misspelt.
      ValueError: the batch is spread over devices, and no axis name says so, or the
        axis name is that of no axis.
    """
    state = check_update(settings, state, extra_args)
    return count_update(state, add(settings, state.estimator_state, extra_args))


def check_update(
    settings: Settings, state: Any, extra_args: dict[str, Any]
) -> MIDecayState:
    """Returns the state as JAX arrays; raises unless it and the keywords are right."""
    if not isinstance(state, MIDecayState):
        raise TypeError(
            f"state must be an MIDecayState, got a {type(state).__name__}. Pass what "
            "tx.init(params) of this very transformation returns, or its last update. "
            "A checkpoint that was restored without a target is converted by "
            "optax_mi.restore_state(tx.init(params), saved)."
        )
    _check_keywords(settings.estimator, extra_args)
    # `jax.device_get` and flax's `from_bytes` return NumPy arrays.
    return jax.tree.map(jnp.asarray, state)


def add(settings: Settings, before: Any, extra_args: dict[str, Any]) -> Any:
    """Adds a batch to the accumulator, merged over all devices."""
    estimator = settings.estimator
    if settings.axis_name:
        return update_across(estimator, before, extra_args, settings.axis_name)
    after = estimator.update(before, **extra_args)
    check_same_on_all_devices(before, after, asked=settings.axis_name is None)
    return after


def count_update(state: MIDecayState, accumulator: Any) -> MIDecayState:
    """Counts an update, and stores the accumulator after it."""
    return state._replace(
        num_updates=_increment(state.num_updates),
        updates_in_epoch=_increment(state.updates_in_epoch),
        estimator_state=accumulator,
    )


def is_due(settings: Settings, state: MIDecayState) -> jax.Array:
    """Whether to read the accumulator: at the end of an epoch, or for a look."""
    looks = (state.look_at > 0) & (state.updates_in_epoch == state.look_at)
    return _is_over(settings, state) | looks


def read(settings: Settings, state: MIDecayState) -> MIDecayState:
    """Reads the accumulator, and begins a new epoch or extends this one."""
    estimator = settings.estimator
    estimate = _cast(estimator.estimate(state.estimator_state), state.estimate)
    # More samples help if chance is too large. They do not help against nan.
    doubtful = estimate.chance > _MOST_CHANCE * estimate.entropy
    goes_on = estimator.gathers & doubtful & (estimate.num_samples > 0)
    usable = (
        (estimate.num_samples > 0)
        & jnp.isfinite(estimate.mi)
        & ~jnp.isnan(estimate.entropy)
    )
    over, tells = _is_over(settings, state), usable & ~goes_on
    return jax.lax.cond(
        over & ~goes_on,
        lambda: _close(settings, state, estimate, tells),
        lambda: _go_on(settings, state, estimate, tells, over),
    )


def is_any_due(
    members: Sequence[Settings], states: Sequence[MIDecayState]
) -> jax.Array:
    """Whether one of the accumulators is due."""
    return functools.reduce(jnp.logical_or, map(is_due, members, states))


def read_first_due(
    members: Sequence[Settings], states: tuple[MIDecayState, ...]
) -> tuple[MIDecayState, ...]:
    """Reads the first accumulator that is due.

    The members differ in nothing but their bounds, so that one reading is compiled.
    """
    if len(members) == 1:
        return (read(members[0], states[0]),)
    first = jnp.int32(0)
    for i in reversed(range(len(members))):
        first = jnp.where(is_due(members[i], states[i]), i, first)
    state = jax.lax.switch(first, [lambda s=s: s for s in states])
    low, high = (jnp.stack(b)[first] for b in zip(*map(_bounds, members), strict=True))
    state = read(members[0]._replace(lr_min=low, lr_max=high), state)
    return jax.lax.switch(
        first,
        [
            lambda i=i: (*states[:i], state, *states[i + 1 :])
            for i in range(len(states))
        ],
    )


def scale(
    settings: Settings, updates: optax.Updates, state: MIDecayState
) -> tuple[optax.Updates, MIDecayState]:
    """Multiplies updates by the learning rate in the state."""
    # Bounds may move, under inject_hyperparams.
    learning_rate = _within_bounds(settings, state.current_lr)
    updates = jax.tree.map(lambda u: _times(u, learning_rate), updates)
    return updates, state._replace(current_lr=learning_rate)


def _bounds(settings: Settings) -> tuple[jax.Array, jax.Array]:
    high, low = _float32(settings.lr_max), settings.lr_min
    return high / 100 if low is None else _float32(low), high


def _within_bounds(settings: Settings, learning_rate: jax.Array) -> jax.Array:
    low, high = _bounds(settings)
    # fmax and fmin ignore the nan that a schedule may return as a bound.
    return jnp.fmin(jnp.fmax(learning_rate, low), high)


def _is_over(settings: Settings, state: MIDecayState) -> jax.Array:
    """Whether the open epoch is complete; its length doubles each time it is joined."""
    length = settings.steps_per_epoch
    if length is None:
        length = (state.num_updates - state.updates_in_epoch) // _EPOCHS_SO_FAR
    # A schedule may ask for epochs of no updates, which would never end.
    return state.updates_in_epoch >> state.joined >= jnp.maximum(length, 1)


def _close(
    settings: Settings, state: MIDecayState, estimate: MIEstimate, usable: jax.Array
) -> MIDecayState:
    """Decides the learning rate, and begins the next epoch."""
    proposed, rule_state = _propose(settings, state, estimate, usable)
    moves = usable & jnp.isfinite(proposed)
    falls = jnp.minimum(proposed, state.current_lr)
    learning_rate, rule_state = _choose(
        moves, (falls, rule_state), (state.current_lr, state.rule_state)
    )
    return state._replace(
        updates_in_epoch=jnp.zeros_like(state.updates_in_epoch),
        num_epochs=_increment(state.num_epochs),
        held=jnp.where(moves, state.held, _increment(state.held)),
        joined=jnp.zeros_like(state.joined),
        look_at=jnp.zeros_like(state.look_at),
        current_lr=learning_rate,
        estimate=pack(estimate),
        estimator_state=settings.estimator.init(),
        rule_state=rule_state,
    )


def _propose(
    settings: Settings, state: MIDecayState, estimate: MIEstimate, usable: jax.Array
) -> tuple[jax.Array, Any]:
    """The rule's learning rate and its state, if the estimate is usable."""
    low, high = _bounds(settings)

    def ask(turn: tuple[jax.Array, jax.Array, Any]) -> tuple[jax.Array, jax.Array, Any]:
        again, *before = turn
        proposal = settings.rule.update(
            state.rule_state,
            estimate,
            state.current_lr,
            step=state.num_updates,
            lr_min=low,
            lr_max=high,
        )
        return jnp.zeros_like(again), *_cast(proposal, tuple(before))

    # A loop of at most one turn serves as an `if`: XLA on the CPU compiles a loop over
    # a few numbers as one program, and a conditional as a program for each number.
    turn = usable, state.current_lr, state.rule_state
    return jax.lax.while_loop(lambda turn: turn[0], ask, turn)[1:]


def _go_on(
    settings: Settings,
    state: MIDecayState,
    estimate: MIEstimate,
    tells: jax.Array,
    over: jax.Array,
) -> MIDecayState:
    """Keeps the epoch open, after a look or because it needs more updates."""
    look, at = settings.rule.look, state.look_at
    seen = state.rule_state if look is None else look(state.rule_state, estimate)
    joined = jnp.minimum(state.joined + 1, _MOST_JOINED)
    later = at + jnp.where(state.updates_in_epoch == at, at, 0)
    return state._replace(
        joined=jnp.where(over, joined, state.joined),
        look_at=jnp.where(tells, 0, later),
        rule_state=_choose(tells, _cast(seen, state.rule_state), state.rule_state),
    )


def _choose(condition: jax.Array, new: Any, old: Any) -> Any:
    """Chooses a tree by `cond`: for `where`, XLA compiles a program for each field."""
    return jax.lax.cond(condition, lambda: new, lambda: old)


def _cast(new: Any, old: Any) -> Any:
    """The new tree in the dtypes of the old one."""
    return jax.tree.map(lambda n, o: jnp.asarray(n).astype(o.dtype), new, old)


def _check_keywords(estimator: MIEstimator, extra_args: dict[str, Any]) -> None:
    """Raises unless all keywords that the estimator requires are there."""
    takes = inspect.signature(estimator.update).parameters
    # If weights are given, the others are for another transformation of the chain.
    if "weights" in takes and extra_args.get("weights") is None:
        for name in ("mask", "weight", "sample_weight", "sample_weights"):
            if name not in takes and extra_args.get(name) is not None:
                raise TypeError(
                    f"update() got {name}, whose name is weights here: weights={name}."
                )
    required = required_keywords(estimator)
    missing = [name for name in required if name not in extra_args]
    if missing:
        for name, other in (("value", "loss"), ("loss", "value")):
            if missing == [name] and other in extra_args:
                raise TypeError(
                    f"update() got {other} and is missing {name}: make the estimator "
                    f"by from_loss(..., keyword={other!r})."
                )
        call = ", ".join(f"{name}=..." for name in required)
        raise TypeError(
            f"update() is missing {' and '.join(missing)}. Call it as tx.update(grads, "
            f"state, params, {call}); with optax_mi.flax.MITrainState, as "
            "state.apply_gradients(grads=grads, extra_args={...}). If you do pass "
            "them, a wrapper strips them, as MultiSteps(...).gradient_transformation() "
            "and flax's TrainState do: put mi_decay outside it."
        )


def _increment(count: jax.Array) -> jax.Array:
    """Count + 1, saturating at the largest int32."""
    return jnp.asarray(optax.safe_increment(count))


def _float32(number: chex.Numeric) -> jax.Array:
    return jnp.asarray(number).astype(jnp.float32)


def _times(update: Any, learning_rate: jax.Array) -> jax.Array:
    """The update times the learning rate, rounded once, in the update's dtype."""
    update = jnp.asarray(update)
    dtype = jnp.promote_types(update.dtype, jnp.float32)
    return (update.astype(dtype) * learning_rate.astype(dtype)).astype(update.dtype)
