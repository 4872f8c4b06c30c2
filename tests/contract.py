"""Every public transformation and every wrapper, once, for the tests that use them.

A case makes a transformation and the keywords that its update requires. A wrapper takes
a case's factory and settings, since `inject_hyperparams` must see the factory; its key
is its name in Optax, and after a dash what tells it from another of that name.
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_mi import average_params, layerwise_mi_decay, mi_decay, mi_sgd
from optax_mi.estimators import (
    binned,
    contingency,
    from_loss,
    gaussian,
    kde,
    measured,
    nearest_neighbors,
    variational,
)

NUM_CLASSES = 4
LABELS = jnp.arange(16) % NUM_CLASSES


def logits(knowledge=1.0, dtype=jnp.float32):
    """Outputs that tell more of the labels the larger `knowledge` is."""
    return (4.0 * knowledge * jax.nn.one_hot(LABELS, NUM_CLASSES)).astype(dtype)


def labelled(knowledge=1.0, dtype=jnp.float32):
    return {"outputs": logits(knowledge, dtype), "labels": LABELS}


NOISE = jax.random.normal(jax.random.key(0), (16, 2))


def scattered(knowledge=1.0, dtype=jnp.float32):
    """Real vectors [16, 2], and their classes."""
    means = 4.0 * knowledge * jax.nn.one_hot(LABELS, 2)
    return {"outputs": (means + NOISE).astype(dtype), "labels": LABELS}


def layers(knowledge=1.0, dtype=jnp.float32):
    activations = {"first": logits(knowledge, dtype), "rest": logits(0.3, dtype)}
    return {"activations": activations, "labels": LABELS}


def first_and_rest(params):
    """The first parameter is of one layer and the others of another."""
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten(["first", *["rest"] * len(leaves)][: len(leaves)])


class Case(NamedTuple):
    factory: Callable[..., optax.GradientTransformationExtraArgs]
    settings: dict[str, Any]
    signal: Callable[..., dict[str, Any]] = labelled

    def make(self, **overrides):
        """With other settings, of those that it has."""
        return self.factory(
            **{
                name: overrides.get(name, value)
                for name, value in self.settings.items()
            }
        )


def averaged(lr_max, lr_min, steps_per_epoch, num_classes):
    """What users chain."""
    decay = mi_decay(
        lr_max, lr_min, steps_per_epoch=steps_per_epoch, num_classes=num_classes
    )
    return optax.chain(decay, average_params())


SETTINGS = {"lr_max": 0.5, "lr_min": 0.01, "steps_per_epoch": 3}
CASES = {
    "mi_decay": Case(mi_decay, {**SETTINGS, "num_classes": NUM_CLASSES}),
    "mi_decay-gaussian": Case(
        mi_decay,
        {**SETTINGS, "estimator": gaussian(features=2, num_classes=NUM_CLASSES)},
        scattered,
    ),
    "mi_decay-measured": Case(
        mi_decay,
        {**SETTINGS, "estimator": measured(1.5)},
        lambda knowledge=1.0, dtype=jnp.float32: {
            "mi": jnp.asarray(knowledge).astype(dtype)
        },
    ),
    "mi_sgd": Case(
        mi_sgd,
        {**SETTINGS, "num_classes": NUM_CLASSES, "momentum": 0.9, "nesterov": True},
    ),
    "layerwise_mi_decay": Case(
        layerwise_mi_decay,
        {
            **SETTINGS,
            "estimators": {
                "first": contingency(num_classes=NUM_CLASSES),
                "rest": variational(num_classes=NUM_CLASSES),
            },
            "param_labels": first_and_rest,
        },
        layers,
    ),
    "average_params": Case(average_params, {"power": 4.0}, lambda *_: {}),
    "mi_decay-averaged": Case(averaged, {**SETTINGS, "num_classes": NUM_CLASSES}),
}


# Too many for the table: they go through tests of their own, in one program each.
ESTIMATORS = {
    "ids": (
        contingency(num_classes=NUM_CLASSES),
        {"outputs": LABELS // 2, "labels": LABELS},
    ),
    "hard": (contingency(num_classes=NUM_CLASSES, soft=False), labelled()),
    "variational": (variational(num_classes=NUM_CLASSES), labelled()),
    "from_loss": (from_loss(1.5), {"value": jnp.float32(0.7)}),
    "gaussian-real": (
        gaussian(features=2, label_features=2),
        {**scattered(), "labels": scattered()["outputs"] + NOISE[::-1]},
    ),
    "nearest_neighbors": (
        nearest_neighbors(features=2, num_classes=NUM_CLASSES, sample_size=32),
        scattered(),
    ),
    "kde": (
        kde(features=2, num_classes=NUM_CLASSES, bandwidth=1.0, sample_size=32),
        scattered(),
    ),
    "binned": (
        binned(num_classes=NUM_CLASSES, low=-4.0, high=8.0, num_bins=4),
        scattered(),
    ),
}


def inject(case):
    static = {"num_classes", "estimators", "param_labels", "max_rows"}
    static &= inspect.signature(case.factory).parameters.keys()
    return optax.inject_hyperparams(case.factory, static_args=static)(**case.settings)


def partition(case):
    return optax.partition(
        {"ours": case.make(), "theirs": optax.sgd(0.1), "nobody": case.make()},
        lambda params: jax.tree.map(
            lambda x: "ours" if jnp.ndim(x) else "theirs", params
        ),
    )


def every_other(step, **extra_args):
    return step % 2 == 0


def in_optax(key):
    """Whether the installed version has it."""
    try:
        operator.attrgetter(key.partition("-")[0])(optax)
    except AttributeError:
        return False
    return True


WRAPPERS = {
    "bare": lambda case: case.make(),
    "chain": lambda case: optax.chain(optax.clip_by_global_norm(1.0), case.make()),
    "chain-adamw": lambda case: optax.chain(optax.adamw(1e-2), case.make()),
    "named_chain": lambda case: optax.named_chain(
        ("trace", optax.trace(0.9)), ("mi", case.make())
    ),
    "with_extra_args_support": lambda case: optax.with_extra_args_support(case.make()),
    "apply_if_finite": lambda case: optax.apply_if_finite(case.make(), 3),
    "conditionally_mask": lambda case: optax.conditionally_mask(
        case.make(), every_other
    ),
    "conditionally_transform": lambda case: optax.conditionally_transform(
        case.make(), every_other, forward_extra_args=True
    ),
    "inject_hyperparams": inject,
    "masked": lambda case: optax.masked(
        case.make(), lambda params: jax.tree.map(lambda x: jnp.ndim(x) > 0, params)
    ),
    "partition": partition,
    "selective_transform": lambda case: optax.selective_transform(
        case.make(), freeze_mask={"w": False, "b": False, "s": True}
    ),
    "MultiSteps": lambda case: optax.MultiSteps(case.make(), 2),
    "MultiSteps-before": lambda case: optax.chain(
        optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation(), case.make()
    ),
    "contrib.mechanize": lambda case: optax.contrib.mechanize(case.make()),
    "contrib.schedule_free": lambda case: optax.contrib.schedule_free(case.make(), 1.0),
}
WRAPPERS = {k: wrap for k, wrap in WRAPPERS.items() if k == "bare" or in_optax(k)}
