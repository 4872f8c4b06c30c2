"""Flax: a TrainState whose optimizer sees outputs and labels.

flax.nnx needs nothing from here: `nnx.Optimizer.update(model, grads, outputs=logits,
labels=labels)` hands its keywords to the transformation.
"""

import functools
from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState


class MITrainState(TrainState):
    """A linen `TrainState` that passes extra arguments on to its transformation.

    flax's own `apply_gradients` calls `tx.update(grads, opt_state, params)` and nothing
    more, so that a transformation that watches the network stays blind. This one takes
    them as `extra_args`; everything else, fp8's overwritten-with-gradient collection
    included, is flax's.

    Example:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> import optax
      >>> from optax_mi import learning_rates, mi_sgd
      >>> from optax_mi.flax import MITrainState
      >>> model = nn.Dense(2)
      >>> x, y = jnp.ones((4, 3)), jnp.array([0, 1, 0, 1])
      >>> state = MITrainState.create(
      ...     apply_fn=model.apply,
      ...     params=model.init(jax.random.key(0), x)["params"],
      ...     tx=mi_sgd(0.5, num_classes=2, steps_per_epoch=10),
      ... )
      >>> @jax.jit
      ... def train_step(state, x, y):
      ...     def loss_fn(params):
      ...         logits = state.apply_fn({"params": params}, x)
      ...         losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      ...         return losses.mean(), logits
      ...     grads, logits = jax.grad(loss_fn, has_aux=True)(state.params)
      ...     return state.apply_gradients(
      ...         grads=grads, extra_args={"outputs": logits, "labels": y}
      ...     )
      >>> state = train_step(state, x, y)
      >>> print(state.step, learning_rates(state)["all"])
      1 0.5
    """

    @classmethod
    def create(cls, **kwargs: Any) -> Self:
        """Creates a state at step 0; arguments as for flax's `TrainState.create`.

        The step is an int32 array from the start: flax's Python int would have a train
        step compiled a second time once it becomes an array.
        """
        return super().create(**kwargs).replace(step=jnp.zeros((), jnp.int32))

    def apply_gradients(
        self, *, grads: Any, extra_args: Mapping[str, Any] | None = None, **replace: Any
    ) -> Self:
        """Updates params, optimizer state and step.

        Args:
          grads: gradients, of the structure of `params`.
          extra_args: keywords for `tx.update`, `{"outputs": logits, "labels": labels}`
            for :func:`optax_mi.mi_decay`.
          **replace: further attributes to replace, such as `batch_stats=...`.

        Returns:
          The new state.

        Raises:
          TypeError: the transformation requires a keyword that `extra_args` lacks.
        """
        update = functools.partial(self.tx.update, **(extra_args or {}))
        bound = self.replace(tx=optax.GradientTransformation(self.tx.init, update))
        kept = {"tx": self.tx, **replace}
        return super(MITrainState, bound).apply_gradients(grads=grads, **kept)
