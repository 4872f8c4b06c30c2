"""SVI passes its loss on, and an optimizer in it takes a learning rate from beside."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax
import pytest
from numpyro import distributions as dist
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDelta
from numpyro.optim import optax_to_numpyro

from optax_mi import learning_rates, mi_decay, mi_diagnostics, set_learning_rate
from optax_mi.estimators import from_loss, plugin_entropy
from tests.frameworks.plain import INPUTS, LABELS, STEPS, losses_of, rate_of, train

ENTROPY = float(plugin_entropy(LABELS))


def likelihood(logits, scale):
    with numpyro.handlers.scale(scale=scale), numpyro.plate("data", len(LABELS)):
        numpyro.sample("y", dist.Categorical(logits=logits), obs=LABELS)


def without_priors(scale):
    w = numpyro.param("w", jnp.zeros((3, 3)))
    b = numpyro.param("b", jnp.zeros(3))
    likelihood(INPUTS @ w + b, scale)


def with_priors():
    w = numpyro.sample("w", dist.Normal(0.0, 0.02).expand((3, 3)).to_event(2))
    likelihood(INPUTS @ w, 1.0)


def run(tx, scale):
    model = functools.partial(without_priors, scale)
    svi = SVI(model, lambda: None, optax_to_numpyro(tx), Trace_ELBO())
    return svi.run(jax.random.key(0), STEPS, progress_bar=False)


@pytest.mark.slow
def test_maximum_likelihood_is_as_without_numpyro():
    tx = optax.chain(optax.adam(0.1), mi_decay(1.0, estimator=from_loss(ENTROPY)))
    params, rate = train(
        tx, {"w": jnp.zeros((3, 3)), "b": jnp.zeros(3)}, only_loss=True
    )
    ran = run(tx, 1 / len(LABELS))
    assert rate_of(ran.state) < 0.95
    np.testing.assert_allclose(rate_of(ran.state), rate, rtol=1e-4)
    np.testing.assert_allclose(ran.params["w"], params["w"], rtol=1e-3, atol=1e-4)
    # A sum over the data is too large to tell anything.
    summed = run(tx, 1.0)
    assert mi_diagnostics(summed.state)["all"].mi == 0
    assert rate_of(summed.state) == 1.0


@pytest.mark.slow
def test_with_priors_it_is_beside_the_optimizer():
    guide = AutoDelta(with_priors)
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)
    svi = SVI(with_priors, guide, optax_to_numpyro(adam), Trace_ELBO())
    decay = mi_decay(0.1, num_classes=3)

    @jax.jit
    def step(state, side):
        state, loss = svi.update(state)
        logits = INPUTS @ guide.median(svi.get_params(state))["w"]
        _, side = decay.update((), side, outputs=logits, labels=LABELS)
        rate = learning_rates(side)["all"]
        return set_learning_rate(state, rate), side, loss, losses_of(logits).sum()

    state, side = svi.init(jax.random.key(0)), decay.init(())
    for _ in range(STEPS):
        state, side, loss, cross_entropy = step(state, side)
    assert step._cache_size() == 1
    rate = optax.tree.get(state.optim_state, "learning_rate")
    assert rate == learning_rates(side)["all"] < 0.095
    # Narrow priors bring the loss below the cross-entropy: it bounds nothing.
    assert loss < cross_entropy
