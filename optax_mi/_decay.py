"""A learning rate that decays as the network comes to know the labels.

Every update adds its batch to an accumulator of the mutual information between the
network's outputs and the labels. At the end of an epoch, some number of updates, a rule
reads it and sets the learning rate, and the accumulator starts anew. An epoch that has
seen too few samples to tell knowledge from chance goes on instead.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from optax_mi._checks import check_int, check_is, check_rates, required_keywords
from optax_mi._devices import check_same_on_all_devices, merge_across
from optax_mi.estimators import MIEstimate, MIEstimator, contingency
from optax_mi.estimators._base import no_estimate
from optax_mi.rules import DecayRule, log_time_rule


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
      estimate: of the last epoch closed, usable or not; nan nats before the first.
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
    estimator_state: Any
    rule_state: Any


def mi_decay(
    lr_max: chex.Numeric,
    lr_min: chex.Numeric | None = None,
    *,
    num_classes: int | None = None,
    estimator: MIEstimator | None = None,
    steps_per_epoch: chex.Numeric | None = None,
    rule: DecayRule | None = None,
    init_lr: chex.Numeric | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales updates by a learning rate that mutual information decays.

    An epoch is `steps_per_epoch` updates, or a tenth of all updates so far. At its end
    the estimator has seen the outputs and labels of all its batches, and the rule turns
    the estimate :math:`I(X; Y) \in [0, H(Y)]`, in nats, into the next learning rate
    :math:`\eta \in [\eta_{\min}, \eta_{\max}]`; that very update is already scaled by
    it. The learning rate never rises and never leaves its bounds, whatever the rule
    says. An epoch without a valid sample, or whose estimate is not finite, holds it.
    One with so few samples that chance alone would read over half of H(Y) is not
    closed: it goes on, and is read again when it is twice as long.

    Chained after `optax.sgd(1.0)`, the bounds are absolute learning rates; after an
    optimizer with a learning rate of its own they are factors of it:

    .. code-block:: python

        optax.chain(optax.sgd(1.0, momentum=0.9), mi_decay(0.3, 0.003, ...))
        optax.chain(optax.adamw(3e-3), mi_decay(...))

    Everything is traced and of static shape: one compiled train step, no host
    callbacks, no gradient through the estimator. Updates keep their dtypes.

    Args:
      lr_max: upper bound of the learning rate, positive.
      lr_min: lower bound, in [0, lr_max]; None means lr_max / 100.
      num_classes: short for `estimator=contingency(num_classes=num_classes)`. Exactly one of the
        two is given.
      estimator: what measures the mutual information, an :class:`MIEstimator`.
      steps_per_epoch: number of updates between two decisions, at least 1, such as the
        number of batches in the training set. None, the default, starts with one update
        and lets epochs grow with time, to a tenth of the updates before them.
      rule: how an estimate sets the learning rate, a :class:`DecayRule`; None means
        :func:`log_time_rule` with its defaults.
      init_lr: learning rate of the first epoch, within the bounds; None means lr_max.
      axis_name: mesh axis (or axes) over which each device holds a part of the batch,
        inside `jax.shard_map` or `jax.pmap`; the estimate is then of all parts, the
        same on every device. Under plain `jit`, sharded batches need no axis name.

    Returns:
      An `optax.GradientTransformationExtraArgs` with state :class:`MIDecayState`. Its
      `update` requires the estimator's keywords, `outputs` and `labels` unless the
      estimator has others, takes `weights` (0 ignores a sample, 1 counts it), and
      ignores keywords it does not know.

    Raises:
      TypeError, ValueError: an argument is out of its range, or neither or both of
        `num_classes` and `estimator` are given; in `update`, a required keyword is
        missing. Each names the argument, the value and the fix.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import learning_rates, mi_decay
      >>> tx = optax.chain(
      ...     optax.sgd(1.0, momentum=0.9),
      ...     mi_decay(0.3, 0.003, num_classes=2, steps_per_epoch=2),
      ... )
      >>> params = {"w": jnp.ones(3)}
      >>> state = tx.init(params)
      >>> grads = {"w": jnp.full(3, 0.1)}
      >>> labels = jnp.arange(32) % 2
      >>> seen = {"outputs": 3.0 * jax.nn.one_hot(labels, 2), "labels": labels}
      >>> for _ in range(4):  # two epochs that know the same: nothing is learned
      ...     updates, state = tx.update(grads, state, params, **seen)
      >>> print(f"{learning_rates(state)['all']:.3f}")
      0.172

    References:
      Vasudevan, `Mutual Information Based Learning Rate Decay for Stochastic Gradient
      Descent Training of Deep Neural Networks <https://doi.org/10.3390/e22050560>`_,
      Entropy 22(5):560, 2020. The formulas of the rules are our reading of it.
    """
    if (num_classes is None) == (estimator is None):
        raise ValueError(
            "Give exactly one of num_classes and estimator, got "
            f"num_classes={num_classes!r} and estimator={estimator!r}."
        )
    if estimator is None:
        assert num_classes is not None
        estimator = contingency(num_classes=num_classes)
    check_is(
        "estimator", estimator, MIEstimator, "contingency(num_classes=num_classes)"
    )
    rule = log_time_rule() if rule is None else rule
    check_is("rule", rule, DecayRule, "log_time_rule()")
    if rule.needs_entropy and not estimator.bounded:
        raise ValueError(
            "rule compares with H(Y), which is infinite for the real labels of "
            "estimator: the learning rate would never move. Use log_time_rule() or "
            "proportional_rule()."
        )
    check_rates(lr_max, lr_min, init_lr)
    if not (steps_per_epoch is None or isinstance(steps_per_epoch, Tracer)):
        check_int("steps_per_epoch", steps_per_epoch, 1)
    required = required_keywords(estimator)

    def bounds() -> tuple[jax.Array, jax.Array]:
        high = jnp.asarray(lr_max).astype(jnp.float32)
        low = high / 100 if lr_min is None else jnp.asarray(lr_min).astype(jnp.float32)
        return low, high

    def within_bounds(learning_rate: jax.Array) -> jax.Array:
        low, high = bounds()
        # A schedule's nan is no bound: fmax and fmin pass it over.
        return jnp.fmin(jnp.fmax(learning_rate, low), high)

    def init_fn(params: optax.Params) -> MIDecayState:
        del params
        _, high = bounds()
        first = high if init_lr is None else jnp.asarray(init_lr).astype(jnp.float32)
        # An array a field: a train step that donates its state may see none twice.
        num_updates, updates_in_epoch, num_epochs, held, joined = (
            jnp.zeros((), jnp.int32) for _ in range(5)
        )
        look_at = jnp.full((), rule.look is not None, jnp.int32)
        return MIDecayState(
            num_updates=num_updates,
            updates_in_epoch=updates_in_epoch,
            num_epochs=num_epochs,
            held=held,
            joined=joined,
            look_at=look_at,
            current_lr=within_bounds(first),
            estimate=no_estimate(),
            estimator_state=estimator.init(),
            rule_state=rule.init(),
        )

    def is_over(state: MIDecayState) -> jax.Array:
        if steps_per_epoch is None:
            length = (state.num_updates - state.updates_in_epoch) // _EPOCHS_SO_FAR
        else:
            length = steps_per_epoch
        # An epoch of no updates, as a schedule may ask, would never end.
        return state.updates_in_epoch >> state.joined >= jnp.maximum(length, 1)

    def is_due(state: MIDecayState) -> jax.Array:
        looks = (state.look_at > 0) & (state.updates_in_epoch == state.look_at)
        return is_over(state) | looks

    def end_epoch(state: MIDecayState) -> MIDecayState:
        low, high = bounds()
        estimate = estimator.estimate(state.estimator_state)
        proposed, rule_state = rule.update(
            state.rule_state,
            estimate,
            state.current_lr,
            step=state.num_updates,
            lr_min=low,
            lr_max=high,
        )
        # More samples would help; nan is no matter of samples.
        doubtful = estimate.chance > _MOST_CHANCE * estimate.entropy
        goes_on = estimator.gathers & doubtful & (estimate.num_samples > 0)
        usable = (
            (estimate.num_samples > 0)
            & jnp.isfinite(estimate.mi)
            & ~jnp.isnan(estimate.entropy)
        )
        moves = usable & jnp.isfinite(proposed) & ~goes_on
        learning_rate = jnp.where(
            moves, jnp.minimum(proposed, state.current_lr), state.current_lr
        )

        def where(condition: jax.Array, new: Any, old: Any) -> Any:
            return jax.tree.map(
                lambda n, o: jnp.where(condition, n, o).astype(o.dtype), new, old
            )

        closed = MIDecayState(
            num_updates=state.num_updates,
            updates_in_epoch=jnp.zeros_like(state.updates_in_epoch),
            num_epochs=_increment(state.num_epochs),
            held=jnp.where(moves, state.held, _increment(state.held)),
            joined=jnp.zeros_like(state.joined),
            look_at=jnp.zeros_like(state.look_at),
            current_lr=learning_rate,
            estimate=estimate,
            estimator_state=estimator.init(),
            rule_state=where(moves, rule_state, state.rule_state),
        )
        over, tells = is_over(state), usable & ~goes_on
        at = state.look_at
        seen = (rule.look or (lambda rule_state, _: rule_state))(
            state.rule_state, estimate
        )
        longer = state._replace(
            joined=jnp.where(over, jnp.minimum(state.joined + 1, 31), state.joined),
            look_at=jnp.where(
                tells, 0, at + jnp.where(state.updates_in_epoch == at, at, 0)
            ),
            rule_state=where(tells, seen, state.rule_state),
        )
        return where(over & ~goes_on, closed, longer)

    def update_fn(
        updates: optax.Updates,
        state: MIDecayState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, MIDecayState]:
        del params
        if not isinstance(state, MIDecayState):
            raise TypeError(
                f"state must be an MIDecayState, got a {type(state).__name__}. If it "
                "comes from a checkpoint restored without a target, convert it with "
                "optax_mi.restore_state(tx.init(params), saved)."
            )
        missing = [name for name in required if name not in extra_args]
        if missing:
            raise TypeError(_missing_message(missing, required))
        if axis_name is None:
            seen = estimator.update(state.estimator_state, **extra_args)
            check_same_on_all_devices(state.estimator_state, seen)
        else:
            part = estimator.update(estimator.init(), **extra_args)
            whole = merge_across(estimator, part, axis_name)
            seen = estimator.merge(state.estimator_state, whole)
        state = state._replace(
            num_updates=_increment(state.num_updates),
            updates_in_epoch=_increment(state.updates_in_epoch),
            estimator_state=seen,
        )
        # A loop of one round, seldom more, works in place, where XLA's conditional
        # would copy the accumulator at every update. No gradient flows through it.
        state = jax.lax.while_loop(is_due, end_epoch, jax.lax.stop_gradient(state))
        # Bounds may move, under inject_hyperparams.
        learning_rate = within_bounds(state.current_lr)
        updates = jax.tree.map(lambda u: _scale(u, learning_rate), updates)
        return updates, state._replace(current_lr=learning_rate)

    return optax.GradientTransformationExtraArgs(
        init_fn,
        update_fn,  # pyright: ignore[reportArgumentType]: optax's states are pytrees
    )


def mi_sgd(
    lr_max: chex.Numeric,
    lr_min: chex.Numeric | None = None,
    *,
    momentum: chex.Numeric | None = None,
    nesterov: bool = False,
    num_classes: int | None = None,
    estimator: MIEstimator | None = None,
    steps_per_epoch: chex.Numeric | None = None,
    rule: DecayRule | None = None,
    init_lr: chex.Numeric | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Stochastic gradient descent whose learning rate mutual information decays.

    Short for `optax.chain(optax.sgd(1.0, momentum, nesterov), mi_decay(...))`:

    .. math::
        m_t = \mu\, m_{t-1} + g_t, \qquad
        \theta_t = \theta_{t-1} - \eta_t\, m_t,
        \qquad \eta_t \in [\eta_{\min}, \eta_{\max}].

    Args:
      lr_max: upper bound of the learning rate, positive.
      lr_min: lower bound, in [0, lr_max]; None means lr_max / 100.
      momentum: decay of the momentum, or None for none.
      nesterov: whether the momentum is Nesterov's.
      num_classes: as in :func:`mi_decay`, like all that follow.
      estimator: what measures the mutual information.
      steps_per_epoch: number of updates between two decisions, or None.
      rule: how an estimate sets the learning rate.
      init_lr: learning rate of the first epoch.
      axis_name: mesh axis over which the batch is split, inside `jax.shard_map`.

    Returns:
      An `optax.GradientTransformationExtraArgs`, called like that of :func:`mi_decay`.

    Raises:
      TypeError, ValueError: as :func:`mi_decay`.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import mi_sgd
      >>> tx = mi_sgd(0.3, momentum=0.9, num_classes=2)
      >>> params = jnp.ones(2)
      >>> state = tx.init(params)
      >>> seen = {"outputs": 3.0 * jnp.eye(2), "labels": jnp.array([0, 1])}
      >>> updates, state = tx.update(params, state, params, **seen)
      >>> print(updates)
      [-0.3 -0.3]

    References:
      Vasudevan, Entropy 22(5):560, 2020; see :func:`mi_decay`.
    """
    return optax.chain(
        optax.sgd(1.0, momentum=momentum, nesterov=nesterov),
        mi_decay(
            lr_max,
            lr_min,
            num_classes=num_classes,
            estimator=estimator,
            steps_per_epoch=steps_per_epoch,
            rule=rule,
            init_lr=init_lr,
            axis_name=axis_name,
        ),
    )


# Without `steps_per_epoch` an epoch is one part of so many of the updates before it. A
# rule that thinks in shares of the time so far loses nothing by it.
_EPOCHS_SO_FAR = 10

# The share of H(Y) that chance may read at the end of an epoch.
_MOST_CHANCE = 0.5


def _missing_message(missing: list[str], required: tuple[str, ...]) -> str:
    call = ", ".join(f"{name}=..." for name in required)
    return (
        f"update() is missing {' and '.join(missing)}. Call it as tx.update(grads, "
        f"state, params, {call}); with optax_mi.flax.MITrainState, as "
        "state.apply_gradients(grads=grads, extra_args={...}). If you do pass them, a "
        "wrapper strips them, as MultiSteps(...).gradient_transformation() and flax's "
        "TrainState do: put mi_decay outside it."
    )


def _increment(count: jax.Array) -> jax.Array:
    """Count + 1, held at the largest int32."""
    return jnp.asarray(optax.safe_increment(count))


def _scale(update: Any, learning_rate: jax.Array) -> jax.Array:
    """The update times the learning rate, rounded once, in the update's dtype."""
    update = jnp.asarray(update)
    dtype = jnp.promote_types(update.dtype, jnp.float32)
    return (update.astype(dtype) * learning_rate.astype(dtype)).astype(update.dtype)
