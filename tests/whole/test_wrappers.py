"""Every wrapper of the installed Optax is in the contract's table, or stands here."""

import collections
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import learning_rates, mi_diagnostics
from tests.contract import CASES, LABELS, WRAPPERS, in_optax, logits

CASE = CASES["mi_decay"]
PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}

# Why it is not in the table.
CONSIDERED = {
    "contrib.galore": "passes no keywords on",
    "contrib.sam": "passes no keywords on",
    "contrib.scale_by_galore": "passes no keywords on",
    "contrib.sophia": "takes an estimate of the curvature, and no updates to scale",
    "contrib.split_real_and_imaginary": "passes no keywords on",
    "experimental.aggregating.add_mean_variance_to_opt": "passes no keywords on",
    "experimental.aggregating.process": "passes no keywords on",
    "flatten": "leaves no layers, and nothing for tree.map_params to find",
    "inject_stateful_hyperparams": "is inject_hyperparams, deprecated",
    "lbfgs": "is a chain, whose own state cannot be donated",
    "lookahead": "passes no keywords on",
    "monitor": "keeps what it makes of the updates, and leaves them as they are",
}


def takers():
    """Everything public that takes a transformation, by the shortest path to it."""
    found, seen, queue = {}, set(), collections.deque([("", optax)])
    while queue:
        path, module = queue.popleft()
        for name, member in inspect.getmembers(module):
            if name.startswith("_") or id(member) in seen:
                continue
            seen.add(id(member))
            if inspect.ismodule(member) and member.__name__.startswith("optax."):
                queue.append((f"{path}{name}.", member))
            elif takes_transformation(member):
                found[f"{path}{member.__name__}"] = member
    return found


def takes_transformation(member):
    names = {"inner", "opt", "optimizer", "base_optimizer", "tx"}
    if not (inspect.isroutine(member) or inspect.isclass(member)):
        return False
    try:
        parameters = inspect.signature(member).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        "GradientTransformation" in str(p.annotation) or p.name in names
        for p in parameters
    )


def test_no_wrapper_is_overlooked():
    table = {key.partition("-")[0] for key in WRAPPERS} - {"bare"}
    assert not table & CONSIDERED.keys()
    known = table | {name for name in CONSIDERED if in_optax(name)}
    # Another one: add it to the table, or to those considered, with the reason.
    assert sorted(takers()) == sorted(known)


def wrap_without_keywords(name):
    tx = CASE.make()
    if name == "lookahead":
        return optax.lookahead(tx, sync_period=2, slow_step_size=0.5)
    if name == "contrib.sam":
        return optax.contrib.sam(optax.sgd(0.1), tx)
    if name == "contrib.split_real_and_imaginary":
        return optax.contrib.split_real_and_imaginary(tx)
    if name == "contrib.galore":
        return optax.contrib.galore(0.1, rank=1, base_optimizer=tx)
    if name == "contrib.scale_by_galore":
        return optax.contrib.scale_by_galore(rank=1, base_optimizer=tx)
    aggregating = optax.experimental.aggregating
    if name == "experimental.aggregating.add_mean_variance_to_opt":
        return aggregating.add_mean_variance_to_opt(tx)
    identity = optax.with_extra_args_support(optax.identity())
    return aggregating.process(identity, aggregating.average_per_element_updates(), tx)


LOUD = [name for name, why in CONSIDERED.items() if why == "passes no keywords on"]


@pytest.mark.parametrize("name", [name for name in LOUD if in_optax(name)])
def test_a_wrapper_that_passes_no_keywords_fails_loudly(name):
    # As a chain would: a transformation that takes no keywords gets none.
    tx = optax.with_extra_args_support(wrap_without_keywords(name))
    params = PARAMS
    if name == "lookahead":
        params = optax.LookaheadParams.init_synced(PARAMS)
    state = tx.init(params)
    message = "missing outputs and labels.*a wrapper strips them|unexpected keyword"
    with pytest.raises(TypeError, match=message):
        jax.eval_shape(tx.update, PARAMS, state, params, **CASE.signal())


def test_an_alias_is_deprecated():
    with pytest.deprecated_call(match="use inject_hyperparams instead"):
        optax.inject_stateful_hyperparams(CASE.factory)


@pytest.mark.parametrize(
    ("wrap", "scale"),
    [
        (optax.flatten, 0.5),
        # A gradient longer than 1 is shortened to 1 in the first step.
        (lambda tx: optax.lbfgs(1.0, linesearch=tx), -0.5 / 3),
    ],
    ids=["flatten", "lbfgs"],
)
def test_what_is_not_in_the_table_may_still_work(wrap, scale):
    tx = wrap(CASE.make())
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    updates, state = update(PARAMS, state, PARAMS, **CASE.signal())
    for leaf in jax.tree.leaves(updates):
        np.testing.assert_allclose(leaf, scale, rtol=1e-6)
    assert list(learning_rates(state).values()) == [0.5]


def test_flat_parameters_have_no_layers():
    with pytest.raises(ValueError, match=r"groups \['rest'\] have no parameters"):
        optax.flatten(CASES["layerwise_mi_decay"].make()).init(PARAMS)


@pytest.mark.skipif(not in_optax("monitor"), reason="of a newer Optax")
def test_a_monitor_leaves_the_updates_alone():
    tx = optax.monitor({"ours": CASE.make()})
    updates, state = jax.jit(tx.update)(
        PARAMS, tx.init(PARAMS), PARAMS, **CASE.signal()
    )
    chex.assert_trees_all_equal(updates, PARAMS)
    assert np.all(state.measurements["ours"]["b"] == 0.5)


@pytest.mark.parametrize(
    ("wrapper", "counts"),
    [
        # Two samples more in each micro-batch than in the one before.
        ("MultiSteps-before", [2 + 4 + 6, 8 + 10 + 12]),
        # Inside, it sees the last of two alone, as the documentation says.
        ("MultiSteps", [4 + 8 + 12]),
    ],
)
def test_every_micro_batch_is_seen_behind_multi_steps(wrapper, counts):
    tx = WRAPPERS[wrapper](CASE)
    update, state, seen = jax.jit(tx.update), tx.init(PARAMS), []
    for i in range(6):
        weights = (jnp.arange(len(LABELS)) < 2 * (i + 1)).astype(jnp.float32)
        _, state = update(
            PARAMS, state, PARAMS, outputs=logits(), labels=LABELS, weights=weights
        )
        (found,) = mi_diagnostics(state).values()
        if found.epoch > len(seen):
            seen.append(int(found.num_samples))
    assert seen == counts
