"""A network that has learned nine classes goes on with the tenth: what of its rate?

An MLP on Fashion-MNIST trains without shirts, and then with them: as one class of ten,
as half of all images, or as the only class. The state goes on as it is, or is made anew
from the trained weights. Beside `mi_decay` are a constant learning rate, each with a
second row of averaged weights, a cosine that is told all steps, one that starts again,
and schedule-free adamw. All are on adamw, and try three learning rates, of which that
with the lowest validation loss at the end is reported, on test data with all classes.
What is done is kept, so that an interrupted run resumes.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from suite.arguments import OneLineParser, add_output, at_least, folder
from suite.sources import add_data_dir


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--seeds", type=partial(at_least, 2), default=3)
    parser.add_argument(
        "--short", action="store_true", help="a hundredth of the steps, as a check"
    )
    add_data_dir(parser)
    add_output(parser, "outputs/fine_tuning")
    parser.add_argument(
        "--report",
        type=folder,
        metavar="DIR",
        help="of tables and figure; --output by default",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import numpy as np
from optax import contrib
from rich.console import Console
from suite.data import images
from suite.files import load_json, replacing
from suite.going_on import LOOKS, Runner, Stream, Way
from suite.markdown import markdown
from suite.methods import METHODS, PLAIN
from suite.nets import MLP
from suite.progress import bars
from suite.results import cell_path, save_json
from suite.study_figures import draw_ways
from suite.style import OURS, save
from suite.tasks import BATCH

from optax_mi import eval_params

RATES = (1e-3, 3e-3, 1e-2)
STREAMS = {
    "half": Stream("all ten classes, after half of the steps", 1600, 1600, 0.1),
    "mixed": Stream("half of the images are new, after half", 1600, 1600, 0.5),
    "alone": Stream("new images alone, after half", 1600, 1600, 1.0),
}
SHORT = 100  # of so many steps is one left in a short run
WAYS = {
    "mi adamw, goes on": Way(METHODS["mi adamw"]),
    "mi adamw, anew": Way(METHODS["mi adamw"], fresh=True),
    "mi adamw, anew from the average": Way(
        METHODS["mi adamw"], fresh=True, view=eval_params
    ),
    "adamw, goes on": Way(METHODS["adamw"]),
    "adamw, anew": Way(METHODS["adamw"], fresh=True),
    "schedule-free adamw, goes on": Way(METHODS["schedule-free adamw"]),
    "schedule-free adamw, anew": Way(
        METHODS["schedule-free adamw"],
        fresh=True,
        view=contrib.schedule_free_eval_params,
    ),
    "adamw cosine, told all steps": Way(PLAIN["adamw cosine"]),
    "adamw cosine, anew": Way(PLAIN["adamw cosine"], fresh=True),
}
EARLY = 1 + LOOKS.index(2)  # the look that the table shows beside the last


def run_cell(
    runner: Runner, way: Way, stream: Stream, path: Path, seeds: int
) -> dict[str, Any]:
    """Row -> its figures at the best of its rates; trained now unless they are kept."""
    config = {
        "stream": list(stream),
        "rates": list(RATES),
        "seeds": seeds,
        "rows": list(way.method.rows),
    }
    if not path.is_file() or load_json(path)["config"] != config:
        runs = [
            [runner.run(way, stream, rate, seed) for seed in range(seeds)]
            for rate in RATES
        ]
        by_rate = [jax.tree.map(lambda *v: np.stack(v), *of) for of in runs]
        found = jax.tree.map(lambda *v: np.stack(v), *by_rate)
        save_json(path, {"config": config, "runs": found})
    kept = load_json(path)["runs"]
    return {row: at_best(kept, row) for row in way.method.rows}


def at_best(kept: Any, row: str) -> dict[str, Any]:
    """Figures [seeds, looks] of a row at the rate of its lowest validation loss."""
    losses = np.asarray(kept["valid"][row], float).mean(1)
    best = int(np.argmin(np.nan_to_num(losses, nan=math.inf)))
    return {
        "lr": RATES[best],
        "steps": kept["steps"][0][0],
        "rates": kept["rates"][best],
        **{name: values[best] for name, values in kept["rows"][row].items()},
    }


def named(way: str, row: str) -> str:
    """A way, and whether its row judges the average."""
    return f"{way}, average" if row.endswith("+ average") else way


def tables(results: Any) -> str:
    """A table a stream, by the loss at the end."""
    parts = []
    for found in results.values():
        stream = Stream(*found["stream"])
        rows = []
        for name, row in sorted(
            found["rows"].items(), key=lambda item: np.mean(_last(item[1]["loss"]))
        ):
            rates = np.asarray(row["rates"], float).mean(0)
            line = [f"**{name}**" if name.startswith(OURS) else name, f"{row['lr']:g}"]
            known = np.isfinite(rates).all()
            line += [f"{rates[i] / row['lr']:.2f}" if known else "-" for i in (0, -1)]
            line += [_with_error(row["loss"], i) for i in (EARLY, -1)]
            for accuracy in ("accuracy", "new", "old"):
                line.append(f"{np.mean(_last(row[accuracy])):.1%}")
            rows.append(line)
        header = [
            "way",
            "LR",
            "LR share at the switch",
            "LR share at the end",
            "loss at 1/8 after it",
            "loss at the end",
        ]
        parts += [
            f"### {stream.title[0].upper()}{stream.title[1:]}\n",
            f"{stream.before:,} steps of nine classes, {stream.after:,} after.\n",
            markdown([*header, "accuracy", "shirts", "others"], rows),
        ]
    return "\n".join(parts)


def _last(values: Sequence[Sequence[float]]) -> list[float]:
    return [seed[-1] for seed in values]


def _with_error(values: Any, look: int) -> str:
    """The mean over seeds and its standard error."""
    seen = np.asarray(values, float)[:, look]
    error = seen.std(ddof=1) / np.sqrt(len(seen))
    return f"{seen.mean():.4f} ± {error:.4f}" if np.isfinite(seen).all() else "diverged"


def main(argv: list[str] | None = None) -> None:
    """Runs what is missing, then writes tables and a figure."""
    args = parse(argv)
    load = partial(images, name="fashion_mnist", data_dir=args.data_dir)
    runner = Runner(MLP((256,), 10), BATCH, load)
    folder = args.output / "short" if args.short else args.output
    console, results = Console(), {}
    with bars(console) as progress:
        bar = progress.add_task("", total=len(STREAMS) * len(WAYS))
        for key, stream in STREAMS.items():
            if args.short:
                before, after = stream.before // SHORT, stream.after // SHORT
                stream = stream._replace(before=before, after=after)
            rows: dict[str, Any] = {}
            for name, way in WAYS.items():
                progress.update(bar, description=f"{key}, {name}")
                path = cell_path(folder, key, name.replace(",", ""))
                found = run_cell(runner, way, stream, path, args.seeds)
                rows |= {named(name, row): figures for row, figures in found.items()}
                progress.advance(bar)
            results[key] = {"stream": list(stream), "rows": rows}
    source = (args.report or folder) / "fine_tuning.json"
    save_json(source, results)
    results = load_json(source)
    text = tables(results)
    with replacing(source.with_suffix(".md")) as part:
        part.write_text(text)
    save(draw_ways(results), source.with_suffix(".png"))
    console.print(f"{jax.devices()[0].device_kind}\n\n{text}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
