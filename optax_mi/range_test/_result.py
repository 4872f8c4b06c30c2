"""The result of a range test: the bounds, their reasons, and the measurements.

Let I(lr) be the mutual information reached at a learning rate, and I(0) that of an
untrained network, in nats. The gain G(lr) = I(lr) - I(0) is what the network learned:

    learns:  G(lr) > 4 standard errors, and > 1 % of the largest gain
    stable:  the mean loss of all steps at lr <= that of the untrained network
    best:    the lr with the largest gain among the stable ones
    edge:    the highest lr such that it and all down to best are stable, and their
             gains are at most 1 % below the largest
    lr_max:  the edge / sqrt(2)
    lr_min:  the lowest lr such that it and all up to best learn
"""

import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOLERANCE = 0.01
_MARGIN = math.sqrt(2)
# If nothing is learned, the largest of 48 gains exceeds three standard errors in 6 % of
# tests, and four in 0.2 %.
_SIGMAS = 4.0
CHANCE_ERROR = 0.1  # error of an estimate's `chance`, as a share of it


class Runs(NamedTuple):
    """Measurements of runs; leading axes vary, the last axis is seeds."""

    mi: Any
    std_error: Any
    entropy: Any
    loss: Any
    by_chance: Any = 0.0  # the estimate for independent outputs, nats


@dataclass(frozen=True, eq=False)
class LRRangeResult:
    """The result of :func:`lr_range_test`: print it, plot it, or read its fields.

    A learning rate is stable if the mean loss of all its steps is at most the loss of
    an untrained network. The gain G(lr) = I(lr) - I(0) is relative to the mutual
    information of an untrained network. From the stable learning rate with the largest
    gain, the test goes up and down to the bounds:

    - `lr_max`: upwards, the last stable learning rate before more than 1 % of the gain
      is lost, divided by the square root of 2 as a margin;
    - `lr_min`: downwards, the last learning rate whose gain is more than 4 standard
      errors and more than 1 % of the largest gain.

    A bound that was not found is None; in the bounds by seed it is nan. The
    measurements of a run that diverged are nan too.

    Attributes:
      lr_max: upper bound for :func:`mi_decay`, or None.
      lr_min: lower bound, or None.
      lr_max_reason: the reason, as a sentence.
      lr_min_reason: the reason, as a sentence.
      lr_max_by_seed: upper bound from each seed alone, [num_seeds].
      lr_min_by_seed: lower bound from each seed alone, [num_seeds].
      learning_rates: geometric grid, [num].
      mi: mutual information reached, nats, [num, num_seeds].
      std_error: its standard error, nats, or nan, [num, num_seeds].
      entropy: H(Y) of the same samples, nats, [num, num_seeds].
      loss: mean loss of the judged training steps, [num, num_seeds].
      diverged: whether a loss was not finite, or above four times the loss of an
        untrained network, [num, num_seeds].
      chance: mutual information of an untrained network, nats, [num_seeds].
      mode: "parallel" or "ramp".
      num_steps: number of updates of a run.

    See :func:`lr_range_test` for an example.
    """

    lr_max: float | None
    lr_min: float | None
    lr_max_reason: str
    lr_min_reason: str
    lr_max_by_seed: np.ndarray
    lr_min_by_seed: np.ndarray
    learning_rates: np.ndarray
    mi: np.ndarray
    std_error: np.ndarray
    entropy: np.ndarray
    loss: np.ndarray
    diverged: np.ndarray
    chance: np.ndarray
    mode: str
    num_steps: int

    def __str__(self) -> str:
        """The bounds and their reasons, in a few lines."""
        lrs, seeds = self.learning_rates, self.chance.size
        lines = [
            f"LR range test, {self.mode}: {len(lrs)} learning rates from {lrs[0]:.3g} "
            f"to {lrs[-1]:.3g}, {seeds} seed{'s' * (seeds > 1)}, {self.num_steps} steps"
        ]
        for name in ("lr_max", "lr_min"):
            bound, spread = getattr(self, name), getattr(self, f"{name}_by_seed")
            shown = "not found"
            if bound is not None:
                shown = f"{bound:.3g}"
                found = spread[np.isfinite(spread)]
                if seeds > 1 and found.size:
                    shown += f" ({found.min():.3g} to {found.max():.3g} over seeds)"
            lines.append(f"{name} {shown}: {getattr(self, f'{name}_reason')}")
        lost = self.diverged.any(1)
        if lost.any():
            where = f"{lrs[lost].min():.3g} to {lrs[lost].max():.3g}"
            lines.append(f"diverged: {lost.sum()} learning rates, from {where}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """All fields as JSON; nan becomes null, and infinity "inf"."""
        return json.dumps(
            {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads the result that :meth:`to_json` wrote.

        Raises:
          ValueError: the text is not the JSON of a result.
        """
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(
                "not the JSON of an LRRangeResult: expected an object, got "
                f"{text[:40]!r}."
            )
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in content]:
            raise ValueError(
                f"not the JSON of an LRRangeResult: it lacks {', '.join(missing)}."
            )
        arrays = [field.name for field in fields(cls) if field.type is np.ndarray]
        for name in arrays:
            kind = bool if name == "diverged" else float
            try:
                content[name] = np.asarray(content[name], kind)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"not the JSON of an LRRangeResult: {name}: {error}."
                ) from error
        return cls(**{name: content[name] for name in names})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draws MI and loss against the learning rate, and the bounds.

        Args:
          ax: axes to draw in; None makes a figure, the `.figure` of the returned axes.

        Returns:
          The axes of the mutual information; see
          :func:`optax_mi.plotting.plot_range_test`.
        """
        from optax_mi.plotting import plot_range_test

        return plot_range_test(self, ax)


def find_bounds(
    learning_rates: np.ndarray,
    runs: Runs,
    chance: Runs,
    stable: np.ndarray,
    *,
    mode: str,
    num_steps: int,
) -> LRRangeResult:
    """Compares runs [num, seeds] with untrained ones [seeds], and finds the bounds.

    `stable` marks the runs whose mean loss is at most the untrained loss.
    """
    runs, chance = (
        Runs(*(np.asarray(x, float) for x in seen)) for seen in (runs, chance)
    )
    limit = chance.loss + 3 * np.abs(chance.loss)
    diverged = ~(runs.loss <= limit)
    runs = Runs(*(np.where(diverged, math.nan, x) for x in runs))
    gain = (runs.mi - runs.by_chance) - (chance.mi - chance.by_chance)
    noise = np.hypot(runs.std_error, chance.std_error)
    noise = np.hypot(noise, CHANCE_ERROR * runs.by_chance)
    noise = np.where(np.isnan(noise), 0.0, noise)
    seeds = gain.shape[1]
    top, low, top_reason, low_reason = _bounds(
        learning_rates,
        gain.mean(1),
        np.sqrt((noise**2).sum(1)) / seeds,
        np.all(stable, 1),
        np.isfinite(chance.loss).all(),
    )
    alone = [
        _bounds(learning_rates, gain[:, s], noise[:, s], stable[:, s], True)[:2]
        for s in range(seeds)
    ]
    by_seed = np.array(alone, float)  # None becomes nan
    return LRRangeResult(
        lr_max=top,
        lr_min=low,
        lr_max_reason=top_reason,
        lr_min_reason=low_reason,
        lr_max_by_seed=by_seed[:, 0],
        lr_min_by_seed=by_seed[:, 1],
        learning_rates=learning_rates,
        mi=runs.mi,
        std_error=runs.std_error,
        entropy=runs.entropy,
        loss=runs.loss,
        diverged=diverged,
        chance=chance.mi,
        mode=mode,
        num_steps=num_steps,
    )


def _bounds(
    lrs: np.ndarray,
    gain: np.ndarray,
    noise: np.ndarray,
    stable: np.ndarray,
    trainable: bool,
) -> tuple[float | None, float | None, str, str]:
    """lr_max and lr_min, or None, and the reasons; `gain` is nan if runs diverged."""
    low, high = f"lr_low={lrs[0]:.3g}", f"lr_high={lrs[-1]:.3g}"
    if not trainable:
        why = (
            "diverged at every learning rate, even 0: the loss is not finite before "
            "any training. Check params, batches and loss_fn."
        )
        return None, None, why, why
    if np.isnan(gain).all():
        why = f"diverged everywhere above {low}: lower it."
        return None, None, why, why
    highest = int(np.nanargmax(gain))
    if not gain[highest] > _SIGMAS * noise[highest]:
        why = (
            f"no learning rate learns: the largest gain, {gain[highest]:.3g} nats at "
            f"{lrs[highest]:.3g}, is within {_SIGMAS:g} standard errors of 0. Raise "
            "num_steps, or the range."
        )
        return None, None, why, why
    stable_gain = np.where(stable & ~np.isnan(gain), gain, -math.inf)
    best = int(np.argmax(stable_gain))
    if not stable_gain[best] > _SIGMAS * noise[best]:
        why = (
            "unstable wherever it learns: the mean loss of a run is above that of an "
            f"untrained network. Lower {low}, or raise num_steps."
        )
        return None, None, why, why
    most = "the most" if gain[best] == gain[highest] else "the most where stable"
    learns = gain > np.maximum(_SIGMAS * noise, _TOLERANCE * gain[best])
    keeps = gain >= (1 - _TOLERANCE) * gain[best]
    top = best + _run_length((keeps & stable)[best + 1 :])
    bottom = best - _run_length(learns[:best][::-1])
    reached = f"{gain[best]:.3g} nats gained at {lrs[best]:.3g}, {most}"
    if best == 0:
        return None, None, f"{reached}: lower {low}.", f"{reached}: lower {low}."
    lr_max = float(lrs[top] / _MARGIN)
    if top == len(lrs) - 1:
        why = (
            f"{reached}, and no less up to {high}; a margin below that, where the "
            "range ends: with a higher lr_high the bound may be higher."
        )
    else:
        lost = 1 - gain[top + 1] / gain[best]
        beyond = f"{lost:.1%} is lost" if lost <= 1 else "all of it is lost"
        if np.isnan(lost):
            beyond = "runs diverge"
        elif keeps[top + 1]:
            beyond = "the mean loss of a run is above that of an untrained network"
        why = f"{reached}; a margin below {lrs[top]:.3g}, above which {beyond}."
    if bottom == 0:
        return lr_max, None, why, f"even {low} learns: lower it."
    lr_min = float(lrs[bottom])
    share = gain[bottom] / gain[best]
    below = f"the lowest that learns, {share:.1%} of the largest gain."
    return lr_max, min(lr_min, lr_max), why, below


def _run_length(flags: np.ndarray) -> int:
    """The number of leading flags that are set."""
    return len(flags) if flags.all() else int(np.argmin(flags))


def _plain(value: Any) -> Any:
    """The value in types that JSON supports."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
