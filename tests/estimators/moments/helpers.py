"""Log-determinants by NumPy, and data for them."""

import numpy as np
from scipy import special

# Entries of a float32 correlation err by a few eps; so do the log-determinants of well
# conditioned matrices, by column.
FLOAT32 = 2e-6


def log_det(x):
    return np.linalg.slogdet(np.atleast_2d(np.cov(np.asarray(x, float).T)))[1]


def real_truth(x, y, corrected=True):
    """Of real labels, in nats; less what the Wishart distribution says of the bias."""
    joint = np.concatenate([x, y], 1)
    n = len(x) - 1

    def expected(columns):
        return sum(special.digamma((n - i) / 2) for i in range(columns))

    value = (log_det(x) + log_det(y) - log_det(joint)) / 2
    if corrected:
        sizes = [z.shape[1] for z in (x, y, joint)]
        bias = [expected(size) for size in sizes]
        value -= (bias[0] + bias[1] - bias[2]) / 2
    return value


def class_truth(x, labels, corrected=True):
    """Likewise, of class labels."""
    x = np.asarray(x, float)
    n, columns = x.shape
    classes = np.unique(labels)
    total = (x - x.mean(0)).T @ (x - x.mean(0))
    parts = [x[labels == c] - x[labels == c].mean(0) for c in classes]
    within = sum(part.T @ part for part in parts)
    value = (np.linalg.slogdet(total)[1] - np.linalg.slogdet(within)[1]) / 2
    if corrected:
        for i in range(columns):
            value -= special.digamma((n - 1 - i) / 2) / 2
            value += special.digamma((n - len(classes) - i) / 2) / 2
    return value


def noisy_truth(x, y, noise):
    """I(X + noise; Y) from the covariances that X + noise has in the limit."""
    x = np.asarray(x, float)
    added = noise**2 * x.var(0).sum()
    total = np.cov(x.T, bias=True) + added * np.eye(x.shape[1])
    if np.issubdtype(y.dtype, np.integer):
        parts = [x[y == c] - x[y == c].mean(0) for c in np.unique(y)]
        within = sum(part.T @ part for part in parts) / len(x)
        given_y = within + added * np.eye(x.shape[1])
    else:
        both = np.cov(np.concatenate([x, y], 1).T, bias=True)
        k = x.shape[1]
        given_y = total - both[:k, k:] @ np.linalg.solve(both[k:, k:], both[k:, :k])
    return (np.linalg.slogdet(total)[1] - np.linalg.slogdet(given_y)[1]) / 2


def real_data(seed=0, samples=400, columns=3, others=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, columns))
    y = x[:, :1] + rng.normal(size=(samples, others))
    return x.astype(np.float32), y.astype(np.float32)


def class_data(seed=0, samples=400, columns=3, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    x = (
        rng.normal(size=(samples, columns))
        + rng.normal(size=(classes, columns))[labels]
    )
    return x.astype(np.float32), labels
