"""Mutual information that was measured elsewhere, such as in a validation pass."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_mi._checks import check_number
from optax_mi.estimators._base import (
    NOT_A_NUMBER,
    MIEstimate,
    MIEstimator,
    no_estimate,
    pack,
    unpack,
)
from optax_mi.estimators.inputs import as_array


def measured(entropy: float | None = None) -> MIEstimator:
    r"""Takes the mutual information from the caller instead of estimating it.

    Its `update` requires `mi`: an :class:`MIEstimate`, or a scalar in nats, which is
    clipped to [0, H(Y)]. nan means "no new measurement". An epoch uses its last
    measurement; an epoch without one does not change the learning rate.

    Args:
      entropy: H(Y), the entropy of the labels in nats, which a scalar `mi` needs:
        `math.log(num_classes)` if the classes are balanced.

    Returns:
      An :class:`MIEstimator`. For a scalar, `num_samples` is 1 and `std_error` is nan.

    Raises:
      TypeError, ValueError: `entropy` is not positive and finite; in `update`, `mi` is
        not a scalar, or is a plain scalar although no entropy was given.

    Example:
      >>> import math
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import measured
      >>> estimator = measured(entropy=math.log(10))
      >>> state = estimator.update(estimator.init(), mi=1.5)
      >>> state = estimator.update(state, mi=jnp.nan)  # no validation pass this time
      >>> print(f"{estimator.estimate(state).mi:.2f}")
      1.50
    """
    if entropy is not None:
        check_number("entropy", entropy, lambda h: h > 0, "positive and finite")

    def update(state: MIEstimate, *, mi: Any, **extra_args: Any) -> MIEstimate:
        del extra_args
        if isinstance(mi, MIEstimate):
            new = mi
        elif entropy is None:
            raise ValueError(
                "mi is a scalar, which does not include H(Y): use "
                "measured(entropy=...) in nats, math.log(num_classes) for balanced "
                "classes, or pass mi as an MIEstimate."
            )
        else:
            mi = as_array("mi", mi)
            finite = jnp.isfinite(mi)  # infinity does not count as a measurement
            nats = jnp.clip(jnp.where(finite, mi, 0.0), 0.0, entropy)
            nats = jnp.where(finite, nats, NOT_A_NUMBER)
            new = MIEstimate(nats, entropy, 1.0, NOT_A_NUMBER, 0.0)  # pyright: ignore[reportArgumentType]
        new = pack(new)
        shapes = {field.shape for field in new}
        if shapes != {()}:
            raise ValueError(f"mi must be a scalar, got shape {max(shapes)}.")
        return merge(state, jax.lax.stop_gradient(new))

    def merge(state: MIEstimate, other: MIEstimate) -> MIEstimate:
        return jax.tree.map(
            lambda old, new: jnp.where(other.mi < 0, old, new), state, other
        )

    return MIEstimator(no_estimate, update, unpack, merge, gathers=False)
