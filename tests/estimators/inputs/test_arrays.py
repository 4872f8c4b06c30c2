"""What arrays tell before they are traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.inputs import as_arrays, count_classes, find_classes
from optax_mi.estimators.inputs._arrays import check_class_labels

pytestmark = pytest.mark.usefixtures("strict")


def test_arrays_of_jax_stay_what_they_are():
    ours, theirs = jnp.arange(3), np.arange(3.0)
    same, nothing, new = as_arrays(ours, None, theirs)
    assert same is ours
    assert nothing is None
    assert isinstance(new, jax.Array)
    np.testing.assert_array_equal(new, theirs)
    # A tracer is one already.
    jax.make_jaxpr(lambda x: as_arrays(x)[0] is x or pytest.fail("was converted"))(ours)


@pytest.mark.parametrize("labels", [[4, -1, 0], np.array([[0, 4]], np.uint8)])
def test_classes_are_the_largest_label_and_one_more(labels):
    assert find_classes(labels, None) == 5
    # What the caller knows better is not looked for.
    assert find_classes(labels, 7) == 7
    assert count_classes("labels", jnp.asarray(labels)) == 5


def test_given_classes_need_no_values():
    assert jax.eval_shape(lambda y: jnp.zeros(find_classes(y, 3)), 0).shape == (3,)


@pytest.mark.parametrize(
    ("labels", "num_classes", "error", "message"),
    [
        ([0.0, 1.0], None, TypeError, r"must be integers, got dtype float.*argmax"),
        ([True, False], None, TypeError, "must be integers, got dtype bool"),
        ([-1, -2], None, ValueError, "an element of at least 0, got a largest of -1"),
        (np.zeros(0, int), None, ValueError, r"shape \(0,\): there are no samples"),
        ([0], 0, ValueError, "num_classes must be at least 1, got num_classes=0"),
        ([0], 2.0, TypeError, r"num_classes must be an int, got num_classes=2\.0"),
    ],
)
def test_what_is_refused(labels, num_classes, error, message):
    with pytest.raises(error, match=message):
        find_classes(labels, num_classes)


def test_traced_labels_are_told_to_pass_the_number():
    with pytest.raises(ValueError, match=r"num_classes is needed .* where outputs can"):
        jax.jit(lambda ids: count_classes("outputs", ids))(jnp.arange(2))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_labels_may_be_any_integers(dtype):
    check_class_labels(jnp.zeros(2, dtype))
