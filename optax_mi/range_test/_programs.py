"""Compiled programs, cached for as long as the functions that they use exist.

`jax.jit` would keep the functions, and everything they reference, until the process
ends. A thread that calls it would also trace again, without the caller's contexts, such
as `jax.default_matmul_precision`. So the caller lowers a program once, and threads only
run it.
"""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

_programs: dict[Any, Any] = {}


class Functions(NamedTuple):
    """The functions and settings of a program; functions compare by identity."""

    functions: tuple[Callable[..., Any] | None, ...]
    settings: tuple[Any, ...]


def program(run: Callable[..., Any], made_of: Functions, *args: Any) -> Callable:
    """`run(*args)`, compiled for arguments like these in the caller's contexts."""
    leaves, structure = jax.tree.flatten(args)
    key = (
        tuple(_weak(function) for function in made_of.functions),
        made_of.settings,
        structure,
        tuple(_signature(leaf) for leaf in leaves),
        _contexts(),
    )
    if key not in _programs:
        compiled = jax.jit(run).lower(*args).compile()
        for part in key[0]:
            if isinstance(part, weakref.ref):
                weakref.finalize(part(), _programs.pop, key, None)
        _programs[key] = compiled
    return _programs[key]


def _weak(function: Callable[..., Any] | None) -> Any:
    """A weak reference to the function, or the function if it allows none."""
    if function is None:
        return None
    if hasattr(function, "__self__") and hasattr(function, "__func__"):
        # Each access to a bound method makes a new object.
        return weakref.WeakMethod(function)
    try:
        return weakref.ref(function)
    except TypeError:
        return function


def _signature(leaf: Any) -> tuple[Any, ...]:
    """The properties of an argument on which a program depends."""
    kind = jax.typeof(leaf)
    return kind, getattr(leaf, "sharding", None)


def _contexts() -> tuple[Any, ...]:
    """The current settings of JAX, including those of the thread's contexts."""
    settings = (getattr(jax.config, name, None) for name in sorted(jax.config.values))
    return (*settings, jax.sharding.get_abstract_mesh())
