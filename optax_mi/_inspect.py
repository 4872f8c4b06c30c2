"""Reading learning rates and estimates out of any optimizer state."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from optax_mi._checks import check_number
from optax_mi._decay import MIDecayState
from optax_mi._find import find_states
from optax_mi._printing import python_number
from optax_mi.estimators import MIEstimate
from optax_mi.estimators._base import unpack


class MIDiagnostics(NamedTuple):
    """What :func:`optax_mi.mi_decay` measured last, and what it did.

    Python numbers, which `json.dumps` takes; arrays inside a compiled function.

    Attributes:
      learning_rate: the present learning rate.
      mi: I(outputs; labels) of the last epoch closed, nats; nan before the first. It is
        nan if that epoch had no valid sample; so are `entropy`, `normalized`, `chance`.
      entropy: H(labels) of that epoch, nats.
      normalized: share of the entropy that is known beyond chance, in [0, 1]; nan if
        there were too few samples to tell.
      std_error: standard error of `mi`, nats.
      num_samples: effective number of samples of that epoch.
      dropped: samples of that epoch that were ignored.
      epoch: number of epochs closed.
      held: number of those that were unusable and held the learning rate.
      joined: number of times that the open epoch was extended, because its samples
        could not tell knowledge from chance.
      chance: nats that `mi` would be on average if outputs and labels were independent.
    """

    learning_rate: jax.Array | float
    mi: jax.Array | float
    entropy: jax.Array | float
    normalized: jax.Array | float
    std_error: jax.Array | float
    num_samples: jax.Array | float
    dropped: jax.Array | float
    epoch: jax.Array | int
    held: jax.Array | int
    joined: jax.Array | int
    chance: jax.Array | float


def learning_rates(opt_state: Any) -> dict[str, jax.Array]:
    """Finds every MI learning rate in an optimizer state.

    Looks through every wrapper whose state is a pytree, such as `optax.chain`,
    `partition` and `MultiSteps`, and through a linen `TrainState` or an
    `nnx.Optimizer`. It traces, so that a compiled train step can return the learning
    rates.

    Args:
      opt_state: an optimizer state, a train state, or any pytree that contains one.

    Returns:
      A dict from group to learning rate, a float32 scalar. A group is named by the
      dictionary keys on the way to it, joined by "/"; a lone transformation is "all".
      Names that meet are numbered: "all", "all_2". Where there is no
      :class:`MIDecayState`, as in params, it is empty, so the same logger serves runs
      without one. :func:`mi_warnings` says so in words.

    Raises:
      TypeError: `opt_state` is a transformation.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import learning_rates, mi_sgd
      >>> slow, fast = (mi_sgd(lr, num_classes=10) for lr in (0.125, 0.5))
      >>> tx = optax.partition({"body": slow, "head": fast}, {"w": "body", "v": "head"})
      >>> state = tx.init({"w": jnp.zeros(3), "v": jnp.zeros(2)})
      >>> {group: float(lr) for group, lr in learning_rates(state).items()}
      {'body': 0.125, 'head': 0.5}
    """
    return {
        group: array_of(state.current_lr)
        for group, state in states_by_group(opt_state).items()
    }


def mi_diagnostics(opt_state: Any) -> dict[str, MIDiagnostics]:
    """Finds every MI state in an optimizer state, and what it measured last.

    Args:
      opt_state: as for :func:`learning_rates`.

    Returns:
      A dict from group, named as by :func:`learning_rates`, to :class:`MIDiagnostics`.
      :func:`log_values` returns the same numbers in the form that loggers take.

    Raises:
      TypeError: `opt_state` is a transformation.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import mi_diagnostics, mi_sgd
      >>> tx = mi_sgd(0.5, num_classes=2, steps_per_epoch=1)
      >>> labels = jnp.array([0, 1, 1, -1])
      >>> grads = jnp.zeros(3)
      >>> _, state = tx.update(grads, tx.init(grads), outputs=labels, labels=labels)
      >>> seen = mi_diagnostics(state)["all"]
      >>> print(f"{seen.mi:.3f} of {seen.entropy:.3f} nats, {seen.dropped:.0f} dropped")
      0.637 of 0.637 nats, 1 dropped
    """
    states = states_by_group(opt_state)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(states)):
        return _diagnose(states)
    # nan stands for what has not been measured: debug modes should not object.
    with jax.debug_nans(False), jax.debug_infs(False):
        arrays = jax.device_get(_diagnose(states))
    return jax.tree.map(python_number, arrays)


def log_values(
    opt_state: Any, learning_rate: float | Callable[[int], Any] | None = None
) -> dict[str, float]:
    """Returns learning rates and measurements as one flat dict of floats.

    It suits loggers such as TensorBoard and Weights & Biases, CSV and JSON. Values that
    are not finite, such as the MI before the first epoch has closed, are left out.

    Args:
      opt_state: as for :func:`learning_rates`, with values: call it outside of jit.
      learning_rate: what the factor of `mi_decay` multiplies, if the optimizer before
        it has a learning rate: a number, or the schedule that the optimizer was given.
        A schedule is read at the step of `optax.scale_by_schedule`, which optimizers
        use for it, or, if there is none, after as many steps as `mi_decay` has seen.

    Returns:
      A dict from names such as "mi/learning_rate" and "mi/entropy" to floats, with a
      name for each field of :class:`MIDiagnostics`. If there are groups, each has its
      own names: "mi/body/learning_rate". With `learning_rate`, the values under that
      name are those of the next update unless it closes an epoch, and "mi/factor" is
      what `mi_decay` set.

    Raises:
      TypeError: `opt_state` is traced, has copies as under vmap, or is a
        transformation; or `learning_rate` is neither a number nor a schedule of them.
      ValueError: `learning_rate` is negative or not finite, or several schedules are at
        different steps.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import log_values, mi_decay
      >>> schedule = optax.linear_schedule(0.0, 0.01, 100)  # a warm-up
      >>> tx = optax.chain(optax.adamw(schedule), mi_decay(1.0, num_classes=2))
      >>> state = tx.init({"w": jnp.zeros(3)})
      >>> values = log_values(state, schedule)
      >>> values["mi/learning_rate"], values["mi/factor"], "mi/entropy" in values
      (0.0, 1.0, False)
    """
    states, values = states_by_group(opt_state), {}
    for group, seen in mi_diagnostics(opt_state).items():
        if isinstance(seen.learning_rate, Tracer):
            raise TypeError(
                "opt_state is traced, and loggers take numbers: call log_values "
                "outside jit, or return learning_rates(opt_state) from the compiled "
                "step."
            )
        if getattr(seen.learning_rate, "ndim", 0):
            raise TypeError(
                "opt_state has copies, as under vmap, and loggers take numbers: pass "
                "one of them, jax.tree.map(lambda leaf: leaf[0], opt_state)."
            )
        fields = seen._asdict()
        if learning_rate is not None:
            fields["factor"] = factor = fields["learning_rate"]
            base: Any = learning_rate
            if callable(learning_rate):
                base = learning_rate(_next_step(opt_state, states[group]))
            check_number(
                "learning_rate", base, lambda lr: lr >= 0, "at least 0 and finite"
            )
            fields["learning_rate"] = float(base) * factor
        start = "mi" if group == "all" else f"mi/{group}"
        values |= {f"{start}/{name}": float(x) for name, x in fields.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _next_step(opt_state: Any, state: MIDecayState) -> int:
    """The step at which the optimizer reads its schedule next."""
    found = find_states("opt_state", opt_state, _is_schedule)
    # Not those of mi_decay: a wrapper may skip updates of the optimizer before it.
    steps = {int(array_of(schedule.count)) for _, schedule in found}
    if len(steps) > 1:
        raise ValueError(
            f"opt_state has schedules at steps {sorted(steps)}: pass learning_rate as "
            "the number that the one before mi_decay gives."
        )
    return steps.pop() if steps else int(array_of(state.num_updates))


def _diagnose(states: dict[str, MIDecayState]) -> dict[str, MIDiagnostics]:
    diagnostics = {}
    for group, state in states.items():
        estimate = unpack(MIEstimate(*map(array_of, state.estimate)))
        # Without a sample, 0 nats would be a measurement that nobody made.
        seen = estimate.num_samples > 0
        mi, entropy, normalized, chance = (
            jnp.where(seen, number, jnp.nan)
            for number in (
                estimate.mi,
                estimate.entropy,
                estimate.normalized,
                estimate.chance,
            )
        )
        diagnostics[group] = MIDiagnostics(
            learning_rate=array_of(state.current_lr),
            mi=mi,
            entropy=entropy,
            normalized=normalized,
            std_error=estimate.std_error,
            num_samples=estimate.num_samples,
            dropped=estimate.dropped,
            epoch=array_of(state.num_epochs),
            held=array_of(state.held),
            joined=array_of(state.joined),
            chance=chance,
        )
    return diagnostics


def states_by_group(opt_state: Any) -> dict[str, MIDecayState]:
    """Every MI state, by the names that :func:`learning_rates` gives."""
    states: dict[str, MIDecayState] = {}
    found = find_states("opt_state", opt_state, _is_ours)
    for path, state in found:
        keys = [str(k.key) for k in path if isinstance(k, jax.tree_util.DictKey)]
        name = group = "/".join(keys) or "all"
        copies = 1
        while group in states:
            copies += 1
            group = f"{name}_{copies}"
        states[group] = state
    return states


def _is_schedule(node: Any) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)


def _is_ours(node: Any) -> bool:
    return isinstance(node, MIDecayState)


def array_of(leaf: Any) -> jax.Array:
    """The array in a leaf, which nnx wraps in a Variable."""
    (array,) = jax.tree.leaves(leaf)
    return array
