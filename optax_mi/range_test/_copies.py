"""Copies of a network for a race: starting, training and evaluating them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_mi._average import average_params, eval_params
from optax_mi._decay import mi_decay
from optax_mi._inspect import learning_rates
from optax_mi.estimators import MIEstimate
from optax_mi.range_test._programs import Functions, program
from optax_mi.range_test._race import Run, chunk_of
from optax_mi.range_test._runs import Data, Plan, batch_of, draw_orders, loss_of
from optax_mi.rules import capped_rule

_HELD_SHARE = 0.15
_MOST_HELD = 16


def transformation(
    plan: Plan, lr_max: Any, lr_sum_max: float | None = None
) -> optax.GradientTransformationExtraArgs:
    """The transformation with which copies train, and which the user gets."""
    limited: dict[str, Any] = {}
    if lr_sum_max is not None:
        limited = {"lr_min": 0.0, "rule": capped_rule(lr_sum_max)}
    return optax.chain(
        plan.optimizer(1.0),
        mi_decay(lr_max, estimator=plan.estimator, **limited),
        average_params(),
    )


class Copies:
    """Starts, trains and evaluates copies of the network."""

    def __init__(
        self,
        plan: Plan,
        data: Data,
        key: jax.Array,
        num_updates: int,
        progress: Callable[[int, int], object] | None,
    ):
        self.plan, self.data, self.progress = plan, data, progress
        self.num_updates, self.done = num_updates, 0
        self.compiled: dict[str, Callable[..., Any]] = {}
        self.batch_key, key = jax.random.split(key)
        self.held_of = data.batches
        if data.batches is None:
            # Held-out batches come from later steps than any training batch.
            self.order = np.arange(num_updates)
            self.held = num_updates + np.arange(_most_held(num_updates))
        else:
            self.held, self.order = _hold_out(data, num_updates, key)
        if data.eval_batches is not None:
            self.held_of = data.eval_batches
            given = len(jax.tree.leaves(data.eval_batches)[0])
            self.held = np.arange(min(given, _most_held(num_updates)))

    def run(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function of this module, compiled once for each name."""
        if name not in self.compiled:
            plan = self.plan
            users = plan.loss_fn, plan.optimizer, plan.make_batch, *plan.estimator[:4]
            made_of = Functions(users, (function.__name__, plan.stateful))
            self.compiled[name] = program(partial(function, plan), made_of, *args)
        return self.compiled[name](*args)

    def start(self, learning_rate: float) -> Any:
        """The initial carry of a copy."""
        rate = np.float32(learning_rate)
        return self.run("start", _start, self.data.params, self.data.model_state, rate)

    def train(self, run: Run, updates: int) -> None:
        """Trains a copy, and measures it."""
        rate, first = np.float32(run.learning_rate), sum(run.updates[-1:])
        for place in self.order[first : first + updates]:
            source = self.data.batches, self.batch_key, np.int32(place)
            run.carry = self.run("step", _step, run.carry, rate, *source)
        run.updates.append(first + updates)
        run.losses.append(self.judge(run.carry)[0])
        run.lr_sums.append(float(run.carry[-1]))
        self.done += updates
        if self.progress is not None:
            self.progress(self.done, self.num_updates)

    def judge(self, carry: Any) -> tuple[np.ndarray, MIEstimate]:
        """Losses of held-out batches, and the estimate for their labels."""
        return self._judge_on("held", carry, self.held_of, self.held)

    def _judge_on(
        self, name: str, carry: Any, of: Any, places: np.ndarray
    ) -> tuple[np.ndarray, MIEstimate]:
        sums, losses = self.plan.estimator.init(), []
        for place in places:
            source = of, self.batch_key, np.int32(place)
            loss, sums = self.run(name, _judge_batch, carry, sums, *source)
            losses.append(loss)
        losses, estimate = jax.device_get(
            (losses, self.run("estimate", _estimate, sums))
        )
        return np.asarray(losses, float).T, estimate

    def trained(self, run: Run) -> np.ndarray | None:
        """Losses of as many training batches as are held out.

        None if the run has not seen any batch twice.
        """
        seen = dict.fromkeys(self.order[: run.updates[-1]].tolist())
        if len(seen) == run.updates[-1]:
            return None
        places = np.array(list(seen)[: len(self.held)])
        (losses, _), _ = self._judge_on("trained", run.carry, self.data.batches, places)
        return losses


def _most_held(num_updates: int) -> int:
    """At most the updates of a chunk: each evaluation takes two forward passes."""
    return max(2, min(chunk_of(num_updates), _MOST_HELD))


def _hold_out(
    data: Data, num_updates: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Places of held-out batches, and of the batch of each step among the others."""
    count = len(jax.tree.leaves(data.batches)[0])
    held_key, order_key = jax.random.split(key)
    held = 0
    if data.eval_batches is None:
        if count < 4:
            raise ValueError(
                f"batches must be at least 4, since auto holds some out, got {count}. "
                "Make them smaller, or pass eval_batches."
            )
        held = int(np.clip(round(_HELD_SHARE * count), 2, _most_held(num_updates)))
    places = np.asarray(jax.random.permutation(held_key, count))
    kept = places[held:]
    return places[:held], kept[draw_orders(order_key[None], kept, num_updates)[0]]


def _start(plan: Plan, params: Any, model_state: Any, rate: jax.Array) -> Any:
    """Params, model state, optimizer state, and the sum of learning rates."""
    state = transformation(plan, rate).init(params)
    return params, model_state, state, jnp.zeros((), jnp.float32)


def _step(plan: Plan, carry: Any, rate: jax.Array, *source: Any) -> Any:
    """The carry after an update."""
    params, model_state, opt_state, lr_sum = carry
    gradient = jax.value_and_grad(loss_of, argnums=1, has_aux=True)
    batch = batch_of(plan, *source)
    (loss, (seen, model_state)), grads = gradient(plan, params, model_state, batch)
    updates, opt_state = transformation(plan, rate).update(
        grads, opt_state, params, **{"value": loss, **seen}
    )
    params = optax.apply_updates(params, updates)
    return params, model_state, opt_state, lr_sum + learning_rates(opt_state)["all"]


def _judge_batch(plan: Plan, carry: Any, sums: Any, *source: Any) -> Any:
    """Losses of a batch with averaged and plain weights, and the accumulator."""
    params, model_state, opt_state, _ = carry
    batch = batch_of(plan, *source)
    averaged = eval_params(opt_state, params)
    loss, (seen, _) = loss_of(plan, averaged, model_state, batch)
    raw, _ = loss_of(plan, params, model_state, batch)
    return jnp.stack([loss, raw]), plan.estimator.update(sums, **seen)


def _estimate(plan: Plan, sums: Any) -> MIEstimate:
    return plan.estimator.estimate(sums)
