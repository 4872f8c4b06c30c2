"""The cross-entropy bound of whole arrays against its definition and the stream."""

import numpy as np
import pytest

from optax_mi.estimators import variational, variational_mi
from optax_mi.estimators.tables import _variational_mi
from tests import reference
from tests.helpers import measure

pytestmark = pytest.mark.usefixtures("strict")


def data():
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(399, 7)).astype(np.float32)
    return logits, rng.integers(-1, 7, 399), rng.random(399).astype(np.float32)


def truth(logits, labels, weights):
    used = labels >= 0
    p = reference.softmax(logits.astype(float))
    share = np.bincount(labels[used], weights[used]) / weights[used].sum()
    loss = -np.log(p[np.arange(len(p)), labels][used]) @ weights[used]
    return reference.entropy(share) - loss / weights[used].sum()


def test_is_the_stream_without_its_clip():
    logits, labels, weights = data()
    streamed = measure(variational(num_classes=7), logits, labels, weights, batches=3)
    once = variational_mi(logits, labels, weights=weights, clip=False)
    # Random logits know nothing, so that the bound is below 0.
    assert streamed.mi == 0
    assert float(once.mi) == pytest.approx(truth(logits, labels, weights), rel=1e-4)
    assert float(once.dropped) == 399 - np.sum(labels >= 0)
    for field in ("entropy", "num_samples", "std_error", "dropped"):
        theirs = float(getattr(streamed, field))
        assert float(getattr(once, field)) == pytest.approx(theirs, rel=1e-5)


def test_leading_axes_and_blocks_change_nothing(monkeypatch):
    logits, labels, weights = data()
    wanted = truth(logits, labels, weights)
    shape = (3, 133)
    deep = logits.reshape(*shape, 7), labels.reshape(shape)
    # Blocks of 50 rows, the last one of 49.
    monkeypatch.setattr(_variational_mi, "block_of_rows", lambda _: 50)
    once = variational_mi(*deep, weights=weights.reshape(shape), clip=False)
    assert float(once.mi) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("outputs", "labels", "weights", "message"),
    [
        (np.zeros((0, 2), np.float32), np.zeros(0, int), None, "there are no samples"),
        (np.zeros((3, 2), np.float32), np.zeros(3, int), [1], "weights must have the"),
        (np.float32(0), 0, None, "not logits of two classes"),
        (
            np.zeros((3, 1), np.float32),
            np.zeros(3, int),
            None,
            "not logits of two classes",
        ),
    ],
)
def test_arrays_that_do_not_fit(outputs, labels, weights, message):
    with pytest.raises(ValueError, match=message):
        variational_mi(outputs, labels, weights=weights)
