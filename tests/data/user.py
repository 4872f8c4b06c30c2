# What a user writes under a strict type checker; `make lint` wants no error here.
# jax and optax are not strict themselves:
# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Finds a learning rate, or bounds; trains, checks and logs."""

from collections.abc import Callable
from typing import assert_type, cast

import jax
import jax.numpy as jnp
import optax

from optax_mi import (
    MIDiagnostics,
    auto,
    average_params,
    check_setup,
    eval_params,
    learning_rates,
    log_values,
    lr_range_test,
    mi_decay,
    mi_diagnostics,
    mi_sgd,
    mi_warnings,
)
from optax_mi.estimators import MIEstimate, contingency, measured, plugin_mi
from optax_mi.rules import log_time_rule

Batch = tuple[jax.Array, jax.Array]
Seen = dict[str, jax.Array]
GradFn = Callable[[jax.Array, Batch], tuple[jax.Array, Seen]]


def loss_fn(params: jax.Array, batch: Batch) -> tuple[jax.Array, Seen]:
    x, y = batch
    logits = x @ params
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, {"outputs": logits, "labels": y}


def update(
    tx: optax.GradientTransformationExtraArgs,
    params: jax.Array,
    opt_state: optax.OptState,
    batch: Batch,
) -> tuple[jax.Array, optax.OptState]:
    grads, seen = cast(GradFn, jax.grad(loss_fn, has_aux=True))(params, batch)
    updates, opt_state = tx.update(grads, opt_state, params, **seen)
    return cast(jax.Array, optax.apply_updates(params, updates)), opt_state


def check(
    tx: optax.GradientTransformationExtraArgs, params: jax.Array, batch: Batch
) -> list[str]:
    _, seen = loss_fn(params, batch)
    found = check_setup(tx, params, outputs=seen["outputs"], labels=seen["labels"])
    assert_type(found, list[str])
    return found


def find_bounds(params: jax.Array, batches: Batch) -> tuple[float, float]:
    found = lr_range_test(
        loss_fn,
        params,
        batches,
        estimator=contingency(num_classes=3),
        num=8,
        key=jax.random.key(1),
    )
    assert_type(found.lr_min, float | None)
    if found.lr_max is None or found.lr_min is None:
        raise SystemExit(str(found))
    return found.lr_max, found.lr_min


def log(opt_state: optax.OptState) -> str:
    rates = learning_rates(opt_state)
    known = mi_diagnostics(opt_state)["all"]
    assert_type(rates, dict[str, jax.Array])
    assert_type(known, MIDiagnostics)
    assert_type(known.normalized, jax.Array | float)
    assert_type(log_values(opt_state), dict[str, float])
    return f"learning rate {rates['all']:.3g}, {known.normalized:.0%} known"


def train(lr_max: float, lr_min: float) -> tuple[str, MIEstimate]:
    y = jnp.arange(640).reshape(20, 32) % 3
    x = jax.nn.one_hot(y, 3) + 0.5 * jax.random.normal(jax.random.key(0), (20, 32, 3))
    params = jnp.zeros((3, 3))
    decay = mi_sgd(lr_max, lr_min, num_classes=3, rule=log_time_rule(rate=2.0))
    tx = optax.chain(decay, average_params())
    opt_state = tx.init(params)
    for batch in range(20):
        params, opt_state = update(tx, params, opt_state, (x[batch], y[batch]))
    assert_type(mi_warnings(opt_state), list[str])
    averaged: jax.Array = eval_params(opt_state, params)
    estimate = plugin_mi(x[0] @ averaged, y[0])
    assert_type(estimate, MIEstimate)
    assert_type(estimate.mi, jax.Array)
    own = optax.chain(optax.sgd(1.0), mi_decay(lr_max, estimator=measured()))
    own.update(params, own.init(params), params, mi=estimate)
    return log(opt_state), estimate


def search(params: jax.Array, batches: Batch) -> optax.GradientTransformationExtraArgs:
    found = auto(loss_fn, params, batches, num_classes=3, key=jax.random.key(0))
    assert_type(found.lr_max, float | None)
    assert_type(found.tx, optax.GradientTransformationExtraArgs)
    return found.tx
