"""Random sequences of good and bad events against a slow model of the decay.

One compiled scan runs a whole sequence, so that thousands fit.
"""

import functools
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from optax_mi import layerwise_mi_decay, mi_decay, mi_diagnostics
from optax_mi.estimators import contingency
from optax_mi.rules import DecayRule
from tests.whole.events import (
    ARRAYS,
    CLASSES,
    RULES,
    SETTINGS,
    SIZES,
    Batch,
    Model,
    Settings,
    batch_of,
    check,
    stacked,
)

LENGTH = 24


def rule_at(place):
    """The rule at a place among RULES, which is traced: one program has all of them."""
    every = [decay_rule for decay_rule, _ in RULES.values()]

    def update(states, *args, **kwargs):
        each = [
            r.update(s, *args, **kwargs) for r, s in zip(every, states, strict=True)
        ]
        rates, states = zip(*each, strict=True)
        return jnp.stack(rates)[place], states

    def look(states, seen):
        each = zip(every, states, strict=True)
        return tuple(r.look(s, seen) if r.look else s for r, s in each)

    return DecayRule(lambda: tuple(r.init() for r in every), update, look=look)


def sequences(sizes):
    """Places in pools of such sizes, and the settings, of each step; these change once.

    The events are drawn as bytes, which takes less time than a list of integers.
    """
    events = st.binary(min_size=4 * LENGTH, max_size=4 * LENGTH).map(
        lambda drawn: np.unravel_index(
            np.frombuffer(drawn, ">u4") % math.prod(sizes), sizes, order="F"
        )
    )
    timeline = st.builds(
        lambda first, second, turn: [first] * turn + [second] * (LENGTH - turn),
        st.sampled_from(SETTINGS),
        st.sampled_from(SETTINGS),
        st.integers(1, LENGTH),
    )
    return st.tuples(events, timeline)


def deterministic(examples, **more):
    """So many examples for each of the profile's, of which there are 100 as a rule."""
    examples = max(1, int(examples * settings.default.max_examples))
    return settings(
        deadline=None, max_examples=examples, derandomize=True, database=None, **more
    )


@jax.jit
def run(pools, events, timeline, place):
    """Diagnostics, steps in the open epoch, and updates, after each event.

    `place` is that of the rule.
    """

    def make(now):
        return mi_decay(
            now.lr_max,
            now.lr_min,
            num_classes=CLASSES,
            steps_per_epoch=now.steps_per_epoch,
            rule=rule_at(place),
        )

    def step(state, event):
        places, now = event
        outputs, labels, weights, gradient = (
            pool[i] for pool, i in zip(pools, places, strict=True)
        )
        update, state = make(now).update(
            gradient, state, outputs=outputs, labels=labels, weights=weights
        )
        return state, (mi_diagnostics(state)["all"], state.updates_in_epoch, update)

    start = make(jax.tree.map(lambda x: x[0], timeline)).init(())
    return jax.lax.scan(step, start, (events, timeline))[1]


@given(sequences(SIZES), st.sampled_from(list(RULES)))
@deterministic(20)
def test_sequences(sequence, name):
    events, timeline = sequence
    results = run(ARRAYS, events, stacked(timeline), list(RULES).index(name))
    assert run._cache_size() == 1
    check(
        Model(RULES[name][1](), timeline[0].lr_max),
        timeline,
        [batch_of(*places) for places in zip(*events[:3], strict=True)],
        ARRAYS[3][events[3]],
        *jax.device_get(results),
    )


# Each group has its part of the bounds, and its way to see a batch.
GROUPS = {
    "first": (1.0, {}),
    "second": (0.5, {"samples": 4, "soft": False}),
    "default": (0.25, {}),
}


def scaled(now, factor):
    return Settings(now.lr_min * factor, now.lr_max * factor, now.steps_per_epoch)


@jax.jit
def run_layers(pools, events, timeline):
    """As `run`, of each group; the first places are those of each group's outputs."""

    def make(now):
        each = {group: scaled(now, factor) for group, (factor, _) in GROUPS.items()}
        return layerwise_mi_decay(
            {
                "first": contingency(num_classes=CLASSES),
                "second": contingency(num_classes=CLASSES, soft=False),
            },
            {"first": "first", "second": "second", "third": "neither"},
            {group: here.lr_max for group, here in each.items()},
            {group: here.lr_min for group, here in each.items()},
            steps_per_epoch=now.steps_per_epoch,
            default=contingency(num_classes=CLASSES),
            max_rows=GROUPS["second"][1]["samples"],
            rule=RULES["log-time"][0],
        )

    def step(state, event):
        (*logits, labels, weights, gradient), now = event
        first, second, outputs = (pools[0][i] for i in logits)
        grads = dict.fromkeys(("first", "second", "third"), pools[3][gradient])
        updates, state = make(now).update(
            grads,
            state,
            outputs=outputs,
            activations={"first": first, "second": second[:4]},
            labels=pools[1][labels],
            weights=pools[2][weights],
        )
        updates["default"] = updates.pop("third")
        open_steps = {
            group: state.inner_states[group].inner_state.updates_in_epoch
            for group in GROUPS
        }
        return state, (mi_diagnostics(state), open_steps, updates)

    params = dict.fromkeys(("first", "second", "third"), 0.0)
    start = make(jax.tree.map(lambda x: x[0], timeline)).init(params)
    return jax.lax.scan(step, start, (events, timeline))[1]


@given(sequences((SIZES[0],) * 2 + tuple(SIZES)))
@deterministic(4)
def test_sequences_of_layers(sequence):
    (*logits, labels, weights, gradients), timeline = sequence
    events = (*logits, labels, weights, gradients)
    results = jax.device_get(run_layers(ARRAYS, events, stacked(timeline)))
    assert run_layers._cache_size() == 1
    for (group, (factor, how)), places in zip(GROUPS.items(), logits, strict=True):
        here = [scaled(now, np.float32(factor)) for now in timeline]
        check(
            Model(RULES["log-time"][1](), here[0].lr_max),
            here,
            [
                batch_of(*each, **how)
                for each in zip(places, labels, weights, strict=True)
            ],
            ARRAYS[3][gradients],
            *(result[group] for result in results),
        )


@functools.cache
def training():
    """The transformation whose settings are in its state, and its update."""
    tx = optax.inject_hyperparams(mi_decay, static_args=("num_classes", "rule"))(
        **{key: value.item() for key, value in stacked(SETTINGS[:1])._asdict().items()},
        num_classes=CLASSES,
        rule=RULES["log-time"][0],
    )
    return tx, jax.jit(tx.update)


def types(tree):
    return jax.tree.map(jax.typeof, tree)


class Training(RuleBasedStateMachine):
    """One update at a time, with what happens between two."""

    def __init__(self):
        super().__init__()
        tx, self.tx_update = training()
        # On the host, where it has no weak types, as out of a file.
        self.state = jax.device_get(tx.init(()))
        self.types = types(self.state)
        self.now = SETTINGS[0]
        self.model = Model(RULES["log-time"][1](), self.now.lr_max)
        self.before = math.inf

    @rule(places=st.tuples(*(st.integers(0, size - 1) for size in SIZES)))
    def train(self, places):
        batch = batch_of(*places[:3])
        self.update(batch, *(pool[i] for pool, i in zip(ARRAYS, places, strict=True)))

    @rule()
    def train_on_nothing(self):
        nothing = np.zeros((CLASSES, CLASSES)), np.zeros(0), 0, np.zeros((2, CLASSES))
        batch = Batch(*nothing)
        outputs, labels, weights, gradients = ARRAYS
        self.update(batch, outputs[0, :0], labels[0, :0], weights[0, :0], gradients[0])

    def update(self, batch, outputs, labels, weights, gradient):
        update, self.state = jax.device_get(
            self.tx_update(
                gradient, self.state, outputs=outputs, labels=labels, weights=weights
            )
        )
        (seen,) = mi_diagnostics(self.state).values()
        wanted = self.model.update(batch, self.now, seen)
        inner = self.state.inner_state
        counters = seen.epoch, seen.held, seen.joined, inner.updates_in_epoch
        assert wanted[1:] == counters
        assert math.isclose(wanted[0], seen.learning_rate, rel_tol=1e-4, abs_tol=1e-7)
        assert seen.learning_rate <= max(self.before, self.now.lr_min)
        with np.errstate(invalid="ignore"):
            exact = np.float64(gradient) * np.float64(seen.learning_rate)
        np.testing.assert_array_equal(update, np.float32(exact))
        self.before = seen.learning_rate

    @rule()
    def save_and_load(self):
        tx, _ = training()
        structure = jax.tree.structure(tx.init(()))
        leaves = pickle.loads(pickle.dumps(jax.tree.leaves(self.state)))
        self.state = jax.tree.unflatten(structure, leaves)

    @rule(now=st.sampled_from(SETTINGS))
    def change_settings(self, now):
        """An epoch may be cut short by it, or drawn out."""
        self.now = now
        for name, value in now._asdict().items():
            here = self.state.hyperparams[name]
            self.state.hyperparams[name] = np.asarray(value, here.dtype)

    @invariant()
    def keeps_its_types(self):
        assert types(self.state) == self.types

    def teardown(self):
        # Batches of one shape, and of none.
        assert self.tx_update._cache_size() <= 2


TestTraining = Training.TestCase
TestTraining.settings = deterministic(0.3, stateful_step_count=30)
