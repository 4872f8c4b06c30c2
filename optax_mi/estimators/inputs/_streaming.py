"""Makes estimators that read a batch at every update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_mi._checks import check_static_int
from optax_mi.estimators._base import EstimateFn, InitFn, MergeFn, MIEstimator
from optax_mi.estimators.arithmetic import MAX_BATCH
from optax_mi.estimators.inputs._samples import Samples


class Kind(NamedTuple):
    """The kind of samples of an estimator; one of the last two fields is None."""

    features: int
    num_classes: int | None
    label_features: int | None


def check_kind(features: Any, num_classes: Any, label_features: Any) -> Kind:
    """Checks a user's numbers, and returns the kind of samples."""
    features = check_static_int("features", features, 1)
    if (num_classes is None) == (label_features is None):
        raise ValueError(
            "Give exactly one of num_classes and label_features, got "
            f"num_classes={num_classes!r} and label_features={label_features!r}."
        )
    if num_classes is not None:
        num_classes = check_static_int("num_classes", num_classes, 2)
    else:
        label_features = check_static_int("label_features", label_features, 1)
    return Kind(features, num_classes, label_features)


def streaming(
    init: InitFn,
    read: Callable[..., Samples],
    add: Callable[[Any, Samples], Any],
    estimate: EstimateFn,
    merge: MergeFn,
    bounded: bool = True,
    additive: bool = False,
) -> MIEstimator:
    """The estimator whose `update` reads a batch with `read` and adds it with `add`."""

    def update(
        state: Any,
        *,
        outputs: jax.typing.ArrayLike,
        labels: jax.typing.ArrayLike,
        weights: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> Any:
        del extra_args
        samples = read(outputs, labels, weights)
        if samples.weights.size > MAX_BATCH:
            raise ValueError(
                f"labels has shape {jnp.shape(labels)}, more than {MAX_BATCH} samples: "
                "split the batch into several updates, or merge several accumulators."
            )
        return add(state, samples)

    return MIEstimator(init, update, estimate, merge, bounded, additive=additive)
