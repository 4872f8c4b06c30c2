"""What Optax asks of a member, of every transformation in every wrapper."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_mi import learning_rates, mi_decay
from optax_mi.rules import log_time_rule
from tests.contract import (
    CASES,
    ESTIMATORS,
    LABELS,
    NUM_CLASSES,
    SETTINGS,
    WRAPPERS,
    Case,
    inject,
    labelled,
    partition,
)

DTYPES = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3), "s": jnp.ones(())}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def pair(name, wrapper):
    """Every case and every wrapper are quick, and slow what they may do together."""
    quick = name in ("mi_decay", "average_params") or wrapper == "partition"
    return pytest.param(
        CASES[name],
        WRAPPERS[wrapper],
        id=f"{name}-{wrapper}",
        marks=() if quick else pytest.mark.slow,
    )


every_pair = pytest.mark.parametrize(
    ("case", "wrap"), [pair(*names) for names in itertools.product(CASES, WRAPPERS)]
)


def types(tree):
    """Shape, dtype, weak_type and sharding of every leaf."""
    return jax.tree.map(jax.typeof, tree)


def dtypes(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def sample_targets():
    """Four functions to minimise, as optax's own common tests have them."""

    def square(goal):
        return lambda params: sum(
            jnp.sum((p - g) ** 2)
            for p, g in zip(jax.tree.leaves(params), jax.tree.leaves(goal), strict=True)
        )

    vector = jnp.array([1.0, -1.0, 1.0])
    matrix = jnp.array([[3.0, -2.0], [1.0, 4.0]])
    return {
        "parabola": (jnp.array([-1.0, 10.0, 1.0]), vector, square(vector)),
        "rosenbrock": (
            jnp.zeros(2),
            jnp.ones(2),
            lambda p: (1.0 - p[0]) ** 2 + 100.0 * (p[1] - p[0] ** 2) ** 2,
        ),
        "matrix": (jnp.zeros((2, 2)), matrix, square(matrix)),
        "mixed": (
            (jnp.zeros(3), jnp.zeros((2, 2))),
            (vector, matrix),
            square((vector, matrix)),
        ),
    }


@every_pair
def test_types_hold_and_unknown_keywords_are_ignored(case: Case, wrap):
    tx = wrap(case)
    state = tx.init(PARAMS)
    signal = {**case.signal(), "nobody_expects_this": 1}
    updates, after = jax.eval_shape(tx.update, PARAMS, state, PARAMS, **signal)
    assert types(after) == types(jax.eval_shape(lambda: state))
    assert dtypes(updates) == {jnp.dtype("float32")}
    # In a donated state no array may be there twice.
    leaves = [leaf for leaf in jax.tree.leaves(state) if leaf.size]
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


@every_pair
def test_updates_keep_the_dtype_of_the_params(case: Case, wrap):
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    tx = wrap(case)
    updates, _ = jax.eval_shape(
        tx.update, params, tx.init(params), params, **case.signal(1.0, jnp.float16)
    )
    assert dtypes(updates) == {jnp.dtype(jnp.bfloat16)}


@every_pair
def test_tree_map_params(case: Case, wrap):
    tx = wrap(case)
    state = tx.init(PARAMS)
    mapped = optax.tree.map_params(tx, lambda p: p, state)
    chex.assert_trees_all_equal(mapped, state)


@every_pair
def test_init_takes_shapes_for_arrays(case: Case, wrap):
    tx = wrap(case)
    shapes = jax.eval_shape(lambda: PARAMS)
    assert types(jax.eval_shape(tx.init, shapes)) == types(
        jax.eval_shape(tx.init, PARAMS)
    )


@pytest.mark.parametrize(
    ("name", "wrapper"),
    # All wrappers hold the state of a case alike, so that the smallest will do, and all
    # cases are held alike, but for one of the params' own shapes.
    [
        (name, wrapper)
        for name, wrapper in itertools.product(CASES, WRAPPERS)
        if name in ("mi_decay-measured", "average_params") or wrapper == "partition"
    ],
)
def test_a_donated_step_compiles_once(name, wrapper):
    case = CASES[name]
    tx = WRAPPERS[wrapper](case)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        grads = jax.tree.map(jnp.ones_like, params)
        updates, state = tx.update(grads, state, params, **case.signal())
        return optax.apply_updates(params, updates), state

    # Donated, as in any train step that is short of memory. The params are ours.
    params, ours = (jax.tree.map(jnp.copy, PARAMS) for _ in range(2))
    state = tx.init(ours)
    for _ in range(7):
        before = types((params, state))
        params, state = step(params, state)
        assert types((params, state)) == before
    assert step._cache_size() == 1
    for lr in learning_rates(state).values():
        assert 0.01 <= lr <= 0.5


@every_case
def test_init_takes_shapes_for_arrays_without_tracing(case: Case):
    tx = optax.chain(optax.sgd(1.0), case.make())
    assert types(tx.init(jax.eval_shape(lambda: PARAMS))) == types(tx.init(PARAMS))


@every_case
def test_inject_hyperparams_changes_nothing(case: Case):
    tx, injected = case.make(), inject(case)

    @jax.jit
    def both(params, **signal):
        return [
            t.update(params, t.init(params), params, **signal) for t in (tx, injected)
        ]

    (updates, state), (same, holder) = both(PARAMS, **case.signal())
    chex.assert_trees_all_equal(same, updates)
    chex.assert_trees_all_equal(holder.inner_state, state)


@every_case
def test_gradient_accumulation_emits_zeros_in_between(case: Case):
    params = {d: jnp.array([1.0, 2.0], d) for d in ("bfloat16", "float32")}
    tx = optax.MultiSteps(case.make(), every_k_schedule=4)
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params, **case.signal())
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, [0.0, 0.0]), updates)
    assert types(updates) == types(params)


@every_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_state_is_stable_under_cond(case: Case, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        params = {"a": jnp.array([-1.0, 10.0, 1.0], dtype), "b": jnp.ones((), dtype)}
        tx = case.make()
        # A signal of another dtype than the params, on purpose.
        other = jnp.bfloat16 if dtype == jnp.float16 else jnp.float16

        def step(params, state, go):
            updates, state = jax.lax.cond(
                go,
                lambda: tx.update(params, state, params, **case.signal(1.0, other)),
                lambda: (params, state),
            )
            return optax.apply_updates(params, updates), state

        start = (params, tx.init(params))
        # What the branches return must be of the same types, or this raises.
        assert types(jax.eval_shape(step, *start, True)) == types(
            jax.eval_shape(lambda: start)
        )


@every_case
def test_converges(case: Case):
    targets = sample_targets()
    tx = case.make(lr_max=1.5e-3, lr_min=5e-4, steps_per_epoch=100)
    if not case.factory.__name__.endswith("sgd"):
        # Where nothing decays the learning rate, the optimizer has its own.
        tx = optax.chain(optax.sgd(1.0 if "lr_max" in case.settings else 1e-3), tx)

    def losses(params):
        return {name: targets[name][2](p) for name, p in params.items()}

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            # Of a sum each part has the gradient that it has alone.
            value, grads = jax.value_and_grad(lambda p: sum(losses(p).values()))(params)
            # The closer to the goals, the more the outputs tell, as in training.
            signal = case.signal(1.0 / (1.0 + value))
            updates, state = tx.update(grads, state, params, **signal)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=30_000)[0]

    params, state = train({name: start for name, (start, _, _) in targets.items()})
    for rate in learning_rates(state).values():
        assert 5e-4 <= rate < 1.5e-3
    for name, (_, goal, _) in targets.items():
        chex.assert_trees_all_close(params[name], goal, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize(
    ("case", "jit"),
    [
        # Not compiled, all cases go the same way.
        pytest.param(
            case,
            jit,
            id=f"{name}-{jit}",
            marks=() if jit or name == "mi_decay" else pytest.mark.slow,
        )
        for name, case in CASES.items()
        for jit in (True, False)
    ],
)
def test_state_types_hold_on_an_explicit_mesh(case: Case, jit):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        params = [
            jnp.zeros((2, 8, 4), jnp.float16, out_sharding=jax.P(None, "x", None)),
            jnp.zeros(8, jnp.float16, out_sharding=jax.P("x")),
        ]
        # The batch is sharded too, as it is in a real step.
        signal = jax.tree.map(
            lambda x: jax.device_put(x, jax.P("x")) if x.ndim else x, case.signal()
        )
        # The second update of the first epoch closes it; not compiled, one must do.
        tx = case.make(steps_per_epoch=2 if jit else 1)
        update = jax.jit(tx.update) if jit else tx.update
        state = jax.jit(tx.init)(params) if jit else tx.init(params)
        assert types(state) == types(tx.init(params))
        for _ in range(3 if jit else 1):
            before = types(state)
            updates, state = update(params, state, params, **signal)
            assert types(state) == before
        assert types(updates) == types(params)


# The rate stays above its lower bound, and few samples leave no doubt of a gain.
SLOW = log_time_rule(rate=1.0, sharpness=0.0)


@pytest.mark.parametrize(("estimator", "signal"), ESTIMATORS.values(), ids=ESTIMATORS)
def test_every_estimator_keeps_its_types_and_holds_without_samples(estimator, signal):
    settings = {**SETTINGS, "estimator": estimator, "rule": SLOW}
    tx = optax.chain(optax.trace(0.9), partition(Case(mi_decay, settings)))
    # The state is of 32 bits, whatever the params are of.
    with jax.enable_x64(True):
        params = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3), "s": 1.0}
        params = jax.tree.map(jnp.asarray, params)
        state, update = tx.init(params), jax.jit(tx.update)
        expected, rates = types(state), []
        for weight in (1.0, 1.0, 0.0, 1.0):
            for _ in range(SETTINGS["steps_per_epoch"]):
                weights = jnp.full(len(LABELS), weight, jnp.float32)
                updates, state = update(
                    params, state, params, weights=weights, **signal
                )
                assert types(state) == expected
            rates.append(min(learning_rates(state).values()))
        assert update._cache_size() == 1
        assert types(updates) == types(params)
        ours = state[1].inner_states["ours"]
        assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {
            jnp.dtype("float32"),
            jnp.dtype("int32"),
        }
    # The second epoch tells no more than the first; the third has no samples.
    first, stalled, held, again = rates
    assert first == 0.5 > stalled == held > again


def test_the_labels_of_the_contract_hold_every_class():
    assert set(np.asarray(LABELS)) == set(range(NUM_CLASSES))
    assert labelled()["outputs"].shape == (16, NUM_CLASSES)
