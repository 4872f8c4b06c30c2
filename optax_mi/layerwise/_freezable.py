"""Freezes layers for a step: no gradient, no update, and an unchanged optimizer state.

The backward pass ends where all parameters of earlier layers are frozen. JAX must know
this when it compiles, so the set of frozen layers is a static argument, and each set
compiles its own program.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_mi._average import AverageParamsState
from optax_mi._checks import check_is
from optax_mi._epoch import MIDecayState
from optax_mi._find import find_states
from optax_mi.layerwise._param_labels import check_labeller, check_labels

# Transformations of the whole network, by the types of their states.
_OUTSIDE = {MIDecayState: "mi_decay", AverageParamsState: "average_params"}


def freezable(
    optimizer: optax.GradientTransformation, param_labels: Any
) -> optax.GradientTransformationExtraArgs:
    """Freezes groups of parameters in the steps that name them.

    Each group has its own optimizer, as in `optax.partition`. In a step that freezes
    the group, its updates are zero and its optimizer state does not change, including
    moments and counts. Later the group continues as if that step had not happened.

    :func:`stop_gradients` also ends the backward pass early in such a step, which saves
    time. Each set of frozen groups compiles its own program.

    .. code-block:: python

        tx = optax.chain(
            freezable(optax.adamw(1.0), label_by_layer()),
            mi_decay(1e-3, num_classes=10),
            average_params(),
        )

    Args:
      optimizer: the transformation with moments and weight decay. Keep transformations
        of the whole network outside: :func:`mi_decay`, :func:`average_params`, and a
        limit on the norm of all gradients.
      param_labels: the group of every parameter, as in :func:`layerwise_mi_decay`.

    Returns:
      An `optax.GradientTransformationExtraArgs`. Its `update` takes `frozen`, the
      groups to freeze in this step; it is static, and empty by default. It passes other
      keywords on to `optimizer`.

    Raises:
      TypeError, ValueError: `optimizer` is not a transformation, or contains `mi_decay`
        or `average_params`; `param_labels` does not fit the params; or `frozen` is not
        a collection of its groups.

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
      one after another, starting with the first.
    """
    check_is("optimizer", optimizer, optax.GradientTransformation, "optax.sgd(0.1)")
    check_labeller(param_labels)
    rest = optax.GradientTransformation(optimizer.init, _stay)

    def by_group(
        params: optax.Params, frozen: Collection[str]
    ) -> optax.GradientTransformationExtraArgs:
        names = _names(param_labels, params)
        groups = _check_frozen(frozen, names)
        return optax.partition(
            {group: rest if group in frozen else optimizer for group in groups}, names
        )

    def init_fn(params: optax.Params) -> Any:
        state = by_group(params, ()).init(params)
        for kind, name in _OUTSIDE.items():
            if find_states("state", state, lambda node, of=kind: isinstance(node, of)):
                raise ValueError(
                    f"optimizer has {name} in it, once for each group. Put it after: "
                    f"optax.chain(freezable(...), {name}(...))."
                )
        return state

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        *,
        frozen: Collection[str] = (),
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        return by_group(updates, frozen).update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def stop_gradients(params: Any, param_labels: Any, frozen: Collection[str]) -> Any:
    """Stops the gradients of groups of parameters; call it in the loss function.

    Args:
      params: the parameters, or an `nnx.State` of them.
      param_labels: the group of every parameter, as in :func:`layerwise_mi_decay`.
      frozen: the groups to freeze in this step, static.

    Returns:
      The same parameters. The backward pass skips the first layers if all of their
      parameters are frozen, including norms and embeddings.

    Raises:
      TypeError, ValueError: `param_labels` does not fit the params, or `frozen` is not
        a collection of its groups.

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
    names = _names(param_labels, params)
    _check_frozen(frozen, names)

    def cut(name: str, part: Any) -> Any:
        # One name may stand for a whole subtree.
        return jax.lax.stop_gradient(part) if name in frozen else part

    return jax.tree.map(cut, names, params)


def _stay(
    updates: optax.Updates, state: Any, params: optax.Params | None = None
) -> tuple[optax.Updates, Any]:
    del params
    return jax.tree.map(jnp.zeros_like, updates), state


def _names(param_labels: Any, params: Any) -> Any:
    names = param_labels(params) if callable(param_labels) else param_labels
    check_labels(names, params)
    return names


def _check_frozen(frozen: Any, names: Any) -> list[str]:
    """Returns all groups; raises unless `frozen` is a collection of some of them."""
    if isinstance(frozen, str | Mapping) or not isinstance(frozen, Collection):
        raise TypeError(
            f"frozen must be a collection of groups, got {frozen!r:.60}. It is static: "
            'jax.jit(train_step, static_argnames="frozen") takes a tuple of strings.'
        )
    groups = sorted(set(jax.tree.leaves(names)))
    if unknown := [group for group in frozen if group not in groups]:
        raise ValueError(
            f"frozen has groups without parameters, {unknown}: param_labels names "
            f"{groups}."
        )
    return groups
