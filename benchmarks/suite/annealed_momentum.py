"""SGD whose momentum is annealed to 0 at the last step.

Momentum helps to leave saddle points and hurts near optima unless it, or the step size,
is annealed: T. Liu, Z. Chen, E. Zhou, T. Zhao, "A diffusion approximation theory of
momentum SGD in nonconvex optimization", Stochastic Systems 2021 (arXiv:1802.05155).
The schedule is Demon's: J. Chen, C. Wolfe, Z. Li, A. Kyrillidis, "Demon: improved
neural network training with momentum decay", 2022 (arXiv:1910.04952).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def demon_schedule(steps: int, momentum: float = 0.9) -> optax.Schedule:
    r"""Momentum that is `momentum` at update 0 and 0 from update `steps` on.

    .. math::

        \beta_t = \frac{\beta_0 (1 - t/T)}{1 - \beta_0 + \beta_0 (1 - t/T)}

    so that :math:`\beta_t / (1 - \beta_t)`, what a gradient still adds to later
    updates, falls along a line.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; pass the number of updates, at least 1")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; pass a number from 0 to below 1")

    def schedule(count: Any) -> jax.Array:
        left = momentum * (1 - jnp.minimum(count / steps, 1))
        return left / (1 - momentum + left)

    return schedule


def annealed_momentum(
    learning_rate: optax.ScalarOrSchedule, steps: int, momentum: float = 0.9
) -> optax.GradientTransformation:
    r"""Momentum SGD under `demon_schedule`, which knows the number of updates.

    .. math::

        v_t &= \beta_t v_{t-1} + g_t \\
        \theta_t &= \theta_{t-1} - \eta v_t
    """
    return optax.chain(
        optax.inject_hyperparams(optax.trace)(decay=demon_schedule(steps, momentum)),
        optax.scale_by_learning_rate(learning_rate),
    )
