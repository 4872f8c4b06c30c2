"""Tasks of known mutual information: those the method was chosen on, and others.

Families and parameters of the second kind were fixed before anything was measured, and
nothing was chosen by them.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

from suite.mi_classes import (
    bands,
    blobs,
    checks,
    corners,
    disc,
    linear,
    noisy_rule,
    square,
    two_classes,
)
from suite.mi_vectors import (
    Source,
    Task,
    clusters,
    cube,
    curve,
    dense,
    gaussian,
    half_cube,
    mapped,
    ring,
    spiral,
    spread,
    student,
    swiss_roll,
    turned,
    uniform_noise,
    wiggly,
)
from suite.names import PROBLEMS

PAIR = [0.8, 0.8]


def parabola(x: np.ndarray) -> np.ndarray:
    """From 1 to -1 and back."""
    return 2 * x**2 - 1


def tent(x: np.ndarray) -> np.ndarray:
    """From 1 to -1 and back, straight."""
    return 2 * np.abs(x) - 1


def hexagon(turns: int) -> np.ndarray:
    """Corners [6, 2], going around so many times."""
    angle = turns * np.arange(6) * math.pi / 3
    return 3 * np.stack([np.cos(angle), np.sin(angle)], 1)


def sparse(d: int) -> Source:
    """Two columns of d are related, each to one of Y."""
    return gaussian(d, d, PAIR)


def _tasks(table: dict[str, Source]) -> list[Task]:
    return [Task(name, *source) for name, source in table.items()]


def chosen_on() -> list[Task]:
    """Forty tasks of two vectors."""
    return _tasks(
        {
            "Gaussian 1 + 1, 0.6": gaussian(1, 1, [0.6]),
            "Gaussian 1 + 1, 0.95": gaussian(1, 1, [0.95]),
            "Gaussian 2 + 2, sparse": sparse(2),
            "Gaussian 4 + 4": gaussian(4, 4, [0.9, 0.6, 0.3], 1),
            "Gaussian 10 + 10, dense": dense(10, 0.5),
            "Gaussian 10 + 10": gaussian(10, 10, [0.7] * 5, 2),
            "Gaussian 20 + 20, sparse": sparse(20),
            "Gaussian 40 + 40": gaussian(40, 40, [0.8, 0.6, 0.4], 3),
            "Gaussian 3 + 10": gaussian(3, 10, [0.9, 0.5], 4),
            "unrelated 2 + 2": gaussian(2, 2, []),
            "unrelated 20 + 20": gaussian(20, 20, [], 5),
            "Student 1 + 1": student(gaussian(1, 1, [0.5]), 2, 1, 1),
            "Student 2 + 2": student(sparse(2), 1, 2, 2),
            "Student 4 + 4, uncorrelated": student(gaussian(4, 4, []), 3, 4, 4),
            "Student 4 + 4": student(gaussian(4, 4, [0.7, 0.5], 6), 2, 4, 4),
            "Student 10 + 10": student(gaussian(10, 10, [0.7, 0.5], 7), 4, 10, 10),
            "Student 4 + 4, asinh": mapped(
                student(gaussian(4, 4, []), 1, 4, 4), np.arcsinh, np.arcsinh
            ),
            "cube 4 + 4": mapped(sparse(4), cube, cube),
            "cube 20 + 20": mapped(sparse(20), cube, cube),
            "uniform 4 + 4": mapped(sparse(4), ndtr, ndtr),
            "exponential 1 + 1": mapped(
                gaussian(1, 1, [0.8]), lambda x: np.exp(1.5 * x)
            ),
            "wiggly 1 + 1": mapped(gaussian(1, 1, [0.85]), wiggly, ndtr),
            "wiggly 10 + 10": mapped(gaussian(10, 10, [0.8, 0.6]), wiggly, wiggly),
            "uniform and turned 4 + 4": mapped(sparse(4), turned(4, 1, ndtr)),
            "cube and turned 10 + 10": mapped(sparse(10), turned(10, 2, cube)),
            "spiral 2 + 2": mapped(sparse(2), spiral(0.5)),
            "spiral 4 + 4": mapped(sparse(4), spiral(0.3, 2)),
            "spiral 20 + 20": mapped(sparse(20), spiral(0.1, 2)),
            "swiss roll 2 + 1": mapped(gaussian(1, 1, [0.8]), swiss_roll),
            "swiss rolls 4 + 4": mapped(
                gaussian(3, 3, [0.8, 0.6]), swiss_roll, swiss_roll
            ),
            "uniform noise 0.2": uniform_noise(0.2),
            "sine 1 + 1": curve(lambda x: np.sin(2 * math.pi * x), 0.3),
            "parabola 1 + 1": curve(parabola, 0.2),
            "parabola 4 + 1": curve(parabola, 0.2, 3),
            "parabola 10 + 10": curve(parabola, 0.2, 9, 9),
            "spread 0.2": spread(0.2),
            "ring 0.15": ring(0.15),
            "exclusive or 2 + 1": clusters(
                [[-2, -2], [2, 2], [-2, 2], [2, -2]], [[-2], [-2], [2], [2]]
            ),
            "clusters 2 + 2": clusters(
                [[0, 0], [3, 0], [0, 3]], [[0, 0], [3, 0], [0, 3]]
            ),
            "clusters 10 + 10": clusters(
                corners(4, 10, 3.5), corners(4, 10, 3.5)[::-1]
            ),
        }
    )


def held_out() -> list[Task]:
    """Forty others."""
    return _tasks(
        {
            "Gaussian 1 + 1, 0.75": gaussian(1, 1, [0.75]),
            "Gaussian 2 + 3": gaussian(2, 3, [0.85, 0.5], 11),
            "Gaussian 5 + 5, dense": dense(5, 0.4),
            "Gaussian 3 + 3, sparse": sparse(3),
            "Gaussian 15 + 15": gaussian(15, 15, [0.9, 0.8, 0.7], 12),
            "Gaussian 25 + 25, dense": dense(25, 0.5),
            "Gaussian 30 + 5": gaussian(30, 5, [0.6, 0.6, 0.4], 13),
            "Gaussian 50 + 50, sparse": sparse(50),
            "Gaussian 50 + 50": gaussian(50, 50, [0.8] * 4, 14),
            "unrelated 1 + 1": gaussian(1, 1, []),
            "unrelated 3 + 3, cube": mapped(gaussian(3, 3, [], 15), cube, cube),
            "unrelated 50 + 50": gaussian(50, 50, [], 15),
            "Student 1 + 1": student(gaussian(1, 1, []), 1, 1, 1),
            "Student 2 + 2, uncorrelated": student(gaussian(2, 2, []), 2, 2, 2),
            "Student 3 + 3": student(sparse(3), 2, 3, 3),
            "Student 5 + 5, dense": student(dense(5, 0.5), 3, 5, 5),
            "Student 5 + 5, uncorrelated": student(gaussian(5, 5, []), 2, 5, 5),
            "Student 20 + 20": student(gaussian(20, 20, [0.7], 16), 5, 20, 20),
            "half cube 1 + 1": mapped(gaussian(1, 1, [0.75]), half_cube, half_cube),
            "half cube 5 + 5": mapped(sparse(5), half_cube, half_cube),
            "half cube 25 + 25": mapped(sparse(25), half_cube, half_cube),
            "uniform 3 + 3": mapped(sparse(3), ndtr, ndtr),
            "uniform 25 + 25": mapped(sparse(25), ndtr, ndtr),
            "wiggly 1 + 1": mapped(gaussian(1, 1, [0.75]), wiggly, wiggly),
            "warped and turned 3 + 3": mapped(
                sparse(3), turned(3, 3, lambda x: np.exp(x / 2)), turned(3, 4, ndtr)
            ),
            "spiral 3 + 3": mapped(sparse(3), spiral(1 / 3)),
            "spiral 5 + 5": mapped(sparse(5), spiral(1 / 3)),
            "spiral 25 + 25": mapped(sparse(25), spiral(1 / 3)),
            "swiss roll 2 + 1": mapped(gaussian(1, 1, [0.9]), swiss_roll, ndtr),
            "swiss roll 3 + 1": mapped(gaussian(2, 1, [0.8]), swiss_roll),
            "uniform noise 0.1": uniform_noise(0.1),
            "uniform noise 0.5": uniform_noise(0.5),
            "cosine 1 + 1": curve(lambda x: np.cos(3 * math.pi * x), 0.4),
            "tent 1 + 1": curve(tent, 0.1),
            "tent 3 + 3": curve(tent, 0.2, 2, 2),
            "spread 0.05": spread(0.05),
            "ring 0.05": ring(0.05),
            "two clusters 1 + 1": clusters([[-2.5], [2.5]], [[-2.5], [2.5]]),
            "clusters 5 + 5": clusters(corners(5, 5, 3), corners(5, 5, 3)[::-1]),
            "hexagon 2 + 2": clusters(hexagon(1), hexagon(2)),
        }
    )


def classes_chosen_on() -> list[Task]:
    """Tasks of a vector and a class."""
    outside = disc(1.2, 2, 5)
    return _tasks(
        {
            "2 classes, d = 1": blobs([[0], [2]]),
            "4 classes, d = 2": blobs(square(2)),
            "4 classes far apart, d = 2": blobs(square(5)),
            "4 classes, d = 16": blobs(corners(4, 16, 2.2)),
            "4 classes, d = 100": blobs(corners(4, 100, 2.2)),
            "10 classes, d = 20": blobs(corners(10, 20, 3)),
            "a rare class, d = 3": blobs([[0, 0, 0], [2, 1, 0]], shares=[0.95, 0.05]),
            "spreads 1 and 3, d = 1": blobs([[0], [0]], [1, 3]),
            "spreads 1 and 2, d = 5": blobs(np.zeros((2, 5)), [1, 2]),
            "spreads 1 and 1.5, d = 20": blobs(np.zeros((2, 20)), [1, 1.5]),
            "cube, d = 4": blobs(corners(4, 4, 2.5), warp=cube),
            "exponential, d = 16": blobs(corners(4, 16, 2.2), warp=np.exp),
            "Student, d = 4": blobs(corners(4, 4, 3), freedom=2),
            "unrelated, d = 2": blobs(np.zeros((10, 2))),
            "unrelated, d = 50": blobs(np.zeros((10, 50))),
            "checks, d = 2": noisy_rule(two_classes(checks), 2, uniform=True),
            "disc, d = 2": noisy_rule(two_classes(outside), 2),
            "disc, d = 10": noisy_rule(two_classes(outside), 10),
            "exclusive or, d = 5": noisy_rule(
                two_classes(lambda x: 5 * x[:, 0] * x[:, 1]), 5
            ),
            "logistic, d = 20": noisy_rule(linear(20, 3, 0.6, 1), 20),
            "largest of 10, d = 10": noisy_rule(linear(10, 10, 20, 2), 10),
            "threshold, d = 1": noisy_rule(
                two_classes(lambda x: 1e4 * (x[:, 0] - 0.2)), 1, uniform=True
            ),
            "bands, d = 1": noisy_rule(two_classes(bands(6)), 1, uniform=True),
            "noisy line, d = 2": noisy_rule(
                two_classes(lambda x: 4 * x[:, 0] + 2 * x[:, 1]), 2, uniform=True
            ),
        }
    )


def classes_held_out() -> list[Task]:
    """Others."""
    return _tasks(
        {
            "3 classes, d = 1": blobs([[0], [1.5], [3.5]], shares=[0.3, 0.4, 0.3]),
            "5 classes, d = 5": blobs(corners(5, 5, 2.5)),
            "2 classes, d = 30": blobs(corners(2, 30, 2)),
            "6 classes, d = 64": blobs(corners(6, 64, 3.5)),
            "spreads 1 and 2.5, d = 2": blobs(np.zeros((2, 2)), [1, 2.5]),
            "spreads and means, d = 10": blobs(
                corners(2, 10, 1.5), [1, 1.5], [0.6, 0.4]
            ),
            "exponential, d = 3": blobs(corners(3, 3, 2), warp=np.exp),
            "Student, d = 8": blobs(corners(3, 8, 3), freedom=3),
            "unrelated, d = 1": blobs(np.zeros((3, 1)), shares=[0.3, 0.3, 0.4]),
            "unrelated, d = 20": blobs(np.zeros((3, 20)), shares=[0.3, 0.3, 0.4]),
            "a rare class, d = 10": blobs(3.0 * np.eye(2, 10, -1), shares=[0.97, 0.03]),
            "ball, d = 3": noisy_rule(two_classes(disc(1.55, 3, 3)), 3),
            "disc, d = 22": noisy_rule(two_classes(disc(1.2, 2, 5)), 22),
            "exclusive or, d = 2": noisy_rule(
                two_classes(lambda x: 20 * x[:, 0] * x[:, 1]), 2, uniform=True
            ),
            "logistic, d = 50": noisy_rule(linear(50, 2, 0.4, 5), 50),
            "largest of 5, d = 5": noisy_rule(linear(5, 5, 20, 6), 5),
            "bands, d = 2": noisy_rule(two_classes(bands(4)), 2, uniform=True),
            "logistic and warped, d = 5": noisy_rule(
                linear(5, 3, 1, 8), 5, warp=lambda x: np.sinh(2 * x)
            ),
        }
    )


SETS: dict[str, Callable[[], list[Task]]] = dict(
    zip(
        PROBLEMS,
        (chosen_on, held_out, classes_chosen_on, classes_held_out),
        strict=True,
    )
)
