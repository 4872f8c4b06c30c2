r"""Pairs of real vectors whose mutual information is known.

Most are Gaussian, of known canonical correlations, or Student's, and then mapped: a
map of X alone, or of Y alone, that can be undone changes no information. Others come
with a density, whose information is an integral in two dimensions, or a mean.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln, ndtr, psi
from scipy.stats import ortho_group

Pair = tuple[np.ndarray, np.ndarray]
Map = Callable[[np.ndarray], np.ndarray]


class Task(NamedTuple):
    """Samples X [N, m] and Y [N, n], or labels [N], and what they share in nats."""

    name: str
    draw: Callable[[np.random.Generator, int], Any]
    truth: float


class Source(NamedTuple):
    """A task without its name."""

    draw: Callable[[np.random.Generator, int], Pair]
    truth: float


def gaussian(
    m: int, n: int, correlations: list[float], mix: int | None = None
) -> Source:
    """Gaussians of these canonical correlations; with a seed, columns are mixed."""
    rho = np.zeros(min(m, n))
    rho[: len(correlations)] = correlations
    rng = np.random.default_rng(mix)
    turns = [np.eye(d) if mix is None else _mixing(d, rng) for d in (m, n)]

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        x, y = rng.normal(size=(samples, m)), rng.normal(size=(samples, n))
        k = len(rho)
        y[:, :k] = rho * x[:, :k] + np.sqrt(1 - rho**2) * y[:, :k]
        return x @ turns[0], y @ turns[1]

    return Source(draw, -0.5 * float(np.log1p(-(rho**2)).sum()) + 0.0)


def _mixing(d: int, rng: np.random.Generator) -> np.ndarray:
    turn = ortho_group.rvs(d, random_state=rng) if d > 1 else np.ones((1, 1))
    return turn * np.exp(rng.normal(0, 0.5, d))


def dense(d: int, correlation: float) -> Source:
    """Gaussians of d columns each; every two columns are correlated alike."""

    def log_size(columns: int) -> float:
        rest = math.log1p(-correlation) * (columns - 1)
        return rest + math.log1p((columns - 1) * correlation)

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        own = math.sqrt(1 - correlation) * rng.normal(size=(2, samples, d))
        both = own + math.sqrt(correlation) * rng.normal(size=(samples, 1))
        return both[0], both[1]

    return Source(draw, log_size(d) - 0.5 * log_size(2 * d))


def student(source: Source, freedom: float, m: int, n: int) -> Source:
    """A Gaussian source with all columns of a sample divided by the same root."""

    def entropy(d: int) -> float:
        half, all_ = freedom / 2, (freedom + d) / 2
        return gammaln(half) - gammaln(all_) + all_ * (psi(all_) - psi(half))

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        x, y = source.draw(rng, samples)
        scale = np.sqrt(freedom / rng.chisquare(freedom, (samples, 1)))
        return x * scale, y * scale

    extra = entropy(m) + entropy(n) - entropy(m + n)
    return Source(draw, source.truth + float(extra))


def mapped(source: Source, of_x: Map | None = None, of_y: Map | None = None) -> Source:
    """The source with its sides mapped."""

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        x, y = source.draw(rng, samples)
        return of_x(x) if of_x else x, of_y(y) if of_y else y

    return Source(draw, source.truth)


def spiral(speed: float, other: int = 1) -> Map:
    """Turns the plane of the first and another column by the squared length."""

    def turn(x: np.ndarray) -> np.ndarray:
        angle, (a, b) = speed * np.sum(x**2, 1), x[:, [0, other]].T
        y = x.copy()
        y[:, 0] = np.cos(angle) * a - np.sin(angle) * b
        y[:, other] = np.sin(angle) * a + np.cos(angle) * b
        return y

    return turn


def swiss_roll(x: np.ndarray) -> np.ndarray:
    """The first column rolled up in two."""
    angle = 1.5 * np.pi * (1 + 2 * ndtr(x[:, :1]))
    return np.hstack([angle * np.cos(angle), angle * np.sin(angle), x[:, 1:]])


def turned(d: int, seed: int, warp: Map) -> Map:
    """Columns warped, and then turned into one another."""
    turn = ortho_group.rvs(d, random_state=np.random.default_rng(seed))
    return lambda x: warp(x) @ turn


def half_cube(x: np.ndarray) -> np.ndarray:
    """Of a heavier tail."""
    return np.sign(x) * np.abs(x) ** 1.5


def cube(x: np.ndarray) -> np.ndarray:
    """Of a much heavier tail."""
    return x**3


def wiggly(x: np.ndarray) -> np.ndarray:
    """Monotone, and far from straight."""
    return x + 0.3 * np.sin(3 * x)


def uniform_noise(width: float) -> Source:
    """X uniform in [0, 1], and Y = X plus uniform noise of up to `width` <= 1 / 2."""

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        x = rng.uniform(size=(samples, 1))
        return x, x + rng.uniform(-width, width, (samples, 1))

    return Source(draw, width - math.log(2 * width))


def curve(f: Map, noise: float, beside_x: int = 0, beside_y: int = 0) -> Source:
    """X uniform in [-1, 1] and Y = f(X) plus noise, beside columns of noise alone."""
    x, y = np.linspace(-1, 1, 2001), np.linspace(-4, 4, 3001)
    truth = integral(np.exp(-0.5 * ((y - f(x)[:, None]) / noise) ** 2))

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        x = rng.uniform(-1, 1, (samples, 1))
        y = f(x) + noise * rng.normal(size=(samples, 1))
        beside = (rng.normal(size=(samples, d)) for d in (beside_x, beside_y))
        x, y = (np.hstack(side) for side in zip((x, y), beside, strict=True))
        return x, y

    return Source(draw, truth)


def spread(least: float) -> Source:
    """Y is noise whose standard deviation is `least` + |X|."""
    x, y = np.linspace(-5, 5, 2001), np.linspace(-20, 20, 8001)
    sd = (least + np.abs(x))[:, None]
    density = np.exp(-0.5 * (y / sd) ** 2) / sd * np.exp(-0.5 * x[:, None] ** 2)

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        x = rng.normal(size=(samples, 1))
        return x, (least + np.abs(x)) * rng.normal(size=(samples, 1))

    return Source(draw, integral(density))


def ring(noise: float) -> Source:
    """The coordinates of a noisy circle."""
    edge = np.linspace(-1 - 6 * noise, 1 + 6 * noise, 1201)
    angle = np.linspace(0, 2 * np.pi, 4001)[:-1]
    along = [
        np.exp(-0.5 * ((edge[:, None] - f(angle)) / noise) ** 2)
        for f in (np.cos, np.sin)
    ]

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        angle = rng.uniform(0, 2 * np.pi, (samples, 1))
        noisy = noise * rng.normal(size=(2, samples, 1))
        return np.cos(angle) + noisy[0], np.sin(angle) + noisy[1]

    return Source(draw, integral(along[0] @ along[1].T))


def clusters(x: Any, y: Any) -> Source:
    """Equally frequent clusters of spread 1, with these means [K, m] and [K, n]."""
    x, y = np.asarray(x, float), np.asarray(y, float)

    def draw(rng: np.random.Generator, samples: int) -> Pair:
        of = rng.integers(len(x), size=samples)
        return tuple(a[of] + rng.normal(size=(samples, a.shape[1])) for a in (x, y))

    def log_densities(a: np.ndarray, means: np.ndarray) -> np.ndarray:
        return -0.5 * np.sum((a[:, None] - means) ** 2, 2)

    def log_mean(log: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(log, 1) - math.log(log.shape[1])

    a, b = draw(np.random.default_rng(987), 200_000)
    log_x, log_y = log_densities(a, x), log_densities(b, y)
    terms = log_mean(log_x + log_y) - log_mean(log_x) - log_mean(log_y)
    return Source(draw, float(np.mean(terms)))


def integral(density: np.ndarray) -> float:
    """I of a density on a grid, [x, y]."""
    p = density / density.sum()
    product = p.sum(1, keepdims=True) * p.sum(0)
    return float(np.sum(p * np.log(np.where(p > 0, p / product, 1.0))))
