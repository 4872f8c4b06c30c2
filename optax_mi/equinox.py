"""Equinox: the outputs of layers, on the way through a network."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.extend

from optax_mi._checks import paths_by_group

try:
    import equinox as eqx
except ImportError as _error:
    raise ImportError(
        "optax_mi.equinox is for networks in equinox: pip install 'optax-mi[equinox]'."
    ) from _error

if hasattr(jax.extend.core, "get_opaque_trace_state"):
    _trace_state = jax.extend.core.get_opaque_trace_state
else:  # JAX 0.8
    import jax.core

    _trace_state = jax.core.get_opaque_trace_state


def capture_layers(
    model: Any,
    *args: Any,
    layers: Iterable[str] | Mapping[str, str],
    **kwargs: Any,
) -> tuple[Any, dict[str, Any]]:
    """Calls a network, and returns what its layers put out on the way.

    It is one forward pass: call it in the loss function in place of the model, and
    return the activations beside the loss. Equinox networks take one sample, so put
    `jax.vmap` around it. Layers may be called within a `jax.vmap` of the network too.

    Args:
      model: an equinox module.
      *args: as for the model itself.
      layers: paths of modules, such as "head", or "layers/0" for the first in a list or
        tuple; `optax_mi.label_by_layer(depth=2)` gives the same names. Or a mapping
        from groups to paths.
      **kwargs: as for the model itself, such as `key=...`.

    Returns:
      The outputs, as the plain call returns them, and a dict from group to what the
      module's `__call__` returned, the last time if it was called several times: for a
      layer that the network follows with a ReLU, its input. No gradient flows through
      what is in the dict.

    Raises:
      TypeError: the model is not an equinox module, or `layers` is not a collection of
        strings.
      ValueError: there is no module at one of the paths, or it was not called; the
        message lists the modules.

    Example:
      >>> import equinox as eqx
      >>> import jax, jax.numpy as jnp
      >>> from optax_mi.equinox import capture_layers
      >>> model = eqx.nn.MLP(3, 2, width_size=8, depth=1, key=jax.random.key(0))
      >>> x = jnp.ones((4, 3))
      >>> apply = lambda x: capture_layers(model, x, layers=["layers/0"])
      >>> logits, seen = jax.vmap(apply)(x)
      >>> logits.shape, seen["layers/0"].shape
      ((4, 2), (4, 8))
    """
    if not isinstance(model, eqx.Module):
        raise TypeError(f"model must be an equinox module, got {model!r:.60}.")
    paths = paths_by_group(layers)
    modules = _modules(model)
    if unknown := sorted({*paths.values()} - modules.keys()):
        raise ValueError(
            f"layers has paths with no module, {unknown}: the modules are "
            f"{sorted(modules)}."
        )
    called: dict[str, list[Any]] = {}
    begun: dict[str, int] = {}
    network: Any = model
    # From the bottom up: a module that is watched may be in another.
    for path in sorted({*paths.values()}, key=lambda path: -path.count("/")):
        names = modules[path]
        tap = _tap(path, begun, called.setdefault(path, []))
        watched = _watched(_get(network, names), tap)
        network = eqx.tree_at(lambda m, names=names: _get(m, names), network, watched)
    outputs = network(*args, **kwargs)
    lost = {p for p in paths.values() if not 0 < begun.get(p, 0) <= len(called[p])}
    if lost:
        raise ValueError(
            f"layers has paths with no output to keep, {sorted(lost)}: the network did "
            "not call them, or did so within a jit, checkpoint, scan or cond of its "
            "own, or in a vmap over something else."
        )
    return outputs, {group: called[path][-1] for group, path in paths.items()}


def _modules(model: Any) -> dict[str, tuple[str, ...]]:
    """The names on the way to every module below the model that can be called."""
    found: dict[str, tuple[str, ...]] = {}

    def look(node: Any, path: tuple[str, ...]) -> None:
        inside = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda x: isinstance(x, eqx.Module) and x is not node
        )[0]
        for keys, child in inside:
            if isinstance(child, eqx.Module):
                names = (jax.tree_util.keystr((k,), simple=True) for k in keys)
                where = (*path, *names)
                if callable(child):
                    found["/".join(where)] = where
                look(child, where)

    look(model, ())
    return found


def _get(model: Any, names: tuple[str, ...]) -> Any:
    """The module at the end of names that there are."""
    node: Any = model
    for name in names:
        if isinstance(node, Mapping):
            node = next(child for key, child in node.items() if str(key) == name)
        elif isinstance(node, list | tuple) and name.isdigit():
            node = node[int(name)]
        else:
            node = getattr(node, name)
    return node


def _watched(module: Any, tap: Callable[[Any], None]) -> Any:
    """The module, with all its attributes, that hands on what it puts out."""
    watched = object.__new__(_watched_class(type(module)))
    for name, value in vars(module).items():
        object.__setattr__(watched, name, value)
    object.__setattr__(watched, "_hand_on", tap)
    return watched


@functools.cache
def _watched_class(kind: Any) -> Any:
    """A class for all modules of a kind: JAX keeps every class of pytrees for ever."""

    class Watched(kind):
        _hand_on: Callable[[Any], None] = eqx.field(static=True, default=None)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            outputs = kind.__call__(self, *args, **kwargs)
            # Within a scan JAX would otherwise differentiate what is handed on.
            arrays = eqx.filter(outputs, eqx.is_array)
            self._hand_on(jax.lax.stop_gradient(arrays))
            return outputs

    return Watched


def _tap(path: str, begun: dict[str, int], kept: list[Any]) -> Callable[[Any], None]:
    """Keeps outputs as they are outside every vmap within the network.

    `begun` counts all calls: those within a jit or a scan cannot be kept.
    """
    here = _trace_state(convention="optax_mi")

    @jax.custom_batching.custom_vmap
    def leave(outputs: Any) -> Any:
        return outputs

    @leave.def_vmap
    def _(axis_size: int, in_batched: list[Any], outputs: Any) -> tuple[Any, Any]:
        del axis_size
        hand_on(outputs)
        return outputs, in_batched[0]

    def hand_on(outputs: Any) -> None:
        if _trace_state(convention="optax_mi") == here:
            kept.append(outputs)
        else:
            leave(outputs)

    def tap(outputs: Any) -> None:
        begun[path] = begun.get(path, 0) + 1
        hand_on(outputs)

    return tap
