"""Trains on many hosts; run it once on each, with the same coordinator.

    python multihost.py --coordinator=host0:1234 --processes=2 --process-id=0
    python multihost.py --coordinator=host0:1234 --processes=2 --process-id=1

If JAX finds its cluster by itself, as under Slurm and on TPUs, it needs no options.
"""

import argparse
from collections.abc import Iterator
from typing import Any


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coordinator", help="address of process 0, as host:port")
    parser.add_argument("--processes", type=int, help="number of processes")
    parser.add_argument("--process-id", type=int, help="which of them this is, from 0")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args(argv)
    if args.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {args.epochs}")
    if args.processes is not None and args.process_id not in range(args.processes):
        parser.error(
            f"--process-id must be from 0 to {args.processes - 1} where --processes is "
            f"{args.processes}, got {args.process_id}"
        )
    return args


if __name__ == "__main__":
    parse()  # before what is slow to import

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding

from optax_mi import MIDiagnostics, mi_decay, mi_diagnostics

SAMPLES, FEATURES, CLASSES, BATCH = 643, 8, 4, 64
STEPS_PER_EPOCH = -(-SAMPLES // BATCH)
TX = optax.chain(
    optax.sgd(1.0, momentum=0.9),
    mi_decay(0.1, 0.001, num_classes=CLASSES, steps_per_epoch=STEPS_PER_EPOCH),
)


def load_data() -> tuple[np.ndarray, np.ndarray]:
    """Returns features [N, d] and labels [N]: a cloud of points per class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=SAMPLES)
    x = rng.normal(size=(CLASSES, FEATURES))[labels] + rng.normal(
        size=(SAMPLES, FEATURES)
    )
    return x.astype(np.float32), labels


def local_batches(epoch: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields this process's part of each global batch; all have the same size."""
    x, labels = load_data()
    # All processes use the same order, and each of n takes every n-th sample.
    order = np.random.default_rng(epoch).permutation(SAMPLES)
    mine = order[jax.process_index() :: jax.process_count()]
    size = BATCH // jax.process_count()
    for start in range(0, STEPS_PER_EPOCH * size, size):
        rows = mine[start : start + size]
        # The last batch is padded with samples of weight 0; in some processes it has no
        # others, because every process takes every step.
        pad = (0, size - len(rows))
        yield {
            "x": np.pad(x[rows], [pad, (0, 0)]),
            "labels": np.pad(labels[rows], pad),
            "weights": np.pad(np.ones(len(rows), np.float32), pad),
        }


@jax.jit
def train_step(
    params: jax.Array, opt_state: Any, batch: dict[str, jax.Array]
) -> tuple[Any, Any]:
    """Makes one update, written as for one device: JAX sums over all devices."""
    labels, weights = batch["labels"], batch["weights"]

    def loss_fn(params: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = batch["x"] @ params
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(weights * losses) / jnp.sum(weights), logits

    grads, logits = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = TX.update(
        grads, opt_state, params, outputs=logits, labels=labels, weights=weights
    )
    return optax.apply_updates(params, updates), opt_state


def init() -> tuple[jax.Array, Any]:
    """Returns the parameters and the state of their optimizer."""
    params = jnp.zeros((FEATURES, CLASSES))
    return params, TX.init(params)


def train(epochs: int) -> Iterator[MIDiagnostics]:
    """Yields the diagnostics of each epoch, which are the same in every process."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))
    split, whole = (NamedSharding(mesh, spec) for spec in (jax.P("data"), jax.P()))
    params, opt_state = jax.jit(init, out_shardings=whole)()
    for epoch in range(epochs):
        for part in local_batches(epoch):
            batch = {
                name: jax.make_array_from_process_local_data(split, array)
                for name, array in part.items()
            }
            params, opt_state = train_step(params, opt_state, batch)
        yield jax.jit(mi_diagnostics)(opt_state)["all"]


def main(arguments: list[str] | None = None) -> None:
    """Joins the other processes, trains, and logs in process 0."""
    args = parse(arguments)
    jax.distributed.initialize(
        args.coordinator,
        args.processes,
        args.process_id,
        # If a process dies, the others exit with an error within this time.
        heartbeat_timeout_seconds=10,
    )
    for seen in train(args.epochs):
        if jax.process_index() == 0:
            print(
                f"epoch {seen.epoch}: learning rate {seen.learning_rate:.5g}, "
                f"{seen.mi:.5g} of {seen.entropy:.5g} nats known of "
                f"{seen.num_samples:.0f} samples",
                flush=True,
            )


if __name__ == "__main__":
    main()
