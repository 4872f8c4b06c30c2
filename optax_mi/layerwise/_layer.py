"""The estimator of a layer, which reads the group's activation as its outputs."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optax_mi._checks import check_is
from optax_mi.estimators import MIEstimator
from optax_mi.estimators.inputs import as_array


def estimator_of_layer(
    group: str,
    estimator: MIEstimator,
    read: Callable[..., Any],
) -> MIEstimator:
    """The estimator with the inputs that `read`, of :func:`reader_of_layer`, passes."""
    check_is(
        f"estimators[{group!r}]",
        estimator,
        MIEstimator,
        "gaussian(features=32, num_classes=num_classes, noise=0.25)",
    )

    def update(
        state: Any,
        *,
        activations: Mapping[str, Any],
        labels: Any,
        weights: Any = None,
        **extra_args: Any,
    ) -> Any:
        return read(
            functools.partial(estimator.update, state),
            activations=activations,
            labels=labels,
            weights=weights,
            **extra_args,
        )

    return estimator._replace(update=update)


def reader_of_layer(
    group: str, max_rows: int, widen: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Makes a function that calls another with a group's activation and its labels.

    An activation has a row for every label, or only rows for the first `max_rows`
    labels. `widen` converts the activation and labels before the call.
    """
    name = f"activations[{group!r}]"

    def read(
        use: Callable[..., Any],
        *,
        activations: Mapping[str, Any],
        labels: Any,
        weights: Any = None,
        **extra_args: Any,
    ) -> Any:
        outputs = _activation(activations, group)
        h, y = as_array(name, outputs), as_array("labels", labels)
        seen = {"labels": labels} | ({} if weights is None else {"weights": weights})
        rows = _kept(name, h, y, seen, max_rows)
        # Slice only if needed: JAX cannot slice an axis that is sharded on an explicit
        # mesh.
        if rows < len(y):
            seen = {key: array[:rows] for key, array in seen.items()}
        try:
            seen = {"outputs": outputs, **seen}
            seen = seen if widen is None else widen(**seen)
            return use(**{**extra_args, **seen})
        except (TypeError, ValueError) as error:
            # JAX's subclasses take other arguments than a message.
            if type(error) not in (TypeError, ValueError):
                raise
            raise type(error)(_in_words_of_layers(str(error), name, h, y)) from error

    return read


def _activation(activations: Any, group: str) -> Any:
    """The activation of a group, an array."""
    if not isinstance(activations, Mapping):
        raise TypeError(
            "activations must be a mapping from group to array, got "
            f"{type(activations).__name__}."
        )
    if group not in activations:
        raise ValueError(
            f"activations must have the group {group!r}, got {list(activations)}. "
            f"Pass activations={{{group!r}: ..., ...}}, the layer's outputs in this "
            "forward pass."
        )
    activation = activations[group]
    if not hasattr(activation, "shape"):
        raise TypeError(
            f"activations[{group!r}] must be an array, got a "
            f"{type(activation).__name__}. If a layer returns several arrays, such as "
            "a carry and its outputs, pass one of them."
        )
    return activation


def _kept(
    name: str, h: jax.Array, y: jax.Array, seen: Mapping[str, Any], max_rows: int
) -> int:
    """The number of rows of the activation; raises if they cannot match the labels."""
    arrays = {name: h} | {key: as_array(key, array) for key, array in seen.items()}
    for key, array in arrays.items():
        if array.ndim == 0:
            raise ValueError(
                f"{key} must have an axis of samples, got a scalar: update takes a "
                "batch."
            )
    rows, samples = len(h), len(y)
    if rows not in (samples, min(samples, max_rows)):
        raise ValueError(
            f"{name} has {rows} rows for {samples} labels: it must have one for each, "
            f"or for the first max_rows={max_rows}. If time is the first axis, pass "
            f"jnp.swapaxes({name}, 0, 1) to reduce_activations; if that keeps another "
            "number of rows, give layerwise_mi_decay the same max_rows."
        )
    for key, array in arrays.items():
        if key != name and len(array) != samples:
            raise ValueError(
                f"{key} must have the shape of the samples, {samples} of them as in "
                f"labels, got {array.shape}."
            )
    return rows


def _in_words_of_layers(text: str, name: str, h: jax.Array, y: jax.Array) -> str:
    """An estimator's message, with the name of the activation for "outputs"."""
    # Real labels have a feature axis, and ids may have one of length 1.
    real = jnp.issubdtype(y.dtype, jnp.floating)
    own = y.ndim > 1 and (real or y.shape[-1] == 1)
    if h.ndim > y.ndim + 1 - own:
        return (
            f"{name} has the shape {h.shape}, with axes between rows and channels that "
            f"labels of the shape {y.shape} do not have: pass "
            "reduce_activations(activations), which averages over space and time."
        )
    return re.sub(r"\boutputs\b", lambda _: name, text)
