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


def spread(rows, labels, num_classes, weights):
    """Sums [2, C] of q (1 - q) and -q ln q over usable samples, times their weights."""
    sums = np.zeros((2, num_classes))
    for row, label, weight in zip(rows, labels, weights, strict=True):
        if is_usable(row, label, weight, num_classes):
            for x, q in enumerate(row):
                sums[:, x] += weight * np.array([q * (1 - q), entropy(q)])
    return sums


def chance(table, spread, count):
    """What the table reads on average if the rows are drawn whatever the label."""
    total, nats = table.sum(), 0.0
    for share_y in table.sum(1) / total:
        for x, share in enumerate(table.sum(0) / total):
            n = share_y * count
            if n <= 0 or share <= 1e-30 or count <= 1:
                continue
            s = max((1 - share - spread[0, x] / total / share) / share, 0.0)
            j = max(-math.log(share) - spread[1, x] / total / share, 0.0)
            ratio = n / max(s, 1e-30)
            a = s / 2 + (math.exp(j) - 1 - s / 2) / (1 + 0.7 * ratio + 0.175 * ratio**2)
            left = min((1 - share_y) * count / max(count - 1, 1.0), 1.0)
            nats += share_y * share * math.log1p(a * left / n)
    return max(nats, 0.0)


def adjusted(mi, h, chance):
    return (mi - chance) / (h - chance) if h > 1e-6 else 0.0


class ResidualRule:
    """An epoch at a time: its estimate in, the learning rate out."""

    def __init__(self, threshold, strength):
        self.threshold, self.strength = threshold, strength
        self.before = None

    def __call__(self, mi, h, lr, lr_min, lr_max, step, chance=0.0, std_error=0.0):
        before, self.before = self.before, h - mi
        if before is None or before - (h - mi) > self.threshold * before:
            return lr
        known = max(0.0, adjusted(mi, h, chance))
        return max(lr_min, lr * (1 - self.strength * known))


class ProportionalRule:
    """Likewise."""

    def __init__(self, threshold):
        self.threshold = threshold
        self.before = None

    def __call__(self, mi, h, lr, lr_min, lr_max, step, chance=0.0, std_error=0.0):
        before, self.before = self.before, mi
        if before is None or mi - before > self.threshold * before:
            return lr
        known = max(0.0, adjusted(mi, h, chance))
        return lr_min + (lr_max - lr_min) * (1 - known)


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
        self.seen, self.lowest = 0, 2.0

    def look(self, mi, h, chance=0.0):
        """What is known before the first epoch is over."""
        self.lowest = adjusted(mi, h, chance)

    def __call__(self, mi, h, lr, lr_min, lr_max, step, chance=0.0, std_error=0.0):
        known = adjusted(mi, h, chance)
        error = std_error / (h - chance) if h > 1e-6 else 0.0
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
        edges = np.array(self.ends) / step
        mean = np.diff(edges) @ self.values
        weights = np.diff(edges**10)
        recent = weights @ self.values
        doubt = 2 * math.sqrt(weights**2 @ self.variances)
        self.lowest = min(self.lowest, recent)
        if not before:
            return lr
        if recent < 0.98 * mean and self.values[-1] > self.values[-2]:
            return lr
        knows = min(1.0, 10 * max(0.0, recent - doubt))
        gain = recent + doubt - self.lowest + 0.02
        ratio = min(1.0, (mean - self.lowest + 0.02) / gain)
        return lr * (before / step) ** (self.rate * knows * ratio**self.sharpness)


def rates(rule, pairs, lr, lr_min, lr_max, ends, **measured):
    """The learning rate after each epoch; a pair is (mi, entropy). It never rises."""
    after = []
    for (mi, h), end in zip(pairs, ends, strict=True):
        lr = min(lr, rule(mi, h, lr, lr_min, lr_max, end, **measured))
        after.append(lr)
    return after
