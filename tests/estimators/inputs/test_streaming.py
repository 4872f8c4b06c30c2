"""The shell around every estimator that reads batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic import MAX_BATCH
from optax_mi.estimators.inputs import Kind, Samples, check_kind, streaming

pytestmark = pytest.mark.usefixtures("strict")


def read(outputs, labels, weights):
    """No reader of ours: it marks what went through it."""
    return Samples(
        outputs + 1, labels, jnp.ones(labels.shape) if weights is None else weights
    )


def add(state, samples):
    return state + jnp.sum(samples.outputs * samples.weights)


SHELL = streaming(lambda: jnp.zeros(()), read, add, lambda s: s, lambda a, b: a + b)


def test_an_update_adds_what_is_read_and_ignores_other_signals():
    batch = {"outputs": jnp.arange(3.0), "labels": jnp.arange(3)}
    state = SHELL.update(SHELL.init(), **batch, loss=1.0, activations=None)
    assert state == 6
    weights = jnp.array([1.0, 0.0, 2.0])
    assert SHELL.update(state, **batch, weights=weights) == 6 + 7
    assert SHELL.merge(state, state) == 12


@pytest.mark.parametrize("missing", ["outputs", "labels"])
def test_the_signal_is_required(missing):
    batch = {"outputs": jnp.zeros(3), "labels": jnp.arange(3)}
    del batch[missing]
    with pytest.raises(TypeError, match=missing):
        SHELL.update(SHELL.init(), **batch)


def test_a_batch_may_be_as_large_as_counts_are_exact():
    def update(samples):
        one = jax.ShapeDtypeStruct((samples,), jnp.float32)
        ids = jax.ShapeDtypeStruct((samples,), jnp.int32)
        return jax.eval_shape(
            lambda x, y: SHELL.update(SHELL.init(), outputs=x, labels=y), one, ids
        )

    chex.assert_shape(update(MAX_BATCH), ())
    with pytest.raises(ValueError, match=r"\(8388609,\), more than 8388608 samples"):
        update(MAX_BATCH + 1)


def test_real_labels_have_no_bound():
    assert SHELL.bounded
    assert SHELL.gathers
    assert not streaming(*SHELL[:1], read, add, *SHELL[2:4], bounded=False).bounded


def test_kinds_of_samples():
    assert check_kind(3, 2, None) == Kind(3, 2, None)
    assert check_kind(np.int64(1), None, 4) == Kind(1, None, 4)


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ((3, None, None), ValueError, "exactly one of .* num_classes=None and label_f"),
        ((3, 2, 1), ValueError, "exactly one of .* num_classes=2 and label_features=1"),
        ((0, 2, None), ValueError, "features must be at least 1, got features=0"),
        ((1.0, 2, None), TypeError, r"features must be an int, got features=1\.0"),
        ((1, 1, None), ValueError, "num_classes must be at least 2, got num_classes=1"),
        ((1, None, 0), ValueError, "label_features must be at least 1"),
        ((1, None, True), TypeError, "label_features must be an int"),
    ],
)
def test_kinds_that_cannot_be(numbers, error, message):
    with pytest.raises(error, match=message):
        check_kind(*numbers)
