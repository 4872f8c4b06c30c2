"""The power-of-time average of the params: weights to use whenever training stops."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_mi._checks import check_number
from optax_mi._find import Path, find_states, leaves_by_name

_MAX_STEP = np.iinfo(np.int32).max
# The smallest weight of a step is about 1 / 4096. In float32 it still moves the average
# if params differ from it by 3e-4 of their size. The plain weight of step 10**7 would
# move nothing.
_LEAST_WEIGHT = 1 / 4096
_GOLDEN = 2654435769  # 2**32 / the golden ratio
# linen's TrainState keeps fp8's scales under this key, beside the params that the
# optimizer sees.
_OVERWRITE_WITH_GRADIENT = "_overwrite_with_gradient"


class AverageParamsState(NamedTuple):
    """State of :func:`average_params`.

    Attributes:
      average: a pytree like the params, in float32 or wider; integers are unchanged.
      num_averaged: number of steps so far; it saturates.
    """

    average: optax.Params
    num_averaged: jax.Array  # shape=(), dtype=int32


def average_params(
    power: chex.Numeric = 8.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps an average of the params and does not change the updates.

    After step :math:`t`, which produces the params :math:`\theta_t`, the average is

    .. math::
        x_t = x_{t-1} + w_t\, (\theta_t - x_{t-1}),
        \qquad w_t = \frac{\gamma + 1}{t + \gamma},

    so its memory spans a fraction :math:`1 / (\gamma + 1)` of the run so far. Put it
    last in the chain, because it averages the params that the updates produce. From
    step :math:`4096\, (\gamma + 1)` on, one of every two, four, ... steps stands for
    all of them, which keeps the average within 3e-4 of a param's size in float32.

    Args:
      power: :math:`\gamma`, in [0, 10**5]. 0 gives the plain mean of all steps; a
        larger power gives a shorter memory.

    Returns:
      An `optax.GradientTransformationExtraArgs` with state :class:`AverageParamsState`.
      Its `update` needs the params and ignores keywords. It averages real and complex
      leaves in their own dtype, or in float32 if that is narrower, and keeps the newest
      integers and booleans. The average has the sharding of the params.

    Raises:
      TypeError, ValueError: `power` is out of range; or `update` gets no params, or the
        state of another transformation.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import average_params, eval_params
      >>> tx = optax.chain(optax.sgd(0.5), average_params(power=1.0))
      >>> params = jnp.array([4.0])
      >>> state = tx.init(params)
      >>> for grad in (4.0, -8.0):  # to 2, with weight 1, and to 6, with weight 2 / 3
      ...     updates, state = tx.update(jnp.array([grad]), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{params[0]:.3f} {eval_params(state)[0]:.3f}")
      6.000 4.667

    References:
      Shamir and Zhang, `ICML 2013 <https://proceedings.mlr.press/v28/shamir13.html>`_,
      who call it polynomial-decay averaging. Karras et al., `arXiv:2312.02696
      <https://arxiv.org/abs/2312.02696>`_, 2024, also average with powers of time.
    """
    check_number("power", power, lambda p: 0 <= p <= 1e5, "from 0 to 100,000")

    def init_fn(params: optax.Params) -> AverageParamsState:
        return AverageParamsState(
            average=jax.tree.map(_copy, params),
            num_averaged=jnp.zeros((), jnp.int32),
        )

    def doublings(step: jax.Array) -> jax.Array:
        """At this step, one of every `2**doublings` steps is averaged."""
        longest = jnp.asarray((power + 1) / _LEAST_WEIGHT).astype(jnp.int32)
        return 32 - jax.lax.clz((step - 1) // longest)

    def weight_of(step: jax.Array) -> jax.Array:
        doubled = doublings(step)
        every = jnp.left_shift(jnp.ones((), jnp.int32), doubled)
        # The averaged step of a block is not always the last, which could be at the
        # same place in every epoch. Multiples of the golden ratio spread over all
        # places.
        block = jnp.right_shift(step, doubled).astype(jnp.uint32)
        place = (block * jnp.uint32(_GOLDEN) >> 1) >> (31 - doubled).astype(jnp.uint32)
        weight = (power + 1) / (step.astype(float) / every.astype(float) + power)
        return jnp.where((step & (every - 1)) == place.astype(jnp.int32), weight, 0)

    def update_fn(
        updates: optax.Updates,
        state: AverageParamsState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, AverageParamsState]:
        del extra_args
        if params is None:
            raise ValueError(
                "average_params averages the params, but update() got none. Call it as "
                "tx.update(grads, state, params)."
            )
        if not isinstance(state, AverageParamsState):
            raise TypeError(
                f"state must be an AverageParamsState, got a {type(state).__name__}. "
                "If you restored a checkpoint without a target, convert it with "
                "optax_mi.restore_state(tx.init(params), saved)."
            )
        last = state.num_averaged
        # At the largest int32 the count goes back by one block. If it stood still, no
        # further step would be averaged.
        block = jnp.left_shift(jnp.ones((), jnp.int32), doublings(last))
        step = 1 + jnp.where(last < _MAX_STEP, last, _MAX_STEP - block)
        weight = weight_of(step)
        average = jax.tree.map(
            lambda x, new: _move(x, new, weight),
            state.average,
            jax.lax.stop_gradient(optax.apply_updates(params, updates)),
        )
        return updates, AverageParamsState(average, step)

    return optax.GradientTransformationExtraArgs(
        init_fn,
        update_fn,  # pyright: ignore[reportArgumentType]: optax's states are pytrees
    )


def eval_params(state: Any, params: Any = None) -> Any:
    """Takes the averaged params out of an optimizer state or a train state.

    It searches wherever :func:`learning_rates` does, and also `nnx.State` and
    checkpoints restored without a target. Before the first step the average equals the
    initial params. You can call it under `jit`.

    Args:
      state: an optimizer state that contains a state of :func:`average_params`, or a
        train state, an `nnx.Optimizer`, or any pytree that contains one.
      params: the current params. They give the result its structure and dtypes, and
        replace those that are not averaged. In nnx, pass `nnx.state(model,
        nnx.Param)`. None means the params of the train state, if `state` is one.

    Returns:
      The averaged params in the structure and dtypes of `params`; if these are unknown,
      as they are in the state. `nnx.update(model, ...)` takes either.

    Raises:
      TypeError: `state` is a transformation.
      ValueError: `state` has no average, or two averages of the same params, or an
        average of only some params while `params` is unknown; or `params` has another
        structure or shape.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import average_params, eval_params
      >>> tx = optax.chain(optax.sgd(0.5), average_params())
      >>> params = {"w": jnp.ones(2, jnp.bfloat16)}
      >>> state = tx.init(params)
      >>> print(eval_params(state)["w"].dtype, eval_params(state, params)["w"].dtype)
      float32 bfloat16
    """
    found = [_average_of(node) for _, node in find_states("state", state, _is_average)]
    if not found:
        raise ValueError(
            "state has no average of the params. Put optax_mi.average_params() last in "
            "the chain: optax.chain(optimizer, average_params())."
        )
    values: dict[Path, Any] = {}
    for average in found:
        part = leaves_by_name(average)
        if both := values.keys() & part.keys():
            raise ValueError(
                f"state has more than one average of {_name(min(both))}. Pass only the "
                "part with the one that you want, such as state[-1] of a chain."
            )
        values |= part
    if params is None:
        params = getattr(state, "params", None)
    if params is None:
        if len(found) > 1 or _has_gaps(found[0]):
            raise ValueError(
                "state has averages of some of the params only. Pass the params, "
                "eval_params(state, params): they show how the parts fit together, and "
                "replace those that are not averaged."
            )
        return jax.tree.map(_own, found[0])
    if isinstance(params, Mapping) and _OVERWRITE_WITH_GRADIENT in params:
        return {**params, "params": _fill(params["params"], values)}
    return _fill(params, values)


def _fill(params: Any, values: dict[Path, Any]) -> Any:
    """Replaces params by their averages, in the dtypes of the params."""
    leaves = leaves_by_name(params)
    if unknown := values.keys() - leaves.keys():
        raise ValueError(
            f"state has an average of {_name(min(unknown))}, which is not in params, "
            f"such as {_name(min(leaves, default=()))}. Pass params like those that "
            "you passed to tx.init."
        )
    result = dict(leaves)
    for path, value in values.items():
        if jnp.shape(value) != jnp.shape(leaves[path]):
            raise ValueError(
                f"params must have the shape {jnp.shape(value)} of the average at "
                f"{_name(path)}, got {jnp.shape(leaves[path])}."
            )
        result[path] = jnp.asarray(value).astype(jnp.result_type(leaves[path]))
    result = {path: _own(leaf) for path, leaf in result.items()}
    return jax.tree.structure(params).unflatten(result.values())


def _own(leaf: Any) -> Any:
    """A copy, because a train step may donate the state that holds the leaf."""
    return jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf


def _is_average(node: Any) -> bool:
    # nnx.State and untyped checkpoints keep only the names of the fields.
    return isinstance(node, AverageParamsState) or (
        isinstance(node, Mapping) and "num_averaged" in node
    )


def _average_of(state: Any) -> Any:
    if isinstance(state, AverageParamsState):
        return state.average
    return state.get("average", {})  # An average without leaves may be missing.


def _has_gaps(average: Any) -> bool:
    """Whether Optax has masked some of the params."""
    nodes = jax.tree.leaves(average, is_leaf=_is_masked)
    return any(map(_is_masked, nodes))


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _name(path: Path) -> str:
    return "/".join(path) or "its root"


def _is_averaged(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.inexact)


def _copy(param: Any) -> Any:
    """The first average: a copy, because a train step may donate the params."""
    dtype = jnp.result_type(param)
    if _is_averaged(dtype) and jnp.finfo(dtype).bits < 32:
        dtype = jnp.dtype(jnp.float32)
    if isinstance(param, jax.ShapeDtypeStruct):  # It has no values to copy.
        return param.update(dtype=dtype)
    return jnp.array(param, dtype, copy=True)


def _move(average: jax.Array, param: jax.Array, weight: jax.Array) -> jax.Array:
    """The average, moved towards the param."""
    if not _is_averaged(average.dtype):
        return param
    real = jnp.finfo(average.dtype).dtype
    new = param.astype(average.dtype)
    if param.dtype in (jnp.bfloat16, jnp.float16):
        # Without this, XLA may drop the rounding to a narrow dtype and back.
        narrow = jnp.finfo(param.dtype)
        new = jax.lax.reduce_precision(new, narrow.nexp, narrow.nmant)
    return average + weight.astype(real) * (new - average)
