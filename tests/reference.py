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
        if is_usable(row, label, weight, num_classes):
            table[label] += weight * np.asarray(row)
    return table


def is_usable(row, label, weight, num_classes):
    known = 0 <= label < num_classes
    return known and 0 < weight < np.inf and bool(np.all(np.isfinite(row)))


def entropy(p):
    """In nats."""
    return -sum(q * math.log(q) for q in np.ravel(p) if q > 0)


def mutual_information(table):
    """In nats, as H(Y) + H(X) - H(Y, X)."""
    p = table / table.sum()
    return entropy(p.sum(1)) + entropy(p.sum(0)) - entropy(p)


class ResidualRule:
    """An epoch at a time: its estimate in, the learning rate out."""

    def __init__(self, threshold, strength):
        self.threshold, self.strength = threshold, strength
        self.before = None

    def __call__(self, mi, h, lr, lr_min, lr_max, step):
        before, self.before = self.before, h - mi
        if before is None or before - (h - mi) > self.threshold * before:
            return lr
        return max(lr_min, lr * (1 - self.strength * (mi / h if h else 0)))


class ProportionalRule:
    """Likewise."""

    def __init__(self, threshold):
        self.threshold = threshold
        self.before = None

    def __call__(self, mi, h, lr, lr_min, lr_max, step):
        before, self.before = self.before, mi
        if before is None or mi - before > self.threshold * before:
            return lr
        return lr_min + (lr_max - lr_min) * (1 - (mi / h if h else 0))


class LogTimeRule:
    """Likewise; the epoch ended with the step that is given.

    Epochs are put together until they make up a fiftieth of all steps. Both averages
    are sums over what was put together: by length for the mean, by differences of the
    tenth power of the step for the recent one, which puts its memory at a tenth.
    """

    def __init__(self, rate, sharpness):
        self.rate, self.sharpness = rate, sharpness
        self.waiting = []
        self.ends, self.values, self.variances = [0], [], []
        self.seen = 0

    def __call__(self, mi, h, lr, lr_min, lr_max, step, chance=0.0, std_error=0.0):
        known = (mi - chance) / (h - chance) if h else 0.0
        error = std_error / (h - chance) if h else 0.0
        self.waiting.append((step - self.seen, known, error))
        self.seen = step
        before = self.ends[-1]
        if before and step - before < 0.02 * step:
            return lr
        lengths, values, errors = np.array(self.waiting).T
        shares = lengths / lengths.sum()
        self.values.append(shares @ values)
        self.variances.append(shares**2 @ errors**2)
        self.waiting = []
        self.ends.append(step)
        if not before:
            return lr
        edges = np.array(self.ends) / step
        mean = np.diff(edges) @ self.values
        weights = np.diff(edges**10)
        recent = weights @ self.values
        deviation = math.sqrt(weights**2 @ self.variances)
        if recent < 0.98 * mean and self.values[-1] > self.values[-2]:
            return lr
        knows = min(1.0, 10 * max(0.0, recent - 2 * deviation))
        ratio = max(mean, 0.0) / recent if recent > mean else 1.0
        return lr * (before / step) ** (self.rate * knows * ratio**self.sharpness)


def rates(rule, pairs, lr, lr_min, lr_max, ends, **measured):
    """The learning rate after each epoch; a pair is (mi, entropy). It never rises."""
    after = []
    for (mi, h), end in zip(pairs, ends, strict=True):
        lr = min(lr, rule(mi, h, lr, lr_min, lr_max, end, **measured))
        after.append(lr)
    return after
