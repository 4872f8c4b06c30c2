"""Keras takes a learning rate from a callback."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from optax_mi import learning_rates, mi_decay
from optax_mi.estimators import from_loss

SCRIPT = pathlib.Path(__file__).with_name("keras_fit.py")


@pytest.mark.slow
def test_the_learning_rate_is_that_of_the_logged_losses():
    # In a process of its own: Keras reads its backend when it is imported.
    done = subprocess.run(
        [sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "JAX_LOG_COMPILES": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Finished XLA compilation of jit(train_step)") == 1
    rows = (line.split() for line in done.stdout.splitlines())
    logged = {name: np.array(values, float) for name, *values in rows}
    rates = logged["learning_rate"]
    assert rates[0] == np.float32(0.05)
    assert rates[-1] < 0.04
    decay = mi_decay(0.05, estimator=from_loss(np.log(3)))
    state = decay.init(())
    for loss, rate in zip(
        logged["sparse_categorical_crossentropy"], rates, strict=True
    ):
        _, state = decay.update((), state, value=loss)
        np.testing.assert_allclose(learning_rates(state)["all"], rate, rtol=1e-5)
