"""A lower bound on mutual information from whole arrays of logits."""

import functools
from typing import Any

import jax

from optax_mi._checks import check_flag
from optax_mi.estimators._base import MIEstimate
from optax_mi.estimators.arithmetic import block_of_rows, over_blocks
from optax_mi.estimators.inputs import (
    array_or_none,
    as_array,
    class_ids,
    flatten_leading,
)
from optax_mi.estimators.tables._variational import estimate_bound, variational


def variational_mi(
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    weights: jax.typing.ArrayLike | None = None,
    clip: bool = True,
) -> MIEstimate:
    r"""A lower bound on I(output; label) of whole arrays of logits, in nats.

    .. math::
        I(X; Y) \ge \hat H(Y) + \frac1N \sum_n \ln q(y_n \mid x_n),
        \qquad q = \mathrm{softmax}(\mathrm{outputs}),

    the one-shot form of :func:`variational`.

    Args:
      outputs: logits of shape [..., C].
      labels: integers of shape [...].
      weights: None, or of shape [...].
      clip: whether to clip the value to [0, H(label)]; the bound may be below 0.

    Returns:
      An :class:`MIEstimate`, whose `std_error` is the delta method's.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit, or there are no samples.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import variational_mi
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
      >>> print(f"{variational_mi(logits, jnp.array([0, 1])).mi:.4f}")
      0.5878
    """
    logits = as_array("outputs", outputs)
    if logits.ndim == 0:
        raise ValueError("outputs must have the shape [..., C], got a scalar.")
    ids, _ = class_ids("labels", labels, logits.shape[-1])
    weights = array_or_none("weights", weights)
    return _variational_mi(logits, ids, weights, clip=check_flag("clip", clip))


@functools.partial(jax.jit, static_argnames=("clip",))
def _variational_mi(
    outputs: jax.Array, labels: jax.Array, weights: jax.Array | None, *, clip: bool
) -> MIEstimate:
    num_classes = outputs.shape[-1]
    arrays = flatten_leading(outputs, labels, weights, num_classes=num_classes)
    estimator = variational(num_classes=num_classes)

    def add(state: Any, outputs: Any, labels: Any, weights: Any) -> Any:
        return estimator.update(state, outputs=outputs, labels=labels, weights=weights)

    block = block_of_rows(num_classes)
    return estimate_bound(over_blocks(add, estimator.init(), arrays, block), clip)
