"""What a result says is what it found, and its recipe makes the same transformation."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import AutoResult, AutoRun, average_params, learning_rates, mi_decay
from optax_mi.estimators import contingency
from optax_mi.rules import capped_rule

UPDATES = np.array([10, 20])
RUNS = tuple(
    AutoRun(rate, UPDATES[: len(loss)], np.array(loss), np.array(raw), UPDATES, gain)
    for rate, loss, raw, gain in (
        (0.01, [1.5, 1.0], [1.4, 0.9], -0.1),
        (0.1, [1.2, 0.8], [1.3, 0.9], 0.08),
        (1.0, [np.inf], [np.inf], np.nan),
    )
)
ESTIMATOR = contingency(num_classes=3)
FOUND = AutoResult(
    lr_max=0.03,
    lr_max_reason="because.",
    lr_sum_max=0.7,
    lr_sum_reason="it learns by heart.",
    lr_between=(0.01, 0.1),
    mi=0.9,
    entropy=1.1,
    untrained=2.0,
    runs=RUNS,
    longest=1,
    num_updates=50,
    transformation=optax.chain(
        optax.sgd(1.0),
        mi_decay(0.03, 0.0, estimator=ESTIMATOR, rule=capped_rule(0.7)),
        average_params(),
    ),
)
NOTHING = dataclasses.replace(
    FOUND, lr_max=None, lr_sum_max=None, transformation=None, lr_max_reason="so it is."
)


def test_says_what_was_tried_and_chosen():
    assert str(FOUND).splitlines() == [
        "auto: 50 updates at 3 learning rates from 0.01 to 1",
        "lr_max 0.03: because.",
        "lr_sum_max 0.7: it learns by heart.",
        "held-out labels: 0.9 of 1.1 nats known at the end",
        f"tx = {FOUND.recipe()}",
    ]
    assert "of inf" not in str(dataclasses.replace(FOUND, entropy=np.inf))
    assert "lr_max none: so it is." in str(NOTHING)


@pytest.mark.parametrize("limit", [0.7, None])
def test_the_recipe_makes_the_transformation_again(limit):
    found = dataclasses.replace(FOUND, lr_sum_max=limit)
    names = {
        "optax": optax,
        "optimizer": optax.sgd,
        "estimator": ESTIMATOR,
        "mi_decay": mi_decay,
        "capped_rule": capped_rule,
        "average_params": average_params,
    }
    tx, labels = eval(found.recipe(), names), jnp.arange(30) % 3
    state = tx.init(jnp.ones(3))
    for _ in range(100):
        _, state = tx.update(
            jnp.ones(3), state, jnp.ones(3), outputs=labels, labels=labels
        )
    rate = float(learning_rates(state)["all"])
    assert rate < 0.03
    if limit is not None:
        other = FOUND.tx.init(jnp.ones(3))
        for _ in range(100):
            _, other = FOUND.tx.update(
                jnp.ones(3), other, jnp.ones(3), outputs=labels, labels=labels
            )
        assert rate == float(learning_rates(other)["all"])


def test_nothing_found_is_no_transformation():
    with pytest.raises(ValueError, match="auto found no learning rate: so it is"):
        _ = NOTHING.tx
    with pytest.raises(ValueError, match="so it is"):
        NOTHING.recipe()
    assert "tx =" not in str(NOTHING)
