"""A learning rate for every layer, from what that layer knows about the labels.

Each group of parameters has its own :func:`mi_decay`, which reads the activations of
its layer in place of the network's outputs.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import optax
from optax.transforms import MaskedState, PartitionState

from optax_mi import _epoch
from optax_mi._checks import check_is, check_static_int
from optax_mi._decay import check_settings
from optax_mi._epoch import MIDecayState, Settings
from optax_mi.estimators import MIEstimator
from optax_mi.estimators.moments._gaussian import widen_alike
from optax_mi.layerwise._layer import estimator_of_layer, reader_of_layer
from optax_mi.layerwise._param_labels import check_labeller, check_labels
from optax_mi.layerwise._watch import make_watch
from optax_mi.rules import DecayRule

DEFAULT = "default"


def layerwise_mi_decay(
    estimators: Mapping[str, MIEstimator],
    param_labels: Any,
    lr_max: chex.Numeric | Mapping[str, chex.Numeric],
    lr_min: chex.Numeric | Mapping[str, chex.Numeric] | None = None,
    *,
    steps_per_epoch: chex.Numeric | None = None,
    rule: DecayRule | None = None,
    default: MIEstimator | None = None,
    init_lr: chex.Numeric | Mapping[str, chex.Numeric] | None = None,
    max_rows: int = 256,
    axis_name: str | tuple[str, ...] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the updates of every layer by the layer's own learning rate.

    The layer's activation :math:`T_\ell` replaces the network's output: its mutual
    information :math:`I(T_\ell; Y) \in [0, H(Y)]`, in nats, sets the learning rate
    :math:`\eta_\ell` of the layer's parameters, as in :func:`mi_decay`. The
    transformation is an `optax.partition` with one :func:`mi_decay` per group.

    .. code-block:: python

        tx.update(grads, state, params, activations={"conv1": h}, labels=y)

    The activations come from the forward pass that the gradient needs anyway:
    :func:`optax_mi.flax.capture_layers` returns them, and :func:`reduce_activations`
    makes large ones small.

    Args:
      estimators: a mapping from groups to the :class:`MIEstimator` of their layers,
        such as `gaussian(features=32, num_classes=10, noise=0.25)`; each gets
        `outputs=activations[group]`.
      param_labels: the group of every parameter: a pytree of names, as for
        `optax.partition`, or a function from params to one, such as
        :func:`label_by_layer` and :func:`label_by_path` make.
      lr_max: upper bound of the learning rates, positive: one number, or a mapping with
        one for each group.
      lr_min: lower bound, in the same form; None means lr_max / 100.
      steps_per_epoch: number of updates between two decisions, as in :func:`mi_decay`.
      rule: the rule that turns an estimate into a learning rate; None means
        :func:`log_time_rule`.
      default: the estimator for the network's `outputs`, such as
        `contingency(num_classes=10)`. It serves all parameters whose group is not in
        `estimators`, such as embeddings and norms. They share the learning rate of the
        group "default". None means that there are no such parameters.
      init_lr: learning rates of the first epoch, within the bounds; None means lr_max.
      max_rows: largest number of samples of a batch that an activation keeps, as in
        :func:`reduce_activations`.
      axis_name: as in :func:`mi_decay`.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose state has one
      :class:`MIDecayState` per group, under its name, for any params. Its `update`
      requires

      - `activations`: a mapping from each group of `estimators` to an array of shape
        [N, d], as its estimator takes it; other keys are ignored. An array of
        min(N, `max_rows`) rows is paired with the first labels; any other number of
        rows is an error;
      - `labels`, with one element for each sample, and `outputs` if there is a
        `default`;

      takes `weights`, and ignores keywords that it does not know.

    Raises:
      TypeError, ValueError: an argument is out of range, or bounds lack a group. In
        `init`: no group takes some parameters, a group has no parameters although no
        outer transformation masks any, or the labels do not fit the params. In
        `update`: a keyword or a group's activation is missing or does not fit the
        labels, or the state has other groups.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import label_by_layer
      >>> from optax_mi.estimators import contingency, gaussian
      >>> from optax_mi import layerwise_mi_decay, learning_rates
      >>> tx = optax.chain(
      ...     optax.sgd(1.0, momentum=0.9),
      ...     layerwise_mi_decay(
      ...         {"dense": gaussian(features=4, num_classes=2, noise=0.25)},
      ...         label_by_layer(),
      ...         lr_max={"dense": 0.3, "default": 0.1},
      ...         steps_per_epoch=2,
      ...         default=contingency(num_classes=2),
      ...     ),
      ... )
      >>> params = {"dense": {"w": jnp.ones((3, 4))}, "head": {"w": jnp.ones((4, 2))}}
      >>> state, update = tx.init(params), jax.jit(tx.update)
      >>> y = jnp.arange(64) % 2
      >>> h = jax.random.normal(jax.random.key(0), (64, 4)) + y[:, None]
      >>> logits = 4 * jnp.eye(2)[y]
      >>> seen = {"activations": {"dense": h}, "outputs": logits, "labels": y}
      >>> for _ in range(4):  # two epochs, the second not better
      ...     _, state = update(params, state, params, **seen)
      >>> for group, lr in learning_rates(state).items():
      ...     print(f"{group}: {lr:.4f}")
      default: 0.0593
      dense: 0.3000

    References:
      Vasudevan, `Mutual Information Based Learning Rate Decay for Stochastic Gradient
      Descent Training of Deep Neural Networks <https://doi.org/10.3390/e22050560>`_,
      Entropy 22(5):560, 2020, proposes the decay layer by layer. The formulas are our
      reading of the paper.
    """
    if not isinstance(estimators, Mapping) or not all(
        isinstance(group, str) for group in estimators
    ):
        raise TypeError(
            "estimators must be a mapping from group, a string, to MIEstimator, got "
            f"{estimators!r:.60}. For a single learning rate, use mi_decay."
        )
    if not (estimators or default):
        raise ValueError(
            "estimators must have a group, or pass default=contingency(num_classes="
            "num_classes): without either, nothing has a learning rate."
        )
    max_rows = check_static_int("max_rows", max_rows, 1)
    check_labeller(param_labels)
    wide = widen_alike(estimators)
    readers = {
        group: reader_of_layer(
            group, max_rows, wide[group].widen if group in wide else None
        )
        for group in estimators
    }
    shared = {group: wide[group].estimator for group in wide}
    every = {
        group: estimator_of_layer(group, shared.get(group, e), readers[group])
        for group, e in estimators.items()
    }
    if default is not None:
        check_is(
            "default", default, MIEstimator, "contingency(num_classes=num_classes)"
        )
        if DEFAULT in every:
            raise ValueError(
                f"estimators has a group {DEFAULT!r}, which is the name of the group "
                "of `default`: rename it, or leave `default` out."
            )
        every[DEFAULT] = default
    bounds = {"lr_max": lr_max, "lr_min": lr_min, "init_lr": init_lr}
    high, low, first = (_by_group(*bound, every) for bound in bounds.items())

    def written(group: str, argument: str) -> str:
        """The user's name for an argument of `mi_decay`."""
        if argument == "mi_decay":
            return layerwise_mi_decay.__name__
        if argument == "estimator":
            return f"estimators[{group!r}]" if group in estimators else "default"
        each = isinstance(bounds.get(argument), Mapping)
        return f"{argument}[{group!r}]" if each else argument

    def named(params: optax.Params) -> Any:
        return param_labels(params) if callable(param_labels) else param_labels

    def labels_of(params: optax.Params) -> Any:
        if default is None:
            return named(params)
        return jax.tree.map(lambda g: g if g in estimators else DEFAULT, named(params))

    settings = {
        group: check_settings(
            high[group],
            low[group],
            estimator=estimator,
            steps_per_epoch=steps_per_epoch,
            rule=rule,
            init_lr=first[group],
            axis_name=axis_name,
            written=functools.partial(written, group),
        )
        for group, estimator in every.items()
    }
    watch = make_watch(settings, shared, readers)
    scale = optax.partition({g: _scale(s) for g, s in settings.items()}, labels_of)
    end_epochs = [_end_epochs(settings, groups) for groups in _alike(every)]

    def init_fn(params: optax.Params) -> optax.OptState:
        names = named(params)
        check_labels(names, params)
        _check_groups(names, labels_of(params), params, every)
        return scale.init(params)

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        _check_state(state, every)
        states = {group: s.inner_state for group, s in state.inner_states.items()}
        states = watch(states, extra_args)
        for end in end_epochs:
            states |= end(states)
        state = PartitionState({group: MaskedState(s) for group, s in states.items()})
        return scale.update(updates, state, params)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _check_state(state: Any, groups: Mapping[str, Any]) -> None:
    """Raises unless the state has exactly these groups."""
    found = getattr(state, "inner_states", None)
    if found is None or set(found) != set(groups):
        got = f"a {type(state).__name__}" if found is None else f"those of {[*found]}"
        raise TypeError(
            f"state must have the groups {[*groups]}, got {got}. Pass the state that "
            "tx.init(params) returned. If it comes from a checkpoint restored without "
            "a target, convert it with optax_mi.restore_state(tx.init(params), saved)."
        )


def _scale(settings: Settings) -> optax.GradientTransformation:
    """Multiplies updates by a group's learning rate, which is set elsewhere."""

    def init_fn(params: optax.Params) -> MIDecayState:
        del params
        return _epoch.begin(settings)

    def update_fn(
        updates: optax.Updates,
        state: MIDecayState,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, MIDecayState]:
        del params
        return _epoch.scale(settings, updates, state)

    return optax.GradientTransformation(
        init_fn,
        update_fn,  # pyright: ignore[reportArgumentType]: optax's states are pytrees
    )


def _alike(estimators: Mapping[str, MIEstimator]) -> list[tuple[str, ...]]:
    """The groups, in tuples whose accumulators are read in the same way."""
    alike = {}
    for group, estimator in estimators.items():
        way = estimator.init, estimator.estimate, estimator.gathers
        alike.setdefault(way, []).append(group)
    return [tuple(groups) for groups in alike.values()]


def _end_epochs(
    settings: Mapping[str, Settings], groups: tuple[str, ...]
) -> Callable[[Mapping[str, MIDecayState]], dict[str, MIDecayState]]:
    """Makes a function that ends the due epochs of similar groups."""
    members = [settings[group] for group in groups]
    # Made once per transformation: eager loops over new functions compile again.
    is_any_due = functools.partial(_epoch.is_any_due, members)
    read_first_due = functools.partial(_epoch.read_first_due, members)

    def end(states: Mapping[str, MIDecayState]) -> dict[str, MIDecayState]:
        before = jax.lax.stop_gradient(tuple(states[group] for group in groups))
        after = jax.lax.while_loop(is_any_due, read_first_due, before)
        return dict(zip(groups, after, strict=True))

    return end


def _by_group(name: str, value: Any, groups: Mapping[str, Any]) -> Mapping[str, Any]:
    """The value for each group, from one value or a mapping with one per group."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(groups, value)
    if set(value) != set(groups):
        raise ValueError(
            f"{name} must be one number, or have one for each of the groups "
            f"{list(groups)}, got those of {list(value)}."
        )
    return value


def _check_groups(
    named: Any, labels: Any, params: Any, groups: Mapping[str, Any]
) -> None:
    """Raises unless each parameter has a group and each group a parameter.

    `labels` are the groups in `named`, with "default" for those without an estimator.
    """
    named, taken = (sorted(set(jax.tree.leaves(tree))) for tree in (named, labels))
    if unknown := [group for group in taken if group not in groups]:
        raise ValueError(
            f"No group takes the parameters of {unknown}: param_labels names {named}, "
            f"and the groups are {sorted(groups)}. Add estimators for them, or a "
            "default=contingency(num_classes=num_classes) that measures the network's "
            "outputs."
        )
    nodes = jax.tree.leaves(params, is_leaf=lambda n: isinstance(n, optax.MaskedNode))
    # An outer transformation may mask parameters, which leaves groups without any.
    hidden = any(isinstance(node, optax.MaskedNode) for node in nodes)
    if not taken or hidden:
        return
    if empty := sorted(set(groups) - set(taken)):
        raise ValueError(
            f"The groups {empty} have no parameters: the groups are {sorted(groups)}, "
            f"and param_labels names {named}. Rename or remove them."
        )
