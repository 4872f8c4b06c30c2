"""Trains on the digits with flax.nnx, in as few lines as possible."""

from arguments import OneLineParser

OneLineParser(description=__doc__).parse_args()  # it has no options

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from optax_mi import average_params, eval_params, mi_diagnostics, mi_sgd

x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)
train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=360, random_state=0)
rngs = nnx.Rngs(0)
model = nnx.Sequential(
    nnx.Linear(64, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 10, rngs=rngs)
)
tx = optax.chain(mi_sgd(0.3, momentum=0.9, num_classes=10), average_params())
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)


@nnx.jit
def train_step(model: nnx.Module, optimizer: nnx.Optimizer, x, y):
    """Makes one update; loss and mutual information share the logits."""

    def loss_fn(model):
        logits = model(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), logits

    grads, logits = nnx.grad(loss_fn, has_aux=True)(model)
    optimizer.update(model, grads, outputs=logits, labels=y)


for epoch in range(1, 21):
    for batch in np.random.default_rng(epoch).permutation(1408).reshape(44, 32):
        train_step(model, optimizer, train_x[batch], train_y[batch])
    seen = mi_diagnostics(optimizer)["all"]
    averaged = nnx.clone(model)
    nnx.update(averaged, eval_params(optimizer))
    test = jnp.mean(averaged(test_x).argmax(-1) == test_y)
    print(f"{epoch:2d}  MI {seen.mi:.3f} of {seen.entropy:.3f} nats", end="  ")
    print(f"LR {seen.learning_rate:.4f}  test {test:.1%}")
