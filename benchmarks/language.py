"""Language models over vocabularies of 8,000 and 32,000 pieces, padding masked.

Adamw at a constant learning rate, with a cosine that is told the end, schedule-free,
and under `mi_decay`, which reads the cross-entropy or a table of buckets and is not
told how long an epoch is. Each but schedule-free has a second row, of averaged weights.

With 8,000 pieces every method tries three learning rates, and at each horizon the one
with the lowest validation loss is reported, on test data. With 32,000 it has the one
that its best row had at the end with 8,000. Then one more network is read by several
estimators at once. What is done is kept, so that an interrupted run resumes. `--state`
measures what `mi_decay` holds and takes under a head of up to 128,000 classes.
"""

import argparse
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from suite.arguments import OneLineParser, add_output, at_least, choose, folder
from suite.names import LANGUAGES as NAMES


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--seeds", type=partial(at_least, 2), default=2)
    parser.add_argument(
        "--languages",
        type=partial(choose, known=NAMES),
        default=NAMES,
        help=f"comma-separated, of {', '.join(NAMES)}; all by default. The first "
        "chooses the learning rates",
    )
    parser.add_argument(
        "--short", action="store_true", help="32 steps, 400 pieces: shows that it runs"
    )
    add_output(parser, "outputs/language")
    parser.add_argument(
        "--report",
        type=folder,
        metavar="DIR",
        help="of tables and figure; --output by default",
    )
    parser.add_argument(
        "--state", action="store_true", help="measure bytes and step times instead"
    )
    parser.add_argument(
        "--pairs", type=partial(at_least, 1), default=15, help="timed, with --state"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import numpy as np
import optax
from rich.console import Console
from rich.progress import Progress
from suite.data import Data
from suite.files import load_json, replacing
from suite.language import (
    LANGUAGES,
    Language,
    Trainer,
    batches,
    load,
    make_trainer,
    train,
)
from suite.language_report import draw, tables
from suite.language_state import CLASSES, measure_state, state_table
from suite.methods import METHODS, PLAIN, Method, averaged, ours
from suite.pieces import PADDING
from suite.progress import bars
from suite.results import cell_path, load_cell, machine, save_cell, save_json
from suite.style import save
from suite.training import Curves

from optax_mi import mi_decay, mi_diagnostics
from optax_mi.estimators import MIEstimator, contingency, variational
from optax_mi.rules import log_time_rule

RATES = (3e-3, 1e-2, 3e-2)
HORIZONS = {"1/4": 0.25, "1/2": 0.5, "all": 1.0}
BUCKETS = 1024
READINGS = 16  # of a network that several estimators read


def mi_adamw(name: str, estimator: Callable[..., MIEstimator]) -> Method:
    """Adamw under `mi_decay`, which closes its epochs when it chooses."""
    return averaged(ours(name, log_time_rule, "adamw", estimator, own_epochs=True))


def table(num_classes: int, share: int = 1, soft: bool = True) -> MIEstimator:
    """Counts of a part of `BUCKETS`, or of fewer where there are few classes."""
    buckets = min(BUCKETS, num_classes // 2) // share
    return contingency(num_classes=num_classes, soft=soft, buckets=buckets)


LEARNERS = {
    method.name: method
    for method in (
        METHODS["adamw"],
        PLAIN["adamw cosine"],
        METHODS["schedule-free adamw"],
        mi_adamw("mi adamw variational", variational),
        mi_adamw("mi adamw contingency", table),
    )
}


def readers(num_classes: int) -> dict[str, MIEstimator]:
    """The estimators that read one network; the first sets its learning rate."""
    return {
        "variational": variational(num_classes=num_classes),
        f"{BUCKETS} buckets": table(num_classes),
        f"{BUCKETS} buckets, hard": table(num_classes, soft=False),
        f"{BUCKETS // 8} buckets": table(num_classes, share=8),
    }


def run_cell(
    language: Language,
    method: Method,
    rate: float,
    path: Path,
    data: Callable[[], Data],
    seeds: int,
    trainer: Callable[[int], Trainer],
) -> dict[str, Curves]:
    """Horizon -> what its run measured; done now unless it is kept.

    `trainer(steps)` is that of the method when it is told so many steps.
    """
    config = {
        "rate": rate,
        "seeds": seeds,
        "steps": language.steps,
        "held": language.held,
        "rows": list(method.rows),
    }
    runs = load_cell(path, config)
    if runs is None:
        measured = {}
        for horizon, share in HORIZONS.items():
            # A run that is told a shorter horizon is of use at its end alone.
            evaluations = language.evaluations if share == 1 else 1
            if share == 1 or method.knows_horizon:
                steps = round(share * language.steps)
                orders = [batches(language, data(), s, steps) for s in range(seeds)]
                measured[horizon] = train(trainer(steps), rate, orders, evaluations)
        runs = save_cell(path, config, measured)
    return dict(runs)


def summarise(tried: dict[float, dict[str, Curves]], row: str) -> dict[str, Any]:
    """Figures of a row at each horizon, of the rate with the lowest validation loss.

    The curves are of the rate that is chosen for the whole budget.
    """
    rates, figures = list(tried), {}

    def reached(rate: float, horizon: str, metric: str) -> np.ndarray:
        runs = tried[rate]
        values = runs.get(horizon, runs["all"]).values[row][metric][0]
        share = 1.0 if horizon in runs else HORIZONS[horizon]
        return values[:, round(share * values.shape[1]) - 1]

    best = rates[0]
    for horizon in HORIZONS:
        losses = [reached(rate, horizon, "valid_loss").mean() for rate in rates]
        best = rates[int(np.argmin(np.nan_to_num(losses, nan=math.inf)))]
        figures[horizon] = {
            "rate": best,
            "valid_loss": min(losses),
            "perplexity": np.exp(reached(best, horizon, "test_loss")),
            "accuracy": reached(best, horizon, "test_accuracy"),
        }
    whole = tried[best]["all"]
    return {
        "horizons": figures,
        "steps": whole.steps,
        "test_loss": whole.values[row]["test_loss"][0].mean(0),
        "rate": whole.rates[0].mean(0),
    }


def read_one(language: Language, data: Data, rate: float) -> dict[str, Any]:
    """What several estimators read of one network, and what there was to read.

    `bound` is the entropy of all training labels less the validation loss: what
    `variational` would read of very many samples. `padding` counts the labels that the
    batches of an epoch did not have, from the batches themselves.
    """
    estimators = readers(language.vocabulary)

    def make(setting: Any) -> optax.GradientTransformation:
        first, *others = estimators.values()
        # Between equal bounds a decay reads, and leaves updates as they are.
        return optax.chain(
            optax.adamw(1.0),
            mi_decay(setting.trial, estimator=first),
            *(mi_decay(1.0, 1.0, estimator=other) for other in others),
        )

    trainer = make_trainer(language, Method("read", make), data, language.steps)
    read = jax.jit(lambda run: (mi_diagnostics(run[1]), open_updates(run[1])))
    run, seen = trainer.start(rate, jax.random.key(0)), []
    order = batches(language, data, 0, language.steps)
    chunks = np.split(order, READINGS)
    for rows in chunks:
        run = trainer.advance(rate, run, rows)
        seen.append((*read(run), trainer.measure(run)["read"]["valid_loss"]))
    readings, still_open, losses = jax.tree.map(
        lambda *r: np.stack(r), *jax.device_get(seen)
    )
    steps = np.cumsum([len(rows) for rows in chunks])
    padding = np.count_nonzero(data.train[1] == PADDING, axis=1)[order].sum(1)
    by = {}
    for name, reading, updates in zip(
        estimators, readings.values(), still_open, strict=True
    ):
        size = reading.num_samples + reading.dropped
        ends = steps - updates
        starts = ends - np.rint(size / (language.batch * language.length)).astype(int)
        true = [
            int(padding[start:end].sum()) if 0 <= start < end else None
            for start, end in zip(starts, ends, strict=True)
        ]
        by[name] = {**reading._asdict(), "padding": true}
    labels = data.train[1]
    kept = labels[labels >= 0]
    shares = np.bincount(kept) / len(kept)
    present = shares[shares > 0]
    entropy = -np.sum(present * np.log(present))
    return {
        "steps": steps,
        "entropy": entropy,
        "bound": entropy - losses,
        "padding": np.mean(labels < 0),
        "pieces": len(present),
        "rows": len(labels),
        "by": by,
    }


def open_updates(state: Any) -> list[jax.Array]:
    """Updates since an epoch closed last, of each `mi_decay`."""
    found = optax.tree.get_all_with_path(state, "updates_in_epoch")
    return [updates for _, updates in found]


def kept_json(path: Path, make: Callable[[], Any]) -> Any:
    """What a file has, made now unless it is there."""
    if not path.is_file():
        save_json(path, make())
    return load_json(path)


def shortened(language: Language) -> Language:
    """A few steps of a small network, as a check."""
    return dataclasses.replace(
        language,
        read=lambda: language.read()[-2000:],
        vocabulary=400,
        steps=2 * READINGS,
        held=(20, 20),
        width=8,
    )


def run_language(
    name: str,
    language: Language,
    rates: dict[str, Sequence[float]],
    folder: Path,
    seeds: int,
    progress: Progress,
) -> dict[str, Any]:
    """All figures of a language; `rates` are those that each method tries."""
    data = functools.cache(lambda: load(language, folder))
    bar = progress.add_task(name, total=sum(map(len, rates.values())) + 1)
    rows: dict[str, Any] = {}
    for method in LEARNERS.values():
        # Compiled once for all learning rates and seeds.
        trainer = functools.cache(
            lambda steps, of=method: make_trainer(language, of, data(), steps)
        )
        tried = {}
        for rate in rates[method.name]:
            progress.update(bar, description=f"{name}, {method.name} {rate:g}")
            path = cell_path(folder, name, f"{method.name} {rate:g}")
            cell = run_cell(language, method, rate, path, data, seeds, trainer)
            tried[rate] = cell
            progress.advance(bar)
        rows |= {
            row: {"of": method.name, **summarise(tried, row)} for row in method.rows
        }
    progress.update(bar, description=f"{name}, readings")
    driver = rows["mi adamw variational"]["horizons"]["all"]["rate"]
    read = partial(read_one, language, rate=driver)
    readings = kept_json(folder / f"{name}-readings.json", lambda: read(data=data()))
    progress.advance(bar)
    described = ("title", "vocabulary", "steps", "batch", "length", "width")
    return {
        "language": {key: getattr(language, key) for key in described},
        "seeds": seeds,
        "rates": rates,
        "rows": rows,
        "readings": readings,
    }


def best_rates(rows: dict[str, Any]) -> dict[str, Sequence[float]]:
    """Method -> the rate that the better of its rows had at the end."""
    found: dict[str, Sequence[float]] = {}
    for name in LEARNERS:
        ends = [row["horizons"]["all"] for row in rows.values() if row["of"] == name]
        found[name] = [min(ends, key=lambda end: end["valid_loss"])["rate"]]
    return found


def kept(
    names: Sequence[str], folder: Path, seeds: int, short: bool, progress: Progress
) -> dict[str, Any]:
    """Everything of these languages, what is missing run first."""
    languages: dict[str, Any] = {}
    rates: dict[str, Sequence[float]] = dict.fromkeys(LEARNERS, RATES)
    for name in names:
        language = shortened(LANGUAGES[name]) if short else LANGUAGES[name]
        languages[name] = run_language(name, language, rates, folder, seeds, progress)
        rates = best_rates(languages[name]["rows"])
    return {
        **machine(),
        "languages": languages,
    }


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes tables and a figure."""
    args = parse(argv)
    reasons = [LANGUAGES[name].missing() for name in args.languages]
    if not args.state and any(reasons):
        OneLineParser().error(next(filter(None, reasons)))
    folder = args.output / "short" if args.short else args.output
    report, console = args.report or folder, Console()
    if args.state:
        classes = (1100, 1200) if args.short else CLASSES
        source = report / "language-state.json"
        save_json(source, measure_state(args.pairs, classes, console.print))
        text, figure = state_table(load_json(source)), None
    else:
        source = report / "language.json"
        with bars(console) as progress:
            save_json(
                source, kept(args.languages, folder, args.seeds, args.short, progress)
            )
        results = load_json(source)["languages"]
        text, figure = tables(results), draw(results)
    with replacing(source.with_suffix(".md")) as part:
        part.write_text(text)
    if figure is not None:
        save(figure, source.with_suffix(".png"))
    console.print(text, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
