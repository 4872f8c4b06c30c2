r"""Rules: how an estimate of mutual information becomes a learning rate.

A rule looks at the epoch that has just closed. With U = I / H(Y), Theil's U, it decides
whether the network still learns at the present learning rate, and what the next
learning rate is. `proportional_rule` and `residual_rule` compare an epoch with the one
before and decay when it has stalled; `log_time_rule`, the default, compares it with all
that came before and decays a little at every epoch.

A rule sees scalars only, and only epochs with a usable estimate. What it returns is
held within the bounds and never rises: `mi_decay` sees to that, so a rule need not.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from optax_mi._checks import check_number
from optax_mi.estimators import MIEstimate


class RuleInitFn(Protocol):
    """Makes the state of a rule that has seen no epoch."""

    def __call__(self) -> Any: ...


class RuleUpdateFn(Protocol):
    """Turns the estimate of an epoch into the next learning rate."""

    def __call__(
        self,
        state: Any,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, Any]: ...


class RuleLookFn(Protocol):
    """Takes note of what the network knows before the first epoch is over."""

    def __call__(self, state: Any, estimate: MIEstimate, /) -> Any: ...


class DecayRule(NamedTuple):
    """A pair of pure functions that turn estimates into a decaying learning rate.

    Attributes:
      init: `init() -> state`, any pytree of fixed shapes and dtypes.
      update: `update(state, estimate, learning_rate, *, step, lr_min, lr_max) ->
        (learning_rate, state)`. `estimate` is the :class:`MIEstimate` of the epoch,
        `step` the number of updates so far (int32), the rest are float32 scalars. It is
        called at the end of every epoch that has a finite estimate and a valid sample.
      needs_entropy: whether the rule works only where H(Y) is finite, so that
        :func:`optax_mi.mi_decay` refuses it for real labels.
      look: `look(state, estimate) -> state`, or None. It is called once, with the first
        estimate that tells more than chance: after one update of the first epoch, or
        2, 4, 8, ...

    Example:
      A rule that ignores the estimate and halves the learning rate every epoch:

      >>> import jax.numpy as jnp
      >>> from optax_mi import DecayRule, mi_decay
      >>> halve = DecayRule(
      ...     init=lambda: (),
      ...     update=lambda state, estimate, lr, **_: (lr / 2, state),
      ... )
      >>> tx = mi_decay(1.0, num_classes=2, steps_per_epoch=1, rule=halve)
      >>> state = tx.init(jnp.zeros(3))
      >>> labels = jnp.arange(8) % 2
      >>> updates, state = tx.update(jnp.ones(3), state, outputs=labels, labels=labels)
      >>> print(updates)
      [0.5 0.5 0.5]
    """

    init: RuleInitFn
    update: RuleUpdateFn
    needs_entropy: bool = False
    look: RuleLookFn | None = None


class _LastMI(NamedTuple):
    """What :func:`proportional_rule` remembers: a name of its own in a checkpoint."""

    mi: jax.Array  # of the epoch before, nats; nan before the first


class _LastResidual(NamedTuple):
    """What :func:`residual_rule` remembers, not to be taken for an MI."""

    residual: jax.Array  # of the epoch before, nats; nan before the first


def proportional_rule(threshold: float = 0.01) -> DecayRule:
    r"""Decays in proportion to what the network knows, when the MI stops growing.

    An epoch stalls when the relative gain of MI over the epoch before it is no more
    than the threshold, :math:`I_t - I_{t-1} \le \mathrm{threshold} \cdot I_{t-1}`. Then

    .. math::
        \eta_{t+1} = \eta_{\min} + (\eta_{\max} - \eta_{\min}) (1 - U_t),
        \qquad U_t = I_t / H(Y).

    This is our plainest reading of the paper, whose formulas are not quoted here. The
    relative gain of MI must vanish as U nears 1, so that rule decays early where the
    labels are easy; and where U levels off below 1, the learning rate does too.

    Args:
      threshold: relative gain of MI per epoch at or below which an epoch stalls, at
        least 0. Larger values decay sooner.

    Returns:
      A :class:`DecayRule`; its state is the MI of the epoch before, nats.

    Raises:
      ValueError: `threshold` is negative or not finite.

    Example:
      >>> from optax_mi import mi_sgd, proportional_rule
      >>> rule = proportional_rule(threshold=0.02)
      >>> tx = mi_sgd(0.3, num_classes=10, steps_per_epoch=100, rule=rule)

    References:
      Vasudevan, `Mutual Information Based Learning Rate Decay for Stochastic Gradient
      Descent Training of Deep Neural Networks <https://doi.org/10.3390/e22050560>`_,
      Entropy 22(5):560, 2020.
    """
    check_number("threshold", threshold, lambda t: t >= 0, "at least 0 and finite")

    def update(
        state: _LastMI,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, _LastMI]:
        del step
        # False for the first epoch, whose predecessor is nan.
        stalled = estimate.mi - state.mi <= threshold * state.mi
        decayed = lr_min + (lr_max - lr_min) * (1.0 - estimate.normalized)
        return jnp.where(stalled, decayed, learning_rate), _LastMI(estimate.mi)

    return DecayRule(lambda: _LastMI(_unknown()), update)


def residual_rule(threshold: float = 0.05, strength: float = 0.5) -> DecayRule:
    r"""Decays by a factor when the network stops closing in on the labels.

    The residual :math:`R = H(Y) - I` is what the network does not know yet. An epoch
    stalls when it falls by no more than a share `threshold` of itself,
    :math:`R_{t-1} - R_t \le \mathrm{threshold} \cdot R_{t-1}`. Then

    .. math::
        \eta_{t+1} = \max(\eta_{\min},\ \eta_t (1 - \mathrm{strength} \cdot U_t)),
        \qquad U_t = I_t / H(Y).

    The relative fall of the residual does not saturate as U nears 1, and the factor
    keeps the learning rate falling where U levels off below 1. A network that knows
    nothing (U = 0) keeps its learning rate. Real labels have an infinite entropy and no
    residual: :func:`optax_mi.mi_decay` refuses this rule for them. This is our reading,
    not the paper's text.

    Args:
      threshold: relative fall of the residual per epoch at or below which an epoch
        stalls, in [0, 1). Larger values decay sooner.
      strength: share of the learning rate that a stall takes when U = 1, in (0, 1].

    Returns:
      A :class:`DecayRule`; its state is the residual of the epoch before, nats.

    Raises:
      ValueError: `threshold` or `strength` is out of its range.

    Example:
      >>> from optax_mi import mi_sgd, residual_rule
      >>> rule = residual_rule(threshold=0.1)
      >>> tx = mi_sgd(0.3, num_classes=10, steps_per_epoch=100, rule=rule)

    References:
      Vasudevan, `Mutual Information Based Learning Rate Decay for Stochastic Gradient
      Descent Training of Deep Neural Networks <https://doi.org/10.3390/e22050560>`_,
      Entropy 22(5):560, 2020.
    """
    check_number("threshold", threshold, lambda t: 0 <= t < 1, "in [0, 1)")
    check_number("strength", strength, lambda s: 0 < s <= 1, "in (0, 1]")

    def update(
        state: _LastResidual,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, _LastResidual]:
        del step, lr_max
        residual = estimate.entropy - estimate.mi
        stalled = state.residual - residual <= threshold * state.residual
        decayed = jnp.maximum(
            lr_min, learning_rate * (1.0 - strength * estimate.normalized)
        )
        proposed = jnp.where(stalled, decayed, learning_rate)
        proposed = jnp.where(jnp.isfinite(residual), proposed, jnp.nan)
        return proposed, _LastResidual(residual)

    return DecayRule(lambda: _LastResidual(_unknown()), update, needs_entropy=True)


class _Progress(NamedTuple):
    """What :func:`log_time_rule` remembers; all but the steps are shares of H(Y)."""

    decided: jax.Array  # step of the last decision, shape=(), dtype=int32
    seen: jax.Array  # step of the last epoch's end, shape=(), dtype=int32
    waiting: jax.Array  # average U of the steps between the two
    waiting_variance: jax.Array  # squared standard error of `waiting`
    last: jax.Array  # what `waiting` was at the last decision
    recent: jax.Array  # average U of the last tenth of the steps
    recent_variance: jax.Array  # squared standard error of `recent`
    mean: jax.Array  # average U of all steps
    lowest: jax.Array  # the least that was known at the first look, or of `recent`


def log_time_rule(rate: float = 0.8, sharpness: float = 10.0) -> DecayRule:
    r"""Decays by a power of time, the faster the longer ago the network has learned.

    Let :math:`t` be the number of steps, :math:`U_t` what the network knows now, as a
    share of H(Y) and adjusted for chance (`MIEstimate.adjusted`), :math:`\bar U_t` its
    average over all steps so far, and :math:`U_0` the least that it has known, at the
    start as a rule. The ratio of the gains says when the network learned what it has
    learned in this run: near 0 if just now, 1 if long ago.

    .. math::
        \frac{d \ln \eta}{d \ln t} = -\mathrm{rate} \cdot \min(1,\, 10\, U_t^-)
        \left( \frac{\bar U_t - U_0 + 0.02}{U_t^+ - U_0 + 0.02}
        \right)^{\mathrm{sharpness}}.

    While the network learns, the learning rate stays; once it has learned all that it
    will, it decays like :math:`t^{-\mathrm{rate}}`. :math:`U_t^-` and :math:`U_t^+` are
    two standard errors below and above :math:`U_t`: the learning rate of a network that
    may know nothing, or may still be learning, does not decay. From a tenth of H(Y) on
    what is known counts in full, since of noisy labels no network can know much more. A
    network that knows less than it did on average and is learning again keeps its
    learning rate too.

    Time is counted in e-folds and MI in shares, so neither the number of steps to come,
    nor the length of an epoch, nor the scale of the task enters. :math:`U_t` is an
    average over the last tenth of the steps, and epochs of less than a fiftieth of the
    steps so far are averaged until they amount to that. The default rate is made for
    :func:`optax_mi.average_params`, which anneals by itself; without an average of the
    weights, 3 to 6 suit short runs. The rule is ours, not the paper's.

    Args:
      rate: exponent of the decay when all has been learned, positive.
      sharpness: how long ago learning must lie before the learning rate decays, at
        least 0: at 10, a network whose average gain is 93 % of its gain now decays at
        half the rate.

    Returns:
      A :class:`DecayRule`; its state is nine scalars.

    Raises:
      ValueError: `rate` or `sharpness` is out of its range.

    Example:
      >>> from optax_mi import log_time_rule, mi_sgd
      >>> rule = log_time_rule(rate=0.5)  # decays half as fast
      >>> tx = mi_sgd(0.3, num_classes=10, rule=rule)

    References:
      The idea that MI sets the learning rate: Vasudevan, Entropy 22(5):560, 2020.
    """
    check_number("rate", rate, lambda r: r > 0, "positive and finite")
    check_number("sharpness", sharpness, lambda s: s >= 0, "at least 0 and finite")

    def init() -> _Progress:
        steps = (jnp.zeros((), jnp.int32) for _ in range(2))
        shares = (jnp.zeros((), jnp.float32) for _ in range(6))
        # More than any network knows.
        return _Progress(*steps, *shares, lowest=jnp.full((), 2.0, jnp.float32))

    def look(state: _Progress, estimate: MIEstimate) -> _Progress:
        return state._replace(lowest=estimate.adjusted)

    def update(
        state: _Progress,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, _Progress]:
        del lr_min, lr_max
        # Differences of integers, since a long run's steps are not exact in float32.
        since = (step - state.decided).astype(jnp.float32)
        part = (step - state.seen).astype(jnp.float32) / jnp.maximum(since, 1.0)
        error = jnp.nan_to_num(estimate.adjusted_std_error)
        waiting = _blend(state.waiting, estimate.adjusted, part)
        waiting_variance = _blend_variance(state.waiting_variance, error**2, part)

        first = state.decided == 0
        share = jnp.where(first, 1.0, since / jnp.maximum(step, 1).astype(jnp.float32))
        log_time = jnp.where(first, 0.0, -jnp.log1p(-share))
        weight = jnp.where(first, 1.0, -jnp.expm1(-_RECENT * log_time))
        recent = _blend(state.recent, waiting, weight)
        variance = _blend_variance(state.recent_variance, waiting_variance, weight)
        mean = _blend(state.mean, waiting, share)

        doubt = 2.0 * jnp.sqrt(variance)
        known = jnp.maximum(recent - doubt, 0.0)
        lowest = jnp.minimum(state.lowest, recent)
        gain = recent + doubt - lowest + _SLACK
        ratio = jnp.minimum((mean - lowest + _SLACK) / gain, 1.0)
        relearns = (recent < _LOST * mean) & (waiting > state.last)
        speed = (
            rate
            * jnp.minimum(known / _KNOWN, 1.0)
            * jnp.maximum(ratio, 0.0) ** sharpness
        )
        decayed = learning_rate * jnp.exp(-speed * log_time)

        waits = state._replace(
            seen=step, waiting=waiting, waiting_variance=waiting_variance
        )
        decides = waits._replace(
            decided=step,
            last=waiting,
            recent=recent,
            recent_variance=variance,
            mean=mean,
            lowest=lowest,
        )
        enough = first | (share >= _LEAST_SHARE)
        proposed = jnp.where(enough & ~relearns, decayed, learning_rate)
        return proposed, jax.tree.map(
            lambda new, old: jnp.where(enough, new, old), decides, waits
        )

    return DecayRule(init, update, look=look)


_KNOWN = 0.1  # the share of H(Y) from which on the decay has its full rate
_RECENT = 10.0  # the memory of `recent` is one such part of the steps so far
_SLACK = 0.02  # gains of less are small, whatever they are compared with
_LEAST_SHARE = 0.02  # of the steps so far, between two decisions
_LOST = 0.98  # of what was known on average: below, something has been lost


def _blend(old: jax.Array, new: jax.Array, weight: jax.Array) -> jax.Array:
    """The average of both, `weight` of it new."""
    return old + weight * (new - old)


def _blend_variance(old: jax.Array, new: jax.Array, weight: jax.Array) -> jax.Array:
    """The variance of an average of two independent measurements."""
    return (1.0 - weight) ** 2 * old + weight**2 * new


def _unknown() -> jax.Array:
    """What a rule that remembers one number has of it before it has seen any."""
    return jnp.full((), jnp.nan, jnp.float32)
