"""Tables and a figure of `benchmarks/language.py`."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from suite.figures import OURS
from suite.markdown import markdown

# Updates after which the table shows what was read; the nearest that there are.
SHOWN = (0.05, 0.1, 0.25, 0.5, 1.0)


def tables(results: Any) -> str:
    """Perplexities, then what was read of one network, a title a vocabulary."""
    parts = []
    for found in results.values():
        language = found["language"]
        parts += [
            f"### {language['vocabulary']:,} pieces: {language['title']}\n",
            perplexities(found),
            f"### Estimates for one network, {language['vocabulary']:,} pieces\n",
            readings(found["readings"]),
        ]
    return "\n".join(parts)


def perplexities(found: Any) -> str:
    """A line a row, by perplexity at the end."""
    rows = []
    for name, row in sorted(
        found["rows"].items(), key=lambda item: np.mean(_perplexity(item[1], "all"))
    ):
        told = " (told)" if row["of"] == "adamw cosine" else ""
        rows.append(
            [
                f"**{name}**" if name.startswith(OURS) else f"{name}{told}",
                f"{row['horizons']['all']['rate']:g}",
                *(
                    with_error(_perplexity(row, horizon), ".1f")
                    for horizon in row["horizons"]
                ),
                f"{np.mean(row['horizons']['all']['accuracy']):.1%}",
            ]
        )
    horizons = [
        f"perplexity, {h}" for h in next(iter(found["rows"].values()))["horizons"]
    ]
    return markdown(["method", "LR", *horizons, "accuracy"], rows)


def with_error(values: np.ndarray, form: str) -> str:
    """The mean of seeds and its standard error."""
    if not np.isfinite(values).all():
        return "diverged"
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):{form}} ± {error:{form}}"


def _perplexity(row: Any, horizon: str) -> np.ndarray:
    """Of each seed, nan where it diverged."""
    return np.asarray(row["horizons"][horizon]["perplexity"], float)


def readings(seen: Any) -> str:
    """U of every estimator, and what the epochs were made of, after some updates."""
    steps = np.asarray(seen["steps"])
    places = [int(np.abs(steps - share * steps[-1]).argmin()) for share in SHOWN]
    rows = []
    for place in dict.fromkeys(places):
        row = [f"{steps[place]:,}"]
        for name, reading in seen["by"].items():
            known, chance = (reading[key][place] for key in ("normalized", "chance"))
            share = "-" if known is None else f"{known:.3f}"
            row.append(share if name == "variational" else f"{share} ({chance:.2f})")
        bound = seen["bound"][place] / seen["entropy"]
        first = next(iter(seen["by"].values()))
        used, dropped, true = (
            first[key][place] for key in ("num_samples", "dropped", "padding")
        )
        row += [
            f"{max(bound, 0.0):.3f}",
            f"{first['entropy'][place]:.2f}",
            f"{used:,.0f}",
            f"{dropped:,.0f}",
            "-" if true is None else f"{true:,}",
        ]
        rows.append(row)
    names = [n if n == "variational" else f"{n} (chance)" for n in seen["by"]]
    header = [
        "step",
        *names,
        "validation",
        "H(Y) of the epoch",
        "labels",
        "dropped",
        "padding",
    ]
    return markdown(header, rows)


def draw(results: Any) -> Figure:
    """A column a vocabulary: test perplexity, learning rate, and what is read."""
    figure, axes = plt.subplots(
        3,
        len(results),
        figsize=(5.2 * len(results), 8),
        layout="constrained",
        squeeze=False,
        height_ratios=(3, 1.6, 2),
    )
    for (top, middle, bottom), found in zip(axes.T, results.values(), strict=True):
        language = found["language"]
        for i, (name, row) in enumerate(found["rows"].items()):
            style: Any = {
                "color": f"C{i}",
                "lw": 2 if name.startswith(OURS) else 1.1,
                "ls": "--" if name.endswith("average") else "-",
            }
            top.plot(
                row["steps"], np.exp(_numbers(row["test_loss"])), label=name, **style
            )
            rate = _numbers(row["rate"])
            if np.isfinite(rate).any() and not name.endswith("average"):
                chosen = row["horizons"]["all"]["rate"]
                middle.plot(row["steps"], rate / chosen, label=name, **style)
        seen = found["readings"]
        for name, reading in seen["by"].items():
            bottom.plot(seen["steps"], _numbers(reading["normalized"]), label=name)
        bound = np.maximum(_numbers(seen["bound"]), 0) / seen["entropy"]
        bottom.plot(seen["steps"], bound, "k:", label="validation")
        top.set_title(f"{language['vocabulary']:,} pieces", fontsize=10)
        top.set(yscale="log", ylabel="test perplexity")
        middle.set(yscale="log", ylabel="LR / lr_max")
        bottom.set(xlabel="step", ylabel="U, as read")
        for ax in (top, middle, bottom):
            ax.set_xlim(0, language["steps"])
    for ax in axes[:, 0]:
        ax.legend(fontsize=7)
    return figure


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.asarray(values, float)
