"""Finds the learning rates that learn, by short runs at all of them, judged by MI.

Each learning rate trains its own copy of the network, from the same params and on the
same batches, side by side under `vmap`; or one run passes through all of them, as in
Smith's test. One more copy, at learning rate 0, gives the MI of an untrained network.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
import optax

from optax_mi._checks import (
    check_choice,
    check_int,
    check_is,
    check_number,
    check_static_int,
)
from optax_mi.estimators import MIEstimator
from optax_mi.range_test._inputs import (
    arrays,
    check_callable,
    check_key,
    check_step,
    stack,
)
from optax_mi.range_test._result import LRRangeResult, Runs, find_bounds
from optax_mi.range_test._runs import (
    Data,
    Optimizer,
    Plan,
    draw_orders,
    train_in_chunks,
)

# Only the second half of a run is judged.
_WINDOWS = 2
_LEAST_STEPS = 20
_BUDGET_BYTES = 2**30


def lr_range_test(
    loss_fn: Callable[..., tuple[jax.Array, Any]],
    params: Any,
    batches: Any,
    *,
    estimator: MIEstimator,
    optimizer: Optimizer = optax.sgd,
    lr_low: float = 1e-6,
    lr_high: float = 10.0,
    num: int = 48,
    mode: Literal["parallel", "ramp"] = "parallel",
    num_seeds: int = 1,
    num_steps: int | None = None,
    eval_batches: Any = None,
    model_state: Any = None,
    max_parallel: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    key: jax.Array,
) -> LRRangeResult:
    r"""Finds the learning rates between which a network learns, before training.

    The learning rates :math:`\eta_i` form a geometric grid. With `mode="parallel"` each
    trains its own copy for `num_steps` updates, and :math:`I_i`, in nats, is the mutual
    information between outputs and labels in the second half of them. With
    `mode="ramp"` one run passes through the grid upwards, and :math:`I_i` is the mutual
    information in its updates at :math:`\eta_i`. See :class:`LRRangeResult` for the
    bounds that follow from :math:`I_i`.

    If a copy diverges, the result marks it, and other copies are not affected. The same
    arguments give the same result to the bit; a different `max_parallel` may change the
    rounding.

    Args:
      loss_fn: `loss_fn(params, batch) -> (loss, extra_args)`, as in the train step;
        `extra_args` is the dict that :func:`mi_decay` takes, such as `{"outputs":
        logits, "labels": labels}`.
      params: the initial params of every copy: a pytree, or `params(key)`, which makes
        one for a seed.
      batches: a pytree with a leading axis of batches, used in a new order in each
        pass; or `batches(key, step)`, which makes the batch of a step.
      estimator: the estimator of the mutual information, such as
        `contingency(num_classes=10)`.
      optimizer: `optimizer(learning_rate)`, such as `optax.adamw` or
        `functools.partial(optax.sgd, momentum=0.9)`; for `mode="ramp"` it gets a
        schedule.
      lr_low: lowest learning rate, positive.
      lr_high: highest learning rate, above `lr_low`.
      num: number of learning rates, at least 8.
      mode: "parallel" or "ramp".
      num_seeds: number of repetitions with different seeds; the result has the bounds
        of each seed.
      num_steps: number of updates of a run; None means 400, and for "ramp" 10 per
        learning rate. It is rounded up to a multiple of 2, or for "ramp" of `num`.
      eval_batches: None, or a pytree with a leading axis of batches; then these measure
        the mutual information instead, with the final weights. Only for
        `mode="parallel"`.
      model_state: None, or state of the network other than its params, such as batch
        statistics; then `loss_fn(params, model_state, batch) -> (loss, (extra_args,
        model_state))`.
      max_parallel: number of copies that train at the same time; None means as many as
        keep params, gradients and optimizer states within 1 GiB, without activations.
      progress: `progress(done, total)`, called after each chunk of copies.
      key: a key of `jax.random`.

    Returns:
      An :class:`LRRangeResult`.

    Raises:
      TypeError, ValueError: an argument is out of range, the leaves of `batches` differ
        in their leading axes, or `loss_fn` returns something else or raises. If it
        raises, the message shows how it was called, and its error is the cause.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import LRRangeResult, lr_range_test, mi_sgd
      >>> from optax_mi.estimators import contingency
      >>> def loss_fn(w, batch):
      ...     x, y = batch
      ...     logits = x @ w
      ...     loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
      ...     return loss, {"outputs": logits, "labels": y}
      >>> y = jnp.arange(640).reshape(20, 32) % 3
      >>> x = jax.nn.one_hot(y, 3) + jax.random.normal(jax.random.key(0), (20, 32, 3))
      >>> how = {"estimator": contingency(num_classes=3), "key": jax.random.key(1)}
      >>> found = lr_range_test(loss_fn, jnp.zeros((3, 3)), (x, y), **how)
      >>> 0.0001 < found.lr_min < 0.01 < 0.1 < found.lr_max < 10.0
      True
      >>> tx = mi_sgd(found.lr_max, found.lr_min, num_classes=3)
      >>> LRRangeResult.from_json(found.to_json()).lr_max == found.lr_max
      True

    References:
      Vasudevan, Entropy 22(5):560, 2020, finds the bounds of the learning rate by a
      range test. Smith, `WACV 2017 <https://arxiv.org/abs/1506.01186>`_, section 3.3
      (`mode="ramp"`).
    """
    lrs = _grid(lr_low, lr_high, num)
    check_is(
        "estimator", estimator, MIEstimator, "contingency(num_classes=num_classes)"
    )
    check_choice("mode", mode, ("parallel", "ramp"))
    parallel = mode == "parallel"
    windows = _WINDOWS if parallel else num
    steps = _read_steps(num_steps, windows, parallel)
    if eval_batches is not None and not parallel:
        raise ValueError("eval_batches is for mode='parallel', got mode='ramp'.")
    num_seeds = check_static_int("num_seeds", num_seeds, 1)
    if max_parallel is not None:
        max_parallel = check_static_int("max_parallel", max_parallel, 1)
    check_callable("loss_fn", loss_fn, "loss_fn(params, batch)")
    if progress is not None:
        check_callable("progress", progress, "progress(done, total)")
    check_key(key)
    plan = Plan(
        loss_fn,
        estimator,
        optimizer,
        params if callable(params) else None,
        batches if callable(batches) else None,
        windows,
        steps // windows,
        model_state is not None,
    )
    seeds = jax.random.split(key, num_seeds)
    data = Data(
        None if callable(params) else arrays("params", params),
        None if model_state is None else arrays("model_state", model_state),
        None if callable(batches) else stack("batches", batches),
        None if eval_batches is None else stack("eval_batches", eval_batches),
    )
    orders = draw_orders(seeds, data.batches, steps)
    copy_bytes = check_step(plan, data, seeds[0])
    if max_parallel is None:
        max_parallel = max(1, _BUDGET_BYTES // copy_bytes)
    # The first copy stays at learning rate 0, and so gives the MI without training.
    rates = np.concatenate([[0.0], lrs])[:, None]
    if not parallel:
        rates = np.stack([np.zeros(num), lrs])
    seen = train_in_chunks(
        plan, data, rates.astype(np.float32), seeds, orders, max_parallel, progress
    )
    losses = np.asarray(seen.loss, float)
    if parallel:
        chance = Runs(*(x[0, :, -1] for x in seen))
        runs = Runs(*(x[1:, :, -1] for x in seen))
        # An early explosion counts even if the judged half has recovered from it.
        untrained, trained = losses[0].mean(-1), losses[1:].mean(-1)
    else:
        chance = Runs(*(x[0].mean(-1) for x in seen))
        runs = Runs(*(x[1].T for x in seen))
        untrained, trained = losses[0].T, losses[1].T
    stable = np.less_equal(trained, untrained)
    return find_bounds(lrs, runs, chance, stable, mode=mode, num_steps=steps)


def _grid(lr_low: float, lr_high: float, num: int) -> np.ndarray:
    """The learning rates, [num]."""
    num = check_static_int("num", num, 8)
    check_number("lr_low", lr_low, lambda lr: lr > 0, "positive and finite")
    check_number(
        "lr_high", lr_high, lambda lr: lr > lr_low, f"finite, above lr_low={lr_low:g}"
    )
    return np.geomspace(float(lr_low), float(lr_high), num)


def _read_steps(num_steps: int | None, windows: int, parallel: bool) -> int:
    """The number of updates of a run, a multiple of its windows."""
    least = _LEAST_STEPS if parallel else windows
    if num_steps is None:
        num_steps = 400 if parallel else 10 * windows
    elif check_int("num_steps", num_steps, 1) < least:
        reason = "to judge a learning rate by" if parallel else f"for num={windows}"
        raise ValueError(
            f"num_steps must be at least {least} {reason}, got num_steps={num_steps}."
        )
    return -(-num_steps // windows) * windows
