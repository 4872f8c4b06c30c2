"""Makes a transformation, with its learning rate and decay, from short runs."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from optax_mi._checks import check_int
from optax_mi._decay import check_settings
from optax_mi.estimators import MIEstimate, MIEstimator, contingency
from optax_mi.range_test._copies import Copies, transformation
from optax_mi.range_test._found import AutoResult, AutoRun
from optax_mi.range_test._inputs import (
    arrays,
    check_callable,
    check_key,
    check_step,
    stack,
)
from optax_mi.range_test._race import LEAST_UPDATES, Race, Run, limit_of, rate_of
from optax_mi.range_test._result import CHANCE_ERROR
from optax_mi.range_test._runs import Data, Optimizer, Plan

_SIGMAS = 2.0


def auto(
    loss_fn: Callable[..., tuple[jax.Array, Any]],
    params: Any,
    batches: Any,
    *,
    num_classes: int | None = None,
    estimator: MIEstimator | None = None,
    optimizer: Optimizer = optax.adamw,
    num_updates: int = 1000,
    eval_batches: Any = None,
    model_state: Any = None,
    progress: Callable[[int, int], object] | None = None,
    key: jax.Array,
) -> AutoResult:
    r"""Finds a learning rate and its decay by short runs, and makes a transformation.

    Copies of the network train for a while, each at its own learning rate, with
    :func:`mi_decay` and :func:`average_params`. The transformation gets the learning
    rate :math:`\eta` at which the average begins to pay on held-out batches,

    .. math::
        \frac{h(\eta) - f(\eta)}{\max(f_0 - f(\eta), f(\eta))} = 0.015,

    where f is the loss of the averaged weights, h the loss of the weights themselves
    and :math:`f_0` the loss before training. It interpolates between two learning rates
    that it tried. A lower learning rate wastes time; at a higher one, noise keeps the
    loss up. If a copy begins to memorize its batches, the sum of the learning rates
    gets a limit, :func:`optax_mi.rules.capped_rule`. You need not choose a horizon or
    the length of an epoch.

    Args:
      loss_fn: `loss_fn(params, batch) -> (loss, extra_args)`, as in the train step;
        `extra_args` is the dict that :func:`mi_decay` takes, such as `{"outputs":
        logits, "labels": labels}`.
      params: the initial params of every copy, a pytree.
      batches: all of the training data: a pytree with a leading axis of batches, or a
        list of them, at least 4; or `batches(key, step)`, which makes the batch of a
        step inside a compiled function, from data that never repeats. Pass all batches:
        a network seems to memorize a part of the data sooner than all of it.
      num_classes: short for `estimator=contingency(num_classes=num_classes)`. Give
        exactly one of the two.
      estimator: the estimator of the mutual information.
      optimizer: `optimizer(learning_rate)`, such as `optax.adamw` or
        `functools.partial(optax.sgd, momentum=0.9)`; its updates must be proportional
        to the learning rate.
      num_updates: updates of all copies together, at least 60. They are the cost of the
        search, and forward passes on held-out batches add a third to two thirds. A
        tenth of the run that follows is enough; 1000 suit a long run.
      eval_batches: held-out batches, a pytree or a list like `batches`; None holds out
        15 % of `batches` during the search. The search uses 2 to 16 of either, at most
        a thirtieth of `num_updates`.
      model_state: None, or state of the network other than its params, such as batch
        statistics; then `loss_fn(params, model_state, batch) -> (loss, (extra_args,
        model_state))`.
      progress: `progress(done, total)`, in updates.
      key: a key of `jax.random`.

    Returns:
      An :class:`AutoResult`. Train from `params` with its `tx`.

    Raises:
      TypeError, ValueError: an argument is out of range, there are too few batches, or
        `loss_fn` raises, or returns something else.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import auto
      >>> def loss_fn(w, batch):
      ...     x, y = batch
      ...     logits = x @ w
      ...     loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
      ...     return loss, {"outputs": logits, "labels": y}
      >>> y = jnp.arange(640).reshape(20, 32) % 3
      >>> x = jax.nn.one_hot(y, 3) + jax.random.normal(jax.random.key(0), (20, 32, 3))
      >>> w, key = jnp.zeros((3, 3)), jax.random.key(1)
      >>> found = auto(loss_fn, w, (x, y), num_classes=3, num_updates=60, key=key)
      >>> 0.001 < found.lr_max < 1.0
      True
      >>> state = found.tx.init(w)

    References:
      Vasudevan, Entropy 22(5):560, 2020. Jamieson and Talwalkar, `AISTATS 2016
      <https://arxiv.org/abs/1502.07943>`_, for a race that stops slow runs early.
    """
    check_settings(
        1.0,
        None,
        num_classes=num_classes,
        estimator=estimator,
        steps_per_epoch=None,
        rule=None,
        init_lr=None,
        axis_name=None,
    )
    if estimator is None:
        assert num_classes is not None
        estimator = _counts_of(int(num_classes))
    if check_int("num_updates", num_updates, 1) < LEAST_UPDATES:
        raise ValueError(
            f"num_updates must be at least {LEAST_UPDATES} to tell learning rates "
            f"apart, got num_updates={num_updates}."
        )
    check_callable("loss_fn", loss_fn, "loss_fn(params, batch)")
    if progress is not None:
        check_callable("progress", progress, "progress(done, total)")
    check_key(key)
    make_batch = batches if callable(batches) else None
    plan = Plan(
        loss_fn, estimator, optimizer, None, make_batch, 1, 1, model_state is not None
    )
    data = Data(
        arrays("params", params),
        None if model_state is None else arrays("model_state", model_state),
        None if make_batch is not None else stack("batches", batches),
        None if eval_batches is None else stack("eval_batches", eval_batches),
    )
    check_step(plan, data, key)
    copies = Copies(plan, data, key, num_updates, progress)
    (losses, _), known = copies.judge(copies.start(1.0))
    if not np.isfinite(losses).all():
        raise ValueError(
            "loss_fn returns a loss that is not finite before any training, got "
            f"{losses.mean()}. Look at params, batches and loss_fn."
        )
    race = Race(copies.start, copies.train, float(losses.mean()), num_updates)
    best, longest = race.run()
    run = race.runs[longest]
    trained, (_, estimate) = copies.trained(run), copies.judge(run.carry)
    reason = _why_none(run, losses, trained, known, estimate)
    lr_max, lr_sum_max, sum_reason, tx = None, None, "nothing was learned.", None
    if not reason:
        # As many digits as `recipe` shows.
        lr_max, reason = float(f"{rate_of(best):.4g}"), _why(race)
        lr_sum_max, sum_reason = limit_of(run, trained)
        lr_sum_max = lr_sum_max and float(f"{lr_sum_max:.4g}")
        tx = transformation(plan, lr_max, lr_sum_max)
    low, high = (k if k is None else rate_of(k) for k in race.between())
    order = sorted(race.runs)
    return AutoResult(
        lr_max=lr_max,
        lr_max_reason=reason,
        lr_sum_max=lr_sum_max,
        lr_sum_reason=sum_reason,
        lr_between=(0.0 if low is None else low, np.inf if high is None else high),
        mi=float(estimate.mi),
        entropy=float(estimate.entropy),
        untrained=race.untrained,
        runs=tuple(_as_run(race, k) for k in order),
        longest=order.index(longest),
        num_updates=race.spent,
        transformation=tx,
    )


@functools.cache
def _counts_of(num_classes: int) -> MIEstimator:
    """Returns the same estimator at each call, so that nothing is compiled twice."""
    return contingency(num_classes=num_classes)


def _as_run(race: Race, k: int) -> AutoRun:
    """The record of a run."""
    run = race.runs[k]
    averaged, raw = run.curves()
    gain = race.gain(k) if k in race.balanced else np.nan
    updates, sums = np.array(run.updates), np.array(run.lr_sums)
    return AutoRun(run.learning_rate, updates, averaged, raw, sums, gain)


def _why_none(
    run: Run,
    untrained: np.ndarray,
    trained: np.ndarray | None,
    known: MIEstimate,
    estimate: MIEstimate,
) -> str:
    """Why there is no usable learning rate; empty if there is one."""
    curve, before = run.curves()[0], untrained.mean()
    at, rate = int(curve.argmin()), f"{run.learning_rate:.3g}"
    if not np.isfinite(curve[-1]):
        return f"training diverged at {rate}: look for values that are not finite."
    by_heart = trained is not None and trained.mean() < before
    if curve[-1] > before and not by_heart:
        return (
            f"at {rate} the loss fell from {before:.3g} to {curve[at]:.3g} and rose to "
            f"{curve[-1]:.3g}: the optimizer's updates may not be proportional to its "
            "learning rate."
        )
    if _falls(untrained - run.losses[at][0]) or _knows_more(estimate, known):
        return ""
    return (
        f"no learning rate learns: {rate} took the held-out loss from {before:.3g} to "
        f"{curve[at]:.3g} and the mutual information from {known.mi:.3g} to "
        f"{estimate.mi:.3g} nats, within {_SIGMAS:g} standard errors. Raise "
        "num_updates, or check loss_fn and params: is there anything to learn?"
    )


def _why(race: Race) -> str:
    """Why the search chose this learning rate, and how certain it is."""
    low, high = race.between()

    def said(k: int) -> str:
        gain, rate = race.gain(k), f"{rate_of(k):.3g}"
        if not np.isfinite(gain):
            return f"at {rate} the loss is higher"
        return (
            f"at {rate} averaging {'gains' if gain >= 0 else 'costs'} {abs(gain):.1%}"
        )

    seen = ", ".join(said(k) for k in (low, high) if k is not None)
    if low is None:
        return f"{seen}, at the lowest of the long runs: it may be too high."
    if high is None:
        return f"{seen}, at the highest of the long runs: it may be too low."
    return f"{seen}; between them it gains 1.5%."


def _falls(fall: np.ndarray) -> bool:
    """Whether the losses of batches fell by more than noise."""
    error = fall.std(ddof=1) / np.sqrt(len(fall)) if len(fall) > 1 else np.inf
    return bool(fall.mean() > _SIGMAS * error)


def _knows_more(after: MIEstimate, before: MIEstimate) -> bool:
    """Whether the mutual information grew by more than noise and chance."""
    gain = (after.mi - after.chance) - (before.mi - before.chance)
    errors = [after.std_error, before.std_error, CHANCE_ERROR * after.chance]
    return bool(gain > _SIGMAS * np.linalg.norm(np.nan_to_num(errors)))
