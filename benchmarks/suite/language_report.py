"""Tables and a figure of `benchmarks/language.py`."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from optax_mi.plotting._shared import name_lines
from suite.markdown import markdown
from suite.style import COLORS, OURS, panels, show_error, styled

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


@styled()
def draw(results: Any) -> Figure:
    """A column a vocabulary: test perplexity, learning rate, and what is read."""
    figure, stacks = panels(len(results), len(results), (2.9, 1.5, 1.9))
    for (top, middle, bottom), found in zip(stacks, results.values(), strict=True):
        language = found["language"]
        for i, (name, row) in enumerate(found["rows"].items()):
            style = _style(name)
            place = (1.02 + 0.015 * i) * language["steps"]
            show_error(top, place, _perplexity(row, "all"), style["color"])
            top.plot(row["steps"], np.exp(_numbers(row["test_loss"])), **style)
            rate = _numbers(row["rate"])
            if np.isfinite(rate).any() and not name.endswith("average"):
                chosen = row["horizons"]["all"]["rate"]
                middle.plot(row["steps"], rate / chosen, **style)
        seen = found["readings"]
        for (name, reading), color in zip(seen["by"].items(), COLORS, strict=False):
            values = _numbers(reading["normalized"])
            bottom.plot(seen["steps"], values, color=color, label=name)
        bound = np.maximum(_numbers(seen["bound"]), 0) / seen["entropy"]
        bottom.plot(seen["steps"], bound, "k:", label="validation")
        title = textwrap.fill(language["title"], 30)
        top.set_title(f"{language['vocabulary']:,} pieces\n{title}")
        top.set_yscale("log")
        top.yaxis.set_major_formatter("{x:g}")
        top.yaxis.set_minor_formatter("{x:g}")
        middle.set(ylim=(None, 1.001))
        middle.ticklabel_format(useOffset=False)
        bottom.set(xlabel="updates")
        for ax in (top, middle):
            ax.tick_params(labelbottom=False)
        for ax in (top, middle, bottom):
            ax.set_xlim(0, 1.15 * language["steps"])
    for ax, label in zip(
        stacks[0], ("test perplexity", "LR / lr_max", "share of H(Y) read"), strict=True
    ):
        ax.set_ylabel(label)
    seeds = next(iter(results.values()))["seeds"]
    figure.suptitle(
        f"means of {seeds} seeds; bars: standard error at the end", fontsize=8
    )
    for ax in stacks[-1]:
        name_lines(ax)
    return figure


def _style(name: str) -> dict[str, Any]:
    """The line of a row: an average is dashed, and ours lies below its twin."""
    color = {
        "adamw": COLORS[6],
        "adamw cosine": COLORS[5],
        "schedule-free adamw": COLORS[2],
        "mi adamw variational": COLORS[3],
        "mi adamw contingency": COLORS[0],
    }[name.removesuffix(" + average")]
    ours = name.startswith(OURS)
    return {
        "color": color,
        "linewidth": 2.8 if ours else 1.1,
        "linestyle": "--" if name.endswith("average") else "-",
        "zorder": 2.0 if ours else 2.1,
        "label": name,
    }


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.asarray(values, float)
