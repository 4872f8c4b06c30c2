"""The types of estimators and of their estimates.

An estimator measures I(X; Y), the mutual information in nats between a network's
outputs and the true labels, over the samples of one epoch. It has four pure functions
of an accumulator, which is a pytree of fixed shapes in the optimizer state: they make
one, add a batch, read it, and merge two of them.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

# `chance` is accurate to about 5 %. Above this share of the entropy, the remaining
# entropy is too small compared with that error.
_MOST_CHANCE = 0.75
# Markers in a packed estimate, whose numbers are never negative.
NOT_A_NUMBER, PACKED_INFINITY = -1.0, -2.0
# Smaller values are rounding errors of 0, the entropy of a single class.
_NO_ENTROPY = 1e-6


class MIEstimate(NamedTuple):
    r"""An estimate of mutual information, with its uncertainty.

    It has six scalars, in float32, or in float64 if a one-shot function got float64
    samples.

    Attributes:
      mi: :math:`I(X; Y)` in nats, in [0, `entropy`].
      entropy: :math:`H(Y)`, the entropy of the labels, in nats; infinite for real
        labels.
      num_samples: effective number of samples used, :math:`(\sum w)^2 / \sum w^2`; nan
        if the squares overflow or underflow in float32, for weights below 1e-18 or
        above 1e18.
      std_error: standard error of `mi` in nats; nan if the estimator has none.
      dropped: number of samples ignored because of a class label outside [0, C), such
        as -1 for padding, a value that is not finite, or a weight that is 0, negative
        or not finite.
      chance: average of `mi` in nats if outputs and labels were independent; 0 for
        estimators without this bias.

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
    # A NumPy array: a JAX array would start a backend at import, and a Python number
    # would give the state a weak type.
    chance: jax.Array = np.zeros((), np.float32)  # pyright: ignore[reportAssignmentType]

    @property
    def adjusted(self) -> jax.Array:
        r"""Adjusted U, :math:`(I - b) / (H - b)` with b = `chance`, not clipped.

        It is near 0, and often below, if outputs are independent of the labels, and 1
        if they determine the labels. It is 0 if the entropy is 0, and nan if chance is
        more than three quarters of the entropy, because so few samples cannot tell.

        For real labels it is :math:`1 - e^{-2 (I - b)}`, which is the explained share
        of their variance if everything is Gaussian (Linfoot, Information and Control 1,
        1957).
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
        """Standard error of `adjusted`, or nan if `std_error` is nan."""
        bounded = (self.entropy > _NO_ENTROPY) & jnp.isfinite(self.entropy)
        room = jnp.where(bounded, self.entropy - self.chance, 1.0)
        slope = 2.0 * jnp.exp(-2.0 * (self.mi - self.chance))
        return self.std_error * jnp.where(bounded, 1.0 / room, slope)

    @property
    def normalized(self) -> jax.Array:
        """`adjusted`, clipped to [0, 1]: the known share of the labels' entropy.

        It is nan if there are too few samples to tell, and 0 if the entropy is 0.
        """
        return jnp.clip(self.adjusted, 0.0, 1.0)


def no_estimate() -> MIEstimate:
    """The estimate before any measurement, packed: nan, from no samples."""
    fields = (NOT_A_NUMBER, NOT_A_NUMBER, 0.0, NOT_A_NUMBER, 0.0, 0.0)
    return MIEstimate(*(jnp.full((), value, jnp.float32) for value in fields))


def pack(estimate: MIEstimate) -> MIEstimate:
    """The estimate as states store it, with -1 for nan and -2 for infinity.

    JAX's debug modes stop at nan and inf, and should find only those of the user.
    """
    return MIEstimate(*map(pack_number, estimate))


def unpack(state: MIEstimate) -> MIEstimate:
    """The estimate in a state, with nan and infinity."""
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
    """Makes an empty accumulator with static shapes and strong dtypes."""

    def __call__(self) -> Any: ...


class UpdateFn(Protocol):
    """Adds a batch to the accumulator, and ignores keywords that it does not know."""

    def __call__(self, state: Any, **extra_args: Any) -> Any: ...


class EstimateFn(Protocol):
    """Reads the accumulator."""

    def __call__(self, state: Any) -> MIEstimate: ...


class MergeFn(Protocol):
    """Makes the accumulator of the samples of both."""

    def __call__(self, state: Any, other: Any, /) -> Any: ...


class MIEstimator(NamedTuple):
    """A streaming estimator of mutual information, as four pure functions.

    To write your own, provide the four; :func:`optax_mi.mi_decay` needs nothing else.
    All must be traceable, and an update must keep the accumulator's shapes and dtypes.

    Attributes:
      init: `init() -> state`, an empty accumulator.
      update: `update(state, *, outputs, labels, weights=None, **extra_args) -> state`.
        Required keywords may have other names, which are read from the signature. The
        estimators of this package take `weights` of the samples' shape [...], and drop
        and count samples as in :class:`MIEstimate`. They raise a TypeError or
        ValueError for shapes or dtypes that do not fit, and for more than 2**23 samples
        in a batch.
      estimate: `estimate(state) -> MIEstimate`.
      merge: `merge(state, other) -> state`, the accumulator of the samples of both.
      bounded: whether H(Y) is finite, as it is for classes; False for real labels.
      gathers: whether updates add samples, so that a longer epoch is more accurate.
      additive: whether the accumulator is one of this package's sums, so that the sums
        of the parts of a batch on several devices can be added.

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
