"""The type of rules, which turn an estimate of mutual information into a rate."""

from typing import Any, NamedTuple, Protocol

import jax

from optax_mi.estimators import MIEstimate

# A rule's memory before the first epoch; nan would stop JAX's debug mode.
NONE_BEFORE = -1.0


class RuleInitFn(Protocol):
    """Makes the state of a rule that has seen no epoch."""

    def __call__(self) -> Any: ...


class RuleUpdateFn(Protocol):
    """Turns the estimate of an epoch into the next learning rate."""

    def __call__(
        self,
        state: Any,
        estimate: MIEstimate,
        learning_rate: jax.Array,
        *,
        step: jax.Array,
        lr_min: jax.Array,
        lr_max: jax.Array,
    ) -> tuple[jax.Array, Any]: ...


class RuleLookFn(Protocol):
    """Records what the network knows before the end of the first epoch."""

    def __call__(self, state: Any, estimate: MIEstimate, /) -> Any: ...


class DecayRule(NamedTuple):
    """Pure functions that turn estimates into a decaying learning rate.

    A rule need not respect the bounds: :func:`optax_mi.mi_decay` clips what it returns
    to the bounds and to the current learning rate.

    Attributes:
      init: `init() -> state`, any pytree with fixed shapes and dtypes.
      update: `update(state, estimate, learning_rate, *, step, lr_min, lr_max) ->
        (learning_rate, state)`, called at the end of every epoch that has a finite
        estimate and a valid sample. `estimate` is an
        :class:`~optax_mi.estimators.MIEstimate` in nats, `step` is the number of
        updates so far (int32), and the rest are float32 scalars.
      needs_entropy: whether the rule works only if H(Y) is finite; then
        :func:`optax_mi.mi_decay` refuses it for real labels.
      look: None, or `look(state, estimate) -> state`, called once, with the first
        estimate that has enough samples to tell knowledge from chance. The tries are
        after 1, 2, 4, 8, ... updates of the first epoch.

    Example:
      A rule that ignores the estimate and halves the learning rate every epoch:

      >>> import jax.numpy as jnp
      >>> from optax_mi import mi_decay
      >>> from optax_mi.rules import DecayRule
      >>> halve = DecayRule(lambda: (), lambda state, _, lr, **bounds: (lr / 2, state))
      >>> tx = mi_decay(1.0, num_classes=2, steps_per_epoch=1, rule=halve)
      >>> state, y = tx.init(jnp.zeros(3)), jnp.arange(8) % 2
      >>> updates, state = tx.update(jnp.ones(3), state, outputs=y, labels=y)
      >>> print(updates)
      [0.5 0.5 0.5]
    """

    init: RuleInitFn
    update: RuleUpdateFn
    needs_entropy: bool = False
    look: RuleLookFn | None = None
