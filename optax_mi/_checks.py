"""Argument checks. Every error names the argument, the value and the fix.

Only concrete numbers are checked: `optax.inject_hyperparams` passes a transformation's
numeric arguments as tracers, whose values are unknown while tracing.
"""

import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def concrete(value: Any) -> float | None:
    """The number in `value`, or None if it is traced."""
    if isinstance(value, Tracer):
        return None
    return float(value)


def check_number(
    name: str, value: Any, accept: Callable[[float], bool], requirement: str
) -> None:
    """Raises unless `value` is traced, or is a finite scalar that `accept` accepts."""
    try:
        # float() would also take strings, and an array of one element.
        kinds = int | float | np.number | np.ndarray | jax.Array
        if (
            not isinstance(value, kinds)
            or isinstance(value, bool)
            or getattr(value, "ndim", 0)
        ):
            raise TypeError
        number = concrete(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r:.60}.") from None
    if number is not None and not (math.isfinite(number) and accept(number)):
        raise ValueError(f"{name} must be {requirement}, got {name}={value!r}.")


def check_rates(
    lr_max: Any,
    lr_min: Any | None,
    init_lr: Any | None,
    written: Callable[[str], str] = str,
) -> None:
    """Raises unless 0 <= lr_min <= init_lr <= lr_max; traced rates are not checked.

    `written` turns a name into what the user wrote, such as lr_max['dense'].
    """
    if lr_max is None:
        raise TypeError(
            f"{written('lr_max')} must be a number, got None. If lr_range_test found "
            "none, print(found) says why."
        )
    for name, rate in (("lr_max", lr_max), ("lr_min", lr_min), ("init_lr", init_lr)):
        if callable(rate):
            factory = written("mi_decay")
            raise TypeError(
                f"{written(name)} must be a number, got {rate!r:.60}. You need no "
                f"schedule, since {factory} sets the learning rate; to move the bound "
                f"itself, use optax.inject_hyperparams({factory})({name}=schedule, "
                "...)."
            )
    top, bottom, first = map(written, ("lr_max", "lr_min", "init_lr"))
    check_number(top, lr_max, lambda lr: lr > 0, "positive and finite")
    high = concrete(lr_max)
    high = math.inf if high is None else high
    low = 0.0
    if lr_min is not None:
        check_number(
            bottom,
            lr_min,
            lambda lr: 0 <= lr <= high,
            f"at least 0 and at most {top}={high:g}",
        )
        low = concrete(lr_min) or 0.0
    elif high < math.inf:
        low = high / 100
    if init_lr is not None:
        check_number(
            first,
            init_lr,
            lambda lr: low <= lr <= high,
            f"at least {bottom}={low:g} and at most {top}={high:g}",
        )


def check_static_int(name: str, value: Any, minimum: int) -> int:
    """`value` as an int, for arguments that set the shape of an array."""
    if isinstance(value, jax.Array):
        raise TypeError(
            f"{name} sets the shape of an array, so it must be a Python int, got "
            f"{name}={value}. Under optax.inject_hyperparams add "
            f"static_args=({name!r},)."
        )
    return check_int(name, value, minimum)


def check_int(name: str, value: Any, minimum: int) -> int:
    """`value` as an int of at least `minimum`; bools and floats are refused."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, got {name}={value!r}.") from None
    if number >= 2**31:
        raise ValueError(f"{name} must be below 2**31, got {name}={number}.")
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {name}={number}.")
    return number


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raises unless `value` is one of the choices."""
    if getattr(value, "shape", ()) or not any(value == c for c in choices):
        *first, last = map(repr, choices)
        raise ValueError(
            f"{name} must be {', '.join(first)} or {last}, got {name}={value!r}."
        )


def check_flag(name: str, value: Any) -> bool:
    """`value` as a bool, if it is one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {name}={value!r:.60}.")
    return bool(value)


def check_axis_name(axis_name: Any) -> None:
    """Raises unless it is None, a name, or a tuple of different names."""
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    if axis_name is not None and not all(n and isinstance(n, str) for n in names):
        raise TypeError(
            "axis_name must be the name of a mesh axis, such as 'data', or a tuple of "
            f"names, got axis_name={axis_name!r:.60}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"axis_name={axis_name} has a name twice: leave one out.")


def check_is(name: str, value: Any, kind: type, example: str) -> None:
    """Raises unless `value` is a `kind`; a function is likely an uncalled factory."""
    if isinstance(value, kind):
        return
    shown, hint = f"{value!r:.60}", ""
    if callable(value):
        shown = getattr(value, "__name__", shown)
        streaming = _STREAMING.get(shown)
        hint = f" Did you forget to call it: {shown}(...)?"
        if streaming:
            hint = f" {shown} is for whole arrays: pass {streaming}."
    raise TypeError(
        f"{name} must be a {kind.__name__}, such as {example}, got {shown}.{hint}"
    )


# From functions of whole arrays to the estimators that take one batch at a time.
_STREAMING = {
    "plugin_mi": "contingency(num_classes=C)",
    "table_mi": "contingency(num_classes=C)",
    "variational_mi": "variational(num_classes=C)",
    "gaussian_mi": "gaussian(features=d, num_classes=C)",
    "ross_mi": "nearest_neighbors(features=d, num_classes=C)",
    "ksg_mi": "nearest_neighbors(features=d, label_features=m)",
    "feature_mi": "nearest_neighbors(features=d, num_classes=C)",
    "kde_mi": "kde(features=d, num_classes=C, bandwidth=h)",
    "binned_mi": "binned(num_classes=C, low=a, high=b)",
}


def required_keywords(estimator: Any) -> tuple[str, ...]:
    """The keywords of the estimator's `update` that have no default."""
    parameters = inspect.signature(estimator.update).parameters.values()
    return tuple(
        p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    )


def paths_by_group(layers: Any) -> dict[str, str]:
    """From groups to paths of layers; raises if it is neither list nor mapping."""
    if isinstance(layers, Iterable) and not isinstance(layers, str):
        groups = layers if isinstance(layers, Mapping) else list(layers)
        paths = groups.values() if isinstance(groups, Mapping) else groups
        if all(isinstance(path, str) for path in paths):
            return dict(zip(groups, paths, strict=True))
    raise TypeError(
        "layers must be a list of paths, or a mapping from group to path, got "
        f"{layers!r}. For the keys of a mapping pass list(mapping)."
    )
