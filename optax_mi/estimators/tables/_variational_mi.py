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
    check_logits,
    class_ids,
    flatten_leading,
    host_logits,
    shape_of,
)
from optax_mi.estimators.tables._variational import estimate_bound, variational


def variational_mi(
    outputs: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    num_classes: int | None = None,
    weights: jax.typing.ArrayLike | None = None,
    clip: bool = True,
) -> MIEstimate:
    r"""Estimates a lower bound on I(output; label) of whole arrays of logits, in nats.

    .. math::
        I(X; Y) \ge \hat H(Y) + \frac1N \sum_n \ln q(y_n \mid x_n),
        \qquad q = \mathrm{softmax}(\mathrm{outputs}),

    This is the one-shot form of :func:`variational`.

    Args:
      outputs: logits of shape [..., C]; for two classes also [...] or [..., 1].
      labels: integers of shape [...].
      num_classes: number of classes C; None is the last axis of the logits.
      weights: None, or of shape [...].
      clip: whether to clip the value to [0, H(label)]; the bound may be below 0.

    Returns:
      An :class:`MIEstimate`, whose `std_error` is the delta method's.

    Raises:
      TypeError, ValueError: shapes or dtypes do not fit, there are no samples, or
        logits are probabilities, which it checks only outside of jit and vmap.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import variational_mi
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
      >>> print(f"{variational_mi(logits, jnp.array([0, 1])).mi:.4f}")
      0.5878
    """
    shape = shape_of("outputs", outputs)
    if shape[:1] == (0,):
        raise ValueError(f"outputs has shape {shape}: there are no samples.")
    if num_classes is None and (not shape or shape[-1] < 2):
        raise ValueError(
            f"outputs of shape {shape} are not logits of two classes or more. "
            "With one logit per sample, that of class 1, pass num_classes=2."
        )
    if num_classes is None:
        num_classes = shape[-1]
    check_logits("outputs", outputs)
    ids, num_classes = class_ids("labels", labels, num_classes)
    return _variational_mi(
        as_array("outputs", host_logits("outputs", outputs, ids)),
        ids,
        array_or_none("weights", weights),
        num_classes=num_classes,
        clip=check_flag("clip", clip),
    )


@functools.partial(jax.jit, static_argnames=("num_classes", "clip"))
def _variational_mi(
    outputs: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None,
    *,
    num_classes: int,
    clip: bool,
) -> MIEstimate:
    arrays = flatten_leading(outputs, labels, weights, num_classes=num_classes)
    estimator = variational(num_classes=num_classes)

    def add(state: Any, outputs: Any, labels: Any, weights: Any) -> Any:
        return estimator.update(state, outputs=outputs, labels=labels, weights=weights)

    block = block_of_rows(num_classes)
    return estimate_bound(over_blocks(add, estimator.init(), arrays, block), clip)
