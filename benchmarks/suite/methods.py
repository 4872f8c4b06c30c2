"""What trains the networks: every method, its grid of trials, and what it is told."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from optax_mi import (
    DecayRule,
    MIEstimator,
    contingency,
    gaussian,
    label_by_path,
    layerwise_mi_decay,
    learning_rates,
    log_time_rule,
    mi_decay,
    proportional_rule,
    residual_rule,
    variational,
)


class Setting(NamedTuple):
    """What a method is made from: the number that is tuned, and facts of the task.

    `layers` are the hidden ones and their columns, for methods that watch them.
    """

    trial: Any
    steps: int
    steps_per_epoch: int
    num_classes: int | None
    layers: Mapping[str, int] = {}


@dataclasses.dataclass(frozen=True)
class Method:
    """One column of the suite.

    Attributes:
      name: key in results and on the command line.
      make: `make(setting) -> optax transformation`.
      trials: the grid that the trial is chosen from on validation data. For
        methods that find their own, it is the multiplier or the first guess they ask.
      tested: the optimizer, made from a learning rate, with which a range test finds
        the only trial, `(lr_max, lr_min)`; None for methods with a grid.
      knows_horizon: whether it is told the number of steps.
      needs_classes: whether it can only measure MI with class labels.
      eval_params: `eval_params(state, params)`, the weights to be judged.
      rate: `rate(state)`, the learning rate in force, nan where the state has none.
      watch: `watch(outputs, labels)` of the validation set before every step, which
        `update` gets as `mi`; None for methods that see training batches alone.
      watches_layers: whether `update` gets the `activations` of the hidden layers.
    """

    name: str
    make: Callable[[Setting], optax.GradientTransformation]
    trials: tuple[float, ...] = ()
    tested: Callable[..., optax.GradientTransformation] | None = None
    knows_horizon: bool = False
    needs_classes: bool = False
    eval_params: Callable[[Any, Any], Any] = lambda state, params: params
    rate: Callable[[Any], jax.Array] = lambda state: jnp.full((), jnp.nan)
    watch: Callable[[Any, Any], Any] | None = None
    watches_layers: bool = False

    def unfit(self, num_classes: int | None) -> str:
        """Why the method cannot run on a task; empty if it can."""
        if self.needs_classes and num_classes is None:
            return "needs class labels, whose entropy is finite"
        return ""


def grid(low: float, num: int = 7) -> tuple[float, ...]:
    """`num` values from `low`, two a decade: 1, 3, 10, 30, ..."""
    values = [float(f"{digit}e{power}") for power in range(-9, 4) for digit in (1, 3)]
    start = values.index(low)
    return tuple(values[start : start + num])


SGD, ADAM = grid(1e-3), grid(1e-4)


def cosine(setting: Setting) -> Any:
    """From the trial's learning rate to 0, at the last step."""
    return optax.cosine_decay_schedule(setting.trial, setting.steps)


def plateau(setting: Setting) -> optax.GradientTransformation:
    """Momentum sgd, halved when the mean loss of two epochs in a row brings nothing."""
    return optax.chain(
        optax.sgd(setting.trial, momentum=0.9),
        contrib.reduce_on_plateau(
            factor=0.5, patience=2, accumulation_size=setting.steps_per_epoch
        ),
    )


def default_estimator(num_classes: int | None) -> MIEstimator:
    """Soft counts; for a regression, that of Gaussian outputs and labels."""
    if num_classes is None:
        return gaussian(1, label_features=1)
    return contingency(num_classes)


MOMENTUM = functools.partial(optax.sgd, momentum=0.9)


def ours(
    name: str,
    rule: Callable[[], Any],
    base: str = "sgd",
    estimator: Callable[[Any], MIEstimator] = default_estimator,
    needs_classes: bool = False,
    tested: bool = False,
) -> Method:
    """`mi_decay` on momentum sgd or on adamw; the trial is lr_max, or both bounds."""
    optimizer = MOMENTUM if base == "sgd" else optax.adamw

    def make(setting: Setting) -> optax.GradientTransformation:
        decay: dict[str, Any] = {
            "estimator": estimator(setting.num_classes),
            "steps_per_epoch": setting.steps_per_epoch,
            "rule": rule(),
        }
        bounds = setting.trial if tested else (setting.trial,)
        return optax.chain(optimizer(1.0), mi_decay(*bounds, **decay))

    grid = SGD if base == "sgd" else ADAM
    return Method(
        name,
        make,
        () if tested else grid,
        tested=optimizer if tested else None,
        needs_classes=needs_classes,
        rate=lambda state: learning_rates(state)["all"],
    )


def layer_decay(
    setting: Setting, lr_max: Any, lr_min: Any, rule: DecayRule, noise: float = 0.25
) -> optax.GradientTransformationExtraArgs:
    """`layerwise_mi_decay`: hidden layers are read as Gaussian, the rest by outputs."""
    classes = setting.num_classes
    return layerwise_mi_decay(
        {
            layer: gaussian(columns, num_classes=classes, noise=noise)
            for layer, columns in setting.layers.items()
        },
        by_layer(setting.layers),
        lr_max,
        lr_min,
        steps_per_epoch=setting.steps_per_epoch,
        rule=rule,
        default=default_estimator(classes),
    )


def layer_by_layer(
    name: str,
    rule: Callable[[], DecayRule] = log_time_rule,
    base: str = "sgd",
    lowest: float = 0.01,
    noise: float = 0.25,
) -> Method:
    """A decay for every layer, from the trial's lr_max down to a share `lowest` of it.

    The learning rate shown is that of the last layer.
    """
    optimizer = MOMENTUM if base == "sgd" else optax.adamw

    def make(setting: Setting) -> optax.GradientTransformation:
        bounds = setting.trial, lowest * setting.trial
        return optax.chain(optimizer(1.0), layer_decay(setting, *bounds, rule(), noise))

    return Method(
        name,
        make,
        SGD if base == "sgd" else ADAM,
        needs_classes=True,
        rate=lambda state: learning_rates(state)["default"],
        watches_layers=True,
    )


def by_layer(layers: Iterable[str]) -> Callable[[Any], Any]:
    """A label for each layer's parameters, "default" for the others."""
    return label_by_path(
        {**{f"^params/{layer}/": layer for layer in layers}, ".*": "default"}
    )


METHODS = {
    method.name: method
    for method in (
        Method("sgd", lambda s: optax.sgd(s.trial, momentum=0.9), SGD),
        Method(
            "sgd cosine",
            lambda s: optax.sgd(cosine(s), momentum=0.9),
            SGD,
            knows_horizon=True,
        ),
        Method("sgd plateau", plateau, SGD),
        Method("adam", lambda s: optax.adam(s.trial), ADAM),
        Method(
            "adamw cosine", lambda s: optax.adamw(cosine(s)), ADAM, knows_horizon=True
        ),
        Method("rmsprop", lambda s: optax.rmsprop(s.trial), grid(3e-5)),
        Method("lars", lambda s: optax.lars(s.trial), grid(0.1)),
        Method(
            "schedule-free sgd",
            lambda s: contrib.schedule_free_sgd(s.trial, warmup_steps=50),
            grid(1e-2),
            eval_params=contrib.schedule_free_eval_params,
        ),
        Method(
            "schedule-free adamw",
            lambda s: contrib.schedule_free_adamw(s.trial, warmup_steps=50),
            grid(3e-4),
            eval_params=contrib.schedule_free_eval_params,
        ),
        Method("prodigy", lambda s: contrib.prodigy(s.trial), grid(0.03)),
        Method("dog", lambda s: contrib.dog(s.trial), grid(0.03)),
        Method(
            "mechanic adam",
            lambda s: contrib.mechanize(optax.adam(1.0), s_init=s.trial),
            (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3),
        ),
        Method("momo", lambda s: contrib.momo(s.trial), grid(1e-2)),
        ours("mi sgd", log_time_rule),
        ours(
            "mi sgd variational",
            log_time_rule,
            estimator=variational,
            needs_classes=True,
        ),
        ours("mi sgd residual", residual_rule, needs_classes=True),
        ours("mi sgd proportional", proportional_rule),
        ours("mi adamw", log_time_rule, "adamw"),
        ours("mi adamw residual", residual_rule, "adamw", needs_classes=True),
        layer_by_layer("mi sgd layer-wise"),
        layer_by_layer("mi adamw layer-wise", base="adamw"),
        ours("mi sgd range test", log_time_rule, tested=True),
        ours("mi adamw range test", log_time_rule, "adamw", tested=True),
    )
}
