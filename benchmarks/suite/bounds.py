"""Bounds of the learning rate for a task of the suite, by a range test."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from optax_mi import LRRangeResult, lr_range_test
from optax_mi.estimators import variational
from suite.data import Arrays
from suite.methods import default_estimator
from suite.tasks import Task
from suite.training import make_loss, start_of

# No run that is judged has this seed.
SEED = 100


def as_batches(task: Task, part: Arrays, key: jax.Array) -> Any:
    """Inputs, labels and a key of each batch, for :func:`make_batch_loss`."""
    x, y = part
    count = len(x) // task.batch
    rows = np.arange(count * task.batch).reshape(count, task.batch)
    return x[rows], y[rows], jax.random.split(key, count)


def make_batch_loss(task: Task) -> Callable[[Any, Any], Any]:
    """The loss of a batch, augmented."""
    loss_of = make_loss(task)

    def loss_fn(params: Any, batch: Any) -> Any:
        x, labels, key = batch
        return loss_of(params, task.augment(key, task.prepare(x)), labels)

    return loss_fn


def suggest(
    task: Task,
    optimizer: Callable[..., Any],
    *,
    mode: Literal["parallel", "ramp"] = "parallel",
    validation: bool = False,
    num_steps: int | None = None,
    num_seeds: int = 3,
) -> LRRangeResult:
    """A range test of a task.

    With `validation` it is judged by the variational bound on validation data, else by
    the default estimator on training batches.
    """
    data = task.load(SEED)
    keys = jax.random.split(jax.random.key(SEED), 3)
    estimator = default_estimator(num_classes=task.num_classes)
    if validation:
        assert task.num_classes is not None
        estimator = variational(num_classes=task.num_classes)

    def init(key: jax.Array) -> Any:
        return start_of(task, SEED, key, jnp.asarray(data.train[0][:1]))

    return lr_range_test(
        make_batch_loss(task),
        init,
        as_batches(task, data.train, keys[0]),
        estimator=estimator,
        optimizer=optimizer,
        mode=mode,
        num_steps=num_steps,
        eval_batches=as_batches(task, data.valid, keys[1]) if validation else None,
        num_seeds=num_seeds,
        key=keys[2],
    )
