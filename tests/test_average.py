"""The average of the params against float64."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding

from optax_mi import AverageParamsState, average_params, eval_params

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.full(3, 2.0), "s": jnp.zeros(())}
RNG = np.random.default_rng(0)


def averages_of(path, power):
    """After each step of a path [T, ...], in float64 or complex128."""
    x, averages = np.zeros(path.shape[1:], np.result_type(path, np.float64)), []
    for t, theta in enumerate(path, start=1):
        x = x + (power + 1) / (t + power) * (theta - x)
        averages.append(x)
    return np.stack(averages)


@pytest.mark.parametrize("power", [0, 0.5, 8])
@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        ("bfloat16", "float32"),
        ("float16", "float32"),
        ("float8_e4m3fn", "float32"),
        ("float32", "float32"),
        ("complex64", "complex64"),
        ("float64", "float64"),
    ],
)
def test_equals_the_recurrence_in_float64(dtype, kept, power):
    with jax.enable_x64(dtype == "float64"):
        steps = RNG.normal(size=(50, 2, 3))
        if dtype == "complex64":
            steps = steps + 1j * RNG.normal(size=steps.shape)
        params = jnp.asarray(steps[0]).astype(dtype)
        tx = average_params(power)

        def step(carry, updates):
            params, state = carry
            given = updates.astype(dtype)
            updates, state = tx.update(given, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, state.average)

        _, (path, averages) = jax.jit(functools.partial(jax.lax.scan, step))(
            (params, tx.init(params)), jnp.asarray(steps)
        )
        assert averages.dtype == kept
        # The path as it came to be: what the params are rounded to is averaged.
        wide = np.complex128 if dtype == "complex64" else np.float64
        truth = averages_of(np.asarray(path).astype(wide), power)
        rtol = 1e-12 if dtype == "float64" else 1e-6
        np.testing.assert_allclose(averages, truth, rtol=rtol, atol=10 * rtol)


def follow(path_of, steps, power, start=0, dtype=jnp.float32):
    """The state after steps whose params are `path_of(step)`."""
    tx = average_params(power)

    @jax.jit
    def run():
        state = tx.init(path_of(start).astype(dtype))
        state = state._replace(num_averaged=jnp.int32(start))

        def body(i, state):
            # Updates from zero: the params are what the path says, to the bit.
            theta = path_of(start + i + 1).astype(dtype)
            return tx.update(theta, state, jnp.zeros_like(theta))[1]

        return jax.lax.fori_loop(0, steps, body, state)

    return run()


def sparse_average(path_of, steps, power):
    """As documented for late steps, in float64 and Python's integers."""
    x, t, longest = 0.0, 1, 4096 * (power + 1)
    while t <= steps:
        every = 1
        while t > longest * every:
            every *= 2
        block = t // every * every
        place = (t // every * 2654435769 % 2**32) * every // 2**32
        t = block + max(place, t - block)
        if t - block == place and t <= steps:
            theta = np.asarray(path_of(t), np.float64)
            x = x + (power + 1) / (t / every + power) * (theta - x)
        t = t + 1 if place > t - block else block + every
    return x


NOISE = jnp.asarray(RNG.uniform(-0.5, 0.5, 65_537), jnp.float32)


def drifting(step):
    """Params that drift, and others that jump about a mean."""
    return jnp.stack([3.0 - 1e-7 * step, 1.0 + 0.3 * NOISE[step % 65_537]], axis=-1)


def cyclic(step):
    """Params with one value in a step of 64, and another in all the rest."""
    return jnp.where(step % 64 == 0, 1.0, jnp.zeros(1))


@pytest.mark.parametrize("path_of", [drifting, cyclic])
def test_late_steps_stand_for_those_between_them(path_of):
    # Of the plain mean every 2nd step counts after 4096, every 4th after 8192, ...
    steps = 1_000_000
    state = follow(path_of, steps, power=0)
    assert state.num_averaged == steps
    path = np.asarray(jax.vmap(path_of)(jnp.arange(1, steps + 1)), np.float64)
    truth = sparse_average(lambda t: path[t - 1], steps, 0)
    # A half of the last bit of a step, 4096 times, since it may have one sign.
    np.testing.assert_allclose(state.average, truth, rtol=2**-11)
    # And together they come near to the mean of all.
    np.testing.assert_allclose(state.average, path.mean(0), rtol=5e-3, atol=2e-3)


@pytest.mark.slow
def test_right_after_ten_million_steps():
    steps, power = 10_000_000, 8
    path = np.asarray(jax.vmap(drifting)(jnp.arange(1, steps + 1)), np.float64)
    # What the recurrence comes to: Gamma(t + power) / Gamma(t) for a weight.
    t = np.arange(1, steps + 1, dtype=np.float64)
    weights = np.prod([(t + k) / steps for k in range(power)], axis=0)
    truth = (weights[:, None] * path).sum(0) / weights.sum()
    state = follow(drifting, steps, power)
    assert state.num_averaged == steps
    # Weights below an ulp would have left it behind by 0.6: what is left is half the
    # last bit over the least weight, and of the noise, 0.09, what 4096 samples leave.
    np.testing.assert_allclose(state.average[0], truth[0], rtol=2**-13)
    np.testing.assert_allclose(state.average[1], truth[1], atol=4 * 0.09 / 64)
    sparse = sparse_average(lambda t: path[t - 1], steps, power)
    np.testing.assert_allclose(state.average, sparse, rtol=2**-13)


def test_a_saturated_count_goes_on_averaging():
    largest = np.iinfo(np.int32).max
    state = follow(lambda step: jnp.ones(2) * step, 3, 8, start=largest - 2)
    assert largest - 65536 <= state.num_averaged <= largest
    tx = average_params()

    @jax.jit
    def run(state):
        def body(_, state):
            return tx.update(jnp.ones(()), state, jnp.zeros(()))[1]

        return jax.lax.fori_loop(0, 40 * 65536, body, state)

    late = run(AverageParamsState(jnp.zeros(()), jnp.int32(largest - 1)))
    assert largest - 65536 <= late.num_averaged <= largest
    # 40 of some 4096 blocks of the run so far.
    np.testing.assert_allclose(late.average, 1 - (1 - 9 / 32776) ** 40, rtol=1e-2)


def test_integers_are_the_newest_and_gaps_stay_gaps():
    params = {
        "w": jnp.ones(2),
        "steps": jnp.int32(3),
        "used": jnp.array([True, False]),
        "none": None,
        "masked": optax.MaskedNode(),
    }
    updates = {**params, "w": jnp.ones(2), "used": jnp.array([False, False])}
    tx = average_params(0)
    state = tx.init(params)
    for _ in range(3):
        same, state = jax.jit(tx.update)(updates, state, params)
        assert jax.tree.structure(same) == jax.tree.structure(updates)
    average = eval_params(state, params)
    assert (average["w"].tolist(), average["steps"]) == ([2.0, 2.0], 6)
    assert average["used"].tolist() == [True, False]
    assert average["used"].dtype == bool
    assert average["none"] is None
    assert average["masked"] == optax.MaskedNode()


@pytest.mark.usefixtures("strict")
def test_a_donated_step_owns_its_arrays():
    params = {"w": jnp.ones(2), "n": jnp.zeros(3, jnp.int32)}
    tx = average_params()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(3):
        params, state = step(params, state)
        leaves = jax.tree.leaves((params, state))
        assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)
    assert step._cache_size() == 1
    assert state.average["n"].tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: average_params(-1), ValueError, "power must be from 0 to 100,000"),
        (lambda: average_params(None), TypeError, "power must be a number, got None"),
        (
            lambda: average_params().update(PARAMS, average_params().init(PARAMS)),
            ValueError,
            r"update\(\) got none\. Call it as tx\.update\(grads, state, params\)",
        ),
        (
            lambda: average_params().update(PARAMS, {"average": PARAMS}, PARAMS),
            TypeError,
            r"an AverageParamsState, got a dict\..*restore_state\(",
        ),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_shapes_give_shapes():
    shapes = {"w": jax.ShapeDtypeStruct((2,), jnp.bfloat16)}
    (average, count) = average_params().init(shapes)
    assert average == {"w": jax.ShapeDtypeStruct((2,), jnp.float32)}
    assert jax.eval_shape(average_params().init, shapes).average == average
    assert count == 0


def updates_of(tx, grads, params=PARAMS):
    """The params at the end and the state, after sgd's steps."""

    @jax.jit
    def step(params, state, grad):
        grads = jax.tree.map(lambda p: jnp.full_like(p, grad), params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for grad in grads:
        params, state = step(params, state, grad)
    return params, state


def test_a_step_rejected_around_it_does_not_enter():
    tx = optax.apply_if_finite(optax.chain(optax.sgd(0.1), average_params()), 3)
    plain = optax.chain(optax.sgd(0.1), average_params())
    _, rejecting = updates_of(tx, [1.0, np.nan, 2.0, np.inf, 3.0])
    _, clean = updates_of(plain, [1.0, 2.0, 3.0])
    chex.assert_trees_all_equal(rejecting.inner_state, clean)


def test_a_step_rejected_before_it_is_one_more_look_at_the_params():
    tx = optax.chain(optax.apply_if_finite(optax.sgd(1.0), 3), average_params(0))
    params, state = updates_of(tx, [-1.0, np.nan, -3.0], jnp.zeros(()))
    assert params == 4.0
    assert state[-1].num_averaged == 3
    assert eval_params(state) == 2.0  # of 1, 1 and 4


def test_around_accumulation_only_what_is_emitted_enters():
    tx = optax.MultiSteps(optax.chain(optax.sgd(1.0), average_params(0)), 2)
    _, state = updates_of(tx, [-1.0, -1.0, -2.0, -4.0], jnp.zeros(()))
    assert state.inner_opt_state[-1].num_averaged == 2
    assert eval_params(state) == 2.5  # of 1 and 4


def test_after_accumulation_all_emitted_weigh_the_same():
    tx = optax.chain(
        optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation(), average_params(0)
    )
    _, state = updates_of(tx, [-1.0, -1.0, -2.0, -4.0, 0.0], jnp.zeros(()))
    # Each stays for two micro-steps, the first of all being where it began.
    assert eval_params(state) == pytest.approx((0 + 1 + 1 + 4 + 4) / 5)


def test_nan_params_have_a_nan_average():
    tx = optax.chain(optax.sgd(0.1), average_params())
    _, state = updates_of(tx, [1.0, np.nan, 1.0])
    assert all(np.isnan(x).all() for x in jax.tree.leaves(eval_params(state)))


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_as_the_params_are(axis_type):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(axis_type,))
    tx = optax.chain(optax.sgd(0.1), average_params(0))
    with jax.set_mesh(mesh):
        where = NamedSharding(mesh, jax.P(None, "x"))
        params = jax.device_put(jnp.ones((2, 16), jnp.bfloat16), where)
        for init in (tx.init, jax.jit(tx.init)):
            assert init(params)[-1].average.sharding.is_equivalent_to(where, 2)
        state = tx.init(params)
        update = jax.jit(tx.update)
        for _ in range(2):
            _, state = update(params, state, params)
        assert state[-1].average.sharding.is_equivalent_to(where, 2)
        assert eval_params(state, params).sharding.is_equivalent_to(where, 2)
        np.testing.assert_allclose(eval_params(state), 0.9, rtol=1e-2)


def test_inside_shard_map():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    tx = average_params(0)
    params = jnp.arange(16.0)
    spec = AverageParamsState(jax.P("x"), jax.P())
    update = jax.shard_map(
        lambda state, params: tx.update(params, state, params)[1],
        mesh=mesh,
        in_specs=(spec, jax.P("x")),
        out_specs=spec,
    )
    state = jax.jit(update)(tx.init(params), params)
    np.testing.assert_array_equal(state.average, 2 * params)
    assert state.num_averaged == 1
