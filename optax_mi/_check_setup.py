"""Finds likely mistakes in a transformation before training, and explains them.

It tries a few updates on random gradients: from the initial state, from the same state
with half the learning rate, and from a state late in a run. The results show mistakes
that a user would otherwise find only after a run that learned nothing.
"""

import pathlib
import re
import traceback
from typing import Any

import jax
import numpy as np
import optax

from optax_mi import _epoch
from optax_mi._checks import check_int
from optax_mi._decay import MIDecayState
from optax_mi._inspect import states_by_group
from optax_mi._trial import Outcome, Trial
from optax_mi._warnings import NO_STATE, Reading, read, say, why_held
from optax_mi.estimators.arithmetic._sums import LongSum
from optax_mi.estimators.inputs import as_numpy, class_ids, of_probabilities
from optax_mi.estimators.tables._joint import Counts
from optax_mi.estimators.tables._variational import Losses

# A learning rate above all bounds, and the counts of a finished epoch.
_ABOVE = 1e30
_LATE = {"num_updates": 2**29, "updates_in_epoch": 2**29}
# Half the learning rate should halve an update. Less than a quarter of that change
# counts as no effect.
_NO_EFFECT = 0.25
# A learning rate and an update size that would train a network by themselves.
_RATE, _SIZE = 0.11, 0.25
# The default ratio of LARS between the sizes of updates and params.
_TRUST = 1e-3
# The largest error of an average of one step, in units of the dtype's eps, and the
# largest cosine between updates and gradient.
_ROUNDING, _UPHILL = 100.0, 0.05
# Counts at which a schedule may have finished its warm-up.
_COUNTS = 10, 100, 1000, 10**4, 10**5
_HOUSE = pathlib.Path(__file__).parent


def check_setup(
    tx: optax.GradientTransformation,
    params: optax.Params,
    *,
    num_steps: int | None = None,
    **extra_args: Any,
) -> list[str]:
    """Finds likely mistakes in a transformation before training, and explains them.

    Call it once, with the outputs and labels of a batch as the train step passes them.
    It tries a few updates on random gradients, in one compiled step, and reports that

    - there is no :func:`mi_decay`, or it has no effect because a later part of the
      chain divides the learning rate out: `chain(mi_decay(...), adam(...))`;
    - the learning rate is given twice: `chain(adamw(1e-3), mi_decay(1e-3, ...))`;
    - a part of the chain takes no extra arguments, or one is missing or has the wrong
      shape: the error that `update` raises;
    - updates go up the gradient, as with two optimizers in one chain; some batches do
      not reach :func:`mi_decay`, as within `optax.MultiSteps`; or a part of the chain
      after :func:`average_params` changes the updates;
    - outputs are probabilities, not logits; labels are counted from 1, or most of them
      are dropped; or an estimate is unusable;
    - no epoch closes within `num_steps`.

    Args:
      tx: the transformation.
      params: the params, or their shapes; their values are not read.
      num_steps: number of updates of the run, or None.
      **extra_args: the keywords of `tx.update`, such as `outputs` and `labels`.

    Returns:
      A sentence or two for each mistake, with the fix. If there are several groups,
      their names come first. An empty list if it found nothing.

    Raises:
      TypeError, ValueError: `tx` is not a transformation, or has an `axis_name`, which
        only `jax.shard_map` binds; `params` has no arrays; `num_steps` is not an int of
        at least 1; or `tx.init` raises it.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import check_setup, mi_decay
      >>> params = {"w": jnp.ones((3, 4))}
      >>> seen = {"outputs": 4.0 * jnp.eye(4), "labels": jnp.arange(4)}
      >>> tx = optax.chain(mi_decay(1.0, num_classes=4), optax.adam(3e-3))
      >>> for sentence in check_setup(tx, params, **seen):
      ...     print(sentence[:43])
      The learning rate of mi_decay has no effect
    """
    if not (hasattr(tx, "init") and hasattr(tx, "update")):
        raise TypeError(
            "tx must be a transformation, such as mi_sgd(0.3, num_classes=C), got "
            f"{tx!r:.60}."
        )
    if num_steps is not None:
        num_steps = check_int("num_steps", num_steps, 1)
    trial = Trial(tx, params, extra_args)
    states = states_by_group(trial.init)
    if not states:
        return [NO_STATE]
    found = _look_at_batch(states, extra_args)
    # As large as narrow dtypes allow, so that the eps and the initial accumulators of
    # optimizers do not matter.
    rates = [float(np.max(state.current_lr)) for state in states.values()]
    scale = min(10.0 / max(*rates, 1e-6), 1e3)
    try:
        full = trial.run(trial.changed(current_lr=_ABOVE, **_LATE), scale)
    except (TypeError, ValueError) as error:
        if isinstance(error.__cause__, NameError):
            raise ValueError(
                f"tx has an axis_name, which only shard_map binds: check it without "
                f"one. {error}"
            ) from error
        return list(dict.fromkeys([*found, _explain(error)]))
    found += [] if found else _look_at_estimates(full, extra_args)
    found += _look_at_places(trial, full, scale)
    if len(full.sizes):
        found += _look_at_signs(trial, full, scale)
        idle = _look_at_effect(trial, full, scale)
        found += idle or _look_for_second_rate(trial, full, scale, num_steps)
    if num_steps is not None:
        found += _look_at_length(trial, full, scale, num_steps)
    return found


def _readings(outcome: Outcome) -> dict[str, Reading]:
    return {group: read(state)[0] for group, state in outcome.states.items()}


def _rates(outcome: Outcome) -> dict[str, float]:
    return {g: float(np.max(s.current_lr)) for g, s in outcome.states.items()}


def _say_all(sentences: dict[str, str], states: dict[str, MIDecayState]) -> list[str]:
    """Each sentence once, after the names of its groups."""
    groups: dict[str, list[str]] = {}
    for group, sentence in sentences.items():
        groups.setdefault(sentence, []).append(group)
    return [say(sentence, of, states) for sentence, of in groups.items()]


def _look_at_places(trial: Trial, full: Outcome, scale: float) -> list[str]:
    """Whether every batch reaches mi_decay, and every update average_params."""
    found = []
    outer = trial.find(optax.MultiStepsState)
    last = max(seen.num_updates for seen in _readings(full).values())
    skips = last - _LATE["num_updates"] < full.num_steps
    if skips and any(states_by_group(node.inner_opt_state) for node in outer):
        found.append(
            "Within optax.MultiSteps mi_decay sees only the last of the batches whose "
            "gradients are accumulated. Put it after: optax.chain(optax.MultiSteps("
            "optimizer, k).gradient_transformation(), mi_decay(...))."
        )
    # At a learning rate of 1, the parts before and after mi_decay see the same updates.
    low = trial.run(trial.changed(current_lr=0.0, **_LATE), scale)
    if max(full.missed, low.missed) > _ROUNDING:
        found.append(
            "average_params averages other params than the updates produce, because a "
            "part of the chain after it changes them. Put it last: "
            "optax.chain(optimizer, mi_decay(...), average_params())."
        )
    return found


def _look_at_signs(trial: Trial, full: Outcome, scale: float) -> list[str]:
    """Whether updates go down the gradient."""
    # Parts of the updates that do not depend on the gradient, such as noise, cancel.
    other = trial.run(trial.changed(current_lr=_ABOVE, **_LATE), -scale)
    lengths = (full.sizes.sum(0) + other.sizes.sum(0)) * full.given
    uphill = full.along + other.along > _UPHILL * lengths
    if not uphill.any():
        return []
    names = [path for path, up in zip(trial.names, uphill, strict=True) if up]
    which = "" if uphill.all() else f" of {', '.join(names)}"[:80]
    return [
        f"Updates{which} go up the gradient, since an even number of parts of the "
        "chain change its sign: two optimizers, or none. Keep one; optax.scale_by_adam "
        "and similar need optax.scale(-1.0) after them, and gradients that "
        "optax.masked leaves out pass through unchanged."
    ]


def _look_at_effect(trial: Trial, full: Outcome, scale: float) -> list[str]:
    """Whether a smaller learning rate makes an update smaller."""
    # A schedule may keep a bound at 0.
    rates = {group: rate for group, rate in _rates(full).items() if rate > 0}
    if not rates:
        return []

    def effects(groups: list[str]) -> np.ndarray:
        """Relative changes of the leaves per change of some groups' learning rates."""
        halved = {g: rates[g] / 2 if g in groups else _ABOVE for g in full.states}
        half = trial.run(trial.changed(current_lr=halved, **_LATE), scale)
        change = max(1.0 - _rates(half)[group] / rates[group] for group in groups)
        rows = min(len(full.sizes), len(half.sizes), 2)
        before, after = full.sizes[-rows:], half.sizes[-rows:]
        moved = before.any(0)
        before, after = before[:, moved], after[:, moved]
        shares = np.where(before > 0, 1.0 - after / np.where(before > 0, before, 1), 0)
        # If lr_min is not smaller, the learning rate did not change.
        return shares.max(0) / change if change > 0.1 else np.ones(1)

    of_all = effects([*rates])
    idle = [*rates] if of_all.max() < _NO_EFFECT else []
    if not idle and of_all.min() < _NO_EFFECT:
        some = [group for group in rates if trial.has_moments(group)]
        idle = [group for group in some if effects([group]).max() < _NO_EFFECT]
    if not idle:
        return []
    sentence = (
        "The learning rate of mi_decay has no effect: a later part of the chain "
        "divides updates by their size, as adam does, or clips them. Put mi_decay "
        "after it: optax.chain(optax.adam(3e-3), mi_decay(1.0, ...))."
    )
    return [say(sentence, idle, full.states)]


def _look_for_second_rate(
    trial: Trial, full: Outcome, scale: float, num_steps: int | None
) -> list[str]:
    """Whether updates are already small, and lr_max makes them smaller again."""
    rate = max(_rates(full).values())
    if not 0 < rate <= _RATE:
        return []
    # Below any norm to which gradients are clipped.
    small = min(1e-3, 0.01 * scale / float(np.linalg.norm(full.given)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(trial.params)]
    are_vectors = np.array([len(shape) < 2 for shape in shapes])
    # The norm of an orthogonal matrix is the square root of its shorter side.
    sides = np.sqrt([1 if len(shape) < 2 else min(shape) for shape in shapes])

    def size_of(state: Any) -> float:
        """The ratio of updates to gradients; if gradients are divided out, the norm."""
        low, high = trial.run(state, small), trial.run(state, scale)
        if not (len(low.sizes) and len(high.sizes)):
            return 0.0
        first, last = low.sizes[0] / rate, high.sizes[0] / rate
        moved = (first > 0) & (last > 0)
        divides = moved & (last < 2 * first)
        shares = first / np.where(low.given > 0, low.given, 1.0)
        largest = shares[moved & ~divides].max(initial=0.0)
        # Matrices say less: some optimizers give each of them the same norm.
        of = divides & are_vectors if (divides & are_vectors).any() else divides
        return max(largest, (last / sides)[of].min() if of.any() else 0.0)

    size = size_of(trial.changed(current_lr=_ABOVE))
    counts = [*_COUNTS, (num_steps or 0) // 2]
    if size < _SIZE and not trial.find(optax.ScaleByAdamState):
        # LARS has such a coefficient; LAMB, which has Adam inside, has none.
        trial.stretch(1.0 / _TRUST)
        size = size_of(trial.changed(current_lr=_ABOVE))
    while size < _SIZE and counts:
        # A warm-up may be the reason that updates are small.
        state = trial.changed(trial.later(counts.pop()), current_lr=_ABOVE)
        if state is None:
            break
        size = max(size, size_of(state))
    if size >= _SIZE:
        return []
    return [
        "The learning rate is given twice: the updates of the optimizer are already "
        f"small, and lr_max={rate:.3g} makes them smaller again. After an optimizer "
        "with its own learning rate, lr_max is a factor: mi_decay(1.0, ...)."
    ]


def _look_at_length(
    trial: Trial, full: Outcome, scale: float, num_steps: int
) -> list[str]:
    """Whether an epoch closes within `num_steps`."""
    tried = min(num_steps, full.num_steps)
    # Some updates of a run may not reach mi_decay.
    before = {
        group: int((state.num_updates - _LATE["num_updates"]) / full.num_steps * rest)
        for group, state in _readings(full).items()
        for rest in [num_steps - tried]
    }
    state = trial.changed(num_updates=before, updates_in_epoch=before)
    after = _readings(trial.run(state, scale, tried))
    sentence = (
        f"No epoch closes within num_steps={num_steps}, so the learning rate never "
        "moves: steps_per_epoch is larger. Leave it out, and epochs grow with the run."
    )
    never = [g for g, seen in after.items() if seen.num_epochs == seen.joined == 0]
    return [say(sentence, never, full.states)] if never else []


def _look_at_estimates(full: Outcome, extra_args: dict[str, Any]) -> list[str]:
    """Whether the estimates are usable."""
    padding = _share_of_padding(extra_args)
    sentences = {}
    for group, seen in _readings(full).items():
        used, dropped = seen.estimate.num_samples, seen.estimate.dropped
        if seen.measures or seen.num_epochs == 0:
            continue
        if seen.held == seen.num_epochs:
            sentences[group] = f"The estimate is unusable: {why_held(seen)}"
        elif padding is not None and dropped > (1 + padding) / 2 * (used + dropped):
            sentences[group] = (
                f"{dropped / (used + dropped):.0%} of the samples are dropped: their "
                "labels are not in 0 to num_classes - 1, or their outputs are not "
                "finite."
            )
    return _say_all(sentences, full.states)


def _share_of_padding(extra_args: dict[str, Any]) -> float | None:
    """The share of labels that mark padding; None if weights may drop samples too."""
    labels = _array(extra_args, "labels")
    if extra_args.get("weights") is not None or labels is None:
        return None
    if labels.dtype.kind not in "iu":
        return 0.0
    return float(np.mean((labels < 0) | (labels == 255)))


def _look_at_batch(
    states: dict[str, MIDecayState], extra_args: dict[str, Any]
) -> list[str]:
    """Whether outputs are logits, and labels are class ids in range."""
    classes = [_classes_of(state.estimator_state) for state in states.values()]
    classes = [number for number in classes if number is not None]
    outputs, labels = _array(extra_args, "outputs"), _array(extra_args, "labels")
    if not classes or labels is None or labels.dtype.kind not in "iub":
        return []
    found, num_classes = [], max(classes)
    if outputs is not None and outputs.dtype.kind in "iu":
        # Codes may be larger than the number of classes.
        num_classes = max(num_classes, int(outputs.max(initial=0)) + 1)
    elif outputs is not None and outputs.ndim == labels.ndim + 1:
        num_classes = max(outputs.shape[-1], 2)
        if told := of_probabilities("outputs", outputs):
            found.append(told)
    if not labels.size:
        return found
    try:
        class_ids("labels", labels, num_classes, batch=True)
    except (TypeError, ValueError) as error:
        return [*found, str(error)]
    marked = (labels < 0) | (labels == 255)
    above = (labels >= num_classes) & ~marked
    if 2 * above.sum() > (~marked).sum() or marked.all():
        found.append(
            f"Most labels are dropped: they go from {labels.min()} to {labels.max()}, "
            f"and {num_classes} classes have labels from 0 to {num_classes - 1}."
        )
    return found


def _classes_of(accumulator: Any) -> int | None:
    """The number of classes of an accumulator of logits, or None for any other."""
    sums = accumulator.recent if isinstance(accumulator, LongSum) else None
    if isinstance(sums, Losses):
        return len(sums.by_label)
    # Tables that are not square count bins.
    if isinstance(sums, Counts) and sums.joint.shape[0] == sums.joint.shape[1]:
        return len(sums.joint)
    return None


def _array(extra_args: dict[str, Any], name: str) -> np.ndarray | None:
    """The part of an argument on this host, as NumPy; None if it is not an array."""
    array = extra_args.get(name)
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        array = array.addressable_data(0)
    try:
        array = as_numpy(name, array)
    except TypeError:  # `update` explains what is wrong with it.
        return None
    # NumPy lacks most arithmetic for bfloat16 and similar dtypes.
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _explain(error: Exception) -> str:
    """The error that `update` raised, as a sentence."""
    said = str(error).strip().partition("\n")[0]
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    unexpected = re.search(r"(\S+)\(\) got an unexpected keyword argument (\S+)", said)
    if unexpected is None:
        ours = files[-1].startswith(str(_HOUSE))
        return said if ours else f"tx.update raises {type(error).__name__}: {said}"
    function, keyword = unexpected[1].replace(".<locals>", ""), unexpected[2]
    if _epoch.__file__ in files:
        return (
            f"The estimator takes no {keyword}: add **extra_args to the arguments of "
            f"its {function}, and ignore them there."
        )
    return (
        f"{function} takes no {keyword}, though its type says that it takes extra "
        "arguments. Wrap it so that it gets none, and chain mi_decay after it: "
        "optax.chain(optax.GradientTransformation(*that), mi_decay(...))."
    )
