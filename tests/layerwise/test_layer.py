"""An activation goes with the labels of its rows, and what does not fit is named."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi import reduce_activations
from optax_mi.estimators import contingency, gaussian, measured
from optax_mi.layerwise._layer import estimator_of_layer, reader_of_layer
from tests.contract import LABELS, NUM_CLASSES, logits, scattered

N = len(LABELS)
ROWS = scattered()["outputs"]
VECTORS = gaussian(features=2, num_classes=NUM_CLASSES)
PAIRS = gaussian(features=2, label_features=3)


def layer(estimator=VECTORS, max_rows=256):
    return estimator_of_layer("fc1", estimator, reader_of_layer("fc1", max_rows))


def update(activation, labels=LABELS, *, of=None, **extra):
    """The state after a batch, or its shapes where an error is wanted."""
    of = layer() if of is None else of
    seen = {"activations": {"fc1": activation}, "labels": labels, **extra}
    return jax.eval_shape(lambda: of.update(of.init(), **seen))


@pytest.mark.parametrize("wrap", [np.asarray, jnp.asarray, list])
def test_the_first_rows_go_with_the_first_labels(wrap):
    of, weights = layer(max_rows=10), np.ones(N, np.float32)
    weights[0] = 0.0
    labels = wrap(np.asarray(LABELS))
    seen = {"labels": labels, "weights": weights, "outputs": ROWS * jnp.nan}
    cut = of.update(of.init(), activations={"fc1": ROWS[:10]}, **seen)
    same = VECTORS.update(
        VECTORS.init(), outputs=ROWS[:10], labels=LABELS[:10], weights=weights[:10]
    )
    np.testing.assert_array_equal(cut.recent, same.recent)
    # All rows are as good, and as many as there are.
    whole = of.update(of.init(), activations={"fc1": ROWS}, labels=labels)
    same = VECTORS.update(VECTORS.init(), outputs=ROWS, labels=LABELS)
    np.testing.assert_array_equal(whole.recent, same.recent)


def test_of_tokens_the_first_sequences_are_kept():
    of = layer(contingency(num_classes=NUM_CLASSES), max_rows=3)
    outputs, labels = logits().reshape(4, 4, -1), LABELS.reshape(4, 4)
    seen = of.update(of.init(), activations={"fc1": outputs[:3]}, labels=labels)
    assert of.estimate(seen).num_samples == 12


@pytest.mark.parametrize("rows", [1, 9, 11, 15, 17, 32])
def test_other_numbers_of_rows_are_refused(rows):
    match = (
        rf"activations\['fc1'\] has {rows} rows for 16 labels.*max_rows=10.*swapaxes"
    )
    with pytest.raises(ValueError, match=match):
        update(jnp.ones((rows, 2)), of=layer(max_rows=10))


def test_time_first_is_refused_and_the_cure_is_right():
    states = jnp.ones((5, N, 2))
    for reduced in (states, reduce_activations(states)):
        with pytest.raises(ValueError, match=r"5 rows for 16 labels.*jnp\.swapaxes\("):
            update(reduced)
    assert update(reduce_activations(jnp.swapaxes(states, 0, 1)))


@pytest.mark.parametrize("value", [None, "a", 1.0, (ROWS, ROWS), [[1.0, 2.0]], {}])
def test_what_is_no_array_is_refused(value):
    match = rf"activations\['fc1'\] must be an array, got a {type(value).__name__}\."
    with pytest.raises(TypeError, match=match):
        update(value)


def test_the_group_must_be_in_a_mapping():
    for given in (None, [ROWS], ROWS):
        with pytest.raises(TypeError, match="activations must be a mapping"):
            layer().update(layer().init(), activations=given, labels=LABELS)
    with pytest.raises(ValueError, match=r"must have the group 'fc1', got \['fc2'\]\."):
        layer().update(layer().init(), activations={"fc2": ROWS}, labels=LABELS)


@pytest.mark.parametrize(
    ("estimator", "labels"),
    [(VECTORS, LABELS), (VECTORS, LABELS[:, None]), (PAIRS, jnp.ones((N, 3)))],
)
@pytest.mark.parametrize("shape", [(N, 8, 8, 2), (N, 8, 8, 16), (N, 8, 2)])
def test_a_convolution_that_is_not_reduced(estimator, labels, shape):
    with pytest.raises(
        ValueError, match=r"activations\['fc1'\].*axes between"
    ) as caught:
        update(jnp.ones(shape), labels, of=layer(estimator))
    assert "reduce_activations(activations)" in str(caught.value)
    assert "moveaxis" not in str(caught.value)
    rows = reduce_activations(jnp.ones(shape), features=2)
    assert update(rows, labels, of=layer(estimator))


@pytest.mark.parametrize(
    ("activation", "labels", "extra", "error", "match"),
    [
        (ROWS[:, :1], LABELS, {}, ValueError, "activations['fc1'] of shape (16, 1)"),
        (jnp.ones((N, 5)), LABELS, {}, ValueError, "estimator features=5."),
        (ROWS * 1j, LABELS, {}, TypeError, "activations['fc1'] must be real numbers"),
        (ROWS, 1, {}, ValueError, "labels must have an axis of samples"),
        (1.0 + ROWS[0, 0], LABELS, {}, ValueError, "['fc1'] must have an axis"),
        (ROWS, None, {}, TypeError, "labels must be an array of numbers, got None"),
        (ROWS, LABELS + 0.5, {}, TypeError, "labels must be integers"),
        (ROWS[:10], LABELS, {"weights": ROWS[:12, 0]}, ValueError, "weights must have"),
    ],
)
def test_what_an_estimator_refuses_is_named(activation, labels, extra, error, match):
    with pytest.raises(error, match=re.escape(match)) as caught:
        update(activation, labels, of=layer(max_rows=10), **extra)
    assert not re.search(r"\boutputs\b", str(caught.value))


def test_an_estimator_that_takes_no_outputs_fails_loudly():
    with pytest.raises(TypeError, match="mi"):
        update(ROWS, of=layer(measured(1.0)))


def test_errors_of_jax_keep_their_kind():
    def looks(state, *, outputs, **extra_args):
        return state if outputs.sum() > 0 else outputs

    of = layer(VECTORS._replace(update=looks))
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda h: of.update(0, activations={"fc1": h}, labels=LABELS))(ROWS)
