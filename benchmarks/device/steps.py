"""What a train step pays on the device: for `mi_decay`, for layers, for the average.

Each step is timed as users dispatch it, one call a step with its state donated, and in
a `lax.scan` of many, where the host has no part in it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from average_overhead import halve, make_update
from layerwise_overhead import CASES
from layerwise_overhead import make_rows as make_layer_rows
from overhead import CNN, MLP, make_batches, make_run, make_step
from suite.nets import ResNet, Transformer
from timing import compare, median_interval

from device.cells import Cell, warm
from optax_mi import average_params, mi_decay
from optax_mi.estimators import MIEstimator, contingency, variational

FORMS = ("call", "scan")


class Sizes(NamedTuple):
    """How much is computed."""

    # Networks, and the seconds that a cell of each may take.
    networks: dict[str, float]
    layers: dict[str, float]
    averaged: dict[str, float]
    classes: tuple[int, ...]
    large: int  # from so many classes on, no whole table
    buckets: int
    steps: int  # updates of a timed run
    stride: int  # of the pixels that networks get
    tokens: tuple[int, int]  # sequences, and their length
    width: int  # of the transformer
    updated: tuple[int, ...]  # params of an update by itself
    pairs: int
    budget: float  # seconds a ratio, after five pairs


# The more operations, the longer it compiles.
FULL = Sizes(
    networks={"MLP": 4.0, "CNN": 5.0, "ResNet": 8.0, "Transformer": 8.0},
    layers={"CNN": 20.0, "ResNet": 25.0},
    averaged={"MLP": 4.0, "Transformer": 8.0},
    classes=(10, 1000, 50_000),
    large=50_000,
    buckets=1024,
    steps=40,
    stride=1,
    tokens=(8, 128),
    width=256,
    updated=(10**6, 10**7, 10**8),
    pairs=100,
    budget=0.6,
)
SHORT = Sizes(
    networks={"MLP": 1.0, "Transformer": 1.0},
    layers={"CNN": 1.0},
    averaged={"MLP": 1.0},
    classes=(10, 64),
    large=64,
    buckets=16,
    steps=2,
    stride=4,
    tokens=(2, 8),
    width=16,
    updated=(1000,),
    pairs=2,
    budget=0.1,
)


def cells(short: bool) -> list[Cell]:
    """Those of the sections "step", "layers" and "average"."""
    sizes = SHORT if short else FULL
    found = []

    def add(section: str, name: str, seconds: float, measure: Callable, *of: Any):
        settings = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in sizes._asdict().items()
        }
        call = functools.partial(measure, *of, sizes)
        found.append(Cell(section, name, settings, seconds, call))

    for network, seconds in sizes.networks.items():
        for num_classes in sizes.classes:
            name = f"{network}, C = {num_classes:,}"
            add("step", name, seconds, time_step, network, num_classes)
    for network, seconds in sizes.layers.items():
        add("layers", network, seconds, time_layers, network)
    for network, seconds in sizes.averaged.items():
        add("average", network, seconds, time_average, network)
    for size in sizes.updated:
        add("average", f"update of {size:,}", 2.0, time_update, size)
    return found


def time_step(network: str, num_classes: int, sizes: Sizes) -> list[dict[str, Any]]:
    """`mi_decay` on sgd, by whole tables or by what large vocabularies take."""
    model, batches = _network(network, num_classes, sizes)
    estimators: dict[str, MIEstimator] = {}
    if num_classes < sizes.large:
        estimators["soft"] = contingency(num_classes=num_classes)
    else:
        estimators["variational"] = variational(num_classes=num_classes)
        name = f"soft, {sizes.buckets} buckets"
        estimators[name] = contingency(num_classes=num_classes, buckets=sizes.buckets)
    rows: dict[str, tuple[Any, Callable]] = {"sgd": (optax.sgd(0.1), make_step)}
    for name, estimator in estimators.items():
        decay = mi_decay(0.1, estimator=estimator, steps_per_epoch=sizes.steps)
        rows[name] = optax.chain(optax.sgd(1.0), decay), make_step
    return time_rows(model, rows, [(name, "sgd") for name in rows], batches, sizes)


def time_layers(network: str, sizes: Sizes) -> list[dict[str, Any]]:
    """`layerwise_mi_decay` on sgd, and `mi_decay` beside it."""
    case = CASES[network]
    rows = make_layer_rows(case, sizes.steps)
    rows = {"sgd": rows.pop("A/A"), **rows}
    images, labels = make_batches(10, sizes.steps)
    stride = case.stride * sizes.stride
    batches = images[:, :, ::stride, ::stride], labels
    pairs = [(name, "sgd") for name in rows]
    return time_rows(case.model, rows, pairs, batches, sizes)


def time_average(network: str, sizes: Sizes) -> list[dict[str, Any]]:
    """`average_params` on momentum sgd, and one read and write of the params."""
    model, batches = _network(network, sizes.classes[0], sizes)
    sgd = optax.sgd(0.1, momentum=0.9)
    rows = {
        "sgd": (sgd, make_step),
        "read and write": (optax.chain(sgd, halve()), make_step),
        "average": (optax.chain(sgd, average_params()), make_step),
    }
    pairs = [(name, "sgd") for name in rows] + [("average", "read and write")]
    return time_rows(model, rows, pairs, batches, sizes)


def time_update(size: int, sizes: Sizes) -> list[dict[str, Any]]:
    """`average_params` alone against one read and write."""
    base, other = (make_update(tx, size) for tx in (halve(), average_params()))
    warm([base, other])
    # Ten updates a call.
    return [_ratio("average", "read and write", "call", base, other, 10, sizes)]


def time_rows(
    model: nn.Module,
    rows: Mapping[str, tuple[Any, Callable]],
    against: Sequence[tuple[str, str]],
    batches: Any,
    sizes: Sizes,
) -> list[dict[str, Any]]:
    """The ratio of each pair of transformations, in either form.

    Rows are transformations, and what makes their steps; pairs are which against which.
    One against itself shows what the machine cannot tell from 1.
    """
    params = jax.jit(model.init)(jax.random.key(0), batches[0][0])
    runs = {
        (name, form): make_run(
            model,
            tx,
            batches,
            scanned=form == "scan",
            make_step=step,
            donate=form == "call",
            params=jax.tree.map(jnp.copy, params),
        )
        for name, (tx, step) in rows.items()
        for form in FORMS
    }
    warm(runs.values())
    return [
        _ratio(of, to, form, runs[to, form], runs[of, form], sizes.steps, sizes)
        for form in FORMS
        for of, to in against
    ]


def _ratio(
    of: str,
    against: str,
    form: str,
    base: Callable,
    other: Callable,
    steps: int,
    sizes: Sizes,
) -> dict[str, Any]:
    """A pair of runs of so many steps, called before."""
    time, ratios = compare(base, other, sizes.pairs, sizes.budget)
    return {
        "of": of,
        "against": against,
        "form": form,
        "base_seconds": time / steps,
        "ratio": median_interval(ratios),
        "pairs": len(ratios),
    }


def _network(network: str, num_classes: int, sizes: Sizes) -> tuple[nn.Module, Any]:
    """A network, and the batches that it is trained on."""
    if network == "Transformer":
        shape = (sizes.steps, *sizes.tokens)
        keys = jax.random.split(jax.random.key(0))
        batches = tuple(jax.random.randint(k, shape, 0, num_classes) for k in keys)
        return Transformer(num_classes, sizes.width, layers=2, heads=4), batches
    images, labels = make_batches(num_classes, sizes.steps)
    images = images[:, :, :: sizes.stride, :: sizes.stride]
    model = {"MLP": MLP, "CNN": CNN, "ResNet": ResNet}[network](num_classes)
    return model, (images, labels)
