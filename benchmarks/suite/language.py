"""Language models over real vocabularies: their texts, and how they are trained."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from suite.data import Arrays, Data
from suite.kjv import missing_kjv, read_kjv
from suite.methods import Method, Setting
from suite.nets import Transformer
from suite.pieces import PADDING, as_rows, kept_pieces
from suite.training import Curves
from suite.wordnet import missing_wordnet, read_wordnet

# Rows that are measured at once: their logits are what takes memory.
BLOCK = 16


@dataclasses.dataclass(frozen=True)
class Language:
    """A text, a vocabulary, a network and a budget.

    Attributes:
      title: what it is, in words.
      read: all texts, verses or entries.
      missing: how to get them; empty if they are there.
      vocabulary: number of pieces, the classes.
      steps: updates in the budget.
      evaluations: measurements of a run, at equal distances, the last at its end.
      held: texts held back for validation and for the test.
      batch: rows of a batch.
      length: pieces of a row.
      width: of the network.
    """

    title: str
    read: Callable[[], list[str]]
    missing: Callable[[], str]
    vocabulary: int
    steps: int
    evaluations: int
    held: tuple[int, int]
    batch: int = 8
    length: int = 32
    width: int = 64

    @property
    def model(self) -> nn.Module:
        """One layer, whose embedding and head are not tied."""
        return Transformer(self.vocabulary, self.width)


def verses() -> list[str]:
    """Those of the King James text."""
    return read_kjv().splitlines()


LANGUAGES = {
    "8k": Language(
        "King James text",
        verses,
        missing_kjv,
        vocabulary=8000,
        steps=480,
        evaluations=4,
        held=(60, 120),
    ),
    "32k": Language(
        "King James text and the definitions of WordNet",
        lambda: verses() + read_wordnet(),
        lambda: missing_kjv() or missing_wordnet(),
        vocabulary=32000,
        steps=160,
        evaluations=4,
        held=(40, 80),
    ),
}


def load(language: Language, folder: Path) -> Data:
    """Rows of each part; texts are shuffled once, the same for all seeds.

    Pieces come from the training texts alone.
    """
    texts = language.read()
    order = np.random.default_rng(0).permutation(len(texts))
    valid, test = language.held
    parts = np.split(order, [valid, valid + test])
    held, tested, kept = ([texts[i] for i in rows] for rows in parts)
    pieces = kept_pieces(kept, language.vocabulary, folder)
    rows = functools.partial(as_rows, pieces, length=language.length)
    return Data(rows(kept), rows(held), rows(tested))


def masked_loss(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy in nats of each label, 0 where it is padding, and where it is not.

    Both have the shape of `labels`.
    """
    kept = labels != PADDING
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits, jnp.where(kept, labels, 0)
    )
    return jnp.where(kept, losses, 0.0), kept


class Trainer(NamedTuple):
    """Compiled parts of a run, which any learning rate and seed share.

    Attributes:
      start: `start(trial, key)`, the params and the state.
      advance: `advance(trial, run, rows)`, both after the batches `rows` [S, B].
      measure: `measure(run)`, row -> metric -> number, of validation and test.
      rate: `rate(run)`, the learning rate in force.
    """

    start: Callable[..., Any]
    advance: Callable[..., Any]
    measure: Callable[..., Any]
    rate: Callable[..., Any]


def make_trainer(language: Language, method: Method, data: Data, steps: int) -> Trainer:
    """How a method that is told `steps` learns a language."""
    model, (x, y) = language.model, jax.device_put(data.train)
    held = {"valid": _blocks(data.valid), "test": _blocks(data.test)}

    def transformation(trial: Any) -> optax.GradientTransformationExtraArgs:
        setting = Setting(trial, steps, None, language.vocabulary)
        return optax.with_extra_args_support(method.make(setting))

    def loss_fn(params: Any, rows: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        logits: Any = model.apply(params, x[rows])
        losses, kept = masked_loss(logits, y[rows])
        seen = {"outputs": logits, "labels": y[rows]}
        return losses.sum() / jnp.maximum(kept.sum(), 1), seen

    @jax.jit
    def start(trial: Any, key: jax.Array) -> Any:
        params = model.init(key, x[:1])
        return params, transformation(trial).init(params)

    @functools.partial(jax.jit, donate_argnums=1)
    def advance(trial: Any, run: Any, rows: jax.Array) -> Any:
        tx = transformation(trial)

        def step(run: Any, rows: jax.Array) -> tuple[Any, None]:
            params, state = run
            grads, seen = jax.grad(loss_fn, has_aux=True)(params, rows)
            updates, state = tx.update(grads, state, params, **seen)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, run, rows)[0]

    @jax.jit
    def measure(run: Any) -> Any:
        params, state = run
        return {
            row: {
                f"{part}_{name}": value
                for part, blocks in held.items()
                for name, value in judge(view(state, params), blocks).items()
            }
            for row, view in method.rows.items()
        }

    def judge(params: Any, blocks: Arrays) -> dict[str, jax.Array]:
        def of_block(block: Any) -> jax.Array:
            logits: Any = model.apply(params, block[0])
            losses, kept = masked_loss(logits, block[1])
            hits = kept & (logits.argmax(-1) == block[1])
            return jnp.stack([losses.sum(), hits.sum(), kept.sum()])

        loss, hits, count = jax.lax.map(of_block, blocks).sum(0)
        return {"loss": loss / count, "accuracy": hits / count}

    return Trainer(start, advance, measure, jax.jit(lambda run: method.rate(run[1])))


def _blocks(part: Arrays) -> Arrays:
    """Rows in blocks [N / BLOCK, BLOCK, T], the last filled up with padding."""
    x, y = part
    more = ((0, -len(x) % BLOCK), (0, 0))
    x, y = np.pad(x, more), np.pad(y, more, constant_values=PADDING)
    return x.reshape(-1, BLOCK, x.shape[-1]), y.reshape(-1, BLOCK, y.shape[-1])


def batches(language: Language, data: Data, seed: int, steps: int) -> np.ndarray:
    """Rows of each batch, [steps, B]: shuffled, and anew after each pass."""
    rng = np.random.default_rng([seed, 1])
    rows, size = len(data.train[0]), language.batch
    passes = math.ceil(steps / (rows // size))
    order = [rng.permutation(rows)[: rows // size * size] for _ in range(passes)]
    return np.concatenate(order).reshape(-1, size)[:steps].astype(np.int32)


def train(
    trainer: Trainer, rate: float, orders: Sequence[np.ndarray], evaluations: int
) -> Curves:
    """Trains one network after another on the `batches` of each seed, [steps, B].

    A seed sets the start too. Loss and accuracy are of pieces that are not padding.
    """
    trial, runs, seconds = np.float32(rate), [], 0.0
    for seed, order in enumerate(orders):
        run, measured = trainer.start(trial, jax.random.key(seed)), []
        for rows in np.split(order, evaluations):
            begin = time.perf_counter()
            run = jax.block_until_ready(trainer.advance(trial, run, rows))
            seconds += time.perf_counter() - begin
            measured.append((trainer.measure(run), trainer.rate(run)))
        runs.append(jax.tree.map(lambda *m: np.stack(m), *jax.device_get(measured)))
    # [trials, seeds, E], of one trial.
    values, rates = jax.tree.map(lambda *r: np.stack(r)[None], *runs)
    chunk = len(orders[0]) // evaluations
    return Curves(
        chunk * np.arange(1, evaluations + 1), values, rates, seconds, math.nan, {}
    )
