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
import numpy as np

# `chance` is known to some 5 %. Beyond this share of the entropy what is left of it is
# too little to be told from that error.
_MOST_CHANCE = 0.75
# Less is what rounding leaves of the 0 nats of a single class.
_NO_ENTROPY = 1e-6


class MIEstimate(NamedTuple):
    r"""A measurement of mutual information, and how far to trust it.

    All six fields are float32 scalars, so that an estimate is a pytree that jits,
    scans and checkpoints; one-shot functions give float64 for float64 samples.

    Attributes:
      mi: :math:`I(X; Y)` in nats, in [0, `entropy`].
      entropy: :math:`H(Y)`, the entropy of the labels, in nats: what there is to know;
        infinite for real labels, of which there is always more to know.
      num_samples: effective number of samples, :math:`(\sum w)^2 / \sum w^2`; the
        number of samples used where every weight is 0 or 1.
      std_error: standard error of `mi` in nats; nan where the estimator has none.
      dropped: number of samples ignored: weight 0, label out of range, output not
        finite.
      chance: what `mi` would be on average, in nats, of as many samples if outputs and
        labels were independent; 0 for estimators without this bias, the default.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import MIEstimate
      >>> seen = MIEstimate(*map(jnp.float32, (0.6, 1.0, 100.0, 0.05, 0.0, 0.2)))
      >>> print(f"{seen.normalized:.2f}")  # (0.6 - 0.2) / (1.0 - 0.2)
      0.50

    References:
      Vinh, Epps and Bailey, Information theoretic measures for clusterings comparison,
      Journal of Machine Learning Research 11, 2837-2854, 2010.
    """

    mi: jax.Array
    entropy: jax.Array
    num_samples: jax.Array
    std_error: jax.Array
    dropped: jax.Array
    # An array of NumPy: one of JAX would start a backend at import, and a Python number
    # would make a weak type in the state.
    chance: jax.Array = np.zeros((), np.float32)  # pyright: ignore[reportAssignmentType]

    @property
    def adjusted(self) -> jax.Array:
        r"""Adjusted U, :math:`(I - b) / (H - b)` with b = `chance`, not clipped.

        0 on average for outputs that are independent of the labels, so often below 0
        then, and 1 for those that tell them. Average this form over epochs, and clip
        the average. It is nan where chance is more than three quarters of the entropy:
        there are too few samples to tell. 0 where the entropy is 0.

        For real labels, :math:`1 - e^{-2 (I - b)}`: the share of their variance that is
        explained, if all is Gaussian (Linfoot, Information and Control 1, 1957).
        """
        bounded = (self.entropy > _NO_ENTROPY) & jnp.isfinite(self.entropy)
        tells = self.chance <= _MOST_CHANCE * self.entropy
        above = self.mi - self.chance
        room = jnp.where(bounded & tells, self.entropy - self.chance, 1.0)
        share = jnp.where(tells, above / room, jnp.nan)
        explained = -jnp.expm1(-2.0 * above)
        unbounded = jnp.where(self.entropy == jnp.inf, explained, 0.0)
        unbounded = jnp.where(jnp.isnan(self.entropy), jnp.nan, unbounded)
        return jnp.where(bounded, share, unbounded)

    @property
    def adjusted_std_error(self) -> jax.Array:
        """Standard error of `adjusted`, nan where `std_error` is."""
        bounded = (self.entropy > _NO_ENTROPY) & jnp.isfinite(self.entropy)
        room = jnp.where(bounded, self.entropy - self.chance, 1.0)
        slope = 2.0 * jnp.exp(-2.0 * (self.mi - self.chance))
        return self.std_error * jnp.where(bounded, 1.0 / room, slope)

    @property
    def normalized(self) -> jax.Array:
        """The share of the labels' entropy that is known: `adjusted` in [0, 1].

        nan where there are too few samples to tell, 0 where the entropy is 0.
        """
        return jnp.clip(self.adjusted, 0.0, 1.0)


def no_estimate() -> MIEstimate:
    """What is known before any measurement: nothing, of no samples."""
    fields = (math.nan, math.nan, 0.0, math.nan, 0.0, 0.0)
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
      bounded: whether H(Y) is finite, as that of classes is; False for real labels.
      gathers: whether later updates add samples, so that a longer epoch tells more.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import contingency
      >>> estimator = contingency(num_classes=2, soft=False)
      >>> labels = jnp.array([0, 1, 0, 1])
      >>> first = estimator.update(estimator.init(), outputs=labels, labels=labels)
      >>> both = estimator.merge(first, first)
      >>> estimate = estimator.estimate(both)
      >>> print(f"{estimate.mi:.4f} nats from {estimate.num_samples:.0f} samples")
      0.6931 nats from 8 samples
    """

    init: InitFn
    update: UpdateFn
    estimate: EstimateFn
    merge: MergeFn
    bounded: bool = True
    gathers: bool = True
