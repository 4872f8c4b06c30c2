"""What was tried for the default and lost, kept so that the trial can be rerun.

They are written for a benchmark: shorter than the library's, without its checks.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_mi.rules import DecayRule, log_time_rule
from suite.methods import Method, Setting, by_layer, layer_decay, ours

# The largest share of a layer; the smallest is its inverse.
SPAN = 2.0


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


class Slopes(NamedTuple):
    """What :func:`slope_rule` remembers."""

    first_log_step: jax.Array  # ln of the steps of the first epoch; -1 before its end
    first: jax.Array  # share of H(Y) known in that epoch
    slope: jax.Array  # share of H(Y) gained since then, an e-fold of time


def slope_rule() -> DecayRule:
    """Leaves the learning rate as it is, and remembers how fast MI has grown.

    What an untrained layer tells of the labels says nothing of its progress, so that
    the first epoch is left out.
    """

    def init() -> Slopes:
        zero = jnp.zeros((), jnp.float32)
        return Slopes(zero - 1.0, zero, zero)

    def update(
        state: Slopes, estimate: Any, learning_rate: Any, **context: Any
    ) -> tuple[Any, Slopes]:
        known, now = estimate.normalized, jnp.log(context["step"].astype(jnp.float32))
        first = state.first_log_step < 0
        since = jnp.where(first, 1.0, now - state.first_log_step)
        later = state._replace(slope=(known - state.first) / since)
        started = Slopes(now, known, state.slope)
        return learning_rate, jax.tree.map(
            lambda new, old: jnp.where(first, new, old), started, later
        )

    return DecayRule(init, update)


def shares_by_gain(slopes: jax.Array, power: float) -> jax.Array:
    """Shares of layers [L] by their slopes, about from 1/2 to 2.

    Their geometric mean is 1 over the layers, whatever their size: layers differ, and
    the decay is no faster. A `power` of -1 gives the inverse.
    """
    # Of less than a hundredth of H(Y) an e-fold nobody can tell which is more.
    logs = jnp.log(jnp.maximum(slopes, 0.0) + 0.01)
    logs = jnp.clip(logs - logs.mean(), -math.log(SPAN), math.log(SPAN))
    return jnp.exp(power * (logs - logs.mean()))


def in_shares(power: float, base: str = "sgd") -> Method:
    """The whole network's learning rate, times each layer's share by MI gained.

    The parameters that follow the outputs are one layer.
    """
    whole = ours("", log_time_rule, base)

    def make(setting: Setting) -> optax.GradientTransformation:
        sensor = layer_decay(setting, 1.0, 1.0, slope_rule())
        layers = (*setting.layers, "default")

        def update(updates: Any, state: Any, params: Any = None, **seen: Any) -> Any:
            updates, state = sensor.update(updates, state, params, **seen)
            inner = (state.inner_states[layer].inner_state for layer in layers)
            slopes = jnp.stack([each.rule_state.slope for each in inner])
            shares = shares_by_gain(slopes, power)
            return _scaled(updates, setting, shares), state

        return optax.chain(
            whole.make(setting),
            optax.GradientTransformationExtraArgs(sensor.init, update),
        )

    return dataclasses.replace(
        whole, make=make, needs_classes=True, watches_layers=True
    )


def in_fixed_shares(power: float, base: str = "sgd", shuffled: bool = False) -> Method:
    """The same with constant shares: the first layer twice, the last half.

    A `power` of -1 gives the inverse; `shuffled`, every start has an order of its own.
    """
    whole = ours("", log_time_rule, base)

    def make(setting: Setting) -> optax.GradientTransformation:
        shares = SPAN ** (power * jnp.linspace(1.0, -1.0, len(setting.layers) + 1))

        def init(params: Any) -> jax.Array:
            # A weight of the start is its seed, at all learning rates.
            drawn = jnp.ravel(jax.tree.leaves(params)[-1])[0]
            key = jax.random.key(jax.lax.bitcast_convert_type(drawn, jnp.uint32))
            return jax.random.permutation(key, shares) if shuffled else shares

        def update(updates: Any, state: Any, params: Any = None) -> Any:
            del params
            return _scaled(updates, setting, state), state

        return optax.chain(
            whole.make(setting), optax.GradientTransformation(init, update)
        )

    return dataclasses.replace(whole, make=make, watches_layers=True)


def _scaled(updates: Any, setting: Setting, shares: jax.Array) -> Any:
    """Updates times the share of their layer, in the order of the setting."""
    factors = dict(zip((*setting.layers, "default"), shares, strict=True))
    names = by_layer(setting.layers)(updates)
    return jax.tree.map(lambda update, name: update * factors[name], updates, names)
