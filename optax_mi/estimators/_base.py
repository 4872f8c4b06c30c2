"""What an estimator is, and what it returns.

An estimator measures I(X; Y), the mutual information in nats between what a network
puts out and the true labels, over the samples of one epoch. It is three pure functions
around an accumulator: a pytree of fixed shapes that lives in the optimizer state, takes
one batch after another, and is read once at the end of the epoch. A fourth, `merge`,
makes the accumulator of two samples from the accumulators of each, so that devices,
hosts and restarts agree.
"""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp


class MIEstimate(NamedTuple):
    r"""A measurement of mutual information, and how far to trust it.

    All five fields are float32 scalars, so that an estimate is a pytree that jits,
    scans and checkpoints; one-shot functions give float64 for float64 samples.

    Attributes:
      mi: :math:`I(X; Y)` in nats, in [0, `entropy`].
      entropy: :math:`H(Y)`, the entropy of the labels, in nats: what there is to know;
        infinite for real labels, of which there is always more to know.
      count: effective number of samples, :math:`(\sum w)^2 / \sum w^2`; the number of
        samples used where every weight is 0 or 1.
      std_error: standard error of `mi` in nats; nan where the estimator has none.
      dropped: number of samples ignored: weight 0, label out of range, output not
        finite.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import MIEstimate
      >>> half = MIEstimate(*map(jnp.float32, (0.5, 1.0, 100.0, 0.05, 0.0)))
      >>> print(half.normalized)
      0.5
    """

    mi: jax.Array
    entropy: jax.Array
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    std_error: jax.Array
    dropped: jax.Array

    @property
    def normalized(self) -> jax.Array:
        """Theil's U = I(X; Y) / H(Y), in [0, 1]; 0 where the entropy is 0.

        For real labels it is 1 - exp(-2 I): the share of their variance that is
        explained, if all is Gaussian (Linfoot, Information and Control 1, 1957).
        """
        bounded = (self.entropy > 0) & jnp.isfinite(self.entropy)
        share = self.mi / jnp.where(bounded, self.entropy, 1.0)
        explained = -jnp.expm1(-2.0 * self.mi)
        unbounded = jnp.where(self.entropy == jnp.inf, explained, 0.0)
        return jnp.where(bounded, share, unbounded)


def no_estimate() -> MIEstimate:
    """What is known before any measurement: nothing, of no samples."""
    fields = (math.nan, math.nan, 0.0, math.nan, 0.0)
    return MIEstimate(*(jnp.full((), value, jnp.float32) for value in fields))


class InitFn(Protocol):
    """Makes the accumulator of no samples: static shapes, strong dtypes."""

    def __call__(self) -> Any: ...


class UpdateFn(Protocol):
    """Adds a batch to the accumulator.

    The signal is required keywords (`outputs` and `labels`, or others of the
    estimator's own); whatever else the optimizer is given arrives in `extra_args`, to
    be ignored.
    """

    def __call__(self, state: Any, **extra_args: Any) -> Any: ...


class EstimateFn(Protocol):
    """Reads the accumulator."""

    def __call__(self, state: Any) -> MIEstimate: ...


class MergeFn(Protocol):
    """Makes the accumulator of both samples."""

    def __call__(self, state: Any, other: Any, /) -> Any: ...


class MIEstimator(NamedTuple):
    """A streaming estimator of mutual information, as four pure functions.

    Users write their own by filling in the four; :func:`optax_mi.mi_decay` asks for
    nothing else. Everything must be traceable, and the accumulator's shapes and dtypes
    must be the same before and after an update.

    Attributes:
      init: `init() -> state`, the accumulator of no samples.
      update: `update(state, *, outputs, labels, weights=None, **extra_args) -> state`.
        Required keywords may have other names: :func:`optax_mi.mi_decay` reads them
        from the signature and reports those that a call leaves out.
      estimate: `estimate(state) -> MIEstimate`.
      merge: `merge(state, other) -> state`, the accumulator of both samples.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi import contingency
      >>> estimator = contingency(num_classes=2, soft=False)
      >>> labels = jnp.array([0, 1, 0, 1])
      >>> first = estimator.update(estimator.init(), outputs=labels, labels=labels)
      >>> both = estimator.merge(first, first)
      >>> estimate = estimator.estimate(both)
      >>> print(f"{estimate.mi:.4f} nats from {estimate.count:.0f} samples")
      0.6931 nats from 8 samples
    """

    init: InitFn
    update: UpdateFn
    estimate: EstimateFn
    merge: MergeFn
