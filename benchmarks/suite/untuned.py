"""Methods that are given nothing: `auto`, and rivals at what their authors publish."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from optax_mi import (
    AutoResult,
    auto,
    average_params,
    eval_params,
    learning_rates,
    mi_decay,
)
from optax_mi.rules import capped_rule
from suite.bounds import as_batches, make_batch_loss
from suite.methods import MOMENTUM, Method, Setting, cosine, default_estimator
from suite.tasks import Task
from suite.training import start_of


def search(
    task: Task,
    optimizer: Callable[..., optax.GradientTransformation],
    seed: int,
    num_updates: int,
) -> AutoResult:
    """What `auto` finds on the training data of a seed."""
    data = task.load(seed)
    # Not the start of any run that is judged.
    keys = jax.random.split(jax.random.key(seed + 1000), 3)
    params = start_of(task, seed, keys[0], data.train[0][:1])
    batches: Any = as_batches(task, data.train, keys[1])
    held: Any = None
    if task.is_augmented:
        batches, held = _augmented(batches)
    return auto(
        make_batch_loss(task),
        params,
        batches,
        eval_batches=held,
        estimator=default_estimator(num_classes=task.num_classes),
        optimizer=optimizer,
        num_updates=num_updates,
        key=keys[2],
    )


def _augmented(batches: Any) -> tuple[Any, Any]:
    """Batches whose inputs change at each pass, and some that are held out."""
    count = len(batches[0])
    held = round(0.15 * count)
    x, y, keys = jnp.asarray(batches[0]), jnp.asarray(batches[1]), batches[2]

    def batch(key: jax.Array, step: jax.Array) -> Any:
        place = jax.random.randint(key, (), held, count)
        return x[place], y[place], jax.random.fold_in(key, 1)

    return batch, (x[:held], y[:held], keys[:held])


def setting_of(found: AutoResult) -> dict[str, float]:
    """What `auto`'s transformation is made from, in numbers alone."""
    if found.lr_max is None:
        return {}
    limit = found.lr_sum_max
    return {
        "lr_max": found.lr_max,
        "lr_min": found.lr_max / 100 if limit is None else 0.0,
        "lr_sum_max": np.inf if limit is None else limit,
    }


def _auto(base: str, optimizer: Callable[..., Any]) -> Method:
    def make(setting: Setting) -> optax.GradientTransformation:
        trial = setting.trial
        decay = mi_decay(
            trial["lr_max"],
            trial["lr_min"],
            estimator=default_estimator(num_classes=setting.num_classes),
            rule=capped_rule(trial["lr_sum_max"]),
        )
        return optax.chain(optimizer(1.0), decay, average_params())

    return Method(
        f"auto {base}",
        make,
        searched=optimizer,
        views={f"auto {base}": eval_params},
        rival=f"{base} cosine",
        rate=lambda state: learning_rates(state)["all"],
    )


def _at(name: str, make: Callable[[Setting], Any], rate: float, **how: Any) -> Method:
    return Method(name, make, (rate,), rival="adamw cosine", **how)


UNTUNED = {
    method.name: method
    for method in (
        _auto("sgd", MOMENTUM),
        _auto("adamw", optax.adamw),
        _at("prodigy 1", lambda s: contrib.prodigy(s.trial), 1.0),
        Method(
            "dog 1 + average",
            lambda s: optax.chain(contrib.dog(s.trial), average_params()),
            (1.0,),
            views={"dog 1 + average": eval_params},
        ),
        _at(
            "mechanic adamw",
            lambda s: contrib.mechanize(optax.adamw(s.trial)),
            1.0,
        ),
        _at(
            "schedule-free adamw 0.0025",
            lambda s: contrib.schedule_free_adamw(s.trial),
            0.0025,
            views={"schedule-free adamw 0.0025": contrib.schedule_free_eval_params},
        ),
        _at("adamw 3e-4", lambda s: optax.adamw(s.trial), 3e-4),
        _at("adamw 1e-3", lambda s: optax.adamw(s.trial), 1e-3),
        *(
            _at(
                f"adamw cosine {name}",
                lambda s: optax.adamw(cosine(s)),
                rate,
                knows_horizon=True,
            )
            for name, rate in (("3e-4", 3e-4), ("1e-3", 1e-3))
        ),
    )
}
