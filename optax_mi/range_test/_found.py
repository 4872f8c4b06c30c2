"""The result of `auto`: a transformation, and the reasons for its settings."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import optax

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class AutoRun:
    """A copy of the network that :func:`optax_mi.auto` trained.

    Attributes:
      learning_rate: learning rate before any decay.
      updates: number of updates before each measurement, [M].
      loss: mean loss of held-out batches at each measurement, with the averaged
        weights; inf if it is not finite, [M].
      raw_loss: the same with the weights themselves, [M].
      lr_sum: sum of the learning rates until each measurement, [M].
      gain: how much averaging lowers the loss, as a share of the fall of the loss or of
        the remaining loss, whichever is larger; nan if the run was too short to tell.
    """

    learning_rate: float
    updates: np.ndarray
    loss: np.ndarray
    raw_loss: np.ndarray
    lr_sum: np.ndarray
    gain: float


@dataclass(frozen=True, eq=False)
class AutoResult:
    """The choices of :func:`optax_mi.auto`: train with `tx`; print it, or plot it.

    Attributes:
      lr_max: upper bound of the learning rate, or None.
      lr_max_reason: the reason, as a sentence.
      lr_sum_max: limit on the sum of the learning rates, for
        :func:`optax_mi.rules.capped_rule`, or None.
      lr_sum_reason: the reason, as a sentence.
      lr_between: the learning rates tried below and above the edge, between which
        `lr_max` was interpolated; 0 below or inf above if none was tried there, which
        makes `lr_max` less certain.
      mi: mutual information between the longest run's outputs and the labels of
        held-out batches at its end, in nats.
      entropy: entropy of these labels, in nats.
      untrained: mean loss of held-out batches before any training.
      runs: the copies, in order of learning rate.
      longest: index in `runs` of the copy that trained to the end.
      num_updates: number of updates of all copies together.

    See :func:`optax_mi.auto` for an example.
    """

    lr_max: float | None
    lr_max_reason: str
    lr_sum_max: float | None
    lr_sum_reason: str
    lr_between: tuple[float, float]
    mi: float
    entropy: float
    untrained: float
    runs: tuple[AutoRun, ...]
    longest: int
    num_updates: int
    transformation: optax.GradientTransformationExtraArgs | None

    @property
    def tx(self) -> optax.GradientTransformationExtraArgs:
        """The optimizer with :func:`mi_decay` and :func:`average_params`.

        Raises:
          ValueError: there is no `lr_max`; the message says why.
        """
        if self.transformation is None:
            raise ValueError(f"auto found no learning rate: {self.lr_max_reason}")
        return self.transformation

    def recipe(self) -> str:
        """The code that makes `tx` again from the same `optimizer` and `estimator`.

        Raises:
          ValueError: there is no `lr_max`; the message says why.
        """
        if self.lr_max is None:
            raise ValueError(f"auto found no learning rate: {self.lr_max_reason}")
        decay = f"mi_decay({self.lr_max:.4g}, estimator=estimator)"
        if self.lr_sum_max is not None:
            decay = (
                f"mi_decay({self.lr_max:.4g}, 0.0, estimator=estimator, "
                f"rule=capped_rule({self.lr_sum_max:.4g}))"
            )
        return f"optax.chain(optimizer(1.0), {decay}, average_params())"

    def __str__(self) -> str:
        """The choices and their reasons, in a few lines."""
        rates = [run.learning_rate for run in self.runs]
        lines = [
            f"auto: {self.num_updates} updates at {len(rates)} learning rates from "
            f"{min(rates):.3g} to {max(rates):.3g}",
            f"lr_max {_shown(self.lr_max)}: {self.lr_max_reason}",
            f"lr_sum_max {_shown(self.lr_sum_max)}: {self.lr_sum_reason}",
        ]
        of = f" of {self.entropy:.3g}" if np.isfinite(self.entropy) else ""
        lines.append(f"held-out labels: {self.mi:.3g}{of} nats known at the end")
        if self.transformation is not None:
            lines.append(f"tx = {self.recipe()}")
        return "\n".join(lines)

    def plot(self) -> "Figure":
        """Draws the runs and the choice.

        Returns:
          A `matplotlib.figure.Figure`; see :func:`optax_mi.plotting.plot_auto`.
        """
        from optax_mi.plotting import plot_auto

        return plot_auto(self)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
