"""Keras on JAX: a learning rate from what `fit` logs."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

from optax_mi import learning_rates, mi_decay  # +
from optax_mi.estimators import from_loss, plugin_entropy  # +


class MIDecay(keras.callbacks.Callback):  # +
    """Sets the learning rate at the end of every epoch."""

    def __init__(self, decay):  # +
        super().__init__()  # +
        self.decay, self.side = decay, decay.init(())  # +

    def on_epoch_end(self, epoch, logs):  # +
        loss = logs["sparse_categorical_crossentropy"]  # +
        _, self.side = self.decay.update((), self.side, value=loss)  # +
        # A float, since Keras deletes the arrays of its last step.
        logs["learning_rate"] = float(learning_rates(self.side)["all"])  # +
        self.model.optimizer.learning_rate = logs["learning_rate"]  # +


keras.utils.set_random_seed(0)
labels = np.arange(300) % 3
inputs = 2.0 * np.eye(3)[labels] + np.random.default_rng(0).normal(size=(300, 3))
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(3)])
model.compile(
    keras.optimizers.Adam(0.05, use_ema=True),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[keras.metrics.SparseCategoricalCrossentropy(from_logits=True)],  # +
)
entropy = plugin_entropy(labels)  # +
decay = mi_decay(0.05, estimator=from_loss(entropy))  # +
history = model.fit(
    inputs,
    labels,
    epochs=40,
    batch_size=50,
    callbacks=[MIDecay(decay)],  # +
    verbose=0,
)
for name, values in history.history.items():
    print(name, *values)
