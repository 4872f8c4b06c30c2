"""The rows of `benchmarks/images.py`: each method with three learning rates."""

import dataclasses

import optax

from optax_mi.rules import log_time_rule
from suite.annealed_momentum import annealed_momentum
from suite.methods import PLAIN as UNTRIED
from suite.methods import Method, averaged, ours
from suite.yamadam import yamadam

TRIALS = {
    "sgd": (0.01, 0.03, 0.1),
    "adamw": (3e-4, 1e-3, 3e-3),
    "rmsprop": (1e-4, 3e-4, 1e-3),
    "lars": (0.3, 1.0, 3.0),
    "free": (1e-3, 3e-3, 1e-2),
    "factor": (0.3, 1.0, 3.0),
}
# Where batch norms are, the best of these is one step up.
HIGHER = {
    "sgd": (0.03, 0.1, 0.3),
    "adamw": (1e-3, 3e-3, 1e-2),
    "rmsprop": (3e-4, 1e-3, 3e-3),
}


def _tried(name: str, trials: str) -> Method:
    return dataclasses.replace(UNTRIED[name], trials=TRIALS[trials])


def _mi(base: str, tested: bool = False) -> Method:
    name = f"mi {base} range test" if tested else f"mi {base}"
    found = ours(name, log_time_rule, base, tested=tested, own_epochs=True)
    return found if tested else dataclasses.replace(found, trials=TRIALS[base])


# Each alone, and then those whose average is a row too.
PLAIN = {
    method.name: method
    for method in (
        _tried("sgd", "sgd"),
        _tried("sgd cosine", "sgd"),
        _tried("sgd plateau", "sgd"),
        Method("sgd without momentum", lambda s: optax.sgd(s.trial), (0.03, 0.1, 0.3)),
        Method(
            "sgd annealed momentum",
            lambda s: annealed_momentum(s.trial, s.steps),
            TRIALS["sgd"],
            knows_horizon=True,
        ),
        _mi("sgd"),
        _mi("sgd", tested=True),
        _tried("lars", "lars"),
        _tried("rmsprop", "rmsprop"),
        _tried("adam", "adamw"),
        _tried("adamw", "adamw"),
        _tried("adamw cosine", "adamw"),
        _tried("schedule-free adamw", "free"),
        _tried("prodigy", "factor"),
        Method(
            "yamadam",
            lambda s: yamadam(s.trial),
            TRIALS["factor"],
            rival="adamw cosine",
        ),
        _mi("adamw"),
        _mi("adamw", tested=True),
    )
}
AVERAGED = (
    "sgd",
    "mi sgd",
    "mi sgd range test",
    "adamw",
    "mi adamw",
    "mi adamw range test",
)
ROWS = {
    name: averaged(method) if name in AVERAGED else method
    for name, method in PLAIN.items()
}


def rows_of(task: str) -> dict[str, Method]:
    """The rows of a task: a ResNet's have higher learning rates."""
    if not task.startswith("resnet"):
        return ROWS
    higher: dict[tuple[float, ...], tuple[float, ...]]
    higher = {TRIALS[family]: trials for family, trials in HIGHER.items()}
    return {
        name: dataclasses.replace(
            method, trials=higher.get(method.trials, method.trials)
        )
        for name, method in ROWS.items()
    }


# Rows whose steps are timed: bounds from a range test change nothing.
TIMED = {name: method for name, method in PLAIN.items() if not method.tested} | {
    f"{name} + average": ROWS[name] for name in AVERAGED if not PLAIN[name].tested
}
