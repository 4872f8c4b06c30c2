"""The laws of mi_decay."""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_mi import mi_decay, mi_diagnostics, mi_sgd
from optax_mi.estimators import MIEstimate, contingency, measured, variational
from optax_mi.rules import DecayRule, log_time_rule, proportional_rule, residual_rule
from tests import reference
from tests.helpers import measure

LABELS = jnp.array([0, 1, 2, 0, 1, 2])
LOGITS = 4.0 * jax.nn.one_hot(LABELS, 3)
PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}


def make(**kwargs):
    defaults = {"num_classes": 3, "steps_per_epoch": 2}
    return mi_decay(0.5, 0.01, **{**defaults, **kwargs})


def diagnostics(state):
    return jax.device_get(mi_diagnostics(state)["all"])


def run(tx, signals):
    """Learning rates after each update, and the last state."""
    update = jax.jit(tx.update)
    state, rates = tx.init(PARAMS), []
    for signal in signals:
        _, state = update(PARAMS, state, PARAMS, **signal)
        rates.append(float(state.current_lr))
    assert update._cache_size() == 1
    return rates, state


def scalar_signals(*values):
    return [{"mi": jnp.float32(v)} for v in values]


class TestEpochs:
    def test_decides_every_steps_per_epoch_and_scales_that_very_update(self):
        halve = DecayRule(lambda: (), lambda s, e, lr, **_: (lr / 2, s))
        tx = make(rule=halve, steps_per_epoch=3)
        update, state = jax.jit(tx.update), tx.init(PARAMS)
        scales = []
        for _ in range(7):
            updates, state = update(PARAMS, state, outputs=LOGITS, labels=LABELS)
            scales.append(float(updates["w"][0, 0]))
        assert scales == [0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
        assert (state.num_updates, state.num_epochs, state.updates_in_epoch) == (
            7,
            2,
            1,
        )

    def test_each_epoch_is_measured_on_its_own(self):
        tx = make(estimator=contingency(num_classes=3, soft=False), num_classes=None)
        wrong = jnp.zeros(6, jnp.int32)
        signals = [{"outputs": x, "labels": LABELS} for x in (LABELS, LABELS, wrong)]
        _, state = run(tx, signals[:2])
        assert diagnostics(state).mi == pytest.approx(math.log(3))
        _, state = run(tx, [*signals, signals[2]])
        assert diagnostics(state).mi == 0
        assert diagnostics(state).num_samples == 12

    def test_the_estimate_is_of_all_batches_of_the_epoch(self):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(4, 8, 3)).astype(np.float32)
        labels = rng.integers(-1, 3, (4, 8))
        tx = make(steps_per_epoch=4)
        signals = [
            {"outputs": x, "labels": y} for x, y in zip(logits, labels, strict=True)
        ]
        _, state = run(tx, signals)
        truth = measure(
            contingency(num_classes=3), logits.reshape(32, 3), labels.ravel()
        )
        seen = diagnostics(state)
        np.testing.assert_allclose(seen.mi, truth.mi, rtol=1e-5)
        assert seen.dropped == truth.dropped == (labels < 0).sum()

    def test_defaults(self):
        tx = mi_decay(0.3, num_classes=3, steps_per_epoch=1)
        assert tx.init(PARAMS).current_lr == jnp.float32(0.3)
        seen = [{"outputs": LABELS, "labels": LABELS}] * 400
        rates, _ = run(tx, seen)
        assert rates[49] == pytest.approx(0.3 * 50**-0.8, rel=0.02)
        assert rates[-1] == pytest.approx(0.003)
        explicit = mi_decay(
            0.3,
            0.003,
            estimator=contingency(num_classes=3),
            rule=log_time_rule(),
            init_lr=0.3,
            steps_per_epoch=1,
        )
        assert rates == run(explicit, seen)[0]

    @pytest.mark.parametrize("rule", ["log-time", "residual", "proportional"])
    def test_follows_its_rule(self, rule):
        curve = [0.1, 0.6, 1.0, 1.005, 1.005, 1.006, 1.05]
        pairs = [(mi, 1.1) for mi in curve]
        chosen, slow = {
            "log-time": (log_time_rule(2.0, 5.0), reference.LogTimeRule(2.0, 5.0)),
            "residual": (residual_rule(0.1, 0.7), reference.ResidualRule(0.1, 0.7)),
            "proportional": (proportional_rule(0.05), reference.ProportionalRule(0.05)),
        }[rule]
        want = reference.rates(slow, pairs, 0.5, 0.01, 0.5, range(1, 8))
        tx = mi_decay(
            0.5, 0.01, estimator=measured(1.1), rule=chosen, steps_per_epoch=1
        )
        got, _ = run(tx, scalar_signals(*curve))
        np.testing.assert_allclose(got, want, rtol=1e-5)


class TestLearningRateLaws:
    @given(
        proposals=st.lists(
            st.floats(-1e3, 1e3, width=32)
            | st.sampled_from([math.nan, math.inf, -math.inf]),
            min_size=10,
            max_size=10,
        ),
        mis=st.lists(
            st.floats(0, 2, width=32) | st.just(math.nan), min_size=10, max_size=10
        ),
        init_lr=st.sampled_from([0.01, 0.1, 0.5]),
    )
    @settings(deadline=None, max_examples=50)
    def test_never_rises_and_stays_in_bounds_whatever_the_rule_says(
        self, proposals, mis, init_lr
    ):
        after = _scan_proposals(init_lr, np.float32(proposals), np.float32(mis))
        rates = [np.float32(init_lr), *np.asarray(after)]
        assert all(np.float32(0.01) <= lr <= np.float32(0.5) for lr in rates)
        assert all(b <= a for a, b in itertools.pairwise(rates))
        lr = np.float32(init_lr)
        for proposal, mi, got in zip(proposals, mis, rates[1:], strict=True):
            if math.isfinite(mi) and math.isfinite(proposal):
                lr = np.clip(np.float32(min(proposal, lr)), 0.01, 0.5)
            assert got == pytest.approx(lr)

    @pytest.mark.parametrize(
        "signal",
        [
            {"outputs": LOGITS, "labels": jnp.full(6, -1)},
            {"outputs": LOGITS, "labels": LABELS, "weights": jnp.zeros(6)},
            {"outputs": LOGITS * jnp.nan, "labels": LABELS},
            {"outputs": LOGITS[:0], "labels": LABELS[:0]},
        ],
        ids=["padding", "weights", "nan", "empty"],
    )
    @pytest.mark.parametrize(
        "estimator", [contingency(num_classes=3), variational(num_classes=3)]
    )
    def test_an_epoch_without_a_valid_sample_holds_and_is_no_stall(
        self, signal, estimator
    ):
        tx = make(num_classes=None, estimator=estimator, steps_per_epoch=1)
        update = jax.jit(tx.update)
        good = {"outputs": LOGITS, "labels": LABELS}
        _, state = update(PARAMS, tx.init(PARAMS), **good)
        before = state
        for _ in range(3):
            _, state = update(PARAMS, state, **signal)
        assert state.current_lr == before.current_lr
        np.testing.assert_array_equal(state.rule_state, before.rule_state)
        seen = diagnostics(state)
        assert (seen.epoch, seen.held, seen.num_samples) == (4, 3, 0)
        assert seen.dropped == signal["labels"].size
        # The next good epoch is compared with the last good one: that is a stall.
        _, state = update(PARAMS, state, **good)
        assert state.current_lr < before.current_lr
        assert diagnostics(state).held == 3

    @pytest.mark.parametrize(
        # An infinite entropy is that of real labels.
        ("field", "bad"),
        [("mi", math.nan), ("mi", math.inf), ("entropy", math.nan)],
    )
    def test_an_estimate_that_is_not_finite_holds(self, field, bad):
        good = MIEstimate(*(jnp.float32(x) for x in (1.0, 1.1, 50, math.nan, 0)))
        tx = make(num_classes=None, estimator=measured(), steps_per_epoch=1)
        signals = [{"mi": good}, {"mi": good._replace(**{field: jnp.float32(bad)})}]
        rates, state = run(tx, signals)
        assert rates == [0.5, 0.5]
        assert diagnostics(state).held == 1

    def test_a_nan_measurement_means_hold(self):
        tx = make(num_classes=None, estimator=measured(1.1), steps_per_epoch=2)
        nan = math.nan
        rates, state = run(tx, scalar_signals(nan, 1.0, nan, nan, nan, nan, nan, 1.0))
        assert rates[:7] == [0.5] * 7
        assert rates[7] < 0.5
        assert diagnostics(state).held == 2

    def test_bounds_that_move_are_kept(self):
        factory = optax.inject_hyperparams(
            mi_decay, static_args=("num_classes", "steps_per_epoch")
        )
        tx = factory(0.5, 0.01, num_classes=3, steps_per_epoch=1)
        state = tx.init(PARAMS)
        state.hyperparams["lr_max"] = jnp.float32(0.2)
        updates, state = jax.jit(tx.update)(
            PARAMS, state, PARAMS, outputs=LOGITS, labels=LABELS
        )
        assert updates["w"][0, 0] == jnp.float32(0.2)

    def test_traced_settings_hold_from_the_start_and_have_a_gradient(self):
        def rates(lr_max, steps):
            tx = mi_decay(lr_max, num_classes=3, steps_per_epoch=steps, init_lr=0.5)
            state = tx.init(0.0)
            # A Python number is an update, too.
            update, _ = tx.update(1.0, state, outputs=LOGITS, labels=LABELS)
            return update, state.current_lr

        got, slope = jax.jit(jax.value_and_grad(rates, has_aux=True))(0.2, 3)
        assert got == (jnp.float32(0.2), jnp.float32(0.2))
        assert slope > 0
        lower = {"num_classes": 3, "steps_per_epoch": 3, "init_lr": 0.5}
        jax.eval_shape(lambda low: mi_decay(0.5, low, **lower).init(()), 0.1)


@jax.jit
def _scan_proposals(init_lr, proposals, mis):
    scripted = DecayRule(
        lambda: jnp.int32(0),
        lambda s, e, lr, *, step, **_: (proposals[step - 1], s + 1),
    )
    tx = mi_decay(
        0.5,
        0.01,
        estimator=measured(2.0),
        rule=scripted,
        steps_per_epoch=1,
        init_lr=init_lr,
    )

    def step(state, mi):
        _, state = tx.update(PARAMS, state, mi=mi)
        return state, state.current_lr

    return jax.lax.scan(step, tx.init(PARAMS), mis)[1]


class TestUpdates:
    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
    def test_keep_their_dtype_while_the_state_is_float32(self, dtype):
        grads = jax.tree.map(lambda x: x.astype(dtype), PARAMS)
        tx = make(steps_per_epoch=1)
        state = tx.init(grads)
        before = jax.tree.map(jax.typeof, state)
        updates, state = tx.update(
            grads, state, grads, outputs=LOGITS.astype(dtype), labels=LABELS
        )
        assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
        assert before == jax.tree.map(jax.typeof, state)
        dtypes = {x.dtype for x in jax.tree.leaves(state)}
        assert dtypes == {jnp.dtype("float32"), jnp.dtype("int32")}

    def test_are_rounded_once(self):
        # 3 * 0.3: rounding the learning rate to bfloat16 first would give 0.90234375.
        tx = mi_decay(0.3, num_classes=3, steps_per_epoch=9)
        grads = jnp.full(2, 3.0, jnp.bfloat16)
        updates, _ = tx.update(grads, tx.init(grads), outputs=LOGITS, labels=LABELS)
        assert updates[0] == jnp.bfloat16(0.9)
        assert jnp.bfloat16(0.3) * grads[0] != jnp.bfloat16(0.9)

    def test_float64_is_not_rounded_to_float32(self):
        with jax.enable_x64(True):
            # Nor does the state become float64.
            double = DecayRule(
                lambda: jnp.float32(0),
                lambda s, e, lr, **_: (lr.astype(jnp.float64), s.astype(jnp.float64)),
            )
            low, first = np.float64(0.01), np.float64(0.5)
            tx = mi_decay(
                0.5, low, init_lr=first, num_classes=3, steps_per_epoch=1, rule=double
            )
            grads = jnp.full(2, 1 + 2.0**-40, jnp.float64)
            state = tx.init(grads)
            updates, after = jax.jit(tx.update)(
                grads, state, outputs=LOGITS.astype(jnp.float64), labels=LABELS
            )
            assert updates.dtype == jnp.float64
            assert updates[0] == 0.5 + 2.0**-41
            assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, after)

    def test_unknown_keywords_are_ignored(self):
        tx = make()
        start, seen = tx.init(PARAMS), {"outputs": LOGITS, "labels": LABELS}
        plain = jax.jit(tx.update)(PARAMS, start, **seen)
        unknown = functools.partial(tx.update, value=1.0, who="?")
        more = jax.jit(unknown)(PARAMS, start, **seen)
        chex.assert_trees_all_equal(plain, more)

    def test_mi_sgd_is_sgd_under_mi_decay(self):
        options = {"init_lr": 0.4, "rule": residual_rule(), "num_classes": 3}
        options["steps_per_epoch"] = 2
        tx = mi_sgd(0.5, 0.01, momentum=0.9, nesterov=True, **options)
        long = optax.chain(optax.sgd(1.0, 0.9, True), mi_decay(0.5, 0.01, **options))
        states = [tx.init(PARAMS), long.init(PARAMS)]
        updates = [jax.jit(tx.update), jax.jit(long.update)]
        for _ in range(5):
            results = [
                update(PARAMS, s, PARAMS, outputs=LOGITS, labels=LABELS)
                for update, s in zip(updates, states, strict=True)
            ]
            chex.assert_trees_all_equal(*results)
            states = [state for _, state in results]
        split = mi_sgd(0.5, axis_name="x", **options)
        with pytest.raises(ValueError, match="axis_name='x' is not an axis here"):
            split.update(PARAMS, split.init(PARAMS), outputs=LOGITS, labels=LABELS)


class TestPurity:
    def test_one_compilation_no_callback_and_a_state_that_scans(self):
        tx = make()

        @jax.jit
        def epochs(state):
            def step(state, _):
                _, state = tx.update(PARAMS, state, outputs=LOGITS, labels=LABELS)
                return state, state.current_lr

            return jax.lax.scan(step, state, length=20)

        state, rates = epochs(tx.init(PARAMS))
        epochs(state)
        assert epochs._cache_size() == 1
        assert "callback" not in str(jax.make_jaxpr(epochs)(state))
        assert rates[-1] < rates[0]

    def test_gradients_flow_through_the_update_but_not_the_decision(self):
        tx = make(steps_per_epoch=1)

        def loss(scale):
            state = tx.init(PARAMS)
            total = 0.0
            for _ in range(3):
                grads = {"w": scale * jnp.ones(3)}
                updates, state = tx.update(
                    grads, state, outputs=scale * LOGITS, labels=LABELS
                )
                total += updates["w"].sum()
            return total

        value, slope = jax.value_and_grad(loss)(1.0)
        assert slope == pytest.approx(value)

    def test_vmaps_over_seeds(self):
        tx = make(steps_per_epoch=1)
        scales = jnp.array([0.0, 1.0, 4.0])

        def rate(scale):
            def step(state, _):
                seen = {"outputs": scale * LOGITS, "labels": LABELS}
                return tx.update(PARAMS, state, **seen)[1], None

            return jax.lax.scan(step, tx.init(PARAMS), length=3)[0].current_lr

        alone = jax.jit(rate)
        np.testing.assert_allclose(
            jax.jit(jax.vmap(rate))(scales), [alone(s) for s in scales], rtol=1e-5
        )

    def test_init_takes_shapes_and_params_without_leaves(self):
        tx = make()
        real = tx.init(PARAMS)
        for params in (jax.eval_shape(lambda: PARAMS), {}, None):
            chex.assert_trees_all_equal(tx.init(params), real)
