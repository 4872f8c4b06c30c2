"""What was tried for the default and lost, kept so that the trial can be rerun.

They are written for a benchmark: shorter than the library's, without its checks.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_mi.rules import DecayRule
from suite.methods import PLAIN, Method, Setting, by_layer, layer_decay, ours


def log_time(
    rate: float = 6.0,
    sharpness: float = 10.0,
    knows: Callable[[jax.Array], jax.Array] = jnp.sqrt,
    memory: float = 10.0,
) -> DecayRule:
    """The default before weights were averaged: six to eight times as fast.

    `knows` turns U into the share of the rate that applies; `memory` is the number of
    parts of the steps so far of which the recent average holds one.
    """

    def init() -> Any:
        return tuple(jnp.zeros((), jnp.float32) for _ in range(3))

    def update(state: Any, estimate: Any, learning_rate: Any, **context: Any) -> Any:
        last, recent, mean = state
        step = context["step"].astype(jnp.float32)
        kept = last / step
        recent = estimate.mi + kept**memory * (recent - estimate.mi)
        mean = estimate.mi + kept * (mean - estimate.mi)
        ratio = jnp.clip(mean / jnp.maximum(recent, 1e-6), 0.0, 1.0)
        speed = rate * knows(estimate.normalized) * ratio**sharpness
        factor = jnp.where(last > 0, kept**speed, 1.0)
        return learning_rate * factor, (step, recent, mean)

    return DecayRule(init, update)


def open_rule(
    rate: float = 0.8,
    sharpness: float = 10.0,
    knows: Callable[[jax.Array], jax.Array] = lambda u: jnp.minimum(10 * u, 1.0),
    memory: float = 10.0,
    odds: bool = False,
) -> DecayRule:
    """`log_time_rule` with its fixed parts open, and without its standard errors.

    With `odds` the ratio is that of U / (1 - U), so that what is left to know counts.
    """

    def scale(known: jax.Array) -> jax.Array:
        clipped = jnp.clip(known, 1e-3, 0.999)
        return clipped / (1.0 - clipped) if odds else known

    def init() -> Any:
        zeros = (jnp.zeros((), jnp.float32) for _ in range(3))
        return *zeros, jnp.full((), 2.0, jnp.float32)

    def update(state: Any, estimate: Any, learning_rate: Any, **context: Any) -> Any:
        last, recent, mean, lowest = state
        step = context["step"].astype(jnp.float32)
        kept = last / step
        recent = estimate.adjusted + kept**memory * (recent - estimate.adjusted)
        mean = estimate.adjusted + kept * (mean - estimate.adjusted)
        lowest = jnp.minimum(lowest, recent)
        gains = (scale(known) - scale(lowest) + 0.02 for known in (mean, recent))
        ratio = jnp.minimum(next(gains) / next(gains), 1.0)
        speed = rate * knows(jnp.maximum(recent, 0.0)) * ratio**sharpness
        factor = jnp.where(last > 0, kept**speed, 1.0)
        return learning_rate * factor, (step, recent, mean, lowest)

    return DecayRule(init, update)


def residual_in_log_time(rate: float = 2.5, threshold: float = 0.25) -> DecayRule:
    """Decays when the residual falls by less than a share `threshold` an e-fold.

    With the residual R = H - I and b its fall an e-fold of time, from averages over a
    tenth and a third of the steps so far:
    d ln lr = -rate U max(0, 1 - b / (threshold R)) d ln t.
    """
    memories = jnp.array([10.0, 3.0], jnp.float32)

    def init() -> Any:
        pair = jnp.zeros(2, jnp.float32)
        return jnp.zeros((), jnp.float32), pair, pair

    def update(state: Any, estimate: Any, learning_rate: Any, **context: Any) -> Any:
        last, residuals, places = state
        step = context["step"].astype(jnp.float32)
        kept = (last / step) ** memories
        # The mean of ln t over the epoch, so that its length does not bias the slope.
        before = jnp.where(last > 0, last * jnp.log(jnp.maximum(last, 1.0)), 0.0)
        place = (step * jnp.log(step) - before) / (step - last) - 1.0
        residual = estimate.entropy - estimate.mi
        residuals = residual + kept * (residuals - residual)
        places = place + kept * (places - place)
        gap = places[0] - places[1]
        fall = (residuals[1] - residuals[0]) / jnp.where(gap > 0, gap, 1.0)
        stall = 1.0 - fall / (threshold * jnp.maximum(residuals[0], 1e-6))
        speed = rate * estimate.normalized * jnp.maximum(stall, 0.0)
        factor = jnp.where(gap > 1e-6, (last / step) ** speed, 1.0)
        return learning_rate * factor, (step, residuals, places)

    return DecayRule(init, update)


def significant(strength: float = 0.5, sigmas: float = 2.0) -> DecayRule:
    """`residual_rule` that waits: a stall is a gain below `sigmas` standard errors."""

    def init() -> Any:
        return tuple(jnp.full((), jnp.nan, jnp.float32) for _ in range(2))

    def update(state: Any, estimate: Any, learning_rate: Any, **context: Any) -> Any:
        del context
        mi, std_error = state
        noise = jnp.hypot(std_error, estimate.std_error)
        stalled = estimate.mi - mi <= sigmas * noise
        factor = jnp.where(stalled, 1.0 - strength * estimate.normalized, 1.0)
        return learning_rate * factor, (estimate.mi, estimate.std_error)

    return DecayRule(init, update)


def gained(rule: DecayRule) -> DecayRule:
    """The rule on what has been learned since the first epoch.

    A layer that was never trained tells much of the labels already. That part says
    nothing of its progress.
    """

    def init() -> Any:
        return jnp.full((), jnp.nan, jnp.float32), rule.init()

    def update(state: Any, estimate: Any, learning_rate: Any, **context: Any) -> Any:
        first, inner = state
        first = jnp.where(jnp.isnan(first), estimate.mi, first)
        gain = estimate._replace(mi=jnp.maximum(estimate.mi - first, 0.0))
        learning_rate, inner = rule.update(inner, gain, learning_rate, **context)
        return learning_rate, (first, inner)

    return DecayRule(init, update)


def within_network(rule: Callable[[], DecayRule], floor: float = 1 / 3) -> Method:
    """The whole network's learning rate, times a layer's share of at least `floor`."""

    def make(setting: Setting) -> optax.GradientTransformation:
        lowest = {**dict.fromkeys(setting.layers, floor), "default": 1.0}
        shares = layer_decay(setting, 1.0, lowest, rule())
        return optax.chain(ours("", log_time).make(setting), shares)

    return dataclasses.replace(
        PLAIN["mi sgd"], make=make, needs_classes=True, watches_layers=True
    )


def scaled_layers(factor: float) -> Method:
    """The whole network's learning rate, times a constant in the hidden layers."""

    def make(setting: Setting) -> optax.GradientTransformation:
        scales = dict.fromkeys(setting.layers, optax.scale(factor))
        return optax.chain(
            ours("", log_time).make(setting),
            optax.partition(
                {**scales, "default": optax.identity()}, by_layer(setting.layers)
            ),
        )

    return dataclasses.replace(PLAIN["mi sgd"], make=make, watches_layers=True)
