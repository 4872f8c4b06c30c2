"""YamAdam, which has no learning rate to tune (Yamada 2018, bioRxiv 348557)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class YamAdamLeaf(NamedTuple):
    """What is kept of one array of params, all but `beta` in its shape."""

    mean: jax.Array
    variance: jax.Array
    mean_squared_step: jax.Array
    step: jax.Array
    beta: jax.Array


def yamadam(
    learning_rate: optax.ScalarOrSchedule = 1.0, eps: float = 1e-6
) -> optax.GradientTransformation:
    r"""Adam's moments, AdaDelta's units, and a decay that follows the steps.

    .. math::

        m_t &= \beta_t m_{t-1} + (1 - \beta_t) g_t \\
        v_t &= \beta_t v_{t-1} + (1 - \beta_t) (g_t - m_{t-1})^2 \\
        s_t &= \beta_t s_{t-1} + (1 - \beta_t) h_{t-1}^2 \\
        h_t &= m_t \sqrt{(s_t + \epsilon) / (v_t + \epsilon)} \\
        \beta_{t+1} &= \sigma\left(
            \frac{\|h_{t-1}\|_1 + \epsilon}{\|h_t\|_1 + \epsilon}\right) - \epsilon

    from zeros, with one :math:`\beta` for every array of params, and
    :math:`\theta_t = \theta_{t-1} - h_t`. These are the equations of the program that
    its author published beside the paper.

    Args:
      learning_rate: factor on the steps; the paper has none.
      eps: the number that is added before every division, 1e-6 in that program. It
        sets the size of the first steps, its square root.

    Returns:
      The transformation.
    """

    def init_leaf(param: jax.Array) -> YamAdamLeaf:
        zeros = jnp.zeros_like(param)
        return YamAdamLeaf(zeros, zeros, zeros, zeros, jnp.zeros((), param.dtype))

    def update_leaf(grad: jax.Array, old: YamAdamLeaf) -> YamAdamLeaf:
        beta = old.beta
        mean = beta * old.mean + (1 - beta) * grad
        variance = beta * old.variance + (1 - beta) * (grad - old.mean) ** 2
        square = beta * old.mean_squared_step + (1 - beta) * old.step**2
        step = mean * jnp.sqrt((square + eps) / (variance + eps))
        shrinkage = (jnp.abs(old.step).sum() + eps) / (jnp.abs(step).sum() + eps)
        return YamAdamLeaf(
            mean, variance, square, step, jax.nn.sigmoid(shrinkage) - eps
        )

    def init(params: Any) -> Any:
        return jax.tree.map(init_leaf, params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        state = jax.tree.map(update_leaf, updates, state)
        return jax.tree.map(lambda _, leaf: leaf.step, updates, state), state

    return optax.chain(
        optax.GradientTransformation(init, update),
        optax.scale_by_learning_rate(learning_rate),
    )
