"""Entropies of tables, one cell at a time, and samples that fill them."""

import math

import numpy as np
from scipy import special, stats
from sklearn.metrics import mutual_info_score

CORRECTIONS = ("miller_madow", "grassberger", "chao_shen")


def noisy_labels(num_classes, samples, seed=0, correct=0.6):
    """Predictions and labels, of which a share is right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, samples)
    noise = rng.integers(0, num_classes, samples)
    return np.where(rng.random(samples) < correct, labels, noise), labels


def joint_counts(outputs, labels, num_classes):
    table = np.zeros((num_classes, num_classes), int)
    np.add.at(table, (labels, outputs), 1)
    return table


def grassberger(n):
    """G(n), by the difference of digammas of halves."""
    gap = special.digamma((n + 1) / 2) - special.digamma(n / 2)
    return special.digamma(n) + 0.5 * (-1.0) ** n * gap


def slow_entropy(cells, correction):
    """In nats, one cell at a time, each formula as its paper has it."""
    cells = [int(n) for n in np.ravel(cells) if n > 0]
    total, once = sum(cells), cells.count(1)
    if correction == "grassberger":
        return math.log(total) - sum(n * grassberger(n) for n in cells) / total
    if correction == "chao_shen":
        coverage = 1 - (once if once < total else total - 1) / total
        shares = [coverage * n / total for n in cells]
        return -sum(p * math.log(p) / (1 - (1 - p) ** total) for p in shares)
    plugin = stats.entropy(cells)
    return plugin + ((len(cells) - 1) / 2 / total if correction else 0)


def slow_mi(table, correction=None):
    """H(Y) + H(X) - H(Y, X), each corrected, in nats."""
    parts = (table.sum(1), table.sum(0), table)
    label, output, both = (slow_entropy(part, correction) for part in parts)
    return label + output - both


def activations(rows, columns, dtype="float32", seed=0):
    """Vectors, or numbers if `columns` is None, and the class that shifts them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, rows)
    shape = (rows,) if columns is None else (rows, columns)
    shift = labels.reshape(-1, *[1] * (len(shape) - 1))
    return (rng.normal(size=shape) + 0.7 * shift).astype(dtype), labels


def bins_of_rows(x, num_bins, low=None, high=None):
    """From the smallest to the largest value of each column where no ends are given."""
    x = x.reshape(len(x), -1)
    low = x.min(0) if low is None else low
    high = x.max(0) if high is None else high
    bins = np.floor((x - low) / ((high - low) / num_bins)).astype(int)
    return np.clip(bins, 0, num_bins - 1)


def slow_binned_mi(x, labels, num_bins, low=None, high=None):
    """Patterns of bins told apart as whole rows."""
    rows = bins_of_rows(x, num_bins, low, high)
    _, symbols = np.unique(rows, axis=0, return_inverse=True)
    return mutual_info_score(labels, symbols.ravel())
