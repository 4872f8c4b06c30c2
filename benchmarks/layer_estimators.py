"""Which estimator tells best what a layer knows of the labels, where that is known.

Networks whose inputs are all known: 12 bits with noisy labels, and the UCI digits taken
for the whole population. A layer with Gaussian noise on it is then a mixture of known
parts, and its information with the labels an integral, see suite/mixture.py. The
estimators read epochs of that noisy layer, and of the layer as it is, the way
`layerwise_mi_decay` has them read it: reduced, batch by batch, epoch after epoch.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from suite.arguments import OneLineParser, add_output, at_least, positive


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one network, two epochs")
    parser.add_argument(
        "--noise", type=positive, default=0.25, help="std / layer's spread"
    )
    parser.add_argument(
        "--repeats", type=partial(at_least, 2), default=4, help="frozen epochs"
    )
    add_output(parser, "outputs/layers")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau
from suite.files import load_json, replacing
from suite.known import BATCH, Case, cases, train
from suite.markdown import markdown
from suite.progress import bars
from suite.readers import (
    READERS,
    estimator_of,
    read,
    readings,
    reduce,
    spread,
    truth_of,
)
from suite.results import save_json
from suite.study_figures import draw_readings
from suite.style import save
from timing import compare, median_interval

EPOCHS = [0, 1, 2, 3, 4, 5, 6, 8, 12, 24]
DRAWN = (
    "gaussian",
    "gaussian, noise",
    "nearest_neighbors",
    "kde, lower, by batch",
    "kde, lower, fixed",
    "binned, 2 bins",
)
# Other truths, of so many times the noise.
OTHERS = (0.4, 2.0)
RATES = {"bits": 0.01, "digits": 0.002}


class Row(NamedTuple):
    """One layer after one epoch; nats."""

    epoch: int
    layer: str
    truth: float
    error: float  # standard error of the truth
    others: tuple[float, ...]  # truths at other noise
    noisy: dict[str, np.ndarray]  # readings of frozen epochs, [E], with noise
    plain: dict[str, np.ndarray]  # and of the layer as it is


def measure(
    case: Case, ratio: float, epochs: list[int], repeats: int, names: Sequence[str]
) -> Iterator[tuple[Row, np.ndarray]]:
    """A row for each epoch and layer, and what the layer put out."""
    rate, first = RATES[case.name.split(",")[0]], {}
    for epoch, seen in train(case, epochs, rate, 0):
        for layer, h in seen.items():
            z = reduce(h)
            noise = ratio * spread(z)
            truth = truth_of(z / noise, case)
            first.setdefault(layer, noise)
            both = readings(z, case, noise, repeats, names, first[layer])
            others = tuple(truth_of(z / noise / times, case)[0] for times in OTHERS)
            yield Row(epoch, layer, *truth, others, *both), h


def entropy(case: Case) -> float:
    """H(Y), nats."""
    p = case.shares.mean(0)
    return float(-np.sum(p * np.log(p)))


def known(case: Case) -> float:
    """I(X; Y), nats, and I(T; Y) of a layer that keeps all inputs apart."""
    p, prior = case.shares, case.shares.mean(0)
    return float(np.sum(p * np.log(np.where(p > 0, p, 1.0) / prior)) / len(p))


def curves(rows: Sequence[Row], value: Callable[[Row], float]) -> np.ndarray:
    """The value by layer and epoch, [layers, epochs]."""
    layers = list(dict.fromkeys(row.layer for row in rows))
    return np.array([[value(r) for r in rows if r.layer == name] for name in layers])


def correlation(truth: np.ndarray, values: np.ndarray) -> float:
    """Pearson's; 0 for readings that do not move."""
    return float(np.corrcoef(truth, values)[0, 1]) if np.ptp(values) > 1e-5 else 0.0


def follows(truth: np.ndarray, values: np.ndarray, h: float) -> float:
    """Mean correlation over epochs in layers whose truth moves by 2 % of H(Y)."""
    pairs = zip(truth, values, strict=True)
    return float(np.mean([correlation(*p) for p in pairs if np.ptp(p[0]) > 0.02 * h]))


def judge(rows: Sequence[Row], name: str, field: str, h: float) -> dict[str, float]:
    """What an estimator's readings of all layers and epochs of a case are worth."""
    truth = curves(rows, lambda row: row.truth)
    mean = curves(rows, lambda row: getattr(row, field)[name].mean())
    std = curves(rows, lambda row: getattr(row, field)[name].std(ddof=1))
    moves = np.ptp(truth, 1) > 0.02 * h
    ranks = [kendalltau(t, m)[0] for t, m in zip(truth.T, mean.T, strict=True)]
    error = np.hypot(std[1:], std[:-1])
    change = math.sqrt(float(np.mean(np.square(np.diff(truth[moves], axis=1)))))
    return {
        "bias": float((mean - truth).mean()),
        "rms": math.sqrt(float(np.square(mean - truth).mean())),
        "std": math.sqrt(float(np.square(std).mean())),
        "noise": math.sqrt(2 * float(np.square(std[moves]).mean())) / change,
        "follows": follows(truth, mean, h),
        "ranks": float(np.mean(np.nan_to_num(ranks))),
        "rises": float(np.mean(np.diff(mean, axis=0) > 2 * error)),
        "full": float(np.mean((mean > 0.99 * h) & (truth < 0.99 * h))),
    }


def case_tables(case: Case, rows: Sequence[Row], ratio: float) -> Iterator[Any]:
    """Against the truth with noise, then as used, without."""
    h = entropy(case)
    truth = curves(rows, lambda row: row.truth)
    error = curves(rows, lambda row: row.error)
    rises = np.mean(np.diff(truth, axis=0) > 2 * np.hypot(error[1:], error[:-1]))
    lines = []
    for name in rows[0].noisy:
        j = judge(rows, name, "noisy", h)
        bias = f"{j['bias']:+.3f} ({j['bias'] / h:+.0%})"
        lines.append(
            [
                name,
                bias,
                *(f"{j[key]:.3f}" for key in ("rms", "std")),
                *(f"{j[key]:.2f}" for key in ("noise", "follows", "ranks")),
                *(f"{j[key]:.0%}" for key in ("rises", "full")),
            ]
        )
    yield (
        f"{case.name}: H(Y) = {h:.3f}, I(X; Y) = {known(case):.3f} nats, truth "
        f"{truth.min():.3f} to {truth.max():.3f} (standard error up to "
        f"{error.max():.4f}), rising along {rises:.0%} of the layers; noise {ratio:g}",
        "noisy layer,bias (of H),rms error,std,noise / change,follows,ranks,rises,full",
        lines,
    )
    others = [curves(rows, lambda row, i=i: row.others[i]) for i in range(len(OTHERS))]
    lines = []
    for name in rows[0].plain:
        j = judge(rows, name, "plain", h)
        mean = curves(rows, lambda row, name=name: row.plain[name].mean())
        ends = f"{mean[:, 0].mean() / h:.0%} to {mean[:, -1].mean() / h:.0%}"
        lines.append(
            [
                name,
                ends,
                f"{j['std']:.3f}",
                *(f"{j[key]:.2f}" for key in ("noise", "follows")),
                *(f"{follows(other, mean, h):.2f}" for other in others),
                f"{j['ranks']:.2f}",
                *(f"{j[key]:.0%}" for key in ("rises", "full")),
            ]
        )
    at = ",".join(f"at {ratio * times:g}" for times in OTHERS)
    yield (
        f"{case.name}, the layer as it is, against the same truth",
        f"no noise,share of H read,std,noise / change,follows,{at},ranks,rises,full",
        lines,
    )


def pooled(h: np.ndarray, side: int) -> np.ndarray:
    """Means over side x side parts of an image, as channels."""
    samples, height, width, channels = h.shape
    parts = h.reshape(samples, side, height // side, side, width // side, channels)
    return parts.mean((2, 4)).reshape(samples, -1)


def reductions(h: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Linear maps of a layer to a few columns; the first keeps all."""
    ways: dict[str, Callable] = {"all of it": lambda x: x.reshape(len(x), -1)}
    if h.ndim == 4:
        for side in (1, 2):
            ways[f"means of {side} x {side}"] = partial(pooled, side=side)
        ways["means of 2 x 2 to 32"] = lambda x: reduce(pooled(x, 2))
    for columns in (32, 8):
        ways[f"all to {columns}"] = lambda x, c=columns: reduce(
            x.reshape(len(x), -1), c
        )
    return ways


def reduction_table(
    case: Case, snapshots: dict[str, list[np.ndarray]], ratio: float
) -> Any:
    """What is left of layers with the same noise on them, and what a Gaussian reads."""
    lines = []
    for layer, seen in snapshots.items():
        shape = seen[0].shape[1:]
        units = math.prod(shape)
        if units <= 32:
            continue
        whole: list[float] = []
        for name, way in reductions(seen[0]).items():
            unit = way(np.eye(units, dtype=np.float32).reshape(-1, *shape))
            same, own, gauss = [], [], []
            for h in seen:
                z, noise = way(h), ratio * spread(h.reshape(len(h), -1))
                white = np.linalg.cholesky(unit.T @ unit) if len(z.T) < units else None
                centres = z if white is None else np.linalg.solve(white, z.T).T
                same.append(truth_of(centres / noise, case)[0])
                noise = ratio * spread(z)
                own.append(truth_of(z / noise, case)[0])
                if z.shape[1] <= 32:
                    _, plain = readings(z, case, noise, 2, ["gaussian"])
                    gauss.append(float(plain["gaussian"].mean()))
            whole = whole or same
            moves = np.ptp(whole) > 0.02 * entropy(case)
            line = [
                f"{layer}: {name}",
                str(unit.shape[1]),
                f"{same[-1] / whole[-1]:.0%}",
            ]
            for values in (same, own, gauss):
                line.append(f"{values[0]:.3f} to {values[-1]:.3f}" if values else "")
                if values is not same:
                    told = correlation(np.array(whole), np.array(values or whole))
                    line.append(f"{told:.2f}" if values and moves else "")
            lines.append(line)
    return (
        f"{case.name}: what is left of a layer, first and last epoch; noise {ratio:g}",
        "layer,columns,left,same noise,own noise,follows,gaussian reads,follows",
        lines,
    )


def cost_table(names: Iterable[str], pairs: int) -> Any:
    """An epoch of 50 batches and its estimate, by turns with `gaussian`."""
    d, classes, steps = 32, 10, 50
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(0, classes, (1, steps, BATCH)))
    rows = rng.normal(size=(1, steps, BATCH, d)) + 0.3 * np.asarray(labels)[..., None]
    x = jnp.asarray(rows, jnp.float32)

    def run(name: str) -> Callable[[], Any]:
        reader = READERS[name]
        columns = min(d, reader.columns)
        estimator = estimator_of(reader.make, columns, classes)
        return lambda: read(estimator, x[..., :columns], labels).block_until_ready()

    lines = []
    base = run("gaussian")
    for name in names:
        other = run(name)
        base()
        other()
        _, ratios = compare(base, other, pairs)
        low, ratio, high = median_interval(ratios)
        reader = READERS[name]
        columns = min(d, reader.columns)
        state = jax.eval_shape(estimator_of(reader.make, columns, classes).init)
        size = sum(
            math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(state)
        )
        lines.append([name, f"{ratio:.2f}", f"{low:.2f} to {high:.2f}", f"{size:,}"])
    return (
        f"cost: {d} columns, {classes} classes, epochs of {steps} batches of {BATCH}",
        "estimator,time against gaussian,95 %,bytes",
        lines,
    )


def drawn(case: Case, rows: Sequence[Row]) -> dict[str, Any]:
    """What the figure shows of a case: truth and readings [epochs, repeats], nats."""
    layers: dict[str, Any] = {}
    for row in rows:
        of = layers.setdefault(row.layer, {"truth": [], "noisy": {}, "plain": {}})
        of["truth"].append(row.truth)
        for field in ("noisy", "plain"):
            values = getattr(row, field)
            for name in (name for name in DRAWN if name in values):
                of[field].setdefault(name, []).append(values[name])
    return {
        "title": case.name,
        "entropy": entropy(case),
        "epochs": list(dict.fromkeys(row.epoch for row in rows)),
        "layers": layers,
    }


def show(console: Console, title: str, header: str, lines: Any) -> str:
    """Prints a table; the same in Markdown."""
    table = Table(title=title)
    names = header.split(",")
    for name in names:
        table.add_column(name, justify="left" if name is names[0] else "right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    return f"*{title}*\n\n{markdown(names, lines)}"


def main(argv: list[str] | None = None) -> None:
    """Prints the tables, and writes them and a figure."""
    args = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else 140)
    every, epochs, names = cases(), EPOCHS, list(READERS)
    if args.short:
        every, epochs, names = every[:1], [0, 3], ["gaussian"]
    parts: list[str] = []
    rows: list[Row] = []
    snapshots: dict[str, list[np.ndarray]] = {}
    for case in every:
        rows, snapshots = [], {layer: [] for layer in case.layers}
        with bars(console) as progress:
            bar = progress.add_task(case.name, total=len(epochs) * len(case.layers))
            for row, h in measure(case, args.noise, epochs, args.repeats, names):
                rows.append(row)
                snapshots[row.layer].append(h)
                title = f"{case.name}, epoch {row.epoch}, {row.layer}"
                progress.update(bar, advance=1, description=title)
        parts += [show(console, *t) for t in case_tables(case, rows, args.noise)]
    # The last network has layers that are large.
    source = args.output / "layer_estimators.json"
    save_json(source, drawn(every[-1], rows))
    save(draw_readings(load_json(source)), source.with_suffix(".png"))
    parts.append(show(console, *reduction_table(every[-1], snapshots, args.noise)))
    parts.append(show(console, *cost_table(names, 2 if args.short else 40)))
    with replacing(source.with_suffix(".md")) as part:
        part.write_text("\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
