"""Callbacks in a training loop of one's own on JAX: the state is any pytree, the step is jitted.

    python examples/jax_loop.py [--epochs 20]

Saves the best weights as ``best.safetensors`` in the current folder. Interrupt it and start it
again: it goes on where it was.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from callboard import Run
from callboard.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="A loop of one's own on JAX, with callbacks.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x_train, y_train, x_test, y_test = load_digits()
# With inject_hyperparams callbacks can read and set the rate; nothing is compiled anew for it.
optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)


def logits_of(params, x):
    hidden = jax.nn.relu(x.reshape(len(x), -1) @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


@jax.jit
def loss_of(params, x, y):
    logits = logits_of(params, x)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@partial(jax.jit, donate_argnums=0)
def step(state, x, y):
    loss, grads = jax.value_and_grad(loss_of)(state["params"], x, y)
    updates, opt_state = optimizer.update(grads, state["opt_state"])
    params = optax.apply_updates(state["params"], updates)
    return {"params": params, "opt_state": opt_state}, loss


first, last = jax.random.split(jax.random.key(0))
glorot = jax.nn.initializers.glorot_uniform()
params = {
    "w1": glorot(first, (28 * 28, 128)),
    "b1": jnp.zeros(128),
    "w2": glorot(last, (128, 10)),
    "b2": jnp.zeros(10),
}
state = {"params": params, "opt_state": optimizer.init(params)}

callbacks = [
    ModelCheckpoint("best.safetensors", save_best_only=True),
    ReduceLROnPlateau(factor=0.5, patience=2),
    EarlyStopping(patience=5, restore_best_weights=True),
]

with Run(
    state=state,
    epochs=options.epochs,
    callbacks=callbacks,
    directory="runs/jax_loop",
) as run:
    for epoch in run.epochs():  # ends early when a callback asks for it
        # A function of the epoch: so it is the same when the run goes on in the middle of one.
        rows = np.random.default_rng(epoch).permutation(len(x_train)).reshape(-1, 40)
        for x, y in run.train([(x_train[i], y_train[i]) for i in rows]):
            run.state, loss = step(run.state, x, y)
            run.log(loss=loss)  # stays on the device; averaged over the epoch
        for x, y in run.validate([(x_test, y_test)]):
            run.log(loss=loss_of(run.state["params"], x, y))

print("\nWhat the callbacks decided, and why:")
print(run.journal)
