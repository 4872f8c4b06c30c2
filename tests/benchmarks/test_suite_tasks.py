"""The data of the suite's tasks: what is claimed of them is so."""

import compare
import jax
import numpy as np
import optax
import pytest
from suite.data import digits, noisy_digits, rare
from suite.results import (
    EVALUATIONS,
)
from suite.start import trained_on_china
from suite.tasks import bundled_tasks
from suite.text import VOCABULARY, read_text

TASKS = {task.name: task for task in bundled_tasks()}


def test_parts_of_a_task_do_not_overlap_and_seeds_differ():
    for task in TASKS.values():
        first, again, other = task.load(0), task.load(0), task.load(1)
        for part in range(3):
            assert len(first[part][0]) == len(first[part][1])
            np.testing.assert_array_equal(first[part][0], again[part][0])
        assert not np.array_equal(first.test[0], other.test[0])
        if task.num_classes is not None:
            labels = np.concatenate([part[1].ravel() for part in first])
            assert labels.min() >= 0
            assert labels.max() < task.num_classes
    rows = np.concatenate([part[0] for part in TASKS["digits_mlp"].load(0)])
    assert len(rows) == 1797


def test_text_is_what_python_ships():
    tokens = read_text()
    assert tokens.max() == VOCABULARY - 1
    shown = "".join("\n" if t == VOCABULARY - 1 else chr(t + 32) for t in tokens[:5000])
    assert 'The "assert" statement' in shown


def test_a_third_of_the_noisy_digits_labels_are_wrong_but_for_the_test_s():
    for seed in range(2):
        clean, noisy = digits(seed), noisy_digits(seed)
        for (x, y), (noisy_x, noisy_y), share in zip(
            clean, noisy, (1 / 3, 1 / 3, 0.0), strict=True
        ):
            np.testing.assert_array_equal(x, noisy_x)
            assert np.mean(y != noisy_y) == pytest.approx(share, abs=1e-3)
        offsets = np.bincount((noisy.train[1] - clean.train[1]) % 10)
        # 359 wrong labels among nine classes: all of them occur.
        assert offsets[1:].min() > 20


def test_rare_classes_are_as_rare_as_asked():
    data = rare(0)
    for _, y in data:
        seen = np.bincount(y, minlength=10) / len(y)
        want = 0.01 ** (np.arange(10) / 9)
        want /= want.sum()
        error = np.sqrt(want / len(y))
        np.testing.assert_array_less(np.abs(seen - want), 5 * error)
    y = data.train[1]
    assert len(y) == 200_000
    assert np.mean(y == 9) / np.mean(y == 0) == pytest.approx(0.01, rel=0.15)


def test_fine_tuning_starts_from_a_network_that_knows_another_photograph():
    task, china = TASKS["tuning"], TASKS["pixels"]

    def loss(task, params, seed=0):
        x, y = task.load(seed).test
        logits = task.model.apply(params, task.prepare(x))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    params = trained_on_china(0)
    assert task.start(0) is params
    fresh = task.model.init(jax.random.key(0), task.prepare(task.load(0).train[0][:1]))
    assert loss(china, params) < 0.6 * loss(china, fresh)
    # It knows something of the photograph that is new to it, and has more to learn.
    assert loss(task, params) < 0.9 * loss(task, fresh)
    assert jax.tree.leaves(trained_on_china(1))[-1] is not jax.tree.leaves(params)[-1]


def test_new_tasks_are_held_out():
    assert all(TASKS[name].held_out for name in ("tuning", "digits_noisy", "rare"))


def test_budgets_divide_into_whole_measurements():
    for task in TASKS.values():
        for short in (True, False):
            assert compare.budget(task, short) % EVALUATIONS == 0
        assert 0.98 * task.steps <= compare.budget(task, False) <= task.steps
