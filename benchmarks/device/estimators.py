"""The estimators on the device: whether they are right there, and how fast."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from timing import compare, median_interval

from device.card import EXACT, cpu, measure_products, product_rate
from device.cells import Cell, warm
from device.truth import ESTIMATORS

# Samples and columns, or classes: NumPy's way takes a second at most.
CHECKED = {
    "plugin_mi, ids": [(4000, 20)],
    "plugin_mi, logits": [(2000, 20)],
    "contingency": [(2000, 20)],
    "variational_mi": [(2000, 50)],
    "variational": [(2000, 50)],
    "binned_mi": [(2000, 1), (2000, 2)],
    "gaussian_mi, classes": [(2000, 16)],
    "gaussian_mi, real": [(2000, 8)],
    "gaussian": [(2000, 4)],
    "ross_mi": [(1000, 1), (1000, 3), (1000, 10)],
    "nearest_neighbors": [(1000, 3)],
    "kde_mi": [(600, 1), (600, 3)],
    "kde": [(600, 3)],
    "ksg_mi": [(1000, 1), (600, 3)],
}


class Sizes(NamedTuple):
    """What is checked, and what is timed."""

    checked: dict[str, list[tuple[int, int]]]
    # Names, samples and columns, or classes, and seconds that a cell may take.
    timed: tuple[tuple[str, int, int, float], ...]
    product: int  # rows of the square matrices
    rounds: int
    pairs: int
    budget: float  # seconds of pairs, after the fifth


FULL = Sizes(
    CHECKED,
    (
        ("plugin_mi, ids", 10_000_000, 1000, 6.0),
        ("plugin_mi, logits", 65_536, 1000, 6.0),
        ("variational_mi", 1024, 50_000, 6.0),
        ("binned_mi", 1_000_000, 2, 6.0),
        ("gaussian_mi, classes", 50_000, 512, 7.0),
        ("gaussian_mi, real", 50_000, 256, 7.0),
        ("ross_mi", 10_000, 64, 9.0),
        ("kde_mi", 10_000, 64, 8.0),
        ("ksg_mi", 20_000, 1, 9.0),
        ("ksg_mi", 5000, 10, 9.0),
    ),
    product=8192,
    rounds=10,
    pairs=25,
    budget=2.0,
)
SHORT = Sizes(
    {name: CHECKED[name] for name in ("contingency", "gaussian_mi, real", "kde_mi")},
    (
        ("plugin_mi, ids", 2000, 10, 1.0),
        ("variational_mi", 64, 100, 1.0),
        ("gaussian_mi, classes", 500, 8, 1.0),
        ("ksg_mi", 300, 1, 1.0),
    ),
    product=128,
    rounds=2,
    pairs=2,
    budget=0.1,
)


def cells(short: bool) -> list[Cell]:
    """Those of the sections "check" and "estimators"."""
    sizes = SHORT if short else FULL
    checked = {name: [list(size) for size in of] for name, of in sizes.checked.items()}
    check = functools.partial(check_all, sizes)
    found = [Cell("check", "all", checked, 1.0 if short else 25.0, check)]
    square = {"size": sizes.product, "rounds": sizes.rounds}
    measure = functools.partial(measure_products, **square)
    found.append(Cell("estimators", "products", square, 1.0 if short else 4.0, measure))
    timed = {"product": square, "pairs": sizes.pairs, "budget": sizes.budget}
    for name, samples, columns, seconds in sizes.timed:
        width = "C" if name.startswith(("plugin", "variational")) else "d"
        title = f"{name}, N = {samples:,}, {width} = {columns:,}"
        measure = functools.partial(time_one, name, samples, columns, sizes)
        found.append(Cell("estimators", title, timed, seconds, measure))
    return found


def check_all(sizes: Sizes) -> list[dict[str, Any]]:
    """Every estimator, on the device, on the CPU and in float64, side by side."""
    cases = [(name, *size) for name, of in sizes.checked.items() for size in of]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda case: check(*case), cases))


def check(name: str, samples: int, columns: int) -> dict[str, Any]:
    """One estimator; `ok` if the device is as near to both as tests ask for."""
    estimator = ESTIMATORS[name]
    arrays = estimator.draw(samples, columns)
    tolerance = estimator.tolerance(samples, columns)
    found = {"truth": estimator.truth(*arrays)}
    for place, device in {"device": jax.devices()[0], "cpu": cpu()}.items():
        run = make_run(name, arrays, columns, device, **estimator.exact)
        found[place] = run()
    off = [abs(found["device"] - found[other]) for other in ("truth", "cpu")]
    return {
        "name": name,
        "samples": samples,
        "columns": columns,
        **found,
        "off_truth": off[0],
        "off_cpu": off[1],
        "tolerance": tolerance,
        # Not a number is not near to anything.
        "ok": bool(np.all(np.asarray(off) <= tolerance)),
    }


def time_one(name: str, samples: int, columns: int, sizes: Sizes) -> dict[str, Any]:
    """One estimator, as users call it, in turns with the CPU."""
    estimator = ESTIMATORS[name]
    arrays = estimator.draw(samples, columns)
    here, there = (
        make_run(name, arrays, columns, device) for device in (jax.devices()[0], cpu())
    )
    warm([here, there])
    rate = product_rate(EXACT, sizes.product, sizes.rounds)
    time, ratios = compare(here, there, sizes.pairs, sizes.budget)
    flops = estimator.flops(samples, columns) if estimator.flops else 0.0
    return {
        "seconds": time,
        "cpu_ratio": median_interval(ratios),
        "pairs": len(ratios),
        "differs": abs(here() - there()),
        "flops": flops / time or None,
        "share": flops / time / rate or None,
    }


def make_run(
    name: str, arrays: Any, columns: int, device: Any, **how: Any
) -> Callable[[], float]:
    """A call on a device that has the samples already, which waits for the value."""
    with jax.default_device(device):
        here = [jnp.asarray(array) for array in arrays]

    def run() -> float:
        # Of each thread, so that several may run at once.
        with jax.default_device(device):
            return float(ESTIMATORS[name].measure(*here, columns, **how).mi)

    return run
