"""What the estimators read of a network's layers, where the truth is known.

A LeNet-like network learns the classes of Fashion-MNIST. Of held-out images its layers
are read, reduced to 32 columns, before training, after the first epoch and after the
last: against a class that went through a noisy channel, and against the same layer of
other images that share only the class, or four bits. See suite/pairs.py: the truth lies
between what a linear classifier tells from the layer and what the class itself tells.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from suite.arguments import OneLineParser, add_names, add_output, at_least
from suite.sources import add_data_dir

# Trousers and ankle boots.
EASY = (1, 9)
TEN = tuple(range(10))
HALF = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


class Kind(NamedTuple):
    """Classes of images, the share that the channel replaces, and what is read."""

    title: str
    classes: tuple[int, ...]
    crossovers: tuple[float, ...]
    paired: bool = False
    bits: int = 1  # images side by side


KINDS = {
    "bit": Kind("a layer and a bit", EASY, HALF),
    "class": Kind("a layer and ten classes", TEN, (0.0, 0.1, 0.2, 0.3, 0.5, 0.9)),
    "pair": Kind("pairs of images, one bit", EASY, HALF, True),
    "four": Kind("pairs of four images, four bits", EASY, HALF, True, 4),
}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    add_names(parser, "--kinds", KINDS)
    parser.add_argument(
        "--draws", type=partial(at_least, 1), default=3, help="of images, for a mean"
    )
    parser.add_argument(
        "--short", action="store_true", help="few images, one epoch: shows that it runs"
    )
    add_data_dir(parser)
    add_output(parser, "outputs/image_pairs")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from suite.data import Arrays, centre
from suite.files import load_json, replacing
from suite.images import load_images
from suite.markdown import markdown
from suite.nets import LeNet
from suite.pairs import Interval, bounds, channel, confusions, draw_rows
from suite.progress import bars
from suite.readers import reduce, spread
from suite.results import save_json
from suite.study_figures import draw_pairs
from suite.style import save

from optax_mi.estimators import (
    binned_mi,
    gaussian_mi,
    kde_mi,
    ksg_mi,
    mutual_information,
    plugin_mi,
    ross_mi,
    variational_mi,
)
from optax_mi.flax import capture_layers

BATCH = 128
RATE = 2e-3
EPOCHS = (0, 1, 10)
SAMPLES = (1000, 5000)
# Of each class, for training; the rest of the 70,000 images is held out.
TRAINED = 1800
LAYERS = {"conv 1": "PatchConv_0", "conv 2": "PatchConv_1"}
LAYERS |= {"dense 1": "Dense_0", "dense 2": "Dense_1"}
Estimate = Callable[[jax.Array, jax.Array], Any]


class Reading(NamedTuple):
    """What an estimator read of a layer, the mean over draws, nats."""

    kind: str
    samples: int
    layer: str
    epoch: int
    crossover: float
    truth: Interval
    estimator: str
    value: float


class Seen(NamedTuple):
    """A layer of all held-out images, reduced, and as logits if it puts them out."""

    layer: str
    epoch: int
    rows: np.ndarray
    logits: np.ndarray | None = None


def kde(x: jax.Array, labels: jax.Array) -> Any:
    """With the bandwidth that docs/layerwise.md advises, a quarter of the spread."""
    bandwidth = 0.25 * spread(np.asarray(x))
    return kde_mi(x, labels, bandwidth=bandwidth, distance="bhattacharyya")


LABELLED: dict[str, Estimate] = {
    "mutual_information": mutual_information,
    "gaussian_mi": gaussian_mi,
    "gaussian_mi, noise": partial(gaussian_mi, noise=0.25),
    "ross_mi": ross_mi,
    "kde_mi": kde,
    "binned_mi, 8 bins": partial(binned_mi, num_bins=8),
}
ON_LOGITS: dict[str, Estimate] = {
    "plugin_mi, argmax": partial(plugin_mi, soft=False),
    "variational_mi": variational_mi,
}
PAIRED: dict[str, Estimate] = {
    "mutual_information": mutual_information,
    "gaussian_mi": gaussian_mi,
    "gaussian_mi, copula": partial(gaussian_mi, copula=True),
    "ksg_mi": ksg_mi,
}


def split(x: np.ndarray, y: np.ndarray, trained: int) -> tuple[Arrays, Arrays]:
    """So many of each class, and the rest."""
    first = np.concatenate([np.flatnonzero(y == c)[:trained] for c in np.unique(y)])
    rest = np.setdiff1d(np.arange(len(y)), first)
    return (x[first], y[first]), (x[rest], y[rest])


def snapshots(
    model: nn.Module, train: Arrays, held_out: np.ndarray, epochs: Sequence[int]
) -> Iterator[Seen]:
    """The pixels, and every layer after each of the epochs."""
    images, labels = train
    rng, tx = np.random.default_rng(0), optax.adam(RATE)
    params = model.init(jax.random.key(0), centre(jnp.asarray(images[:1])))
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        def loss_fn(params: Any) -> jax.Array:
            logits: Any = model.apply(params, centre(x))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean()

        updates, state = tx.update(jax.grad(loss_fn)(params), state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def read(params: Any, x: jax.Array) -> Any:
        return capture_layers(model, params, centre(x), layers=LAYERS)

    pixels = held_out.reshape(len(held_out), -1).astype(np.float32)
    yield Seen("pixels", 0, reduce(pixels / 255))
    for epoch in range(max(epochs) + 1):
        if epoch:
            order = rng.permutation(len(labels))[: len(labels) // BATCH * BATCH]
            for rows in order.reshape(-1, BATCH):
                params, state = step(params, state, images[rows], labels[rows])
        if epoch not in epochs:
            continue
        parts = [
            jax.device_get((logits, {layer: reduce(h) for layer, h in seen.items()}))
            for logits, seen in (
                read(params, part)
                for part in np.array_split(held_out, max(1, len(held_out) // 2000))
            )
        ]
        for layer in LAYERS:
            yield Seen(layer, epoch, np.concatenate([part[layer] for _, part in parts]))
        logits = np.concatenate([part for part, _ in parts])
        yield Seen("logits", epoch, logits, logits)


def readings(
    name: str, layers: Sequence[Seen], labels: np.ndarray, samples: int, draws: int
) -> Iterator[Reading]:
    """All readings of a kind, from so many samples."""
    kind = KINDS[name]
    classes = np.full(10, -1)
    classes[list(kind.classes)] = range(len(kind.classes))
    (kept,) = np.nonzero(np.isin(labels, kind.classes))
    own, count = classes[labels[kept]], len(kind.classes)
    some = np.random.default_rng(0).permutation(len(own))[:10_000]
    guesses = [confusions(seen.rows[kept[some]], own[some], count) for seen in layers]
    for crossover in kind.crossovers:
        through = channel(count, crossover)
        found: dict[tuple[int, str], list[float]] = {}
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            places = [draw_rows(rng, own, through, samples) for _ in range(kind.bits)]
            for i, seen in enumerate(layers):
                for estimator, mi in _read(kind, seen, kept, places):
                    found.setdefault((i, estimator), []).append(mi)
        for (i, estimator), values in found.items():
            low, high = bounds(through, guesses[i], kind.paired)
            yield Reading(
                name,
                samples,
                layers[i].layer,
                layers[i].epoch,
                crossover,
                Interval(kind.bits * low, kind.bits * high),
                estimator,
                float(np.mean(values)),
            )


def _read(
    kind: Kind, seen: Seen, kept: np.ndarray, places: Sequence[Any]
) -> Iterator[tuple[str, float]]:
    x = jnp.concatenate([seen.rows[kept[rows]] for rows, _, _ in places], 1)
    if kind.paired:
        y = jnp.concatenate([seen.rows[kept[rows]] for _, _, rows in places], 1)
        for name, estimate in PAIRED.items():
            yield name, float(estimate(x, y).mi)
        return
    ((rows, came_out, _),) = places
    labels = jnp.asarray(came_out)
    for name, estimate in LABELLED.items():
        yield name, float(estimate(x, labels).mi)
    if seen.logits is not None:
        logits = jnp.asarray(seen.logits[kept[rows]][:, kind.classes])
        for name, estimate in ON_LOGITS.items():
            yield name, float(estimate(logits, labels).mi)


def error_table(found: Sequence[Reading]) -> str:
    """Mean and largest distance from where the truth lies, over the channels."""
    names = list(dict.fromkeys(r.estimator for r in found))
    lines = []
    for layer, epoch in dict.fromkeys((r.layer, r.epoch) for r in found):
        mine = [r for r in found if (r.layer, r.epoch) == (layer, epoch)]
        clear = min(mine, key=lambda r: r.crossover).truth
        cells = []
        for name in names:
            errors = [r.truth.error(r.value) for r in mine if r.estimator == name]
            worst = max(errors, key=abs, default=math.nan)
            cells.append(f"{np.mean(errors):+.2f} ({worst:+.2f})" if errors else "-")
        when = "-" if layer == "pixels" else str(epoch)
        lines.append([layer, when, f"{clear.low:.2f} to {clear.high:.2f}", *cells])
    return markdown(["layer", "epoch", "truth, p = 0", *names], lines)


def value_table(found: Sequence[Reading]) -> str:
    """The last layer of the last epoch: what is read through each channel."""
    last = found[-1]
    mine = [r for r in found if (r.layer, r.epoch) == (last.layer, last.epoch)]
    names = list(dict.fromkeys(r.estimator for r in mine))
    lines = []
    for crossover in dict.fromkeys(r.crossover for r in mine):
        row = [r for r in mine if r.crossover == crossover]
        low, high = row[0].truth
        values = {r.estimator: f"{r.value:.3f}" for r in row}
        lines.append(
            [f"{crossover:g}", f"{low:.3f} to {high:.3f}", *(values[n] for n in names)]
        )
    return markdown(["p", "truth", *names], lines)


def report(found: Sequence[Reading]) -> str:
    """Two tables for each kind and number of samples."""
    parts = []
    for name, samples in dict.fromkeys((r.kind, r.samples) for r in found):
        mine = [r for r in found if (r.kind, r.samples) == (name, samples)]
        title = f"{KINDS[name].title}, N = {samples:,}"
        parts += [f"*{title}: mean (largest) error, nats*", error_table(mine)]
        last = f"{mine[-1].layer} after the last epoch"
        parts += [f"*{title}: {last}, nats*", value_table(mine)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def drawn(found: Sequence[Reading]) -> dict[str, Any]:
    """What the figure shows: the most samples, after the last epoch, nats.

    By kind and layer the ends of the truth, and what each estimator read, a value a
    channel, in the order of the kind's crossovers.
    """
    samples, last = found[-1].samples, max(r.epoch for r in found)
    kinds: dict[str, Any] = {}
    for r in found:
        if r.samples == samples and (r.epoch == last or r.layer == "pixels"):
            layers = kinds.setdefault(KINDS[r.kind].title, {})
            layer = layers.setdefault(r.layer, {"low": [], "high": [], "read": {}})
            read = layer["read"].setdefault(r.estimator, [])
            read.append(r.value)
            # All estimators have the same truth.
            if len(read) > len(layer["low"]):
                layer["low"].append(r.truth.low)
                layer["high"].append(r.truth.high)
    return {"samples": samples, "kinds": kinds}


def main(argv: list[str] | None = None) -> None:
    """Trains, reads, and writes the tables and the figure."""
    args = parse(argv)
    kinds = args.kinds
    samples, epochs = ((100,), (0, 1)) if args.short else (SAMPLES, EPOCHS)
    (x, y), (more_x, more_y) = load_images("fashion_mnist", args.data_dir)
    train, (held_out, labels) = split(
        np.concatenate([x, more_x]),
        np.concatenate([y, more_y]),
        BATCH if args.short else TRAINED,
    )
    console = Console()
    with bars(console) as progress:
        bar = progress.add_task("training", total=1 + len(kinds) * len(samples))
        layers = list(snapshots(LeNet(10), train, held_out, epochs))
        progress.advance(bar)
        found: list[Reading] = []
        for kind in kinds:
            for n in samples:
                progress.update(bar, description=f"{KINDS[kind].title}, N = {n:,}")
                found += readings(kind, layers, labels, n, args.draws)
                progress.advance(bar)
    text = report(found)
    console.print(text, soft_wrap=True)
    source = args.output / "image_pairs.json"
    save_json(source, drawn(found))
    save(draw_pairs(load_json(source)), source.with_suffix(".png"))
    with replacing(source.with_suffix(".md")) as part:
        part.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
