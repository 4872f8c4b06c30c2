"""What an estimator is, and what it returns.

An estimator measures I(X; Y), the mutual information in nats between what a network
puts out and the true labels, over the samples of one epoch. It is four pure functions
of an accumulator, a pytree of fixed shapes that lives in the optimizer state: make it,
add a batch, read it, and merge two of them.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

# `chance` is known to some 5 %. Beyond this share of the entropy what is left of it is
# too little to be told from that error.
_MOST_CHANCE = 0.75
# In a packed estimate, whose numbers are never negative.
NOT_A_NUMBER, PACKED_INFINITY = -1.0, -2.0
# Less is what rounding leaves of the 0 nats of a single class.
_NO_ENTROPY = 1e-6


class MIEstimate(NamedTuple):
    r"""A measurement of mutual information, and how far to trust it.

    Six scalars, float32, or float64 where a one-shot function was given float64
    samples.

    Attributes:
      mi: :math:`I(X; Y)` in nats, in [0, `entropy`].
      entropy: :math:`H(Y)`, the entropy of the labels, in nats; infinite for real
        labels.
      num_samples: effective number of samples used, :math:`(\sum w)^2 / \sum w^2`;
        nan where float32 cannot hold the squares, of weights below 1e-18 or above 1e18.
      std_error: standard error of `mi` in nats; nan where the estimator has none.
      dropped: number of samples ignored: with a class label outside [0, C), such as -1
        for padding, a value that is not finite, or a weight that is 0, negative or not
        finite.
      chance: nats that `mi` would be, on average, if outputs and labels were
        independent; 0 for estimators without this bias.

    Example:
      >>> import jax.numpy as jnp
      >>> from optax_mi.estimators import MIEstimate
      >>> seen = MIEstimate(*map(jnp.float32, (0.6, 1.0, 100.0, 0.05, 0.0, 0.2)))
      >>> print(f"{seen.normalized:.2f}")  # (0.6 - 0.2) / (1.0 - 0.2)
      0.50

    References:
      Vinh, Epps and Bailey, Journal of Machine Learning Research 11, 2837-2854, 2010.
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

        Near 0, and often below, for outputs that are independent of the labels; 1 for
        those that tell them. 0 where the entropy is 0; nan where chance is more than
        three quarters of the entropy, since so few samples cannot tell.

        For real labels :math:`1 - e^{-2 (I - b)}`, the share of their variance that is
        explained if all is Gaussian (Linfoot, Information and Control 1, 1957).
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
        """`adjusted` clipped to [0, 1]: the share of the labels' entropy that is known.

        nan where there are too few samples to tell, 0 where the entropy is 0.
        """
        return jnp.clip(self.adjusted, 0.0, 1.0)


def no_estimate() -> MIEstimate:
    """The estimate before any measurement, packed: nan, from no samples."""
    fields = (NOT_A_NUMBER, NOT_A_NUMBER, 0.0, NOT_A_NUMBER, 0.0, 0.0)
    return MIEstimate(*(jnp.full((), value, jnp.float32) for value in fields))


def pack(estimate: MIEstimate) -> MIEstimate:
    """The estimate as a state holds it: -1 for nan, and -2 for infinity.

    JAX's debug modes stop at nan and inf, and should find those of the user alone.
    """
    return MIEstimate(*map(pack_number, estimate))


def unpack(state: MIEstimate) -> MIEstimate:
    """The estimate out of a state."""
    return MIEstimate(*map(_unpack, state))


def pack_number(number: jax.typing.ArrayLike) -> jax.Array:
    """One field of a packed estimate."""
    x = jnp.asarray(number).astype(jnp.float32)
    return jnp.where(
        jnp.isfinite(x), x, jnp.where(x > 0, PACKED_INFINITY, NOT_A_NUMBER)
    )


def _unpack(packed: jax.Array) -> jax.Array:
    x = jnp.where(packed == NOT_A_NUMBER, jnp.nan, packed)
    return jnp.where(packed == PACKED_INFINITY, jnp.inf, x)


class InitFn(Protocol):
    """Makes the accumulator of no samples: static shapes, strong dtypes."""

    def __call__(self) -> Any: ...


class UpdateFn(Protocol):
    """Adds a batch to the accumulator, and ignores keywords that it does not know."""

    def __call__(self, state: Any, **extra_args: Any) -> Any: ...


class EstimateFn(Protocol):
    """Reads the accumulator."""

    def __call__(self, state: Any) -> MIEstimate: ...


class MergeFn(Protocol):
    """Makes the accumulator of both samples."""

    def __call__(self, state: Any, other: Any, /) -> Any: ...


class MIEstimator(NamedTuple):
    """A streaming estimator of mutual information, as four pure functions.

    Fill in the four to write your own; :func:`optax_mi.mi_decay` asks for nothing else.
    All must trace, and an update must keep the accumulator's shapes and dtypes.

    Attributes:
      init: `init() -> state`, the accumulator of no samples.
      update: `update(state, *, outputs, labels, weights=None, **extra_args) -> state`.
        Required keywords may have other names: they are read from the signature. Those
        of this package take `weights` of the samples' shape [...], drop and count what
        :class:`MIEstimate` says, and raise a TypeError or ValueError for shapes or
        dtypes that do not fit, or more than 2**23 samples in a batch.
      estimate: `estimate(state) -> MIEstimate`.
      merge: `merge(state, other) -> state`, the accumulator of both samples.
      bounded: whether H(Y) is finite, as it is for classes; False for real labels.
      gathers: whether later updates add samples, so that a longer epoch tells more.
      additive: whether the accumulator is one of this package's sums, to which the
        parts of a batch that devices hold add up.

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
    additive: bool = False
