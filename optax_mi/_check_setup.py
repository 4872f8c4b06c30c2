"""What is likely wrong with a transformation, in words, before it trains anything.

A few updates are tried on random gradients: from the state that the transformation
makes, from the same with half the learning rate, and from one late in a run. What comes
out tells what a user would otherwise learn from a run that learned nothing.
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

# A learning rate above all bounds, and the counts of an epoch that is over.
_ABOVE = 1e30
_LATE = {"num_updates": 2**29, "updates_in_epoch": 2**29}
# Half the learning rate should halve an update. Less than a quarter of that is nothing.
_NO_EFFECT = 0.25
# Of a learning rate and of an update, where by itself each would train a network.
_RATE, _SIZE = 0.11, 0.25
# By default LARS makes updates so large a part of the params.
_TRUST = 1e-3
# Errors in an average of one step, by the dtype's eps; cosines of updates and gradient.
_ROUNDING, _UPHILL = 100.0, 0.05
# Where a schedule may be through with its warm-up.
_COUNTS = 10, 100, 1000, 10**4, 10**5
_HOUSE = pathlib.Path(__file__).parent


def check_setup(
    tx: optax.GradientTransformation,
    params: optax.Params,
    *,
    num_steps: int | None = None,
    **extra_args: Any,
) -> list[str]:
    """Says in words what is likely wrong with a transformation, before training.

    Call it once, with the outputs and labels of a batch as the train step passes them.
    It tries a few updates on random gradients, in one compiled step, and finds that

    - there is no :func:`mi_decay`, or it has no effect, since what follows it divides
      the learning rate out: `chain(mi_decay(...), adam(...))`;
    - the learning rate is given twice: `chain(adamw(1e-3), mi_decay(1e-3, ...))`;
    - a part of the chain takes no extra arguments, or one is missing or of a wrong
      shape: what `update` raises;
    - updates go up the gradient, as those of two optimizers in one chain do; a batch
      does not reach :func:`mi_decay`, as within `optax.MultiSteps`; what follows
      :func:`average_params` changes the updates that it has seen;
    - outputs are probabilities, not logits; labels are counted from 1, or most of them
      are dropped; an estimate is unusable;
    - no epoch closes within `num_steps`.

    Args:
      tx: the transformation.
      params: the params, or their shapes; they are not read.
      num_steps: number of updates of the run, or None.
      **extra_args: what `tx.update` is to get, such as `outputs` and `labels`.

    Returns:
      A sentence or two for each, with the cure, after the name of the group if there
      are several; an empty list if nothing was found.

    Raises:
      TypeError, ValueError: `tx` is no transformation, or has an `axis_name`, which
        only `jax.shard_map` binds; `params` has no arrays; `num_steps` is not an int of
        at least 1; or what `tx.init` raises.

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
    # So large that the least denominators and first accumulators of optimizers are not
    # in the way, as far as narrow dtypes allow.
    rates = [float(np.max(state.current_lr)) for state in states.values()]
    scale = min(10.0 / max(*rates, 1e-6), 1e3)
    try:
        full = trial.run(trial.changed(current_lr=_ABOVE, **_LATE), scale)
    except (TypeError, ValueError) as error:
        if isinstance(error.__cause__, NameError):
            raise ValueError(
                f"tx has an axis_name, which only shard_map binds: check it without. "
                f"{error}"
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
    """Each sentence once, after the groups that it is about."""
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
    # At a learning rate of 1, what comes before mi_decay sees the same as what follows.
    low = trial.run(trial.changed(current_lr=0.0, **_LATE), scale)
    if max(full.missed, low.missed) > _ROUNDING:
        found.append(
            "average_params averages other params than the updates lead to, which what "
            "follows it changes. Put it last: optax.chain(optimizer, mi_decay(...), "
            "average_params())."
        )
    return found


def _look_at_signs(trial: Trial, full: Outcome, scale: float) -> list[str]:
    """Whether updates go down the gradient."""
    # What does not depend on the gradient, such as noise, cancels.
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
        "and its like need optax.scale(-1.0) after them, and what optax.masked leaves "
        "out is handed on as it is."
    ]


def _look_at_effect(trial: Trial, full: Outcome, scale: float) -> list[str]:
    """Whether an update is smaller at a smaller learning rate."""
    # A schedule may hold a bound at 0.
    rates = {group: rate for group, rate in _rates(full).items() if rate > 0}
    if not rates:
        return []

    def effects(groups: list[str]) -> np.ndarray:
        """The changes of leaves, over that of the learning rates of some groups."""
        halved = {g: rates[g] / 2 if g in groups else _ABOVE for g in full.states}
        half = trial.run(trial.changed(current_lr=halved, **_LATE), scale)
        change = max(1.0 - _rates(half)[group] / rates[group] for group in groups)
        rows = min(len(full.sizes), len(half.sizes), 2)
        before, after = full.sizes[-rows:], half.sizes[-rows:]
        moved = before.any(0)
        before, after = before[:, moved], after[:, moved]
        shares = np.where(before > 0, 1.0 - after / np.where(before > 0, before, 1), 0)
        # Where lr_min is no less, nothing can be told.
        return shares.max(0) / change if change > 0.1 else np.ones(1)

    of_all = effects([*rates])
    idle = [*rates] if of_all.max() < _NO_EFFECT else []
    if not idle and of_all.min() < _NO_EFFECT:
        some = [group for group in rates if trial.has_moments(group)]
        idle = [group for group in some if effects([group]).max() < _NO_EFFECT]
    if not idle:
        return []
    sentence = (
        "The learning rate of mi_decay has no effect: what follows divides by the size "
        "of what it gets, as adam does, or clips it. Put mi_decay after it: "
        "optax.chain(optax.adam(3e-3), mi_decay(1.0, ...))."
    )
    return [say(sentence, idle, full.states)]


def _look_for_second_rate(
    trial: Trial, full: Outcome, scale: float, num_steps: int | None
) -> list[str]:
    """Whether updates are small by themselves, and lr_max makes them so again."""
    rate = max(_rates(full).values())
    if not 0 < rate <= _RATE:
        return []
    # Below all that gradients are clipped to.
    small = min(1e-3, 0.01 * scale / float(np.linalg.norm(full.given)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(trial.params)]
    are_vectors = np.array([len(shape) < 2 for shape in shapes])
    # An orthogonal matrix is as large as the root of its shorter side.
    sides = np.sqrt([1 if len(shape) < 2 else min(shape) for shape in shapes])

    def size_of(state: Any) -> float:
        """What updates are of their gradients; where these have no say, their norm."""
        low, high = trial.run(state, small), trial.run(state, scale)
        if not (len(low.sizes) and len(high.sizes)):
            return 0.0
        first, last = low.sizes[0] / rate, high.sizes[0] / rate
        moved = (first > 0) & (last > 0)
        divides = moved & (last < 2 * first)
        shares = first / np.where(low.given > 0, low.given, 1.0)
        largest = shares[moved & ~divides].max(initial=0.0)
        # Matrices tell less: some optimizers give each of them one norm.
        of = divides & are_vectors if (divides & are_vectors).any() else divides
        return max(largest, (last / sides)[of].min() if of.any() else 0.0)

    size = size_of(trial.changed(current_lr=_ABOVE))
    counts = [*_COUNTS, (num_steps or 0) // 2]
    if size < _SIZE and not trial.find(optax.ScaleByAdamState):
        # As LARS is with such a coefficient; LAMB, which has Adam inside, has none.
        trial.stretch(1.0 / _TRUST)
        size = size_of(trial.changed(current_lr=_ABOVE))
    while size < _SIZE and counts:
        # It may be a warm-up that is as small.
        state = trial.changed(trial.later(counts.pop()), current_lr=_ABOVE)
        if state is None:
            break
        size = max(size, size_of(state))
    if size >= _SIZE:
        return []
    return [
        "The learning rate is given twice: the updates of the optimizer are small by "
        f"themselves, and lr_max={rate:.3g} makes them so again. After an optimizer "
        "with a learning rate of its own lr_max is a factor: mi_decay(1.0, ...)."
    ]


def _look_at_length(
    trial: Trial, full: Outcome, scale: float, num_steps: int
) -> list[str]:
    """Whether an epoch closes in so many steps."""
    tried = min(num_steps, full.num_steps)
    # Not each update of a run need reach mi_decay.
    before = {
        group: int((state.num_updates - _LATE["num_updates"]) / full.num_steps * rest)
        for group, state in _readings(full).items()
        for rest in [num_steps - tried]
    }
    state = trial.changed(num_updates=before, updates_in_epoch=before)
    after = _readings(trial.run(state, scale, tried))
    sentence = (
        f"No epoch closes within num_steps={num_steps}, so the learning rate never "
        "moves: steps_per_epoch is longer. Leave it out, and epochs grow with the run."
    )
    never = [g for g, seen in after.items() if seen.num_epochs == seen.joined == 0]
    return [say(sentence, never, full.states)] if never else []


def _look_at_estimates(full: Outcome, extra_args: dict[str, Any]) -> list[str]:
    """Whether what was measured can be used."""
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
                "labels are not in 0 to num_classes - 1, or their outputs not finite."
            )
    return _say_all(sentences, full.states)


def _share_of_padding(extra_args: dict[str, Any]) -> float | None:
    """The share of labels that mark padding, or None where weights drop samples too."""
    labels = _array(extra_args, "labels")
    if extra_args.get("weights") is not None or labels is None:
        return None
    if labels.dtype.kind not in "iu":
        return 0.0
    return float(np.mean((labels < 0) | (labels == 255)))


def _look_at_batch(
    states: dict[str, MIDecayState], extra_args: dict[str, Any]
) -> list[str]:
    """Whether logits and labels are what they are taken for."""
    classes = [_classes_of(state.estimator_state) for state in states.values()]
    classes = [number for number in classes if number is not None]
    outputs, labels = _array(extra_args, "outputs"), _array(extra_args, "labels")
    if not classes or labels is None or labels.dtype.kind not in "iub":
        return []
    found, num_classes = [], max(classes)
    if outputs is not None and outputs.dtype.kind in "iu":
        # Beyond the buckets of a table.
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
    """The number of classes of an accumulator of logits, or None of any other."""
    sums = accumulator.recent if isinstance(accumulator, LongSum) else None
    if isinstance(sums, Losses):
        return len(sums.by_label)
    # Other tables are of bins.
    if isinstance(sums, Counts) and sums.joint.shape[0] == sums.joint.shape[1]:
        return len(sums.joint)
    return None


def _array(extra_args: dict[str, Any], name: str) -> np.ndarray | None:
    """An argument as NumPy, what this host has of it; None if it is no array."""
    array = extra_args.get(name)
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        array = array.addressable_data(0)
    try:
        array = as_numpy(name, array)
    except TypeError:  # `update` says what it is.
        return None
    # NumPy has little arithmetic for bfloat16 and its like.
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _explain(error: Exception) -> str:
    """What `update` raised, as a sentence."""
    said = str(error).strip().partition("\n")[0]
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    unexpected = re.search(r"(\S+)\(\) got an unexpected keyword argument (\S+)", said)
    if unexpected is None:
        ours = files[-1].startswith(str(_HOUSE))
        return said if ours else f"tx.update raises {type(error).__name__}: {said}"
    function, keyword = unexpected[1].replace(".<locals>", ""), unexpected[2]
    if _epoch.__file__ in files:
        return (
            f"The estimator takes no {keyword}: end the arguments of its {function} "
            "with **extra_args, which it ignores."
        )
    return (
        f"{function} takes no {keyword}, though its type says that it takes extra "
        "arguments. Chain it as one that takes none, and mi_decay after it: "
        "optax.chain(optax.GradientTransformation(*that), mi_decay(...))."
    )
