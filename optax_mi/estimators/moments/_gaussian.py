"""Mutual information of Gaussian vectors, from one batch after another."""

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from optax_mi.estimators._base import MIEstimate, MIEstimator
from optax_mi.estimators.arithmetic import _sums
from optax_mi.estimators.inputs import (
    Kind,
    Samples,
    as_array,
    check_kind,
    ids_of_batch,
    read_vectors,
    streaming,
)
from optax_mi.estimators.moments._gaussian_mi import (
    BiasCorrection,
    check_noise,
    check_shrinkage,
)
from optax_mi.estimators.moments._logdet import Shrinkage, gaussian_estimate
from optax_mi.estimators.moments._moments import (
    Moments,
    centre,
    increments,
    no_moments,
    union_increments,
)

# Up to this many columns, all sums are one vector. If Python calls the train step, each
# further array in the state costs more than the arithmetic. XLA copies the vector once
# per update, which costs more than that from about a hundred columns on.
_RAVELLED = 128
# Up to this many columns, layers share an accumulator. Updates of narrow layers then
# take longer, by the square of the ratio of the widths.
_SHARED = 64


class _Settings(NamedTuple):
    """The checked arguments of :func:`gaussian`."""

    kind: Kind
    shrinkage: Shrinkage
    noise: float
    corrects: bool


# From the `estimate` of an estimator to its settings, while that function exists.
_MADE: weakref.WeakKeyDictionary[Any, _Settings] = weakref.WeakKeyDictionary()


class Widened(NamedTuple):
    """An estimator for more columns than a layer has, and a function that pads them.

    The padding is 0, and estimates ignore constant columns.
    """

    estimator: MIEstimator
    widen: Callable[..., dict[str, jax.Array]]  # of outputs, labels and weights


class Tally(NamedTuple):
    """The sums of :func:`gaussian`."""

    moments: Moments
    totals: jax.Array  # float32 [3], see Samples.totals


def gaussian(
    *,
    features: int,
    num_classes: int | None = None,
    label_features: int | None = None,
    shrinkage: Shrinkage = 0.0,
    noise: float = 0.0,
    bias_correction: BiasCorrection | None = "wishart",
) -> MIEstimator:
    r"""Estimates I(outputs; labels) of an epoch, as if all data were Gaussian.

    .. math::
        \hat I = \tfrac12 \ln \frac{|S_x|\, |S_y|}{|S_{xy}|}
        \ \text{(real labels)}, \qquad
        \hat I = \tfrac12 \ln \frac{|W + B|}{|W|} \ \text{(classes)},

    in nats. This is the streaming form of :func:`gaussian_mi`.

    Args:
      features: number of output columns d, at least 1.
      num_classes: for class labels, the number of classes C, at least 2.
      label_features: for real labels, the number of label columns, at least 1. Give
        exactly one of `num_classes` and `label_features`.
      shrinkage: as in :func:`gaussian_mi`, for epochs with few samples.
      noise: as in :func:`gaussian_mi`; 0.25 suits the layers of a network.
      bias_correction: as in :func:`gaussian_mi`.

    Returns:
      An :class:`MIEstimator`. Its `update` takes `outputs`, real of shape [..., d], and
      `labels`, class ids of shape [...] or real of shape [..., label_features]; a
      single column may have no axis. The estimate is 0 nats if there are too few
      samples for a determinant. It is nan for values from 1e19 on, whose squares
      overflow float32. Columns that vary by less than 1e-18, whose squares underflow,
      count as constant; if no column varies and values are below 1e-18, it is nan.

    Raises:
      TypeError, ValueError: an argument is out of range, or neither or both of
        `num_classes` and `label_features` are given.

    Example:
      >>> import jax
      >>> from optax_mi.estimators import gaussian
      >>> estimator = gaussian(features=3, label_features=3)
      >>> state, update = estimator.init(), jax.jit(estimator.update)
      >>> for key in jax.random.split(jax.random.key(0), 100):
      ...     x, noise = jax.random.normal(key, (2, 64, 3))
      ...     state = update(state, outputs=x + noise, labels=x)
      >>> estimate = estimator.estimate(state)  # 3 / 2 ln 2 = 1.0397
      >>> print(f"{estimate.mi:.2f} +- {estimate.std_error:.2f}")
      1.06 +- 0.02

    References:
      As for :func:`gaussian_mi`; Chan, Golub and LeVeque, COMPSTAT 1982 (the updates).
    """
    kind = check_kind(features, num_classes, label_features)
    corrects = check_shrinkage(shrinkage, bias_correction)
    noise = check_noise(noise, shrinkage)
    shrinkage = shrinkage if isinstance(shrinkage, str) else float(shrinkage)
    return _gaussian(_Settings(kind, shrinkage, noise, corrects))


def widen_alike(estimators: Mapping[str, MIEstimator]) -> dict[str, Widened]:
    """The widest estimator for each group of those that differ only in `features`.

    Only for classes and at least two columns, because a single one may have no axis.
    """
    made = {
        name: _MADE.get(estimator.estimate)
        for name, estimator in estimators.items()
        if isinstance(estimator, MIEstimator)
    }
    made = {
        name: settings
        for name, settings in made.items()
        if settings
        and settings.kind.num_classes
        and 1 < settings.kind.features <= _SHARED
        # Skip an estimator in which the user has replaced a function.
        and _gaussian(settings) == estimators[name]
    }
    widest: dict[_Settings, _Settings] = {}
    for settings in sorted(made.values(), key=lambda s: s.kind.features):
        widest[_apart_from_features(settings)] = settings
    return {
        name: _widened(settings.kind, widest[_apart_from_features(settings)])
        for name, settings in made.items()
    }


def _apart_from_features(settings: _Settings) -> _Settings:
    return settings._replace(kind=settings.kind._replace(features=0))


def _widened(kind: Kind, wide: _Settings) -> Widened:
    classes = kind.num_classes or 1

    def widen(
        outputs: jax.typing.ArrayLike,
        labels: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None = None,
    ) -> dict[str, jax.Array]:
        # Check first, so that errors show the width of the layer itself.
        read_vectors(outputs, labels, weights, batch=True, **kind._asdict())
        rows = as_array("outputs", outputs).astype(jnp.float32)
        more = wide.kind.features - kind.features
        seen = {
            "outputs": jnp.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, more)]),
            "labels": ids_of_batch("labels", labels, classes),
        }
        if weights is not None:
            seen["weights"] = as_array("weights", weights)
        return seen

    return Widened(_gaussian(wide), widen)


# Cached, so that layers with equal estimators share their functions.
@functools.lru_cache
def _gaussian(settings: _Settings) -> MIEstimator:
    kind, shrinkage, noise, corrects = settings
    classes = kind.num_classes or 1
    columns = kind.features + (kind.label_features or 0)

    def nothing() -> Tally:
        return Tally(no_moments(classes, columns), jnp.zeros(3, jnp.float32))

    def pack(samples: Tally) -> Any:
        return ravel_pytree(samples)[0] if columns <= _RAVELLED else samples

    def unpack(state: _sums.LongSum) -> _sums.LongSum:
        """The state with its sums as :class:`Tally`."""
        if columns > _RAVELLED:
            return state
        unravel = ravel_pytree(nothing())[1]
        return _sums.LongSum(*map(unravel, state[:3]), pending=state.pending)

    def init() -> _sums.LongSum:
        return _sums.zeros(pack(nothing()))

    def add(state: _sums.LongSum, samples: Samples) -> _sums.LongSum:
        rows, ids, kept = samples
        if kind.num_classes is None:
            rows = jnp.concatenate([rows, samples.labels], -1)
            ids = jnp.zeros(len(rows), jnp.int32)
        origin = centre(rows, kept)
        before = _moments(unpack(state), origin)
        new = Tally(increments(before, rows - origin, ids, kept), samples.totals)
        recent = jax.tree.map(jnp.add, state.recent, pack(new))
        return _sums.advance(state, recent, ids.size)

    def estimate(state: _sums.LongSum) -> MIEstimate:
        state = unpack(state)
        origin = _mean(state)
        return gaussian_estimate(
            _moments(state, origin),
            origin,
            _sums.value(state).totals,
            kind.features,
            shrinkage,
            noise,
            corrects,
            clip=True,
        )

    def merge(state: _sums.LongSum, other: _sums.LongSum) -> _sums.LongSum:
        total = _merge(unpack(state), unpack(other))
        return _sums.LongSum(*map(pack, total[:3]), pending=total.pending)

    bounded = kind.num_classes is not None
    read = functools.partial(read_vectors, batch=True, **kind._asdict())
    _MADE[estimate] = settings
    return streaming(init, read, add, estimate, merge, bounded)


def _mean(state: _sums.LongSum) -> jax.Array:
    """Mean of all samples, [1, d]."""
    moments = _sums.value(state).moments
    return centre(moments.means, moments.weights)


def _moments(state: _sums.LongSum, origin: jax.Array) -> Moments:
    """Moments about an origin [1, d] near the means, rounded to float32 at the end."""
    high = state.high.moments
    high = high._replace(means=high.means - origin)
    return _sums.value(state._replace(high=state.high._replace(moments=high))).moments


def _merge(state: _sums.LongSum, other: _sums.LongSum) -> _sums.LongSum:
    """The state of both samples; the differences of the means add to the scatter."""
    origin = _mean(other)
    across = union_increments(_moments(state, origin), _moments(other, origin))

    def still(part: Tally) -> Tally:
        means = jnp.zeros_like(part.moments.means)
        return part._replace(moments=part.moments._replace(means=means))

    recent = still(other.recent)
    moments = jax.tree.map(jnp.add, recent.moments, across)
    return _sums.merge(
        state,
        other._replace(
            high=still(other.high),
            low=still(other.low),
            recent=recent._replace(moments=moments),
        ),
    )
