"""Flax: a TrainState whose optimizer sees outputs and labels, and what layers put out.

Of the two flax.nnx needs the second alone: `nnx.Optimizer.update(model, grads,
outputs=logits, labels=labels)` hands its keywords to the transformation.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Self

import flax.core
import flax.linen as nn
import jax.numpy as jnp
import optax
from flax import nnx
from flax.training.train_state import TrainState


class MITrainState(TrainState):
    """A linen `TrainState` that passes extra arguments on to its transformation.

    flax's own `apply_gradients` calls `tx.update(grads, opt_state, params)` and nothing
    more, so that a transformation that watches the network stays blind. This one takes
    them as `extra_args`; everything else, fp8's overwritten-with-gradient collection
    included, is flax's.

    Example:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import learning_rates, mi_sgd
      >>> from optax_mi.flax import MITrainState
      >>> model = nn.Dense(2)
      >>> x, y = jnp.ones((4, 3)), jnp.array([0, 1, 0, 1])
      >>> state = MITrainState.create(
      ...     apply_fn=model.apply,
      ...     params=model.init(jax.random.key(0), x)["params"],
      ...     tx=mi_sgd(0.5, num_classes=2, steps_per_epoch=10),
      ... )
      >>> @jax.jit
      ... def train_step(state, x, y):
      ...     def loss_fn(params):
      ...         logits = state.apply_fn({"params": params}, x)
      ...         losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      ...         return losses.mean(), logits
      ...     grads, logits = jax.grad(loss_fn, has_aux=True)(state.params)
      ...     return state.apply_gradients(
      ...         grads=grads, extra_args={"outputs": logits, "labels": y}
      ...     )
      >>> state = train_step(state, x, y)
      >>> print(state.step, learning_rates(state)["all"])
      1 0.5
    """

    @classmethod
    def create(cls, **kwargs: Any) -> Self:
        """Creates a state at step 0; arguments as for flax's `TrainState.create`.

        The step is an int32 array from the start: flax's Python int would have a train
        step compiled a second time once it becomes an array.
        """
        return super().create(**kwargs).replace(step=jnp.zeros((), jnp.int32))

    def apply_gradients(
        self, *, grads: Any, extra_args: Mapping[str, Any] | None = None, **replace: Any
    ) -> Self:
        """Updates params, optimizer state and step.

        Args:
          grads: gradients, of the structure of `params`.
          extra_args: keywords for `tx.update`, `{"outputs": logits, "labels": labels}`
            for :func:`optax_mi.mi_decay`.
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
    """Applies a network, and returns what its layers put out on the way.

    One forward pass, in which the outputs of the named modules are kept: call it in the
    loss function in place of the model, and return the activations beside the loss. In
    a compiled step XLA drops what nothing reads.

    Args:
      model: a linen or an nnx module.
      *args: for linen as for `model.apply`, the variables first; for nnx as for the
        model itself.
      layers: paths of modules, such as "Conv_0", or "encoder/Dense_0" for one inside
        another; the names of :func:`optax_mi.label_by_layer`. Or a mapping from groups
        to paths, where the groups have other names.
      **kwargs: likewise, such as `mutable=["batch_stats"]` or `rngs=...` for linen.

    Returns:
      The outputs, as the plain call returns them, and a dict from group to what
      the `__call__` of the group's module returned: for a layer that the network
      follows with a ReLU, its input. Of several calls it is the last.

    Raises:
      TypeError: the model is neither a linen nor an nnx module; `layers` is a string,
        or has something else than strings for paths.
      ValueError: no module was called at one of the paths; the message lists those
        that were.

    Example:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> from optax_mi.flax import capture_layers
      >>> model = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
      >>> x = jnp.ones((4, 3))
      >>> variables = model.init(jax.random.key(0), x)
      >>> logits, activations = capture_layers(
      ...     model, variables, x, layers=["layers_0"]
      ... )
      >>> logits.shape, activations["layers_0"].shape
      ((4, 2), (4, 8))
    """
    paths = layers if isinstance(layers, Mapping) else {path: path for path in layers}
    if isinstance(layers, str) or not all(isinstance(p, str) for p in paths.values()):
        raise TypeError(
            "layers must be a list of paths, or a mapping from group to path, got "
            f"{layers!r}. For the keys of a mapping pass list(mapping)."
        )
    if isinstance(model, nn.Module):
        outputs, called = _capture_linen(model, set(paths.values()), *args, **kwargs)
        hint = (
            "Out of nn.scan and its like an output comes only with the collection "
            "'intermediates' among its variable_axes."
        )
    elif isinstance(model, nnx.Module):
        outputs, called = _capture_nnx(model, *args, **kwargs)
        hint = (
            "Of a class that inherits its __call__ nnx keeps none: give it one that "
            "returns super().__call__(...)."
        )
    else:
        raise TypeError(f"model must be a linen or an nnx module, got {model!r}.")
    if missing := sorted(path for path in paths.values() if called.get(path) is None):
        raise ValueError(
            f"layers has paths with no output to keep, {missing}: the modules called "
            f"were {sorted(called)}. {hint}"
        )
    return outputs, {group: called[path][-1] for group, path in paths.items()}


def _capture_linen(
    model: nn.Module, paths: set[str], *args: Any, mutable: Any = False, **kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    """The outputs, and from every module's path to what its calls returned.

    None stands for modules that were not asked for.
    """
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
    """The outputs, and from every module's path to what its calls returned."""
    forward = nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate)
    outputs, sown = forward(*args, **kwargs)
    called = {
        "/".join(map(str, path[:-1])): calls.get_value()
        for path, calls in nnx.to_flat_state(sown)
        if path[-1] == "__call__"
    }
    return outputs, called
