"""A run that was saved and restored is the run that never stopped, to the bit."""

import itertools
import multiprocessing
import os
import signal
import sys
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding

from optax_mi import (
    average_params,
    eval_params,
    label_by_layer,
    layerwise_mi_decay,
    mi_sgd,
    restore_state,
)
from optax_mi.estimators import contingency
from optax_mi.flax import MITrainState
from optax_mi.rules import log_time_rule
from tests.test_restore import numbered

EPOCH, STEPS = 4, 12
SAVED = range(EPOCH, 2 * EPOCH)  # every step of an epoch, its first and its last
FALLING = log_time_rule(rate=3.0, sharpness=0.0)  # within these few epochs
RNG = np.random.default_rng(0)
LABELS = RNG.integers(-1, 3, (STEPS, 16))
X = RNG.normal(size=(STEPS, 16, 8)) + 4.0 * np.eye(9)[LABELS][..., :-1]
X = X.astype(np.float32)


class Run(NamedTuple):
    """A state at step 0, a pytree, and the compiled step (state, x, labels)."""

    start: Any
    step: Any
    place: Any = jnp.asarray

    def go_on(self, state, first, last=STEPS):
        """All states on the way from one step to another."""
        states = [state]
        for x, labels in zip(X[first:last], LABELS[first:last], strict=True):
            states.append(self.step(states[-1], self.place(x), self.place(labels)))
        return states


def loss_of(logits, labels):
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(where=labels >= 0), logits


def make_tx():
    return mi_sgd(0.5, momentum=0.9, num_classes=3, steps_per_epoch=EPOCH, rule=FALLING)


@jax.jit
def plain_init():
    return {"first": {"w": 0.1 * jnp.ones((8, 8))}, "second": {"w": jnp.eye(8)[:, :3]}}


def plain(tx, params=None):
    """A state without flax, for which the import of optax_mi and Orbax is enough."""

    @jax.jit
    def step(state, x, labels):
        def loss_fn(params):
            hidden = jnp.tanh(x @ params["first"]["w"])
            return loss_of(hidden @ params["second"]["w"], labels)

        params, opt_state = state
        grads, logits = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(
            grads,
            opt_state,
            params,
            outputs=logits,
            activations={"first": logits},
            labels=labels,
        )
        return optax.apply_updates(params, updates), opt_state

    params = plain_init() if params is None else params
    return Run((params, jax.jit(tx.init)(params)), step)


def layerwise():
    return plain(
        optax.chain(
            optax.adamw(1.0),
            layerwise_mi_decay(
                {"first": contingency(num_classes=3, soft=False)},
                label_by_layer(),
                {"first": 0.1, "default": 0.05},
                steps_per_epoch=EPOCH,
                rule=FALLING,
                default=contingency(num_classes=3),
            ),
        )
    )


def linen():
    model = nn.Dense(3)

    @jax.jit
    def step(state, x, labels):
        def loss_fn(params):
            return loss_of(state.apply_fn({"params": params}, x), labels)

        grads, logits = jax.grad(loss_fn, has_aux=True)(state.params)
        seen = {"outputs": logits, "labels": labels}
        return state.apply_gradients(grads=grads, extra_args=seen)

    start = MITrainState.create(
        apply_fn=model.apply,
        params=jax.jit(model.init)(jax.random.key(0), X[0])["params"],
        tx=make_tx(),
    )
    return Run(start, step)


def of_nnx():
    model = nnx.Linear(8, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make_tx(), wrt=nnx.Param)
    graph, start = nnx.split((model, optimizer))

    @jax.jit
    def step(state, x, labels):
        model, optimizer = nnx.merge(graph, state)
        grads, logits = nnx.grad(lambda m: loss_of(m(x), labels), has_aux=True)(model)
        optimizer.update(model, grads, outputs=logits, labels=labels)
        return nnx.state((model, optimizer))

    return Run(start, step)


def mesh(*shape):
    return jax.make_mesh(shape, ("x", "y")[: len(shape)], (AxisType.Auto,) * len(shape))


def sharded():
    devices = mesh(8)
    run = plain(make_tx())

    def place(array, *spec):
        return jax.device_put(array, NamedSharding(devices, jax.P(*spec)))

    def lay(leaf):
        return place(leaf, *[None, "x"] if leaf.shape == (8, 8) else [])

    return run._replace(
        start=jax.tree.map(lay, run.start), place=lambda batch: place(batch, "x")
    )


def averaged():
    return plain(optax.chain(make_tx(), average_params(2)))


RUNS = {
    "linen": linen,
    "nnx": of_nnx,
    "layerwise": layerwise,
    "averaged": averaged,
    "sharded": sharded,
}


@pytest.fixture(name="run", scope="module", params=RUNS)
def _run(request, tmp_path_factory):
    """A run, its states at every step, and a checkpoint of each in `SAVED`."""
    run = RUNS[request.param]()
    # Bound to its devices, as what Orbax restores is: the step compiles once.
    run = run._replace(
        start=jax.tree.map(lambda x: jax.device_put(x, x.sharding), run.start)
    )
    states = run.go_on(run.start, 0)
    folder = tmp_path_factory.mktemp(request.param)
    with ocp.StandardCheckpointer() as checkpointer:
        for step in SAVED:
            checkpointer.save(folder / str(step), states[step])
    return run, states, folder


def read(path):
    """What a checkpoint holds, without a target and wherever it was saved."""
    with ocp.StandardCheckpointer() as checkpointer:
        held = checkpointer.metadata(path).item_metadata.tree
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), held)
        return checkpointer.restore(path, like)


def assert_same_bits(state, truth):
    assert jax.tree.structure(state) == jax.tree.structure(truth)
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(truth), strict=True):
        got_type, want_type = jax.typeof(got), jax.typeof(want)
        for name in ("shape", "dtype", "weak_type"):
            assert getattr(got_type, name) == getattr(want_type, name)
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


def rates(state):
    """The learning rates; nnx.state keeps their names, not the type around them."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    found = [leaf for path, leaf in named if "current_lr" in path]
    assert found
    return found


def target(state):
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, state)


def test_the_continued_run_is_the_uninterrupted_one(run):
    run, states, folder = run
    assert all(np.less(rates(states[-1]), rates(states[0])))
    with ocp.StandardCheckpointer() as checkpointer:
        for step in SAVED:
            restored = checkpointer.restore(folder / str(step), target(states[0]))
            for got, want in zip(run.go_on(restored, step), states[step:], strict=True):
                assert_same_bits(got, want)


def test_names_alone_restore_the_state(run):
    run, states, folder = run
    saved = read(folder / str(SAVED[1]))
    free = jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), run.start)
    for fresh in (run.start, free, target(run.start)):
        restored = restore_state(fresh, saved)
        assert_same_bits(restored, states[SAVED[1]])
        # It lies where the state made anew does, so that nothing is compiled again.
        for got, like in zip(*map(jax.tree.leaves, (restored, fresh)), strict=True):
            assert got.sharding == like.sharding
            assert got.committed == (fresh is not free)


@pytest.mark.parametrize("run", ["sharded"], indirect=True)
def test_a_checkpoint_moves_to_other_devices(run):
    run, states, folder = run
    step = SAVED[1]
    devices = mesh(4, 2)

    def lay(leaf):
        spec = ("y", "x") if leaf.shape == (8, 8) else ()
        sharding = NamedSharding(devices, jax.P(*spec))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    shapes = jax.tree.map(lay, run.start)
    with ocp.StandardCheckpointer() as checkpointer:
        moved = checkpointer.restore(folder / str(step), shapes)
    by_names = restore_state(shapes, read(folder / str(step)))
    for got in (moved, by_names):
        assert_same_bits(got, states[step])
        for leaf, like in zip(*map(jax.tree.leaves, (got, shapes)), strict=True):
            assert leaf.sharding == like.sharding
    # Sums are taken in another order there, and so may differ in the last bits.
    batch = NamedSharding(devices, jax.P(("x", "y")))
    elsewhere = run._replace(place=lambda x: jax.device_put(x, batch))
    ends = elsewhere.go_on(moved, step)[-1], states[-1]
    chex.assert_trees_all_close(*jax.device_get(ends), rtol=1e-4, atol=1e-6)


KILLED_AT = 6


def train(folder, fatal):
    """Saves two steps; dies in its operation `fatal` on the files of the second.

    0 stands for the one that gives it the name of a checkpoint that is whole.
    """
    operations = itertools.count(1)
    doomed = str(folder / str(KILLED_AT))

    def die(event, arguments):
        if event not in ("open", "os.mkdir", "os.rename"):
            return
        names = [str(argument) for argument in arguments]
        if not names[0].startswith(doomed):
            return
        whole = event == "os.rename" and names[1] == doomed
        if (next(operations) == fatal) if fatal else whole:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    run = plain(make_tx())
    states = run.go_on(run.start, 0, KILLED_AT)
    with ocp.CheckpointManager(folder) as manager:
        for step in (KILLED_AT - 1, KILLED_AT):
            manager.save(step, args=ocp.args.StandardSave(states[step]))


@pytest.mark.slow
def test_a_run_killed_in_mid_save_resumes(tmp_path):
    run = plain(make_tx())
    states = run.go_on(run.start, 0)
    # The server imports once, and starts no backend: its copies are quick and safe.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for fatal in (2, 9, 0):
        folder = tmp_path / str(fatal)
        child = context.Process(target=train, args=(folder, fatal), daemon=True)
        child.start()
        child.join(timeout=300)
        assert child.exitcode == -signal.SIGKILL
        begun = [path for path in folder.iterdir() if path.name[0] == str(KILLED_AT)]
        assert [path.name == str(KILLED_AT) for path in begun] == [False]
        with ocp.CheckpointManager(folder) as manager:
            step = manager.latest_step()
            assert step == KILLED_AT - 1
            as_shapes = ocp.args.StandardRestore(target(run.start))
            resumed = run.go_on(manager.restore(step, args=as_shapes), step)
            for got, want in zip(resumed, states[step:], strict=True):
                assert_same_bits(got, want)
            manager.save(KILLED_AT, args=ocp.args.StandardSave(resumed[1]))
            manager.wait_until_finished()
            assert manager.latest_step() == KILLED_AT


@pytest.mark.parametrize("run", ["linen", "nnx"], indirect=True)
def test_whole_states_from_before_mi_decay(run, tmp_path):
    fresh = run[0].start
    sgd = optax.sgd(0.1, momentum=0.9)
    if isinstance(fresh, MITrainState):
        old = TrainState.create(apply_fn=None, params=fresh.params, tx=sgd)
        old = old.replace(step=jnp.int32(7))
    else:
        model = nnx.Linear(8, 3, rngs=nnx.Rngs(1))
        old = nnx.state((model, nnx.Optimizer(model, sgd, wrt=nnx.Param)))
    old = numbered(old)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "old", old)
    saved = read(tmp_path / "old")
    with pytest.raises(ValueError, match=r"no state of the mi_decay at .*opt_state/1"):
        restore_state(fresh, saved)
    new = restore_state(fresh, saved, missing="init")
    assert rates(new) == rates(fresh)
    if isinstance(fresh, MITrainState):
        got = new.params, new.opt_state[0][0], new.step
        want = old.params, old.opt_state[0], old.step
    else:
        got = new[0], new[1]["opt_state"][0][0], new[1]["step"]
        want = old[0], old[1]["opt_state"][0], old[1]["step"]
    chex.assert_trees_all_equal(got, want)


@pytest.mark.parametrize("run", ["linen", "nnx"], indirect=True)
def test_whole_states_from_before_their_average(run):
    old = run[1][SAVED[1]]
    tx = optax.chain(make_tx(), average_params())
    if isinstance(old, MITrainState):
        fresh = MITrainState.create(apply_fn=None, params=run[0].start.params, tx=tx)
        params = old.params
    else:
        model = nnx.Linear(8, 3, rngs=nnx.Rngs(2))
        fresh = nnx.state((model, nnx.Optimizer(model, tx, wrt=nnx.Param)))
        params = old[0]
    with pytest.raises(ValueError, match=r"the average_params at .*opt_state/1 of"):
        restore_state(fresh, old)
    new = restore_state(fresh, old, missing="init")
    assert rates(new) == rates(old)
    average = new[1]["opt_state"] if isinstance(new, nnx.State) else new
    for got, want in zip(
        jax.tree.leaves(eval_params(average)), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_array_equal(got, want)
