"""What a search takes for batches."""

import jax
import numpy as np
import pytest

from optax_mi.range_test._inputs import check_key, stack

X, Y = np.zeros((3, 5, 2), np.float32), np.zeros((3, 5), np.int32)


def test_lists_loaders_and_generators_are_stacked():
    batches = list(zip(X, Y, strict=True))
    for given in (batches, iter(batches), (batch for batch in batches)):
        x, y = stack("batches", given)
        assert (x.shape, y.shape) == (X.shape, Y.shape)
    assert stack("batches", {"x": X})["x"].shape == X.shape


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        ([], "batches has no batches|got shapes"),
        ([(X[0], Y[0]), (X[0, :2], Y[0, :2])], "one shape.*leave out the last"),
        ((X, Y[:2]), "share a leading axis of batches"),
        ((X[:0], Y[:0]), "share a leading axis of batches"),
    ],
)
def test_refuses_what_does_not_stack(batches, reason):
    with pytest.raises(ValueError, match=f"(?s){reason}"):
        stack("batches", batches)


def test_keys_old_and_new():
    check_key(jax.random.key(0))
    check_key(jax.random.PRNGKey(0))
    for wrong in (0, None, np.zeros(2)):
        with pytest.raises(TypeError, match="key must be a key"):
            check_key(wrong)
