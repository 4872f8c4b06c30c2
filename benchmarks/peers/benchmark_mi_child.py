"""Answers questions about benchmark-mi; runs in the Python that has it.

A question is a line of JSON, a function's name and arguments. An answer is another,
what it returned and what error it raised. Nothing of optax_mi is imported here.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import bmi  # pyright: ignore[reportMissingImports]

from peers.benchmark_mi import packed, unpacked

LOADED: list[tuple[Any, Any, Any]] = []


def tasks() -> list[tuple[str, float]]:
    """Name and mutual information, nats, of every task of the benchmark."""
    known = bmi.BENCHMARK_TASKS.items()
    return [(name, float(task.mutual_information)) for name, task in known]


def draw(task: str, samples: int, seed: int) -> tuple[Any, Any]:
    """X and Y of a task."""
    x, y = bmi.BENCHMARK_TASKS[task].sample(samples, seed)
    return packed(x), packed(y)


def value(estimator: str, x: Any, y: Any) -> float:
    """What an estimator reads as it comes, nats."""
    return float(
        getattr(bmi.estimators, estimator)().estimate(unpacked(*x), unpacked(*y))
    )


def load(estimator: str, options: dict[str, Any], x: Any, y: Any) -> int:
    """Keeps an estimator and its data; the number by which `estimate` knows them."""
    make = getattr(bmi.estimators, estimator)
    LOADED.append((make(**options), unpacked(*x), unpacked(*y)))
    return len(LOADED) - 1


def estimate(place: int) -> float:
    """Nats."""
    estimator, x, y = LOADED[place]
    return float(estimator.estimate(x, y))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (tasks, draw, value, load, estimate)
}


def main() -> None:
    """Answers until there are no more questions."""
    # What the library prints must not get among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, args = json.loads(line)
        try:
            answer = FUNCTIONS[name](*args), ""
        except Exception as error:
            answer = None, f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
