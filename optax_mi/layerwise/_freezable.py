"""Layers that rest for a step: no gradient, no update, and an optimizer that waits.

The backward pass ends where no parameter before wants a gradient. JAX must know that
when it compiles: which layers rest is a static argument, one program for each answer.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_mi._average import AverageParamsState, eval_params
from optax_mi._checks import check_is
from optax_mi._find import find_states
from optax_mi.layerwise._param_labels import check_labeller, check_labels


def freezable(
    optimizer: optax.GradientTransformation, param_labels: Any
) -> optax.GradientTransformationExtraArgs:
    """Lets groups of parameters rest, in steps that say so.

    Updates of what rests are zero, and the optimizer's moments of it stay as they are,
    so that it trains on later as if nothing had been. Where the optimizer averages the
    parameters by :func:`optax_mi.average_params`, they rest at their average.

    :func:`stop_gradients` ends the backward pass in the same step, which saves the
    time. Each set of groups is a program of its own.

    .. code-block:: python

        @functools.partial(jax.jit, static_argnames="frozen")
        def train_step(params, opt_state, x, y, frozen):
            def loss_fn(params):
                params = stop_gradients(params, label_by_layer(), frozen)
                ...
            updates, opt_state = tx.update(grads, opt_state, params, frozen=frozen)

    Args:
      optimizer: the whole of it, with weight decay, learning rate and average.
      param_labels: the group of every parameter, as in :func:`layerwise_mi_decay`.

    Returns:
      An `optax.GradientTransformationExtraArgs` with the state of `optimizer`. Its
      `update` takes `frozen`, the groups that rest in this step: static, none by
      default. It hands other keywords on to `optimizer`.

    Raises:
      TypeError, ValueError: `optimizer` is no transformation, `param_labels` does not
        fit the params, or `frozen` is no collection of its groups.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import freezable, label_by_layer
      >>> tx = freezable(optax.sgd(0.1, momentum=0.9), label_by_layer())
      >>> params = {"body": {"w": jnp.ones(2)}, "head": {"w": jnp.ones(2)}}
      >>> updates, state = tx.update(params, tx.init(params))
      >>> updates, state = tx.update(params, state, frozen=("body",))
      >>> print(updates["body"]["w"], updates["head"]["w"])
      [0. 0.] [-0.19 -0.19]
      >>> updates, state = tx.update(params, state)  # with the body's momentum
      >>> print(updates["body"]["w"], updates["head"]["w"])
      [-0.19 -0.19] [-0.271 -0.271]

    References:
      Brock et al., `FreezeOut <https://arxiv.org/abs/1706.04983>`_, 2017, freeze layers
      one after another, from the first on.
    """
    check_is("optimizer", optimizer, optax.GradientTransformation, "optax.sgd(0.1)")
    check_labeller(param_labels)
    inner = optax.with_extra_args_support(optimizer)

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        *,
        frozen: Collection[str] = (),
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        rests = _resting(param_labels, updates, frozen)
        updates, new_state = inner.update(updates, state, params, **extra_args)
        if not frozen:
            return updates, new_state
        copies = optax.tree.map_params(
            inner,
            lambda leaf, rest: leaf if _is_masked(leaf) else rest,
            state,
            rests,
            transform_non_params=lambda _: False,
            is_leaf=_is_masked,
        )
        kept = jax.tree.map(
            lambda rest, old, new: old if rest else new, copies, state, new_state
        )
        return _to_average(rests, updates, state, params), kept

    return optax.GradientTransformationExtraArgs(inner.init, update_fn)


def stop_gradients(params: Any, param_labels: Any, frozen: Collection[str]) -> Any:
    """Cuts groups of parameters off from the gradient, for the loss function.

    Args:
      params: the parameters, or an `nnx.State` of them.
      param_labels: the group of every parameter, as in :func:`layerwise_mi_decay`.
      frozen: the groups that rest in this step, static.

    Returns:
      The same parameters. The backward pass ends before a layer if all parameters up to
      it are cut off, norms and embeddings too.

    Raises:
      TypeError, ValueError: `param_labels` does not fit the params, or `frozen` is no
        collection of its groups.

    Example:
      >>> import jax
      >>> from optax_mi import label_by_layer, stop_gradients
      >>> def loss_fn(params):
      ...     params = stop_gradients(params, label_by_layer(), ("body",))
      ...     return params["body"]["w"] * params["head"]["w"]
      >>> grads = jax.grad(loss_fn)({"body": {"w": 2.0}, "head": {"w": 3.0}})
      >>> print(grads["body"]["w"], grads["head"]["w"])
      0.0 2.0
    """
    check_labeller(param_labels)
    return jax.tree.map(
        lambda rest, p: jax.lax.stop_gradient(p) if rest else p,
        _resting(param_labels, params, frozen),
        params,
    )


def _resting(param_labels: Any, params: Any, frozen: Collection[str]) -> Any:
    """Of every parameter, whether its group rests."""
    if isinstance(frozen, str) or not isinstance(frozen, Collection):
        raise TypeError(
            f"frozen must be a collection of groups, got {frozen!r:.60}. It is static: "
            'jax.jit(train_step, static_argnames="frozen") takes a tuple of strings.'
        )
    names = param_labels(params) if callable(param_labels) else param_labels
    check_labels(names, params)
    named = set(jax.tree.leaves(names))
    if unknown := [group for group in frozen if group not in named]:
        raise ValueError(
            f"frozen has groups without parameters, {unknown}: param_labels names "
            f"{sorted(named)}."
        )
    # One name may stand for all below a node.
    return jax.tree.map(
        lambda name, part: jax.tree.map(lambda _: name in frozen, part), names, params
    )


def _to_average(rests: Any, updates: Any, state: Any, params: Any) -> Any:
    """The updates; of what rests, those that lead to the average, or none."""
    if not find_states("state", state, _is_average):
        return jax.tree.map(lambda r, u: jnp.zeros_like(u) if r else u, rests, updates)
    return jax.tree.map(
        lambda r, u, p, x: (x - p).astype(u.dtype) if r else u,
        rests,
        updates,
        params,
        eval_params(state, params),
    )


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _is_average(node: Any) -> bool:
    return isinstance(node, AverageParamsState)
