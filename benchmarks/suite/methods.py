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
    average_params,
    eval_params,
    label_by_path,
    layerwise_mi_decay,
    learning_rates,
    mi_decay,
)
from optax_mi.estimators import MIEstimator, contingency, gaussian, variational
from optax_mi.rules import DecayRule, log_time_rule, proportional_rule, residual_rule


class Setting(NamedTuple):
    """What a method is made from: the number that is tuned, and facts of the task.

    `steps_per_epoch` may be None, for methods that do without. `layers` are the hidden
    ones and their columns, for methods that watch them.
    """

    trial: Any
    steps: int
    steps_per_epoch: Any
    num_classes: int | None
    layers: Mapping[str, int] = {}


# Weights to be judged, from a state and the params.
View = Callable[[Any, Any], Any]


def as_trained(state: Any, params: Any) -> Any:
    """The params themselves."""
    del state
    return params


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to train, and the rows that a run of it fills.

    Attributes:
      name: key on the command line; names the run.
      make: `make(setting) -> optax transformation`.
      trials: the grid that the trial is chosen from on validation data. For
        methods that find their own, it is the multiplier or the first guess they ask.
      tested: the optimizer, made from a learning rate, with which a range test finds
        the only trial, `(lr_max, lr_min)`; None for methods with a grid.
      searched: the optimizer with which `auto` finds the only trial of each seed; None
        for all others.
      knows_horizon: whether it is told the number of steps. Such a method has a run
        of its own for every horizon.
      needs_classes: whether it can only measure MI with class labels.
      views: row -> `view(state, params)`, the weights that the row judges. One run
        fills them all. Without any, one row of the method's name judges the params.
      rival: row that the rows are measured against.
      rate: `rate(state)`, the learning rate in force, nan where the state has none.
      watch: `watch(outputs, labels)` of the validation set before every step, which
        `update` gets as `mi`; None for methods that see training batches alone.
      watches_layers: whether `update` gets the `activations` of the hidden layers.
    """

    name: str
    make: Callable[[Setting], optax.GradientTransformation]
    trials: tuple[float, ...] = ()
    tested: Callable[..., optax.GradientTransformation] | None = None
    searched: Callable[..., optax.GradientTransformation] | None = None
    knows_horizon: bool = False
    needs_classes: bool = False
    views: Mapping[str, View] = dataclasses.field(default_factory=dict)
    rival: str = "sgd cosine"
    rate: Callable[[Any], jax.Array] = lambda state: jnp.full((), jnp.nan)
    watch: Callable[[Any, Any], Any] | None = None
    watches_layers: bool = False

    @property
    def rows(self) -> Mapping[str, View]:
        """Every row of the method and the weights that it judges."""
        return self.views or {self.name: as_trained}

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
# Steps over which schedule-free methods warm up.
WARMUP = 50
MOMENTUM = functools.partial(optax.sgd, momentum=0.9)


def cosine(setting: Setting) -> Any:
    """From the trial's learning rate to 0, at the last step."""
    return optax.cosine_decay_schedule(setting.trial, setting.steps)


def plateau(
    setting: Setting, optimizer: Callable[..., optax.GradientTransformation]
) -> optax.GradientTransformation:
    """An optimizer, halved when the mean loss of two epochs in a row brings nothing."""
    return optax.chain(
        optimizer(setting.trial),
        contrib.reduce_on_plateau(
            factor=0.5, patience=2, accumulation_size=setting.steps_per_epoch
        ),
    )


def default_estimator(*, num_classes: int | None) -> MIEstimator:
    """Soft counts; for a regression, that of Gaussian outputs and labels."""
    if num_classes is None:
        return gaussian(features=1, label_features=1)
    return contingency(num_classes=num_classes)


def ours(
    name: str,
    rule: Callable[[], Any],
    base: str = "sgd",
    estimator: Callable[..., MIEstimator] = default_estimator,
    needs_classes: bool = False,
    tested: bool = False,
    own_epochs: bool = False,
) -> Method:
    """`mi_decay` on momentum sgd or on adamw; the trial is lr_max, or both bounds.

    With `own_epochs` it is not told how long an epoch is, and decides when it chooses.
    """
    optimizer = MOMENTUM if base == "sgd" else optax.adamw

    def make(setting: Setting) -> optax.GradientTransformation:
        decay: dict[str, Any] = {
            "estimator": estimator(num_classes=setting.num_classes),
            "steps_per_epoch": None if own_epochs else setting.steps_per_epoch,
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
        rival=f"{base} cosine",
        rate=lambda state: learning_rates(state)["all"],
    )


def layer_decay(
    setting: Setting, lr_max: Any, lr_min: Any, rule: DecayRule
) -> optax.GradientTransformationExtraArgs:
    """`layerwise_mi_decay`: hidden layers are read as Gaussian, the rest by outputs."""
    classes = setting.num_classes
    return layerwise_mi_decay(
        {
            layer: gaussian(features=columns, num_classes=classes, noise=0.25)
            for layer, columns in setting.layers.items()
        },
        by_layer(setting.layers),
        lr_max,
        lr_min,
        steps_per_epoch=setting.steps_per_epoch,
        rule=rule,
        default=default_estimator(num_classes=classes),
    )


def layer_by_layer(name: str, base: str = "sgd") -> Method:
    """A decay for every layer, from the trial's lr_max down to a hundredth of it.

    The learning rate shown is that of the last layer.
    """
    optimizer = MOMENTUM if base == "sgd" else optax.adamw

    def make(setting: Setting) -> optax.GradientTransformation:
        bounds = setting.trial, 0.01 * setting.trial
        return optax.chain(
            optimizer(1.0), layer_decay(setting, *bounds, log_time_rule())
        )

    return Method(
        name,
        make,
        SGD if base == "sgd" else ADAM,
        needs_classes=True,
        rival=f"{base} cosine",
        rate=lambda state: learning_rates(state)["default"],
        watches_layers=True,
    )


def by_layer(layers: Iterable[str]) -> Callable[[Any], Any]:
    """A label for each layer's parameters, "default" for the others."""
    return label_by_path(
        {**{f"^params/{layer}/": layer for layer in layers}, ".*": "default"}
    )


def mi_schedule_free(setting: Setting) -> optax.GradientTransformation:
    """`schedule_free_adamw` whose base takes its learning rate from `mi_decay`.

    Without a decay it is `schedule_free_adamw`, step for step.
    """
    warmup = optax.warmup_constant_schedule(0.0, 1.0, WARMUP)
    base = optax.chain(
        optax.scale_by_rms(0.999, eps_in_sqrt=False, bias_correction=True),
        optax.scale_by_learning_rate(warmup),
        mi_decay(
            setting.trial,
            estimator=default_estimator(num_classes=setting.num_classes),
            steps_per_epoch=setting.steps_per_epoch,
        ),
    )
    return contrib.schedule_free(base, warmup, b1=0.9)


def averaged(method: Method, keep_raw: bool = True) -> Method:
    """The same runs with a further row, whose weights are averaged over the steps."""

    def make(setting: Setting) -> optax.GradientTransformation:
        return optax.chain(method.make(setting), average_params())

    raw: dict[str, View] = {method.name: as_trained} if keep_raw else {}
    average = {f"{method.name} + average": eval_params}
    return dataclasses.replace(method, make=make, views=raw | average)


def schedule_free(name: str, make: Callable[..., Any], low: float, **kw: Any) -> Method:
    """A method that averages by itself; its row judges that average."""
    views = {name: contrib.schedule_free_eval_params}
    return Method(name, make, grid(low), views=views, **kw)


ADAMW = "adamw cosine"
# As research.py takes them: one row a method, and no average.
PLAIN = {
    method.name: method
    for method in (
        Method("sgd", lambda s: MOMENTUM(s.trial), SGD),
        Method("sgd cosine", lambda s: MOMENTUM(cosine(s)), SGD, knows_horizon=True),
        Method("sgd plateau", lambda s: plateau(s, MOMENTUM), SGD),
        ours("mi sgd", log_time_rule),
        Method("adamw", lambda s: optax.adamw(s.trial), ADAM, rival=ADAMW),
        Method(
            ADAMW,
            lambda s: optax.adamw(cosine(s)),
            ADAM,
            knows_horizon=True,
            rival=ADAMW,
        ),
        Method("adamw plateau", lambda s: plateau(s, optax.adamw), ADAM, rival=ADAMW),
        ours("mi adamw", log_time_rule, "adamw"),
        schedule_free(
            "schedule-free adamw",
            lambda s: contrib.schedule_free_adamw(s.trial, warmup_steps=WARMUP),
            3e-4,
            rival=ADAMW,
        ),
        schedule_free(
            "mi schedule-free",
            mi_schedule_free,
            3e-4,
            rival=ADAMW,
            rate=lambda state: learning_rates(state)["all"],
        ),
        Method("dog", lambda s: contrib.dog(s.trial), grid(0.03)),
        Method("adam", lambda s: optax.adam(s.trial), ADAM, rival=ADAMW),
        Method("rmsprop", lambda s: optax.rmsprop(s.trial), grid(3e-5), rival=ADAMW),
        Method("lars", lambda s: optax.lars(s.trial), grid(0.1)),
        Method("prodigy", lambda s: contrib.prodigy(s.trial), grid(0.03), rival=ADAMW),
        schedule_free(
            "schedule-free sgd",
            lambda s: contrib.schedule_free_sgd(s.trial, warmup_steps=WARMUP),
            1e-2,
        ),
        Method(
            "mechanic adam",
            lambda s: contrib.mechanize(optax.adam(1.0), s_init=s.trial),
            (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3),
            rival=ADAMW,
        ),
        Method("momo", lambda s: contrib.momo(s.trial), grid(1e-2)),
        ours(
            "mi sgd variational",
            log_time_rule,
            estimator=variational,
            needs_classes=True,
        ),
        ours("mi sgd residual", residual_rule, needs_classes=True),
        ours("mi sgd proportional", proportional_rule),
        ours("mi adamw residual", residual_rule, "adamw", needs_classes=True),
        layer_by_layer("mi sgd layer-wise"),
        layer_by_layer("mi adamw layer-wise", base="adamw"),
        ours("mi sgd range test", log_time_rule, tested=True),
        ours("mi adamw range test", log_time_rule, "adamw", tested=True),
    )
}
AVERAGED = ("sgd", "sgd cosine", "adamw", "adamw cosine")
# DoG's authors judge its average alone.
METHODS = {
    **PLAIN,
    **{name: averaged(PLAIN[name]) for name in AVERAGED},
    "mi sgd": averaged(ours("mi sgd", log_time_rule, own_epochs=True)),
    "mi adamw": averaged(ours("mi adamw", log_time_rule, "adamw", own_epochs=True)),
    "dog": averaged(PLAIN["dog"], keep_raw=False),
}
