"""Epoch after epoch of estimates through a rule, ours and the slow reference."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi.estimators import MIEstimate
from tests import reference

LR_MIN, LR_MAX = 0.01, 0.5
# Learns, levels off, learns again, forgets, and levels off for good.
CURVE = [0.1, 0.6, 1.2, 1.21, 1.21, 1.6, 1.5, 1.55, 1.5501, 1.5501, 1.5501]


def estimate(mi, entropy, chance=0.0, std_error=math.nan):
    fields = (mi, entropy, 100.0, std_error, 0.0, chance)
    return MIEstimate(*(jnp.asarray(x, jnp.float32) for x in fields))


# The settings are traced: rules of one kind compile once, whatever theirs are.
@functools.partial(jax.jit, static_argnums=0)
def _epoch(make, settings, state, measured, lr, step):
    new, state = make(**settings).update(
        state,
        estimate(**measured),
        lr,
        step=step,
        lr_min=jnp.float32(LR_MIN),
        lr_max=jnp.float32(LR_MAX),
    )
    return jnp.minimum(lr, new), state


def step_ends(epochs, steps):
    """The step at which each epoch ends; `steps` is a length, or all of them."""
    return steps * np.arange(1, epochs + 1) if np.ndim(steps) == 0 else steps


def rates(make, pairs, settings=None, steps=10, known=None, **measured):
    """The learning rate after each epoch; a pair is (mi, entropy).

    `known` is what the rule sees at its look, of an entropy of 1.
    """
    settings = settings or {}
    state, lr, out = make(**settings).init(), np.float32(LR_MAX), []
    if known is not None:
        state = make(**settings).look(state, estimate(known, 1.0))
    for step, pair in zip(step_ends(len(pairs), steps), pairs, strict=True):
        seen = {**dict(zip(("mi", "entropy"), pair, strict=True)), **measured}
        seen = {name: np.float32(value) for name, value in seen.items()}
        lr, state = _epoch(make, settings, state, seen, lr, np.int32(step))
        out.append(float(lr))
    return out


def truth(rule, pairs, steps=10, **measured):
    """What a rule of tests/reference.py makes of them."""
    ends = step_ends(len(pairs), steps)
    return reference.rates(rule, pairs, LR_MAX, LR_MIN, LR_MAX, ends, **measured)
