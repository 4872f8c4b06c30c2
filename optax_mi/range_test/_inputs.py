"""Checks the inputs of a search, and converts them to arrays, before compiling."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi._checks import required_keywords
from optax_mi.estimators.inputs import as_array
from optax_mi.range_test._runs import Data, Plan


def _are_apart(batches: Any) -> bool:
    """Whether it is a list, a loader or a generator of batches, not one pytree."""
    if isinstance(batches, list):
        return any(not hasattr(batch, "shape") for batch in batches)
    if hasattr(batches, "__next__"):
        return True
    is_leaf = jax.tree.structure(batches) == jax.tree.structure(0)
    return is_leaf and not hasattr(batches, "shape") and hasattr(batches, "__iter__")


def stack(name: str, batches: Any) -> Any:
    """A pytree of arrays that share a leading axis, which is not empty."""
    if _are_apart(batches):
        batches = list(batches)
        shapes = [[np.shape(x) for x in jax.tree.leaves(b)] for b in batches]
        if odd := [shape for shape in shapes if shape != shapes[0]]:
            raise ValueError(
                f"{name} must be batches of one shape, got {shapes[0]} and {odd[0]}: "
                "leave out the last one if it is shorter."
            )
        if not batches:
            raise ValueError(f"{name} has no batches.")
        batches = jax.tree.map(_stack_leaves, *batches)
    batches = arrays(name, batches)
    shapes = [x.shape for x in jax.tree.leaves(batches)]
    axes = {shape[:1] for shape in shapes}
    if len(axes) != 1 or not all(axis and axis[0] for axis in axes):
        raise ValueError(
            f"{name} must be a pytree of arrays that share a leading axis of batches, "
            f"got shapes {shapes}. Reshape samples [N, ...] to [N // B, B, ...]."
        )
    return batches


def _stack_leaves(*parts: Any) -> Any:
    # NumPy cannot stack JAX's keys.
    together = jnp.stack if isinstance(parts[0], jax.Array) else np.stack
    return together(parts)


def check_callable(name: str, value: Any, form: str) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function, {form}, got {value!r:.60}.")


def check_key(key: Any) -> None:
    """Raises unless it is a new-style or old-style key of `jax.random`."""
    new = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    old = getattr(key, "dtype", None) == jnp.uint32 and key.ndim == 1
    if not (old or (new and key.ndim == 0)):
        raise TypeError(
            f"key must be a key, such as jax.random.key(0), got {key!r:.60}."
        )


def arrays(name: str, tree: Any) -> Any:
    """The pytree with JAX arrays as leaves."""
    return jax.tree.map(lambda leaf: as_array(name, leaf), tree)


def _first(batches: Any) -> Any:
    return jax.tree.map(lambda x: x[0], batches)


def _is_real(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _shapes_of(name: str, function: Callable[..., Any], **given: Any) -> Any:
    """The shapes that the function returns; explains the error if it raises one."""
    try:
        return jax.eval_shape(function, *given.values())
    except Exception as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        shapes = ", ".join(
            f"{key} = {jax.tree.map(lambda x: jax.typeof(x).str_short(), x)}"
            for key, x in given.items()
        )
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{name} raises {type(error).__name__}: {said}. It is called as "
            f"{name}({', '.join(given)}), with {shapes}."
        ) from error


def check_step(plan: Plan, data: Data, key: jax.Array) -> int:
    """Raises unless a copy can train; returns the size of a copy in bytes."""
    params = data.params
    if plan.make_params is not None:
        params = _shapes_of("params", plan.make_params, key=key)
    if plan.make_batch is not None:
        step = jnp.zeros((), jnp.int32)
        batch = _shapes_of("batches", plan.make_batch, key=key, step=step)
    else:
        batch = jax.eval_shape(_first, data.batches)
    if not jax.tree.leaves(params):
        raise ValueError("params must be a pytree of arrays, but it has none.")
    if odd := {x.dtype.name for x in jax.tree.leaves(params) if not _is_real(x)}:
        raise TypeError(f"params must be real, got leaves of dtype {', '.join(odd)}.")
    state = {"model_state": data.model_state} if plan.stateful else {}
    form = "(loss, (extra_args, model_state))" if state else "(loss, extra_args)"
    given = {"params": params, **state}
    returned = _shapes_of("loss_fn", plan.loss_fn, **given, batch=batch)
    judged = returned
    if data.eval_batches is not None:
        batch = jax.eval_shape(_first, data.eval_batches)
        judged = _shapes_of("loss_fn", plan.loss_fn, **given, eval_batch=batch)
    try:
        loss, extra_args = returned
        model_state = None
        if state:
            extra_args, model_state = extra_args
        names = list(extra_args.keys())
        shape = loss.shape
    except (TypeError, ValueError, AttributeError):
        raise TypeError(
            f"loss_fn must return {form}, where extra_args is a dict such as "
            f"{{'outputs': logits, 'labels': labels}}, got {returned}."
        ) from None
    if shape != ():
        raise ValueError(f"loss_fn must return a scalar loss, got shape {shape}.")
    if missing := [n for n in required_keywords(plan.estimator) if n not in names]:
        raise ValueError(
            f"loss_fn must return {' and '.join(missing)} in extra_args for the "
            f"estimator, got {names}."
        )
    for name, (_, seen) in (("batches", returned), ("eval_batches", judged)):
        labels = (seen[0] if state else seen).get("labels")
        if labels is not None and jnp.ndim(labels) == 0:
            raise ValueError(
                f"loss_fn returns the label of one sample: {name} must have an axis of "
                "batches before the axis of samples. Reshape samples [N, ...] to "
                "[N // B, B, ...]."
            )
    before, after = (
        jax.tree.map(lambda x: jax.typeof(x).str_short(), tree)
        for tree in (data.model_state, model_state)
    )
    if before != after:
        raise ValueError(
            f"loss_fn must return a model_state like the one passed, {before}, got "
            f"{after}."
        )
    try:
        opt_state = jax.eval_shape(lambda p: plan.optimizer(1.0).init(p), params)
    except (TypeError, AttributeError) as error:
        raise TypeError(
            "optimizer must make a transformation from a learning rate, such as "
            "optax.adamw or functools.partial(optax.sgd, momentum=0.9), got "
            f"{plan.optimizer!r}: {error}"
        ) from None
    kept = jax.tree.leaves((params, params, opt_state, data.model_state))
    return sum(x.size * x.dtype.itemsize for x in kept)
