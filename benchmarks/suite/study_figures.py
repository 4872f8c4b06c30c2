"""Figures of the studies that stand beside the comparison."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from optax_mi.plotting._shared import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    VERMILLION,
)
from suite.style import (
    COLORS,
    OURS,
    WIDTH,
    legend_below,
    line_style,
    lines_of,
    panels,
    styled,
)

# Of an epoch's length, a run's and a batch's in `research.py`.
FACTORS = (0.25, 1.0, 4.0)
VARIED = {
    "epochs": "length of an epoch,\nx the task's own",
    "budgets": "updates,\nx the task's own",
    "batches": "batch,\nx the task's own",
}
# Rows of the figure of `fine_tuning.py`.
WAYS = {
    "mi adamw, goes on, average": BLUE,
    "mi adamw, anew, average": VERMILLION,
    "adamw, goes on, average": SKY,
    "schedule-free adamw, goes on": GREEN,
    "adamw cosine, told all steps": FAINT,
    "adamw cosine, anew": BLACK,
}
TESTS = {"parallel": VERMILLION, "ramp": ORANGE, "validation": BLUE}


@styled()
def draw_factors(name: str, table: dict[str, Any], factors: Sequence[float]) -> Figure:
    """Loss against what was varied, over the lowest of the task: a panel a task."""
    columns = min(3, len(table))
    figure, stacks = panels(len(table), columns, (2.1,))
    highest = 1.0
    for place, ((ax,), (task, methods)) in enumerate(
        zip(stacks, table.items(), strict=False)
    ):
        rows = {
            method: np.array([row[f"{f:g}"] or np.nan for f in factors], float)
            for method, row in methods.items()
        }
        lowest = min(np.nanmin(row) for row in rows.values())
        highest = max(highest, *(np.nanmax(row) / lowest for row in rows.values()))
        for (method, row), color in zip(rows.items(), COLORS, strict=False):
            style = line_style(method, color, thick=method == "log_time_rule")
            ax.plot(factors, row / lowest, "o-", **style)
        ax.set(xscale="log", yscale="log", title=task)
        ax.set_xticks(factors, [f"{factor:g}" for factor in factors])
        ax.set_yticks((1, 1.1, 1.2, 1.5, 2), ("1", "1.1", "1.2", "1.5", "2"))
        ax.minorticks_off()
        if place % columns == 0:
            ax.set_ylabel("mean test loss at the\nend / lowest of the task")
        if place + columns >= len(table):
            ax.set_xlabel(VARIED[name])
    for (ax,) in stacks[: len(table)]:
        ax.set_ylim(0.97, 1.05 * highest)
    legend_below(figure, lines_of(stacks[0][0]), 5, "")
    return figure


@styled()
def draw_ways(results: Any) -> Figure:
    """A column a stream: test loss after the switch, and learning rate."""
    figure, stacks = panels(len(results), len(results), (2.3, 1.5))
    seeds = 0
    for (top, bottom), found in zip(stacks, results.values(), strict=True):
        title, before, after, _ = found["stream"]
        ends = []
        for row, color in WAYS.items():
            figures = found["rows"][row]
            style = line_style(row, color, thick=row.startswith(OURS))
            steps = np.asarray(figures["steps"]) - before
            loss = np.asarray(figures["loss"], float)[:, 1:]
            rates = np.asarray(figures["rates"], float) / figures["lr"]
            seeds = len(loss)
            for ax, x, curves in ((top, steps[1:], loss), (bottom, steps, rates)):
                if np.isfinite(curves).all():
                    ax.plot(x, curves.mean(0), **style)
                    band = {"color": color, "alpha": 0.2, "linewidth": 0}
                    ax.fill_between(x, curves.min(0), curves.max(0), **band)
            ends += [loss.mean(0)[0], loss.mean(0)[-1]]
        low, high = np.nanmin(ends), np.nanmax(ends)
        top.set_ylim(low - 0.1 * (high - low), high)
        top.set_title(title.replace(", ", ",\n"))
        top.tick_params(labelbottom=False)
        bottom.set(xlabel="updates after the switch", ylim=(0, 1.05))
        for ax in (top, bottom):
            ax.set_xlim(-0.03 * after, 1.03 * after)
    stacks[0][0].set_ylabel("test loss, all classes, nats")
    stacks[0][1].set_ylabel("LR / first LR")
    note = f"lines: means of {seeds} seeds; bands: lowest to highest of them"
    legend_below(figure, lines_of(stacks[0][0]), 3, note)
    return figure


@styled()
def draw_suggestions(cells: dict[str, dict[str, Any]]) -> Figure:
    """Test loss against lr_max, and where the suggestions lie.

    A row of panels a task, a column an optimizer.
    """
    optimizers = list(next(iter(cells.values())))
    figure, axes = plt.subplots(
        len(cells),
        len(optimizers),
        figsize=(WIDTH, 1.5 * len(cells) + 0.6),
        sharex="col",
        squeeze=False,
    )
    for ax, optimizer in zip(axes[0], optimizers, strict=True):
        ax.set_title(optimizer)
    for ax in axes[-1]:
        ax.set_xlabel("lr_max")
    for line, (task, row) in zip(axes, cells.items(), strict=True):
        for ax, cell in zip(line, row.values(), strict=True):
            losses = np.array(cell["losses"], float)
            losses /= np.nanmin(losses.mean(1))
            error = losses.std(1, ddof=1) / np.sqrt(losses.shape[1])
            mean = losses.mean(1)
            ax.axhspan(1, 1.02, color=GREEN, alpha=0.2, linewidth=0)
            band = {"color": QUIET, "alpha": 0.2, "linewidth": 0}
            ax.fill_between(cell["grid"], mean - error, mean + error, **band)
            ax.plot(cell["grid"], mean, "o-", color=QUIET, linewidth=1, markersize=2)
            # Thin ones lie on thick ones, where tests agree.
            for width, (test, color) in zip((3, 2, 1), TESTS.items(), strict=True):
                if rate := cell["suggested"][test]["lr_max"]:
                    ax.axvline(rate, color=color, linewidth=width, label=test)
            ax.set(xscale="log", ylim=(0.98, 1.3))
        line[0].set_ylabel(f"{task}\ntest loss / lowest")
    note = "lr_max suggested; gray: standard error of seeds; green: within 2 %"
    legend_below(figure, lines_of(axes[0, 0]), 3, note)
    return figure


@styled()
def draw_readings(seen: Any) -> Figure:
    """Truth and readings over the epochs, a panel a layer, in shares of H(Y)."""
    layers, h = seen["layers"], seen["entropy"]
    figure, axes = plt.subplots(
        2, len(layers), figsize=(WIDTH, 4.6), sharex=True, sharey=True, squeeze=False
    )
    for ax, layer in zip(axes[0], layers, strict=True):
        ax.set_title(layer)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    for line, field in zip(axes, ("noisy", "plain"), strict=True):
        for ax, found in zip(line, layers.values(), strict=True):
            for i, (name, values) in enumerate(found[field].items()):
                shares, color = np.asarray(values) / h, COLORS[i]
                dash = (0, (4, 1 + i)) if i % 2 else "-"
                ax.plot(
                    seen["epochs"],
                    shares.mean(1),
                    color=color,
                    linestyle=dash,
                    linewidth=1.1,
                    marker="o",
                    markersize=2,
                    label=name,
                )
                ends = shares.min(1), shares.max(1)
                ax.fill_between(
                    seen["epochs"], *ends, color=color, alpha=0.2, linewidth=0
                )
            truth = np.asarray(found["truth"]) / h
            ax.plot(seen["epochs"], truth, "k:", linewidth=2, label="truth with noise")
            ax.set(ylim=(-0.03, 1.05), xscale="symlog")
            ax.set_xticks([0, 1, 2, 4, 8, 24], ["0", "1", "2", "4", "8", "24"])
            ax.minorticks_off()
        what = "layer with noise" if field == "noisy" else "layer as it is"
        line[0].set_ylabel(f"{what}\nMI / H(Y)")
    figure.suptitle(f"UCI {seen['title']}", fontsize=8)
    note = "lines: means of readings of frozen epochs; bands: lowest to highest of them"
    legend_below(figure, lines_of(axes[0, 0]), 4, note)
    return figure


MARKS = {
    "mutual_information": ("o", BLACK),
    "gaussian_mi": ("o", BLUE),
    "gaussian_mi, noise": ("s", VERMILLION),
    "ross_mi": ("^", GREEN),
    "kde_mi": ("v", PURPLE),
    "binned_mi, 8 bins": ("D", ORANGE),
    "plugin_mi, argmax": ("P", SKY),
    "variational_mi": ("X", BLACK),
    "gaussian_mi, copula": ("<", BLUE),
    "ksg_mi": (">", VERMILLION),
}


@styled()
def draw_pairs(seen: Any) -> Figure:
    """Estimates against the truth: a column of panels a kind, a row a layer."""
    kinds = seen["kinds"]
    layers = list(next(iter(kinds.values())))
    figure, axes = plt.subplots(
        len(layers),
        len(kinds),
        figsize=(WIDTH, 1.35 * len(layers) + 0.9),
        sharex="col",
        sharey="col",
        squeeze=False,
    )
    for ax, layer in zip(axes[:, 0], layers, strict=True):
        ax.set_ylabel(f"{layer}\nestimate, nats")
    handles: dict[str, Any] = {}
    for line, (kind, found) in zip(axes.T, kinds.items(), strict=True):
        for ax, layer in zip(line, layers, strict=True):
            low, high = found[layer]["low"], found[layer]["high"]
            handles["truth"] = ax.fill_between(
                high, low, high, color="0.75", edgecolor="0.4", label="truth"
            )
            for name, values in found[layer]["read"].items():
                mark, color = MARKS.get(name, ("*", QUIET))
                handles[name] = ax.plot(
                    high,
                    values,
                    color=color,
                    linestyle="--" if mark in "<>" else "-",
                    linewidth=1,
                    marker=mark,
                    label=name,
                )[0]
        line[0].set_title(textwrap.fill(kind, 18))
        line[-1].set_xlabel("I(class; what\ncomes out), nats")
    legend_below(figure, handles, 4, "")
    return figure
