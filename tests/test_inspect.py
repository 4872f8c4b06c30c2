"""Learning rates found wherever they are."""

import json
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

from optax_mi import learning_rates, log_values, mi_decay, mi_diagnostics, mi_sgd
from optax_mi.estimators import gaussian
from optax_mi.flax import MITrainState
from tests.contract import CASES, WRAPPERS

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3), "s": jnp.ones(())}


def make(lr=0.5):
    return mi_decay(lr, num_classes=2, steps_per_epoch=1)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_inside_every_wrapper(wrap):
    groups = {
        WRAPPERS["named_chain"]: ["mi"],
        WRAPPERS["partition"]: ["nobody", "ours"],
        WRAPPERS["selective_transform"]: ["train"],
    }.get(wrap, ["all"])
    state = wrap(CASES["mi_decay"]).init(PARAMS)
    for found in (learning_rates(state), jax.jit(learning_rates)(state)):
        assert list(found) == groups
        assert all(lr.dtype == jnp.float32 and lr == 0.5 for lr in found.values())
    assert list(mi_diagnostics(state)) == groups


def test_nested_groups_and_names_that_meet():
    inner = optax.partition({"a": make(0.1), "b": make(0.2)}, {"w": "a", "b": "b"})
    state = {
        "net": inner.init({"w": PARAMS["w"], "b": PARAMS["b"]}),
        "rest": optax.chain(make(0.3), make(0.4)).init(PARAMS),
    }
    found = {group: round(float(lr), 3) for group, lr in learning_rates(state).items()}
    assert found == {"net/a": 0.1, "net/b": 0.2, "rest": 0.3, "rest_2": 0.4}


def test_none_to_find():
    assert learning_rates(optax.adam(1e-3).init(PARAMS)) == {}
    assert mi_diagnostics(()) == {}


@pytest.mark.parametrize("kind", [TrainState, MITrainState])
def test_in_a_linen_train_state(kind):
    model = nn.Dense(2)
    params = model.init(jax.random.key(0), jnp.ones((1, 3)))["params"]
    state = kind.create(
        apply_fn=model.apply,
        params=params,
        tx=mi_sgd(0.5, num_classes=2, steps_per_epoch=1),
    )
    assert learning_rates(state) == {"all": 0.5}


def test_in_an_nnx_optimizer():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    tx = optax.chain(optax.adam(1.0), make(0.25))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    for state in (optimizer, optimizer.opt_state):
        (lr,) = learning_rates(state).values()
        assert isinstance(lr, jax.Array)
        assert lr == 0.25
    assert jnp.isnan(mi_diagnostics(optimizer)["all"].mi)


def test_diagnostics_before_and_after_an_epoch():
    tx = mi_decay(0.5, num_classes=2, steps_per_epoch=2)
    state = tx.init(PARAMS)
    labels = jnp.array([0, 1, 0, 1, -1])
    for epoch in (0, 1):
        _, state = tx.update(PARAMS, state, outputs=labels, labels=labels)
        seen = mi_diagnostics(state)["all"]
        assert seen.epoch == epoch
        assert jnp.isnan(seen.mi) == (epoch == 0)
    assert seen.normalized == pytest.approx(1.0)
    assert (seen.num_samples, seen.dropped, seen.held) == (8, 2, 0)


def test_the_learning_rate_is_also_found_by_name():
    state = optax.chain(optax.sgd(1.0, momentum=0.9), make(0.25)).init(PARAMS)
    assert optax.tree.get(state, "current_lr") == 0.25


def test_diagnostics_are_numbers_that_json_takes():
    state = make(0.3).init(PARAMS)
    seen = mi_diagnostics(state)["all"]
    assert json.loads(json.dumps(seen._asdict()))["learning_rate"] == np.float32(0.3)
    assert type(seen.learning_rate) is float
    assert type(seen.epoch) is int
    arrays = jax.jit(mi_diagnostics)(state)["all"]
    assert all(isinstance(field, jax.Array) for field in arrays)


def test_values_for_loggers():
    tx = optax.partition({"a": make(0.1), "b": make(0.2)}, {"w": "a", "v": "b"})
    params = {"w": jnp.ones(2), "v": jnp.ones(3)}
    state = tx.init(params)
    values = log_values(state)
    assert values["mi/a/learning_rate"] == float(learning_rates(state)["a"])
    assert values["mi/b/num_samples"] == 0
    assert not [name for name in values if name.endswith(("/mi", "entropy", "error"))]
    labels = jnp.array([0, 1, 0, 1, -1])
    _, state = tx.update(params, state, params, outputs=labels, labels=labels)
    values = log_values(state)
    assert values["mi/a/mi"] == pytest.approx(math.log(2))
    assert values["mi/b/dropped"] == 1
    assert all(type(value) is float for value in values.values())
    json.dumps(values, allow_nan=False)


def test_values_leave_out_the_infinite_entropy_of_real_labels():
    estimator = gaussian(features=1, label_features=1)
    tx = mi_decay(0.5, estimator=estimator, steps_per_epoch=1)
    x = jax.random.normal(jax.random.key(0), (50, 1))
    _, state = tx.update(PARAMS, tx.init(PARAMS), outputs=x, labels=x + 1)
    assert mi_diagnostics(state)["all"].entropy == math.inf
    assert "mi/entropy" not in log_values(state)


@pytest.mark.parametrize("schedule", [optax.linear_schedule(0.0, 0.01, 10), 0.002])
def test_values_of_a_schedule_times_the_factor(schedule):
    tx = optax.chain(optax.adam(schedule), mi_decay(0.5, num_classes=2))
    state = tx.init(PARAMS)
    labels = jnp.array([0, 1, 0, 1])
    for _ in range(2):
        _, state = tx.update(PARAMS, state, outputs=labels, labels=labels)
    values = log_values(state, schedule)
    assert values["mi/factor"] == pytest.approx(float(state[1].current_lr))
    want = 0.002 * values["mi/factor"]
    assert values["mi/learning_rate"] == pytest.approx(want)


def test_values_are_not_for_compiled_steps():
    with pytest.raises(TypeError, match=r"return learning_rates\(opt_state\) from the"):
        jax.jit(log_values)(make().init(PARAMS))


def test_an_epoch_without_a_sample_measured_nothing():
    tx = make()
    labels = jnp.full(4, -1)
    _, state = tx.update(PARAMS, tx.init(PARAMS), outputs=labels, labels=labels)
    seen = mi_diagnostics(state)["all"]
    assert (seen.epoch, seen.held, seen.num_samples, seen.dropped) == (1, 1, 0, 4)
    assert all(map(math.isnan, (seen.mi, seen.entropy, seen.normalized, seen.chance)))


def test_a_schedule_is_read_at_the_step_of_its_optimizer():
    schedule = optax.linear_schedule(0.0, 1.0, 10)
    steps = optax.MultiSteps(optax.sgd(schedule), 4).gradient_transformation()
    tx = optax.chain(steps, mi_decay(1.0, num_classes=2, steps_per_epoch=5))
    state, labels = tx.init(PARAMS), jnp.array([0, 1, 0, 1])
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    for _ in range(11):
        _, state = tx.update(ones, state, PARAMS, outputs=labels, labels=labels)
    values = log_values(state, schedule)
    updates, _ = tx.update(ones, state, PARAMS, outputs=labels, labels=labels)
    assert values["mi/learning_rate"] == pytest.approx(-float(updates["s"]), rel=1e-5)
    assert values["mi/learning_rate"] == pytest.approx(0.2 * values["mi/factor"])


def test_schedules_at_different_steps_are_not_guessed():
    one = optax.scale_by_schedule(optax.constant_schedule(1.0)).init(PARAMS)
    two = one._replace(count=one.count + 3)
    state = (one, two, make().init(PARAMS))
    with pytest.raises(ValueError, match=r"steps \[0, 3\]: pass learning_rate as"):
        log_values(state, optax.constant_schedule(0.1))


@pytest.mark.parametrize(
    ("rate", "error", "match"),
    [
        ("x", TypeError, "learning_rate must be a number, got 'x'"),
        (jnp.ones(2), TypeError, "learning_rate must be a number, got"),
        (lambda step: jnp.ones(2), TypeError, "learning_rate must be a number, got"),
        (-1.0, ValueError, "learning_rate must be at least 0 and finite"),
        (math.nan, ValueError, "learning_rate must be at least 0 and finite"),
    ],
)
def test_what_is_not_a_learning_rate(rate, error, match):
    with pytest.raises(error, match=match):
        log_values(make().init(PARAMS), rate)


def test_values_of_copies_are_not_one_number():
    states = jax.vmap(lambda _: make().init(PARAMS))(jnp.arange(3))
    with pytest.raises(TypeError, match=r"copies, as under vmap.*leaf\[0\]"):
        log_values(states)
