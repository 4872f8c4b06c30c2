"""Flax: a TrainState that passes outputs and labels on, and activations of layers.

flax.nnx needs no train state, because `nnx.Optimizer.update(model, grads,
outputs=logits, labels=labels)` passes its keywords to the transformation. Averaged
weights need new statistics for batch norms, in linen and nnx.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from optax_mi._checks import paths_by_group

try:
    import flax.core
    import flax.linen as nn
    from flax import nnx
    from flax.training.train_state import TrainState
    from flax.traverse_util import flatten_dict, unflatten_dict
except ImportError as _error:
    raise ImportError(
        "optax_mi.flax is for networks in flax: pip install 'optax-mi[flax]'."
    ) from _error


class MITrainState(TrainState):
    """A linen `TrainState` that passes extra arguments on to its transformation.

    flax's own `apply_gradients` passes only gradients and params on. Everything else is
    unchanged, including fp8's overwritten-with-gradient collection.

    Example:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> from optax_mi import learning_rates, mi_sgd
      >>> from optax_mi.flax import MITrainState
      >>> model = nn.Dense(2)
      >>> x, y = jnp.ones((4, 3)), jnp.array([0, 1, 0, 1])
      >>> params = model.init(jax.random.key(0), x)["params"]
      >>> tx = mi_sgd(0.5, num_classes=2)
      >>> state = MITrainState.create(apply_fn=model.apply, params=params, tx=tx)
      >>> seen = {"outputs": state.apply_fn({"params": params}, x), "labels": y}
      >>> grads = jax.tree.map(jnp.ones_like, params)
      >>> state = state.apply_gradients(grads=grads, extra_args=seen)
      >>> print(state.step, learning_rates(state)["all"])
      1 0.5
    """

    @classmethod
    def create(cls, **kwargs: Any) -> Self:
        """Creates a state at step 0; takes the arguments of flax's `TrainState.create`.

        The step is an int32 array: flax's Python int makes a train step compile twice.
        """
        return super().create(**kwargs).replace(step=jnp.zeros((), jnp.int32))

    def apply_gradients(
        self, *, grads: Any, extra_args: Mapping[str, Any] | None = None, **replace: Any
    ) -> Self:
        """Updates params, optimizer state and step.

        Args:
          grads: gradients, with the structure of `params`.
          extra_args: keywords for `tx.update`, such as `{"outputs": logits, "labels":
            labels}`.
          **replace: further attributes to replace, such as `batch_stats=...`.

        Returns:
          The new state.

        Raises:
          TypeError: the transformation requires a keyword that `extra_args` lacks.
        """
        update = functools.partial(self.tx.update, **(extra_args or {}))
        bound = self.replace(tx=optax.GradientTransformation(self.tx.init, update))
        kept = {"tx": self.tx, **replace}
        return super(MITrainState, bound).apply_gradients(grads=grads, **kept)


def capture_layers(
    model: nn.Module | nnx.Module,
    *args: Any,
    layers: Iterable[str] | Mapping[str, str],
    **kwargs: Any,
) -> tuple[Any, dict[str, Any]]:
    """Applies a network, and also returns the activations of its layers.

    It takes one forward pass: in the loss function, call it in place of the model, and
    return the activations with the loss.

    Args:
      model: a linen or an nnx module.
      *args: for linen, the arguments of `model.apply`, with the variables first; for
        nnx, those of the model itself.
      layers: paths of modules, such as "Conv_0", or "encoder/Dense_0" for a nested
        module; the names that :func:`optax_mi.label_by_layer` gives. Or a mapping from
        groups to paths.
      **kwargs: keywords of the same call, such as `mutable=["batch_stats"]` or
        `rngs=...` for linen.

    Returns:
      The outputs, as the plain call returns them, and a dict from group to the return
      value of the module's `__call__`, or of its last call if there are several. If a
      ReLU follows the layer in the network, this is the input of the ReLU.

    Raises:
      TypeError: the model is neither a linen nor an nnx module, or `layers` is not a
        collection of strings, or the variables of a linen module are missing.
      ValueError: no module was called at one of the paths; the message lists the paths
        of the modules that were called.

    Example:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> from optax_mi.flax import capture_layers
      >>> model = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
      >>> x = jnp.ones((4, 3))
      >>> variables = model.init(jax.random.key(0), x)
      >>> logits, seen = capture_layers(model, variables, x, layers=["layers_0"])
      >>> logits.shape, seen["layers_0"].shape
      ((4, 2), (4, 8))
    """
    paths = paths_by_group(layers)
    if isinstance(model, nn.Module):
        outputs, called = _capture_linen(model, set(paths.values()), *args, **kwargs)
        hint = (
            "Modules inside nn.scan and similar keep their outputs only if "
            "variable_axes has the collection 'intermediates'."
        )
    elif isinstance(model, nnx.Module):
        outputs, called = _capture_nnx(model, *args, **kwargs)
        hint = (
            "nnx keeps no outputs of a class that inherits its __call__: define a "
            "__call__ that returns super().__call__(...)."
        )
    else:
        raise TypeError(f"model must be a linen or an nnx module, got {model!r:.60}.")
    if missing := sorted(path for path in paths.values() if called.get(path) is None):
        raise ValueError(
            f"layers has paths with no output to keep, {missing}: the modules called "
            f"were {sorted(called)}. {hint}"
        )
    return outputs, {group: called[path][-1] for group, path in paths.items()}


def _capture_linen(
    model: nn.Module, paths: set[str], *args: Any, mutable: Any = False, **kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    """The outputs, and a dict from module paths to what their calls returned."""
    variables = args[0] if args else kwargs.get("variables")
    if not isinstance(variables, Mapping):
        raise TypeError(
            "capture_layers takes the variables of a linen module after the model, as "
            "model.apply does: capture_layers(model, {'params': params}, x, ...), got "
            f"a {type(variables).__name__}."
        )
    called: dict[str, Any] = {}

    def wanted(module: nn.Module, method: str) -> bool:
        path = "/".join(module.path)
        if method == "__call__":
            called[path] = None
        return method == "__call__" and path in paths

    result: Any = model.apply(
        *args, mutable=mutable, capture_intermediates=wanted, **kwargs
    )
    outputs, updated = result
    for path in paths & set(called):
        node = updated.get("intermediates", {})
        for name in filter(None, path.split("/")):
            node = node.get(name, {})
        called[path] = node.get("__call__")
    if mutable is False:
        return outputs, called
    if not flax.core.scope.in_filter(mutable, "intermediates"):
        updated = {k: v for k, v in updated.items() if k != "intermediates"}
    return (outputs, updated), called


def _capture_nnx(
    model: nnx.Module, *args: Any, **kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    """The outputs, and a dict from module paths to what their calls returned."""
    forward = nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate)
    outputs, sown = forward(*args, **kwargs)
    called = {
        "/".join(map(str, path[:-1])): calls.get_value()
        for path, calls in nnx.to_flat_state(sown)
        if path[-1] == "__call__"
    }
    return outputs, called


def recompute_batch_stats(
    model: nn.Module | nnx.Module,
    batches: Iterable[Any],
    *,
    variables: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    r"""Recomputes the running statistics of batch norms for the current weights.

    Averaged weights need statistics of their own. Those of each norm become the plain
    mean of its statistics in the :math:`n` batches, and do not depend on the old
    statistics or on the momentum:

    .. math::
        \mu = \frac{1}{n} \sum_{i=1}^{n} \operatorname{mean}(h_i), \qquad
        v = \frac{1}{n} \sum_{i=1}^{n} \operatorname{var}(h_i) .

    Args:
      model: a linen or an nnx module with `BatchNorm` in it. An nnx module is changed
        in place, but only the `BatchStat` variables of its norms.
      batches: inputs, each passed as the model's first argument; if all have one shape,
        they compile once.
      variables: for linen `{"params": ..., "batch_stats": ...}`, as for `model.apply`.
      **kwargs: further keywords of the model, as for evaluation, such as `train=False`;
        for linen also `rngs` or `method` of `apply`.

    Returns:
      For linen, the new collection `batch_stats`, in which only the statistics of
      `BatchNorm` change; for nnx, the model.

    Raises:
      TypeError: `model` is neither a linen nor an nnx module; `variables` is missing
        for linen, or given for nnx.
      ValueError: `batches` is empty, or no `BatchNorm` was called.

    Example:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> from optax_mi.flax import recompute_batch_stats
      >>> model = nn.BatchNorm(use_running_average=True, use_bias=False)
      >>> batches = [jnp.array([[1.0], [3.0]]), jnp.array([[4.0], [8.0]])]
      >>> variables = model.init(jax.random.key(0), batches[0])
      >>> stats = recompute_batch_stats(model, batches, variables=variables)
      >>> print(stats["mean"], stats["var"])
      [4.] [2.5]

    References:
      Izmailov et al., `arXiv:1803.05407 <https://arxiv.org/abs/1803.05407>`_, 2018;
      `torch.optim.swa_utils.update_bn` does the same.
    """
    # Arrays are traced; all else, such as train=False, is static.
    traced = {
        k: v for k, v in kwargs.items() if any(map(_is_array, jax.tree.leaves(v)))
    }
    static = tuple((k, v) for k, v in sorted(kwargs.items()) if k not in traced)
    if isinstance(model, nn.Module):
        if "batch_stats" not in (variables or {}):
            raise TypeError(
                "recompute_batch_stats needs the variables of a linen module: pass "
                "variables={'params': params, 'batch_stats': batch_stats}."
            )
        stats_of = functools.partial(_linen_stats, model, static, variables)
    elif isinstance(model, nnx.Module):
        if variables is not None:
            raise TypeError("variables are for linen: an nnx module holds its own.")
        graph, arrays_of_model = nnx.split(model)
        stats_of = functools.partial(_nnx_stats, graph, static, arrays_of_model)
    else:
        raise TypeError(f"model must be a linen or an nnx module, got {model!r}.")
    total, count = None, 0
    for batch in batches:
        stats = stats_of(traced, batch)
        total = stats if total is None else jax.tree.map(jnp.add, total, stats)
        count += 1
    if total is None:
        raise ValueError("batches is empty: pass some of the training data.")
    mean = jax.tree.map(lambda x: x / count, total)
    if not mean:
        raise ValueError(f"model called no BatchNorm: {model!r}.")
    for path, stats in mean.items():
        if not isinstance(stats["var"], Tracer) and (stats["var"] < 0).any():
            raise ValueError(
                f"The BatchNorm at {path!r} was not called, or called with "
                "use_running_average=True: pass the keyword of the model's train mode."
            )
    if isinstance(model, nnx.Module):
        for path, norm in _norms(model).items():
            norm.mean[...], norm.var[...] = mean[path]["mean"], mean[path]["var"]
        return model
    assert variables is not None
    flat = flatten_dict(flax.core.unfreeze(variables["batch_stats"]), sep="/")
    for path, stats in mean.items():
        flat |= {f"{path}/{name}".lstrip("/"): x for name, x in stats.items()}
    return unflatten_dict(flat, sep="/")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _linen_stats(
    model: nn.Module,
    static: tuple[tuple[str, Any], ...],
    variables: Mapping[str, Any],
    traced: dict[str, Any],
    batch: Any,
) -> dict[str, dict[str, jax.Array]]:
    """A dict from the path of each norm to its statistics of the batch."""
    called = []

    def take_the_batch(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        norm = context.module
        if not isinstance(norm, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        called.append(norm.path)
        old = norm.momentum, norm.use_running_average
        # With a momentum of 0, the norm stores the statistics of the batch unchanged if
        # the old ones are finite. A linen module is frozen, hence object.__setattr__.
        for name in ("mean", "var"):
            last = norm.get_variable("batch_stats", name)
            norm.put_variable("batch_stats", name, jnp.zeros_like(last))
        try:
            object.__setattr__(norm, "momentum", 0.0)
            object.__setattr__(norm, "use_running_average", None)
            return call(*args[:1], **{**kwargs, "use_running_average": False})
        finally:
            object.__setattr__(norm, "momentum", old[0])
            object.__setattr__(norm, "use_running_average", old[1])

    with nn.intercept_methods(take_the_batch):
        result: Any = model.apply(
            variables, batch, mutable=["batch_stats"], **dict(static), **traced
        )
    flat: Any = flatten_dict(flax.core.unfreeze(result[1].get("batch_stats", {})))
    return {
        "/".join(path): {name: flat[(*path, name)] for name in ("mean", "var")}
        for path in called
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _nnx_stats(
    graph: Any,
    static: tuple[tuple[str, Any], ...],
    arrays: Any,
    traced: dict[str, Any],
    batch: Any,
) -> dict[str, dict[str, jax.Array]]:
    """A dict from the path of each norm to its statistics of the batch."""
    model = nnx.merge(graph, arrays)
    norms = _norms(model)
    for norm in norms.values():
        norm.momentum, norm.use_running_average = 0.0, False
        norm.mean[...] = jnp.zeros_like(norm.mean[...])
        norm.var[...] = jnp.full_like(norm.var[...], -1.0)  # marks one never called
    model(batch, **dict(static), **traced)
    return {
        path: {"mean": norm.mean[...], "var": norm.var[...]}
        for path, norm in norms.items()
    }


def _norms(model: nnx.Module) -> dict[str, nnx.BatchNorm]:
    return {
        "/".join(map(str, path)): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, nnx.BatchNorm)
    }


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)
