"""Every estimator by its definition: slow, obvious, in float64 NumPy.

A model takes the rows that count, alone, and returns an :class:`Answer`: the nats
between which the estimate must lie, given how far the coordinates may be off. Of counts
and determinants that is a point and what rounding adds; of neighbours, the counts that
distances leave open where two of them are closer than they are known.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
from scipy.special import digamma

# What sums of logarithms in float32 are off by.
SUMS = 2e-5


class Answer(NamedTuple):
    """Nats, before they are clipped to [0, H(Y)]."""

    low: float
    high: float

    def wider(self, by):
        return Answer(self.low - by, self.high + by)

    def clipped(self, entropy):
        return Answer(*(min(max(nats, 0.0), entropy) for nats in self))


def either(a, b):
    """The answer that holds both."""
    return Answer(min(a.low, b.low), max(a.high, b.high))


ANYTHING = Answer(-np.inf, np.inf)
NOTHING = Answer(0.0, 0.0)


def entropy(shares):
    """In nats, of shares of any shape."""
    p = np.ravel(shares)[np.ravel(shares) > 0]
    return float(-np.sum(p * np.log(p)))


def of_table(joint):
    """Mutual information of a joint table of weights, and the entropy of its rows."""
    total = joint.sum()
    if not total > 0:
        return NOTHING, 0.0
    p = joint / total
    rows, columns = entropy(p.sum(1)), entropy(p.sum(0))
    nats = rows + columns - entropy(p)
    return Answer(nats, nats).wider(SUMS * (1 + rows)), rows


def numbered(ids):
    """Ids from 0 on, and how many there are."""
    used, ids = np.unique(ids, return_inverse=True)
    return ids.ravel(), len(used)


def counts(outputs, labels, weights):
    """The joint table of class ids, [label, output]."""
    (x, columns), (y, rows) = numbered(outputs), numbered(labels)
    joint = np.zeros((rows, columns))
    np.add.at(joint, (y, x), weights)
    return joint


def softmax(logits):
    q = np.exp(logits - logits.max(1, keepdims=True))
    return q / q.sum(1, keepdims=True)


def soft_counts(logits, labels, weights):
    """The joint table of probabilities, [label, output]."""
    y, rows = numbered(labels)
    joint = np.zeros((rows, logits.shape[1]))
    np.add.at(joint, y, softmax(logits) * weights[:, None])
    return joint


def cross_entropy(logits, labels, weights):
    """H(Y) less the cross-entropy; a loss rounds as the logits do."""
    if not len(labels):
        return NOTHING, 0.0
    top = logits.max(1)
    log_sum = np.log(np.exp(logits - top[:, None]).sum(1))
    losses = log_sum + (top - logits[np.arange(len(labels)), labels])
    shares = weights / weights.sum()
    h = entropy(np.bincount(labels, shares))
    loss = np.sum(shares * losses)
    return Answer(h - loss, h - loss).wider(SUMS * (1 + abs(loss))), h


def binned(x, labels, weights, low, high, bins, off):
    """Patterns of bins; both bins where a value is `off` from an edge or nearer."""
    if not len(x):
        return NOTHING, 0.0
    low = x.min(0) if low is None else np.broadcast_to(low, x.shape[1:])
    high = x.max(0) if high is None else np.broadcast_to(high, x.shape[1:])
    width = (high - low) / bins
    place = (x - low) / np.where(width > 0, width, 1)
    blur = off / np.where(width > 0, width, 1) + 4e-7 * (1 + np.abs(place))
    near = np.abs(place - np.round(place)) <= blur
    near &= (np.round(place) > 0) & (np.round(place) < bins) & (width > 0)
    # Whole numbers in bins of a power of two: all is exact.
    exact = (off == 0) & (np.frexp(width)[0] == 0.5) & (x == np.round(x))
    near &= ~(exact & (np.abs(x) < 2**20))
    at = np.argwhere(near)
    if len(at) > 6:
        return ANYTHING, of_table(counts(labels, labels, weights))[1]
    found = []
    for ways in itertools.product((0, 1), repeat=len(at)):
        chosen = np.clip(np.floor(place), 0, bins - 1)
        for (i, j), way in zip(at, ways, strict=True):
            chosen[i, j] = np.round(place[i, j]) - way
        _, symbols = np.unique(chosen, axis=0, return_inverse=True)
        answer, h = of_table(counts(symbols, labels, weights))
        found.append(answer)
    return functools.reduce(either, found), h


def gaussian(x, labels, weights, off, real, eps, noise=0.0, mean=0.0):
    """Determinants, less the bias of Wishart's distribution.

    `off` [columns] is in units of X, then Y; `mean` is that of the samples before they
    were moved.
    """
    rows = np.concatenate([x, labels], 1) if real else x
    features = x.shape[1]
    if not len(rows):
        return NOTHING, 0.0
    p = weights / weights.sum()
    count = weights.sum() ** 2 / np.sum(weights**2)
    largest = np.abs(rows).max(0)
    units = np.where(largest > 0, largest, 1)
    rows, off, mean = rows / units, off / units, mean / units
    middle = p @ rows
    around = rows - middle
    total = (around * p[:, None]).T @ around
    spread = np.diag(total)
    h, others = np.inf, 0
    given = total
    if not real:
        ids, classes = numbered(labels)
        h = entropy(np.bincount(ids, p))
        within = (
            around
            - np.array([p[ids == c] @ rows[ids == c] for c in range(classes)])[ids]
            / np.bincount(ids, p)[ids][:, None]
            + middle
        )
        given = (within * p[:, None]).T @ within
        others = classes - 1
    threshold = (4 * eps * (np.abs(mean) + np.abs(middle))) ** 2
    if np.any((spread < 9 * threshold) & (spread > threshold / 9)):
        return ANYTHING, h
    # The rounding of a mean is no spread.
    varies = (spread > threshold) & (spread > (2 * off) ** 2)
    if np.any((spread > 0) & (spread <= (64 * off) ** 2)):
        return ANYTHING, h
    columns = int(varies[:features].sum())
    if real:
        others = int(varies[features:].sum())
    if not (columns and others):
        return NOTHING, h
    if abs(count - 1 - columns - others) < 1e-3 and np.ptp(weights):
        return ANYTHING, h
    if count - 1 < columns + others - 1e-3:
        return NOTHING, h
    kept = np.flatnonzero(varies)
    total, given, spread = (
        total[np.ix_(kept, kept)],
        given[np.ix_(kept, kept)],
        spread[kept],
    )
    scale = 1 / np.sqrt(spread)
    total, given = (a * np.outer(scale, scale) for a in (total, given))
    off = (off[kept] * scale).max()
    parts = [total[:columns, :columns], total[columns:, columns:], total]
    signs = (1, 1, -1)
    if not real:
        parts, signs = [total, given], (1, -1)
    nats, blur = 0.0, SUMS
    for part, sign in zip(parts, signs, strict=True):
        least = np.linalg.eigvalsh(part)[0]
        if least < 1e4 * eps:
            return ANYTHING, h
        nats += sign * np.linalg.slogdet(part)[1] / 2
        blur += (40 * eps + 8 * off) * np.sum(1 / np.linalg.eigvalsh(part))
    freedom = count - 1
    for i in range(columns):
        nats -= digamma((freedom - i) / 2) / 2
        nats += digamma((freedom - others - i) / 2) / 2
    return Answer(nats, nats).wider(blur), h


def kernels(x, labels, bandwidth, exponent, off, eps):
    """Direct sums; `exponent` is 1 / 2 or 1 / 8."""
    if not len(x):
        return NOTHING, 0.0
    x = x - x.mean(0)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1) * (exponent / bandwidth**2)
    k = np.exp(-squares)
    same = labels[:, None] == labels[None]
    local = np.log((k * same).sum(1) / same.sum(1)) - np.log(k.mean(1))
    size = np.sqrt((x**2).sum(1).max() * exponent) / bandwidth
    # Of exponents up to 50, by what rounds coordinates, and squares of some columns.
    blur = 20 * (2 * eps * size + np.linalg.norm(off) / bandwidth)
    if x.shape[1] > 1:
        blur += 16 * eps * size**2
    if blur > 0.05:
        return ANYTHING, entropy(np.bincount(labels) / len(labels))
    nats = local.mean()
    return Answer(nats, nats).wider(SUMS + blur), entropy(
        np.bincount(labels) / len(labels)
    )


def noise_of_ties(x, narrow=None):
    """By how much values that repeat may be moved, [N, d].

    `narrow` is the least relative step of numbers between which noise is to tell.
    """
    moved = np.zeros(x.shape)
    for column, move in zip(x.T, moved.T, strict=True):
        ordered = np.sort(column)
        for value, n in zip(*np.unique(column, return_counts=True), strict=True):
            first, far = np.searchsorted(ordered, value), 1 + n // 64
            gaps = [np.inf]
            if first >= far:
                gaps.append(value - ordered[first - far])
            if first + n - 1 + far < len(ordered):
                gaps.append(ordered[first + n - 1 + far] - value)
            if n > 1 and np.isfinite(min(gaps)):
                width = 0.1 * min(gaps)
                if narrow:
                    least = 256 * n**0.5 * narrow * np.ptp(column)
                    width = min(max(least, 1e-4 * width), width)
                move[column == value] = width
    return moved


def _apart(x, each, euclid):
    """Distances [N, N] and how far each may be off, for coordinates [N, d] that are."""
    gaps = np.abs(x[:, None] - x[None])
    blur = each[:, None] + each[None]
    np.einsum("iij->ij", blur)[:] = 0.0
    if not euclid:
        return gaps.max(-1), blur.max(-1)
    distance = np.sqrt((gaps**2).sum(-1))
    # Squares below float32's least are nothing beside the largest.
    return distance, np.sqrt((blur**2).sum(-1)) + (
        1e-18 * np.abs(gaps).max() if gaps.shape[-1] > 1 else 0
    )


def _within(distance, blur, radius, low, high, clear):
    """Fewest and most of the samples nearer than the radius [N], itself included."""
    sure = (distance + blur < low[:, None]) | (distance + blur == 0)
    maybe = distance - blur <= high[:, None]
    exact = (distance < radius[:, None]) | (distance == 0)
    return np.where(clear, exact.sum(1), np.maximum(sure.sum(1), 1)), np.where(
        clear, exact.sum(1), maybe.sum(1)
    )


def ross(x, labels, k, off, key, eps, exact):
    """Equation 3 of Ross (2014), with the counts that distances leave open."""
    if not len(x):
        return NOTHING, 0.0
    h = entropy(np.bincount(labels) / len(labels))
    sizes = np.bincount(labels)[labels]
    x, labels, sizes = x[sizes > 1], labels[sizes > 1], sizes[sizes > 1]
    if not len(x):
        return NOTHING, h
    n = len(x)
    off = np.zeros(x.shape[1]) if exact else off + 2 * eps * np.ptp(x, axis=0)
    noise = noise_of_ties(x) if key else np.zeros(x.shape)
    distance, blur = _apart(x, off + noise, euclid=True)
    if not exact:
        blur = blur + 2 * eps * (2 + x.shape[1]) * distance
        if x.shape[1] > 4:
            # A product of matrices: squares round as the largest terms in them.
            norms = ((x - x.mean(0)) ** 2).sum(1)
            squares = 12 * eps * x.shape[1] ** 0.5 * (norms[:, None] + norms[None])
            blur = blur + squares / np.where(distance > 0, distance, np.inf)
    other = (labels[:, None] == labels[None]) & ~np.eye(n, dtype=bool)
    near = np.minimum(k, sizes - 1)
    row = np.arange(n)

    def kth(d):
        return np.sort(np.where(other, d, np.inf), 1)[row, near - 1]

    radius, low, high = kth(distance), kth(distance - blur), kth(distance + blur)
    at = np.argsort(np.where(other, distance, np.inf), 1, kind="stable")[row, near - 1]
    close = np.abs(distance - radius[:, None]) <= blur + blur[row, at][:, None]
    if exact and not key:
        close[:] = False
    close[row, at] = close[row, row] = False
    clear = ~close.any(1)
    clear &= (radius > blur[row, at]) | exact
    fewest, most = _within(distance, blur, radius, low, high, clear)
    base = digamma(n) + (digamma(near) - digamma(sizes)).mean()
    return Answer(base - digamma(most).mean(), base - digamma(fewest).mean()).wider(
        SUMS
    ), h


def ksg(x, y, k, off_x, off_y, key, eps, exact, euclid):
    """Equation 8 of Kraskov et al. (2004), likewise."""
    n = len(x)
    if n <= k:
        return NOTHING, np.inf if n else 0.0
    if not (np.ptp(x, axis=0).any() and np.ptp(y, axis=0).any()):
        return NOTHING, np.inf
    exact = exact and not key
    parts = []
    for a, off in ((x, off_x), (y, off_y)):
        spread = np.sqrt(a.var(0).sum()) if key else 1.0
        a = (a - a.mean(0)) / spread if key else a
        off = (
            np.zeros(a.shape[1])
            if exact
            else off / spread + 4 * eps * np.ptp(a, axis=0).max()
        )
        noise = noise_of_ties(a, eps) if key else np.zeros(a.shape)
        distance, blur = _apart(a, off + noise, euclid)
        # Noise on ties is in the spread, too.
        blur = blur + 2 * np.sqrt((noise**2).mean(0).sum()) * distance
        rounded = (8 + 2 * a.shape[1] * euclid) * eps * distance
        parts.append((distance, blur if exact else blur + rounded))
    (dx, bx), (dy, by) = parts
    joint, blur = np.maximum(dx, dy), np.maximum(bx, by)
    row, itself = np.arange(n), np.eye(n, dtype=bool)

    def kth(d):
        return np.sort(np.where(itself, np.inf, d), 1)[:, k - 1]

    radius, low, high = kth(joint), kth(joint - blur), kth(joint + blur)
    at = np.argsort(np.where(itself, np.inf, joint), 1, kind="stable")[:, k - 1]
    clear = (radius > blur[row, at]) | exact
    around = blur[row, at][:, None]
    for d, b in ((joint, blur), (dx, bx), (dy, by)):
        close = np.abs(d - radius[:, None]) <= b + around
        # That which is the radius stays so, unless the other is about as large.
        close[row, at] &= d[row, at] != radius
        close[row, row] = False
        clear &= ~close.any(1) | exact
    both = np.abs(dx - dy)[row, at] <= bx[row, at] + by[row, at]
    clear &= ~both | exact
    terms = [_within(d, b, radius, low, high, clear) for d, b in parts]
    base = digamma(n) + digamma(k)
    worst = [base - sum(digamma(t[i]) for t in terms).mean() for i in (1, 0)]
    return Answer(*worst).wider(SUMS), np.inf
