"""Compiled programs, kept for as long as the functions that they were made of.

`jax.jit` would keep the functions, and whatever they hold, for as long as the process;
and a thread that calls it would trace anew, without the caller's contexts, such as
`jax.default_matmul_precision`. So a program is lowered by the caller, once, and threads
only run it.
"""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

_programs: dict[Any, Any] = {}


class Functions(NamedTuple):
    """What a program is made of; functions are told apart by identity."""

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
    """A reference that does not keep the function, where there can be one."""
    if function is None:
        return None
    if hasattr(function, "__self__") and hasattr(function, "__func__"):
        # A bound method is made anew at every look.
        return weakref.WeakMethod(function)
    try:
        return weakref.ref(function)
    except TypeError:
        return function


def _signature(leaf: Any) -> tuple[Any, ...]:
    """What a program depends on of an argument."""
    kind = jax.typeof(leaf)
    return kind, getattr(leaf, "sharding", None)


def _contexts() -> tuple[Any, ...]:
    """The settings of JAX as they are here: contexts are each thread's own."""
    settings = (getattr(jax.config, name, None) for name in sorted(jax.config.values))
    return (*settings, jax.sharding.get_abstract_mesh())
