"""What `mi_decay` holds and takes under a head of many classes."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from overhead import make_run
from timing import compare, median_interval

from optax_mi import mi_decay
from optax_mi.estimators import MIEstimator, contingency, variational
from suite.markdown import markdown

CLASSES = (8_000, 32_000, 50_000, 128_000)
TOKENS, WIDTH, STEPS = 256, 32, 2
ESTIMATORS: dict[str, Callable[[int], MIEstimator]] = {
    "variational": lambda classes: variational(num_classes=classes),
    "contingency, 1024 buckets": lambda classes: contingency(
        num_classes=classes, buckets=1024
    ),
    "contingency, 256 buckets": lambda classes: contingency(
        num_classes=classes, buckets=256
    ),
    "contingency": lambda classes: contingency(num_classes=classes),
}
# Beyond this a state is not allocated, only counted.
MOST_BYTES = 2**30


def state_bytes(name: str, classes: int) -> int:
    """Bytes of the state of `mi_decay`, of which nothing is allocated.

    A table that the estimator refuses to make counts as 12 bytes a cell.
    """
    try:
        tx = mi_decay(1.0, estimator=ESTIMATORS[name](classes))
    except ValueError:
        return 12 * classes**2
    shapes = jax.eval_shape(tx.init, np.zeros(1, np.float32))
    leaves = jax.tree.leaves(shapes)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def measure_state(
    pairs: int,
    classes: tuple[int, ...] = CLASSES,
    say: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Bytes of each estimator's state, and a step of a linear head over adamw's."""
    found: dict[str, Any] = {}
    for size in classes:
        rng = np.random.default_rng(0)
        inputs = rng.normal(size=(STEPS, TOKENS, WIDTH)).astype(np.float32)
        labels = rng.integers(0, size, (STEPS, TOKENS)).astype(np.int32)
        batches = jax.device_put((inputs, labels))

        def run_of(tx: Any, size: int = size, batches: Any = batches) -> Any:
            return make_run(nn.Dense(size), tx, batches, False, donate=True)

        base = run_of(optax.adamw(1e-3))
        base()
        rows, seconds = {}, []
        for name in ("A/A", *ESTIMATORS):
            say(f"{size:,} classes, {name}")
            row: dict[str, Any] = {"bytes": 0, "ratio": None}
            tx = optax.adamw(1e-3)
            if name != "A/A":
                row["bytes"] = state_bytes(name, size)
            if row["bytes"] <= MOST_BYTES:
                if name != "A/A":
                    decay = mi_decay(1e-3, estimator=ESTIMATORS[name](size))
                    tx = optax.chain(optax.adamw(1.0), decay)
                other = run_of(tx)
                other()
                taken, ratios = compare(base, other, pairs)
                row["ratio"] = median_interval(ratios)
                seconds.append(taken / STEPS)
            rows[name] = row
        found[str(size)] = {"seconds": float(np.median(seconds)), "rows": rows}
    return found


def state_table(found: Any) -> str:
    """A line a number of classes and an estimator."""
    lines = []
    for size, of_size in found.items():
        for name, row in of_size["rows"].items():
            held, ratio = _bytes(row["bytes"]), "-"
            if row["ratio"] is not None:
                low, middle, high = row["ratio"]
                ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
            elif name != "A/A":
                held = f"{held}, needed"
            lines.append(
                [
                    f"{int(size):,}",
                    name,
                    "-" if name == "A/A" else held,
                    f"{1e3 * of_size['seconds']:.1f}",
                    ratio,
                ]
            )
    header = ["classes", "estimator", "state", "adamw, ms per step", "ratio, 95 %"]
    return markdown(header, lines)


def _bytes(count: float) -> str:
    """In the unit that leaves one to three digits before the point."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
