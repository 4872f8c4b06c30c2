"""Neither an eager update nor a compiled step compiles anything twice."""

import contextlib
import functools

import chex
import jax
import jax.numpy as jnp
import pytest

from optax_mi import mi_decay
from optax_mi.estimators import contingency
from tests.contract import CASES, ESTIMATORS, NUM_CLASSES, labelled

PARAMS = {"w": jnp.ones(3), "b": jnp.ones(())}
STEPS_PER_EPOCH = 2
BUCKETS = contingency(num_classes=NUM_CLASSES, buckets=2)


def of_estimator(estimator, signal):
    tx = mi_decay(0.5, estimator=estimator, steps_per_epoch=STEPS_PER_EPOCH)
    return lambda: (tx, signal)


def of_case(case):
    return case.make(steps_per_epoch=STEPS_PER_EPOCH), case.signal()


UPDATES = {key: functools.partial(of_case, case) for key, case in CASES.items()} | {
    f"mi_decay-{key}": of_estimator(*pair)
    for key, pair in {**ESTIMATORS, "buckets": (BUCKETS, labelled())}.items()
}


@contextlib.contextmanager
def compilations():
    """The names of the programs compiled, in the persistent cache or not."""
    names = []

    def listen(event, duration, **about):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def epochs(update, state, signal, number):
    for _ in range(number * STEPS_PER_EPOCH):
        _, state = update(PARAMS, state, PARAMS, **signal)
    return state


def test_what_is_made_anew_is_compiled_anew():
    with compilations() as names:
        for _ in range(2):
            jax.lax.while_loop(lambda x: x < 3, lambda x: x + 1, jnp.int32(0))
    assert len(names) >= 2


@pytest.mark.parametrize("key", UPDATES)
def test_eager_updates_compile_once(key):
    tx, signal = UPDATES[key]()
    state = epochs(tx.update, tx.init(PARAMS), signal, 2)
    with compilations() as names:
        epochs(tx.update, state, signal, 3)
    assert names == []


@pytest.mark.parametrize("key", ["mi_decay-averaged", "layerwise_mi_decay"])
def test_a_compiled_step_is_traced_once(key):
    tx, signal = UPDATES[key]()
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(tx.update, n=1))
    # What came out of a step goes into the next, with the very same types.
    epochs(update, tx.init(PARAMS), signal, 3)
