"""Finds problems of a run in its state, and explains them."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from optax_mi._decay import MIDecayState
from optax_mi._inspect import array_of, states_by_group
from optax_mi.estimators import MIEstimate
from optax_mi.estimators._base import unpack
from optax_mi.estimators._from_loss import BatchLosses
from optax_mi.estimators.arithmetic._sums import LongSum

NO_STATE = (
    "There is no state of mi_decay here, so no learning rate follows the mutual "
    "information: chain one after the optimizer, optax.chain(optax.sgd(1.0), "
    "mi_decay(0.3, num_classes=C)), and pass the state that its init returns."
)

# With fewer updates, an open epoch is not worth a warning.
_MANY_UPDATES = 100
# Joined so many times, an epoch is 64 times its normal length.
_MANY_JOINED = 6


class Reading(NamedTuple):
    """The fields of an :class:`MIDecayState` that warnings read, as NumPy numbers."""

    num_updates: Any
    updates_in_epoch: Any
    num_epochs: Any
    held: Any
    joined: Any
    estimate: MIEstimate
    measures: bool  # whether the user passes measurements of mi
    from_loss: bool  # whether the user passes a loss alone


def mi_warnings(opt_state: Any) -> list[str]:
    """Finds problems of a run in its state, and explains them.

    Call it during or after training; before training, call :func:`check_setup`. It
    reports that

    - no epoch has closed in 100 updates or more;
    - more than half of the epochs were held, and why;
    - an epoch dropped more samples than it used;
    - the open epoch is 64 times its normal length, because its samples cannot tell
      knowledge from chance;
    - a loss is below 0, or still above H(Y) after 100 updates, for
      :func:`optax_mi.estimators.from_loss`;
    - there is no state of :func:`mi_decay`.

    Args:
      opt_state: as for :func:`learning_rates`, with values: call it outside of jit.

    Returns:
      A sentence or two for each problem, with the fix. If there are several groups,
      their names come first. An empty list if it found nothing.

    Raises:
      TypeError: `opt_state` is traced, or is a transformation.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import mi_decay, mi_warnings
      >>> state = mi_decay(0.3, num_classes=3, steps_per_epoch=10**6).init(jnp.ones(2))
      >>> mi_warnings(state)
      []
      >>> later = state._replace(num_updates=jnp.int32(500))
      >>> print(mi_warnings(later)[0][:35])
      No epoch has closed in 500 updates,
    """
    states = states_by_group(opt_state)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(states)):
        raise TypeError(
            "opt_state is traced, and mi_warnings reads its values: call it outside of "
            "jit, with the state that the train step returns."
        )
    if not states:
        return [NO_STATE]
    found: dict[str, list[str]] = {}
    for group, state in states.items():
        for reading in read(state):
            for sentence in _look_at(reading):
                groups = found.setdefault(sentence, [])
                groups += [group] * (group not in groups)
    return [say(sentence, groups, states) for sentence, groups in found.items()]


def say(sentence: str, groups: list[str], states: dict[str, MIDecayState]) -> str:
    """The sentence, after the names of its groups unless it is about all of them."""
    return (
        sentence if len(groups) == len(states) else f"{', '.join(groups)}: {sentence}"
    )


def read(state: MIDecayState) -> list[Reading]:
    """The numbers of a state; one reading per copy if it has copies, as under vmap."""
    fields = [array_of(getattr(state, name)) for name in Reading._fields[:5]]
    # Estimates are nan before the first measurement; debug modes should not object.
    with jax.debug_nans(False), jax.debug_infs(False):
        estimate = unpack(MIEstimate(*map(array_of, state.estimate)))
    arrays = jax.device_get([*fields, *estimate])
    rows = np.broadcast_arrays(*map(np.ravel, arrays))
    sums = state.estimator_state
    measures = isinstance(sums, MIEstimate)
    from_loss = isinstance(sums, LongSum) and isinstance(sums.recent, BatchLosses)
    return [
        Reading(
            *row[:5],
            estimate=MIEstimate(*row[5:]),
            measures=measures,
            from_loss=from_loss,
        )
        for row in zip(*rows, strict=True)
    ]


def _look_at(state: Reading) -> list[str]:
    found = []
    many = state.num_updates >= _MANY_UPDATES
    if state.num_epochs == 0 and state.joined == 0 and many:
        found.append(
            f"No epoch has closed in {state.num_updates} updates, so the learning rate "
            "has not moved: steps_per_epoch is larger than that. Leave it out, and "
            "epochs grow with the run."
        )
    if state.measures:
        if many and state.held == state.num_epochs > 0:
            found.append(
                f"No measurement has come in {state.num_updates} updates: at the end "
                "of each validation pass a number as mi, not nan."
            )
    elif 2 * state.held > state.num_epochs:
        found.append(
            f"{state.held} of {state.num_epochs} epochs were held, and the learning "
            f"rate with them: {why_held(state)}"
        )
    elif state.from_loss:
        found += _look_at_losses(state)
    elif (dropped := state.estimate.dropped) > (used := state.estimate.num_samples):
        found.append(
            f"The last epoch used {used:.0f} samples and dropped {dropped:.0f}. If "
            "those are not padding, their labels are not in 0 to num_classes - 1, "
            "their outputs are not finite, or their weights are 0."
        )
    if state.joined >= _MANY_JOINED:
        found.append(
            f"The open epoch has {state.updates_in_epoch} updates, and goes on: it has "
            "too few samples of too many classes to tell knowledge from chance. "
            "variational(num_classes=C) and contingency(..., buckets=B) need fewer "
            "samples; a larger steps_per_epoch collects more."
        )
    return found


def _look_at_losses(state: Reading) -> list[str]:
    found = []
    dropped, used = state.estimate.dropped, state.estimate.num_samples
    if used > 0 and np.isnan(state.estimate.mi):
        found.append(f"The last epoch was held: {why_held(state)}")
    if dropped > used:
        found.append(
            f"The last epoch used {used:.0f} losses and dropped {dropped:.0f}, which "
            "were not finite or had weights of 0."
        )
    if state.num_updates >= _MANY_UPDATES and used > 0 and state.estimate.mi == 0:
        found.append(
            f"The loss is above H(Y), {state.estimate.entropy:.3g} nats, after "
            f"{state.num_updates} updates, which reads as knowing nothing. If the "
            "network has learned something, the loss is not the mean cross-entropy in "
            "nats: it is a sum, or has other terms."
        )
    return found


def why_held(state: Reading) -> str:
    """Why the last epoch was held, and what to do."""
    estimate = state.estimate
    if state.from_loss and estimate.num_samples <= 0:
        return (
            f"the last epoch had no valid loss, and dropped {estimate.dropped:.0f}. "
            "Losses must be finite and below 1e18, and weights above 0."
        )
    if state.from_loss and np.isnan(estimate.mi):
        return (
            "a loss was below 0, which a cross-entropy never is. Pass the mean "
            "cross-entropy in nats: from_loss cannot read the loss of a regression, or "
            "an ELBO."
        )
    if np.isnan(estimate.num_samples):
        return (
            "the estimator returned num_samples=nan. Weights must be from 1e-18 to "
            "1e18; an estimator of your own must return the number of its samples as "
            "num_samples."
        )
    if estimate.num_samples <= 0:
        return (
            f"the last had no valid sample, and dropped {estimate.dropped:.0f}. Labels "
            "must be in 0 to num_classes - 1, outputs finite, and weights above 0."
        )
    if np.isnan(estimate.entropy) or not np.isfinite(estimate.mi):
        return (
            f"the estimator returned mi={estimate.mi:g} and "
            f"entropy={estimate.entropy:g}. Scale values so that their squares neither "
            "overflow nor underflow; an estimator of your own must drop samples that "
            "are not finite."
        )
    return (
        "the last was usable, so either earlier ones were not, or a rule of your own "
        "returns nan. mi_diagnostics after each epoch tells which."
    )
