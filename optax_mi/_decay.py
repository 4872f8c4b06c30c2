"""A learning rate that decays as the network comes to know the labels.

Every update adds its batch to an accumulator of the mutual information between the
network's outputs and the labels. At the end of an epoch, which is some number of
updates, a rule reads the estimate and sets the learning rate, and the accumulator is
reset. An epoch with too few samples to tell knowledge from chance continues instead.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import optax
from jax.core import Tracer

from optax_mi import _epoch
from optax_mi._checks import (
    check_axis_name,
    check_flag,
    check_int,
    check_is,
    check_number,
    check_rates,
)
from optax_mi._epoch import MIDecayState as MIDecayState
from optax_mi._epoch import Settings
from optax_mi.estimators import MIEstimator, contingency
from optax_mi.rules import DecayRule, log_time_rule


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
    r"""Scales updates by a learning rate that decays with mutual information.

    An epoch is `steps_per_epoch` updates, or a tenth of all updates so far. At its end
    the estimator has seen the outputs and labels of all its batches. The rule then
    turns the estimate :math:`I(X; Y) \in [0, H(Y)]`, in nats, into the next learning
    rate :math:`\eta \in [\eta_{\min}, \eta_{\max}]`, which already scales the last
    update of the epoch. The learning rate never rises and never leaves its bounds,
    whatever the rule returns. It stays the same after an epoch that has no valid sample
    or whose estimate is not finite. If an epoch has so few samples that chance alone
    would give an estimate over half of H(Y), it does not close: it continues, and is
    read again when it is twice as long.

    Chained after `optax.sgd(1.0)`, the bounds are absolute learning rates; after an
    optimizer with its own learning rate, they are factors of it:

    .. code-block:: python

        optax.chain(optax.sgd(1.0, momentum=0.9), mi_decay(0.3, 0.003, ...))
        optax.chain(optax.adamw(3e-3), mi_decay(...))

    Everything is traced and has a static shape: there is one compiled train step, with
    no host callbacks and no gradient through the estimator. Updates keep their dtypes.

    Args:
      lr_max: upper bound of the learning rate, positive.
      lr_min: lower bound, in [0, lr_max]; None means lr_max / 100.
      num_classes: short for `estimator=contingency(num_classes=num_classes)`. Give
        exactly one of the two.
      estimator: the :class:`MIEstimator` that estimates the mutual information.
      steps_per_epoch: number of updates between two decisions, at least 1, such as the
        number of batches in the training set. With None, the default, the first epoch
        is one update, and epochs grow to a tenth of the updates before them.
      rule: the :class:`DecayRule` that turns an estimate into a learning rate; None
        means :func:`log_time_rule` with its defaults.
      init_lr: learning rate of the first epoch, within the bounds; None means lr_max.
      axis_name: mesh axis (or axes) over which the batch is split between devices,
        inside `jax.shard_map` or `jax.pmap`; the estimate then covers all parts and is
        the same on every device. Under plain `jit`, sharded batches need no axis name.
        `()` says that every device has the whole batch, which `pmap` cannot detect. If
        `shard_map` detects copies of a part, they count once.

    Returns:
      An `optax.GradientTransformationExtraArgs` with state :class:`MIDecayState`. Its
      `update` requires the estimator's keywords, which are `outputs` and `labels`
      unless the estimator has others. It takes `weights` (0 ignores a sample, 1 counts
      it), and ignores keywords that it does not know.

    Raises:
      TypeError, ValueError: an argument is out of range, or neither or both of
        `num_classes` and `estimator` are given; in `update`, a required keyword is
        missing, the state belongs to another transformation, or the batch is split over
        other axes than `axis_name`. Each names the argument, the value and the fix.

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
      >>> for _ in range(4):  # two epochs with the same outputs: nothing is learned
      ...     updates, state = tx.update(grads, state, params, **seen)
      >>> print(f"{learning_rates(state)['all']:.3f}")
      0.172

    References:
      Vasudevan, `Mutual Information Based Learning Rate Decay for Stochastic Gradient
      Descent Training of Deep Neural Networks <https://doi.org/10.3390/e22050560>`_,
      Entropy 22(5):560, 2020. The formulas of the rules are our reading of the paper.
    """
    settings = check_settings(
        lr_max,
        lr_min,
        num_classes=num_classes,
        estimator=estimator,
        steps_per_epoch=steps_per_epoch,
        rule=rule,
        init_lr=init_lr,
        axis_name=axis_name,
    )
    # Made once per transformation: eager loops over new functions compile again.
    is_due = functools.partial(_epoch.is_due, settings)
    read = functools.partial(_epoch.read, settings)

    def init_fn(params: optax.Params) -> MIDecayState:
        del params
        return _epoch.begin(settings)

    def update_fn(
        updates: optax.Updates,
        state: MIDecayState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, MIDecayState]:
        del params
        state = _epoch.observe(settings, state, extra_args)
        # A loop of one round, rarely more, works in place. XLA's conditional would copy
        # the accumulator at every update. No gradient flows through the loop.
        state = jax.lax.while_loop(is_due, read, jax.lax.stop_gradient(state))
        return _epoch.scale(settings, updates, state)

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
    r"""Stochastic gradient descent with a learning rate set by mutual information.

    Short for `optax.chain(optax.sgd(1.0, momentum, nesterov), mi_decay(...))`:

    .. math::
        m_t = \mu\, m_{t-1} + g_t, \qquad
        \theta_t = \theta_{t-1} - \eta_t\, m_t,
        \qquad \eta_t \in [\eta_{\min}, \eta_{\max}].

    Args:
      lr_max: upper bound of the learning rate, positive.
      lr_min: lower bound, in [0, lr_max]; None means lr_max / 100.
      momentum: decay rate of the momentum, in [0, 1), or None for no momentum.
      nesterov: whether to use Nesterov momentum; it needs `momentum`.
      num_classes: number of classes; this and all that follow as in :func:`mi_decay`.
      estimator: the estimator of the mutual information.
      steps_per_epoch: number of updates between two decisions, or None.
      rule: the rule that turns an estimate into a learning rate.
      init_lr: learning rate of the first epoch.
      axis_name: mesh axis over which the batch is split, inside `jax.shard_map`.

    Returns:
      An `optax.GradientTransformationExtraArgs` with the same `update` arguments as
      :func:`mi_decay`.

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
    if momentum is not None:
        check_number("momentum", momentum, lambda m: 0 <= m < 1, "in [0, 1)")
    if check_flag("nesterov", nesterov) and momentum is None:
        raise ValueError("nesterov=True needs a momentum: pass momentum=0.9, say.")
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


def check_settings(
    lr_max: chex.Numeric,
    lr_min: chex.Numeric | None,
    *,
    num_classes: int | None = None,
    estimator: MIEstimator | None,
    steps_per_epoch: chex.Numeric | None,
    rule: DecayRule | None,
    init_lr: chex.Numeric | None,
    axis_name: str | tuple[str, ...] | None,
    written: Callable[[str], str] = str,
) -> Settings:
    """Checks the arguments of :func:`mi_decay`, and returns them as settings.

    `written` turns the name of an argument into what the user wrote.
    """
    if estimator is None:
        if num_classes is None:
            raise ValueError(
                "Give exactly one of num_classes and estimator, got neither: pass "
                "num_classes=C for logits of C classes."
            )
        estimator = contingency(num_classes=num_classes)
    elif num_classes is not None:
        raise ValueError(
            f"Give exactly one of num_classes and estimator, got both: leave out "
            f"num_classes={num_classes!r:.60}, since the estimator has its own."
        )
    check_is(
        written("estimator"),
        estimator,
        MIEstimator,
        "contingency(num_classes=num_classes)",
    )
    rule = log_time_rule() if rule is None else rule
    check_is("rule", rule, DecayRule, "log_time_rule()")
    if rule.needs_entropy and not estimator.bounded:
        raise ValueError(
            "rule compares mi with H(Y), which is infinite for the real labels of "
            f"{written('estimator')}: the learning rate would never move. Use "
            "log_time_rule() or proportional_rule()."
        )
    check_rates(lr_max, lr_min, init_lr, written)
    if not (steps_per_epoch is None or isinstance(steps_per_epoch, Tracer)):
        check_int("steps_per_epoch", steps_per_epoch, 1)
    check_axis_name(axis_name)
    return Settings(
        estimator, rule, lr_max, lr_min, init_lr, steps_per_epoch, axis_name
    )
