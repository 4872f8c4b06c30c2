"""A lower bound on mutual information from the loss that a trainer passes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_choice, check_number
from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.arithmetic import _sums
from optax_mi.estimators.inputs import Samples, as_array, health, weigh

# A mean of bfloat16 losses may lie this far below 0.
_ROUNDING = 1e-3
# float32 holds the squares of losses up to here.
_LARGEST = 1e18


class BatchLosses(NamedTuple):
    """What :func:`from_loss` sums up; a batch is one sample."""

    losses: jax.Array  # float32 [2]: weighted loss, weighted square of it
    below_zero: jax.Array  # float32 [], number of losses that no cross-entropy has
    totals: jax.Array  # float32 [3], see Samples.totals


def from_loss(entropy: float | jax.Array, *, keyword: str = "value") -> MIEstimator:
    r"""Bounds I(output; label) from below by the mean cross-entropy of each batch.

    For trainers that pass only the loss to their optimizer:

    .. math::
        I(X; Y) \ge H(Y) - \frac{\sum_b w_b L_b}{\sum_b w_b},

    in nats, where :math:`L_b` is the loss of batch b. The value is clipped to [0,
    H(Y)]: an untrained network, whose loss is above H(Y), reads 0. It is what
    :func:`variational` measures, without the outputs.

    The loss must be the mean cross-entropy in nats and nothing else. Penalties on
    weights and auxiliary losses make the bound lower by as much as they add, and label
    smoothing usually does too. A sum over samples, or a loss in bits, reads too low,
    and often 0. The ELBO of a model with priors may read too much: it is not a
    cross-entropy. Nor is a loss below 0: the estimate of its epoch is nan, which holds
    the learning rate, and :func:`optax_mi.mi_warnings` says so.

    Args:
      entropy: H(Y), the entropy of the labels in nats: `math.log(num_classes)` for
        balanced classes, otherwise `plugin_entropy(labels)` of the training labels.
      keyword: what the trainer calls the loss: "value", as in Optax's line searches and
        `reduce_on_plateau`, or "loss".

    Returns:
      An :class:`MIEstimator`. Its `update` takes the loss, a scalar, as `value` or
      `loss`. With `weights`, of any shape, a batch counts as much as their sum; without
      them all batches count the same. A loss that is not finite is dropped, and counted
      in `dropped`. `num_samples` is the effective number of batches, and `std_error` is
      that of a mean over batches, nan for a single one.

    Raises:
      TypeError, ValueError: `entropy` is not positive and finite, or `keyword` is
        neither "value" nor "loss"; in `update`, the loss is not a real scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import from_loss, plugin_entropy
      >>> estimator = from_loss(plugin_entropy(jnp.array([0, 0, 1, 1])))
      >>> state = estimator.init()
      >>> for loss in (0.3, 0.2, jnp.nan):
      ...     state = estimator.update(state, value=loss)
      >>> seen = estimator.estimate(state)
      >>> print(f"{seen.mi:.3f} nats, {seen.dropped:.0f} dropped")  # ln 2 - 0.25
      0.443 nats, 1 dropped

    References:
      Barber and Agakov, The IM algorithm, NIPS 2003, equation 3.
    """
    check_number("entropy", entropy, lambda h: h > 0, "positive and finite")
    check_choice("keyword", keyword, ("value", "loss"))

    def init() -> _sums.LongSum:
        return _sums.zeros(BatchLosses(jnp.zeros(2), jnp.zeros(()), jnp.zeros(3)))

    def update_value(
        state: _sums.LongSum,
        *,
        value: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> _sums.LongSum:
        del extra_args
        return _add(state, "value", value, weights)

    def update_loss(
        state: _sums.LongSum,
        *,
        loss: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> _sums.LongSum:
        del extra_args
        return _add(state, "loss", loss, weights)

    def estimate(state: _sums.LongSum) -> MIEstimate:
        return _estimate(state, jnp.asarray(entropy, jnp.float32))

    update = update_value if keyword == "value" else update_loss
    return MIEstimator(init, update, estimate, _sums.merge, additive=True)


def _add(state: _sums.LongSum, keyword: str, loss: Any, weights: Any) -> _sums.LongSum:
    """The sums with a batch more."""
    loss = as_array(keyword, loss)
    if loss.shape:
        raise ValueError(
            f"{keyword} must be a scalar, got shape {loss.shape}: pass the mean over "
            "the batch."
        )
    if jnp.issubdtype(loss.dtype, jnp.complexfloating):
        raise TypeError(f"{keyword} must be real, got dtype {loss.dtype}.")
    loss = loss.astype(jnp.float32)
    # One batch counts as much as its samples together.
    weight = None if weights is None else _total(weights)
    weight = weigh(jnp.abs(loss) <= _LARGEST, weight, jnp.float32)
    batch = Samples(loss, loss, weight)
    loss = jnp.where(batch.kept, loss, 0.0)
    losses, below_zero, totals = state.recent
    recent = BatchLosses(
        losses + weight * jnp.stack([loss, jnp.square(loss)]),
        below_zero + (loss < -_ROUNDING).astype(jnp.float32),
        totals + batch.totals,
    )
    return _sums.advance(state, recent, 1)


def _total(weights: Any) -> jax.Array:
    """The sum of the weights that count."""
    weights = as_array("weights", weights)
    valid = jnp.ones(weights.shape, bool)
    return jnp.sum(weigh(valid, weights, jnp.float32))


def _estimate(state: _sums.LongSum, entropy: jax.Array) -> MIEstimate:
    """The bound, nan if a loss cannot have been a cross-entropy."""
    losses, below_zero, totals = _sums.value(state)
    weight, count, dropped = health(totals)
    mean, square = losses / jnp.where(weight > 0, weight, 1.0)
    bound = jnp.where(weight > 0, jnp.clip(entropy - mean, 0.0, entropy), 0.0)
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    several = count > 1.0
    spread = jnp.sqrt(variance / jnp.where(several, count - 1.0, 1.0))
    return MIEstimate(
        mi=jnp.where(below_zero > 0, jnp.nan, bound),
        entropy=entropy,
        num_samples=count,
        std_error=jnp.where(several, spread, jnp.nan),
        dropped=dropped,
        # A network that knows nothing has a loss of H(Y) or more.
        chance=jnp.zeros_like(mean),
    )
