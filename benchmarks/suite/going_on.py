"""Training that goes on with other data: streams of batches, and ways to go on."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from suite.data import Data, centre
from suite.methods import Method, Setting, as_trained

# Shirts: of all classes the easiest to take for another.
NEW = 6
# When the test set is looked at: sixteenths of what comes after the switch.
LOOKS, PARTS = (1, 2, 4, 8, 12, 16), 16


class Stream(NamedTuple):
    """Nine classes for some steps, then also the tenth.

    Attributes:
      title: what it is, in words.
      before: updates without the new class, a multiple of a sixteenth of `after`.
      after: updates with it, a multiple of 16.
      share: share of the new class among the images after the switch.
    """

    title: str
    before: int
    after: int
    share: float


@dataclasses.dataclass(frozen=True)
class Way:
    """What trains, and what becomes of its state at the switch.

    Attributes:
      method: what trains, before and after.
      fresh: whether the state is made anew, and a method that is told the steps is told
        those of each part; else both go on, and it is told all steps.
      view: with a fresh state, `view(state, params)` of the weights to go on from.
    """

    method: Method
    fresh: bool = False
    view: Callable[[Any, Any], Any] = as_trained


class Parts(NamedTuple):
    """Compiled parts of a run, which any learning rate and seed share.

    Attributes:
      init: `init(trial, params)`, a state.
      advance: `advance(trial, run, x, y, rows)`, params and state after batches of the
        rows [S, B] of `x` and `y`.
    """

    init: Callable[..., Any]
    advance: Callable[..., Any]


def parts_of(model: nn.Module, method: Method, steps: int) -> Parts:
    """How a method trains a model of ten classes when it is told `steps`."""

    def transformation(trial: Any) -> optax.GradientTransformationExtraArgs:
        # A method of ours closes its epochs when it chooses.
        setting = Setting(trial, steps, None, num_classes=10)
        return optax.with_extra_args_support(method.make(setting))

    @functools.partial(jax.jit, donate_argnums=1)
    def advance(trial: Any, run: Any, x: Any, y: Any, rows: Any) -> Any:
        tx = transformation(trial)

        def step(run: Any, rows: jax.Array) -> tuple[Any, None]:
            params, state = run

            def loss_fn(params: Any) -> tuple[jax.Array, Any]:
                logits: Any = model.apply(params, centre(x[rows]))
                return _losses(logits, y[rows]).mean(), logits

            grads, logits = jax.grad(loss_fn, has_aux=True)(params)
            updates, state = tx.update(
                grads, state, params, outputs=logits, labels=y[rows]
            )
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, run, rows)[0]

    init = jax.jit(lambda trial, params: transformation(trial).init(params))
    return Parts(init, advance)


def _losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def judge(model: nn.Module, params: Any, part: Any) -> dict[str, jax.Array]:
    """Loss, and accuracy on the new class and on the others."""
    x, y = part
    logits: Any = model.apply(params, centre(x))
    hits, new = logits.argmax(-1) == y, y == NEW
    return {
        "loss": _losses(logits, y).mean(),
        "accuracy": hits.mean(),
        "new": jnp.sum(hits & new) / jnp.sum(new),
        "old": jnp.sum(hits & ~new) / jnp.sum(~new),
    }


def draw_rows(
    labels: np.ndarray, share: float, steps: int, batch: int, seed: Sequence[int]
) -> np.ndarray:
    """Rows of each batch, [steps, B], drawn with replacement, `share` of them new."""
    rng = np.random.default_rng(seed)
    new, old = np.flatnonzero(labels == NEW), np.flatnonzero(labels != NEW)
    shape = steps, batch
    rows = np.where(
        rng.random(shape) < share, rng.choice(new, shape), rng.choice(old, shape)
    )
    return rows.astype(np.int32)


class Runner:
    """Trains a model on splits of the data, by many ways and streams.

    What is compiled is shared by learning rates and seeds, and what comes before the
    switch is trained once for all ways and streams that share it.
    """

    def __init__(
        self, model: nn.Module, batch: int, load: Callable[[int], Data]
    ) -> None:
        self.model, self.batch = model, batch
        self.load = functools.cache(lambda seed: jax.device_put(load(seed)))
        self._judge = jax.jit(functools.partial(judge, model))
        self._parts: dict[Any, Parts] = {}
        self._trained: dict[Any, Any] = {}

    def run(self, way: Way, stream: Stream, rate: float, seed: int) -> dict[str, Any]:
        """What the weights of each row knew, and the learning rate, at every look.

        The first look is before the switch; "valid" is the validation loss at the end.
        """
        data, trial = self.load(seed), np.float32(rate)
        total = stream.before + (0 if way.fresh else stream.after)
        run = self._before(way.method, stream, total, rate, seed)
        looks = [self._look(way.method, run, data.test)]
        parts = self._parts_of(way.method, total)
        if way.fresh:
            parts = self._parts_of(way.method, stream.after)
            params = jax.tree.map(jnp.copy, way.view(run[1], run[0]))
            run = params, parts.init(trial, params)
        rows = self._rows(seed, stream.share, stream.after, 2)
        # Always as many steps in a call, so that it is compiled once.
        for part, chunk in enumerate(np.split(rows, PARTS), 1):
            run = parts.advance(trial, run, *data.train, chunk)
            if part in LOOKS:
                looks.append(self._look(way.method, run, data.test))
        valid, _ = self._look(way.method, run, data.valid)
        seen, rates = jax.tree.map(lambda *v: np.stack(v), *looks)
        return {
            "steps": stream.before + stream.after // PARTS * np.asarray([0, *LOOKS]),
            "rows": seen,
            "rates": rates,
            "valid": {row: known["loss"] for row, known in valid.items()},
        }

    def _before(
        self, method: Method, stream: Stream, told: int, rate: float, seed: int
    ) -> Any:
        """Params and state without the new class, a copy that may be donated."""
        told_if = told if method.knows_horizon else None
        key = method.name, stream.before, told_if, rate, seed
        if key not in self._trained:
            parts, (x, y) = self._parts_of(method, told), self.load(seed).train
            trial = np.float32(rate)
            params = self.model.init(jax.random.key(seed), centre(x[:1]))
            run = params, parts.init(trial, params)
            rows = self._rows(seed, 0.0, stream.before, 1)
            for chunk in np.split(rows, stream.before * PARTS // stream.after):
                run = parts.advance(trial, run, x, y, chunk)
            self._trained[key] = run
        return jax.tree.map(jnp.copy, self._trained[key])

    def _parts_of(self, method: Method, told: int) -> Parts:
        key = method.name, told if method.knows_horizon else None
        if key not in self._parts:
            self._parts[key] = parts_of(self.model, method, told)
        return self._parts[key]

    def _rows(self, seed: int, share: float, steps: int, part: int) -> np.ndarray:
        labels = np.asarray(self.load(seed).train[1])
        return draw_rows(labels, share, steps, self.batch, [seed, part])

    def _look(self, method: Method, run: Any, part: Any) -> Any:
        """Row -> what its weights know; and the learning rate in force."""
        params, state = run
        rows = {
            row: self._judge(view(state, params), part)
            for row, view in method.rows.items()
        }
        return jax.device_get((rows, method.rate(state)))
