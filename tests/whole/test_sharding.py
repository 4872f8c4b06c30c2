"""The same batch gives the same estimate however it is spread over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

from optax_mi import layerwise_mi_decay, mi_decay, mi_diagnostics
from optax_mi.estimators import contingency, gaussian, measured, variational
from optax_mi.rules import DecayRule

# Two batches an epoch, of which the second is uneven: of eight devices four have all
# of their samples, one has half of them and three have none. The third epoch is empty.
EPOCHS, BATCH, CLASSES = 4, 32, 5
REAL, EMPTY_EPOCH = (32, 18), 2
RNG = np.random.default_rng(0)
LABELS = RNG.integers(-1, CLASSES, (EPOCHS, sum(REAL)))
LOGITS = RNG.normal(size=(*LABELS.shape, CLASSES)).astype(np.float32)
LOGITS += 2 * np.eye(CLASSES + 1, dtype=np.float32)[LABELS][..., :-1]
GRADS = {"hidden": np.ones(4, np.float32), "head": np.ones(4, np.float32)}


def decay_by_knowledge(state, estimate, learning_rate, **_):
    """Moves the learning rate at every epoch, so that any difference shows in it."""
    return learning_rate * (1.0 - 0.5 * estimate.normalized), state


RULE = DecayRule(lambda: (), decay_by_knowledge)
ESTIMATORS = {
    "soft": contingency(num_classes=CLASSES),
    "hard": contingency(num_classes=CLASSES, soft=False),
    "variational": variational(num_classes=CLASSES),
    "gaussian": gaussian(features=CLASSES, num_classes=CLASSES),
}


def make(kind, steps_per_epoch, axis_name=None):
    options = {"steps_per_epoch": steps_per_epoch, "rule": RULE, "axis_name": axis_name}
    if kind == "layerwise":
        return layerwise_mi_decay(
            {"hidden": gaussian(features=3, num_classes=CLASSES)},
            {"hidden": "hidden", "head": "default"},
            0.5,
            default=contingency(num_classes=CLASSES),
            **options,
        )
    return mi_decay(0.5, estimator=ESTIMATORS[kind], **options)


def step_of(tx):
    def step(state, batch):
        return tx.update(GRADS, state, **batch)[1]

    return step


def batch_of(logits, labels, **weights):
    return {
        "outputs": logits,
        "activations": {"hidden": logits[:, 1:4]},
        "labels": labels,
        **weights,
    }


def run(step, state, epochs):
    """What every epoch saw."""
    seen = []
    for epoch in epochs:
        for batch in epoch:
            state = step(state, batch)
        seen.append(jax.device_get(mi_diagnostics(state)))
    return seen


def padded(epoch):
    """Batches of one size, in which the samples that are not real have weight 0."""
    start = 0
    for real in REAL:
        of_batch = slice(start, start := start + real)
        pad = [(0, BATCH - real)]
        weights = np.full(real, epoch != EMPTY_EPOCH, np.float32)
        yield batch_of(
            np.pad(LOGITS[epoch, of_batch], [*pad, (0, 0)]),
            np.pad(LABELS[epoch, of_batch], pad),
            weights=np.pad(weights, pad),
        )


@pytest.fixture(scope="module", params=[*ESTIMATORS, "layerwise"])
def truth(request):
    """One device, with the same samples in batches without padding or weights."""
    labels = LABELS.copy()
    labels[EMPTY_EPOCH] = -1
    epochs = [
        map(batch_of, np.split(x, 5), np.split(y, 5))
        for x, y in zip(LOGITS, labels, strict=True)
    ]
    tx = make(request.param, steps_per_epoch=5)
    seen = run(jax.jit(step_of(tx)), jax.jit(tx.init)(GRADS), epochs)
    for last in seen[-1].values():
        assert (last.epoch, last.held) == (EPOCHS, 1)
        assert last.dropped > 0
        assert last.learning_rate < 0.5
    return request.param, seen


def check(truth, mesh, axis_name=None):
    kind, want = truth
    tx = make(kind, steps_per_epoch=len(REAL), axis_name=axis_name)
    whole, split = jax.P(), jax.P(mesh.axis_names)
    step = step_of(tx)
    if axis_name is not None:
        step = jax.shard_map(step, in_specs=(whole, split), out_specs=whole)
    with jax.set_mesh(mesh):
        epochs = jax.device_put(
            [list(padded(epoch)) for epoch in range(EPOCHS)], NamedSharding(mesh, split)
        )
        init = jax.jit(tx.init, out_shardings=NamedSharding(mesh, whole))
        got = run(jax.jit(step), init(GRADS), epochs)
    padding = len(REAL) * BATCH - sum(REAL)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.keys() == theirs.keys()
        for group, one in theirs.items():
            many = ours[group]
            assert (many.epoch, many.held, many.num_samples, many.dropped) == (
                one.epoch,
                one.held,
                one.num_samples,
                one.dropped + padding,
            )
            # Not to the bit: the sums of the parts are rounded in another order.
            np.testing.assert_allclose(many[:5], one[:5], rtol=1e-5)


@pytest.mark.parametrize(
    ("axis_type", "axis_name"),
    [(AxisType.Auto, None), (AxisType.Explicit, None), (AxisType.Auto, "x")],
    ids=["jit", "explicit", "shard_map"],
)
def test_eight_devices_give_what_one_gives(truth, axis_type, axis_name):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(axis_type,))
    check(truth, mesh, axis_name)


@pytest.mark.parametrize("truth", ["soft"], indirect=True)
def test_shard_map_over_two_axes(truth):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    check(truth, mesh, ("x", "y"))


@pytest.mark.parametrize("kind", ["soft", "layerwise"])
def test_shard_map_without_an_axis_name_is_an_error(kind):
    tx = make(kind, steps_per_epoch=2)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    step = jax.shard_map(
        step_of(tx), mesh=mesh, in_specs=(jax.P(), jax.P("x")), out_specs=jax.P()
    )
    with pytest.raises(ValueError, match=r"axes \['x'\].*pass axis_name=\('x',\)"):
        jax.eval_shape(step, jax.eval_shape(tx.init, GRADS), next(padded(0)))


def test_shard_map_takes_a_measurement():
    tx = mi_decay(0.5, estimator=measured(1.0), steps_per_epoch=1, axis_name="x")
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    update = jax.jit(
        jax.shard_map(
            lambda state, mi: tx.update(GRADS, state, mi=mi)[1],
            mesh=mesh,
            in_specs=(jax.P(), jax.P()),
            out_specs=jax.P(),
        )
    )
    state = jax.jit(tx.init)(GRADS)
    for mi in (0.75, jnp.nan, 0.75):
        state = update(state, jnp.float32(mi))
    seen = mi_diagnostics(state)["all"]
    assert (seen.mi, seen.held) == (0.75, 1)
    assert seen.learning_rate < 0.5
