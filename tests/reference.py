"""The truth, slow and obvious: NumPy in float64, one sample and one cell at a time."""

import math

import numpy as np


def softmax(logits):
    shifted = np.exp(logits - np.max(logits, -1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def joint_table(rows, labels, num_classes, weights=None):
    """Table [label, prediction]: the row of each usable sample, times its weight."""
    table = np.zeros((num_classes, num_classes))
    for n, (row, label) in enumerate(zip(rows, labels, strict=True)):
        weight = 1.0 if weights is None else weights[n]
        if 0 <= label < num_classes and weight > 0 and np.all(np.isfinite(row)):
            table[label] += weight * np.asarray(row)
    return table


def entropy(p):
    """In nats."""
    return -sum(q * math.log(q) for q in np.ravel(p) if q > 0)


def mutual_information(table):
    """In nats, as H(Y) + H(X) - H(Y, X)."""
    p = table / table.sum()
    return entropy(p.sum(1)) + entropy(p.sum(0)) - entropy(p)


def residual_rule(pairs, lr, lr_min, threshold, strength):
    """The learning rate after each epoch; a pair is (mi, entropy)."""
    before, rates = None, []
    for mi, h in pairs:
        residual = h - mi
        if before is not None and before - residual <= threshold * before:
            lr = max(lr_min, lr * (1 - strength * (mi / h if h else 0)))
        before = residual
        rates.append(lr)
    return rates


def proportional_rule(pairs, lr, lr_min, lr_max, threshold):
    """Likewise; the learning rate never rises."""
    before, rates = None, []
    for mi, h in pairs:
        if before is not None and mi - before <= threshold * before:
            lr = min(lr, lr_min + (lr_max - lr_min) * (1 - mi / h))
        before = mi
        rates.append(lr)
    return rates


def log_time_rule(pairs, lr, ends, rate, sharpness):
    """Likewise; an epoch ends after as many steps as `ends` says.

    Both averages are sums over single steps: all equal for the mean, rising with the
    ninth power of the step for the recent one, which puts its memory at a tenth.
    """
    estimates, rates = [], []
    for (mi, h), end in zip(pairs, ends, strict=True):
        start = len(estimates)
        estimates += [mi] * (end - start)
        edges = np.arange(end + 1) / end
        mean = np.sum(np.diff(edges) * estimates)
        recent = np.sum(np.diff(edges**10) * estimates)
        if start > 0:
            ratio = min(1.0, mean / recent) if recent > 0 else 1.0
            lr *= (start / end) ** (rate * math.sqrt(mi / h) * ratio**sharpness)
        rates.append(lr)
    return rates
