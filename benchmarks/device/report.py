"""The tables of a run of `benchmarks/gpu.py`, in Markdown."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from suite.markdown import markdown

from device.card import EXACT
from device.training import OURS

GOAL = 20.0  # times, of the range test
Cells = Mapping[str, Any]  # name -> what is kept of it


def tables(results: Any) -> str:
    """Everything that was measured, by section; what was not, above it."""
    device = results["device"]
    memory = device["memory_bytes"]
    about = [
        device["device"],
        *([f"{memory / 2**30:.0f} GiB"] if memory else []),
        f"beside {device['cores']} cores",
        f"jax {device['jax']}",
    ]
    parts = [f"{', '.join(about)}.\n"]
    if not device["accelerator"]:
        parts.append("This is a CPU: the tables say nothing of an accelerator.\n")
    if results["short"]:
        parts.append("In short: sizes are tiny, and the figures mean nothing.\n")
    if results["missing"]:
        parts.append(f"Not measured: {'; '.join(results['missing'])}.\n")
    for section, (title, table) in SECTIONS.items():
        if cells := results["cells"].get(section):
            parts += [f"### {title}\n", table(cells)]
    return "\n".join(parts)


def wrong(results: Any) -> list[str]:
    """What is not within the tolerance, in words."""
    return [
        f"{row['name']}, {row['columns']} columns: {_value(row['device'])} nats on the "
        f"device, {_value(row['cpu'])} on the CPU, {_value(row['truth'])} in float64"
        for cell in results["cells"].get("check", {}).values()
        for row in cell["figures"]
        if not row["ok"]
    ]


def _check(cells: Cells) -> str:
    rows = [
        [
            row["name"],
            f"{row['columns']}",
            _value(row["device"]),
            _number(row["off_cpu"], ".0e"),
            _number(row["off_truth"], ".0e"),
            f"{row['tolerance']:.0e}",
            "ok" if row["ok"] else "WRONG",
        ]
        for cell in cells.values()
        for row in cell["figures"]
    ]
    header = ("estimator", "columns", "nats", "off the CPU", "off float64", "allowed")
    return markdown((*header, ""), rows)


def _steps(cells: Cells) -> str:
    rows = []
    for name, cell in cells.items():
        forms: dict[tuple[str, str], Any] = {}
        for row in cell["figures"]:
            forms.setdefault((row["of"], row["against"]), {})[row["form"]] = row
        head, peak = name, _bytes(cell["peak_bytes"])
        for (of, against), by_form in forms.items():
            line = [head, "A/A" if of == against else of, against]
            for form in ("call", "scan"):
                line += _timed(by_form[form]) if form in by_form else ["-"] * 3
            rows.append([*line, peak])
            head = peak = ""
    timed = ("µs", "ratio", "95 %")
    scanned = (f"{column}, in a scan" for column in timed)
    return markdown(("", "", "against", *timed, *scanned, "peak, GB"), rows)


def _timed(row: Any) -> list[str]:
    """Of the denominator the time of a step; the ratio and its interval."""
    low, middle, high = row["ratio"]
    return [
        f"{row['base_seconds'] * 1e6:.4g}",
        f"{middle:.3f}",
        f"{low:.3f} to {high:.3f}",
    ]


def _estimators(cells: Cells) -> str:
    parts = []
    cells = dict(cells)
    if products := cells.pop("products", None):
        of = products["figures"]
        rows = [
            [
                name,
                f"{row['flops'] / 1e12:.3g}",
                f"{row['flops'] / of[EXACT]['flops']:.2f}",
                f"{row['error']:.0e}",
            ]
            for name, row in of.items()
        ]
        header = ("matrix product", "TFLOP/s", f"times {EXACT}", "error, rms")
        parts.append(markdown(header, rows))
    rows = []
    for name, cell in cells.items():
        row = cell["figures"]
        low, middle, high = row["cpu_ratio"]
        rows.append(
            [
                name,
                f"{row['seconds'] * 1e3:.3g}",
                f"{middle:.3g}",
                f"{low:.3g} to {high:.3g}",
                _number(row["differs"], ".0e"),
                _number(row["flops"], ".3g", 1e-12),
                _number(row["share"], ".1%"),
                _bytes(cell["peak_bytes"]),
            ]
        )
    header = ("estimator", "ms", "times as fast as the CPU", "95 %", "differs, nats")
    header += ("TFLOP/s", f"of {EXACT}", "peak, GB")
    if rows:
        parts.append(markdown(header, rows))
    return "\n".join(parts)


def _range(cells: Cells) -> str:
    rows = []
    for name, cell in cells.items():
        head = name
        for way, row in cell["figures"].items():
            low, middle, high = row["ratio"]
            reached = "" if way == OURS else ("yes" if middle >= GOAL else "no")
            rows.append(
                [
                    head,
                    way,
                    f"{row['first_seconds']:.2f}",
                    f"{row['seconds']:.3g}",
                    f"{middle:.3g}",
                    f"{low:.3g} to {high:.3g}",
                    reached,
                ]
            )
            head = ""
    header = ("task", "way", "first call, s", "again, s", "times ours", "95 %")
    return markdown((*header, f"{GOAL:g} or more"), rows)


def _fashion(cells: Cells) -> str:
    # Runs of one method that are told different ends fill one row.
    rows: dict[str, dict[int, Any]] = {}
    speeds = {}
    for cell in cells.values():
        figures = cell["figures"]
        for row, judged in figures["rows"].items():
            seen = rows.setdefault(row, {})
            seen |= {int(epochs): of for epochs, of in judged.items()}
            speeds[row] = figures["seconds"] / figures["steps"]
    ends = sorted({epochs for seen in rows.values() for epochs in seen})
    base = next(iter(speeds.values()))
    lines = []
    for row, seen in rows.items():
        line = [row]
        for epochs in ends:
            of = seen.get(epochs)
            line += ["-", "-"] if of is None else _judged(of)
        lines.append([*line, f"{speeds[row] / base:.2f}"])
    header = [""]
    for epochs in ends:
        header += [f"loss, {epochs} epochs", "accuracy"]
    return markdown([*header, f"time / {next(iter(rows))}"], lines)


def _judged(of: Any) -> list[str]:
    """Mean over seeds: loss and its standard error, and accuracy."""
    loss = np.array(of["loss"], float)
    if not np.isfinite(loss).all():
        return ["diverged", "-"]
    error = loss.std(ddof=1) / math.sqrt(len(loss))
    return [f"{loss.mean():.4f} ± {error:.4f}", f"{np.mean(of['accuracy']):.2%}"]


def _value(value: float | None) -> str:
    return _number(value, ".5g")


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    """A dash where there is none."""
    return "-" if value is None else f"{value * scale:{form}}"


def _bytes(count: int | None) -> str:
    """In GB; a dash where something before took as much, or nobody counts."""
    return _number(count, ".3g", 1e-9)


SECTIONS: dict[str, tuple[str, Callable[[Cells], str]]] = {
    "check": ("Whether the estimators are right", _check),
    "step": ("A train step with mi_decay against sgd alone", _steps),
    "layers": ("With a learning rate for every layer", _steps),
    "average": ("With the average of the params", _steps),
    "estimators": ("Estimators against the CPU and against products", _estimators),
    "range": ("The range test against one learning rate after another", _range),
    "fashion": ("Fashion-MNIST, all seeds side by side", _fashion),
}
