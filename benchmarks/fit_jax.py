"""``callboard.jax.Model.fit`` against loops written by hand on JAX: one step a call, and a scan.

The tutorial's network on MNIST, batch 32: epochs of 19,200 images and a validation on 3,200. A call
of fit trains several of them, and the seconds are those of one. The images are those of the demo,
repeated, or of ``--data FILE.npz``.
"""

import argparse
import contextlib
import functools
import io
import os
import statistics
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from measure import interleaved, machine

import callboard
from callboard import callbacks
from callboard.jax import Model, losses

DEMO_DATA = Path(callboard.__file__).parent / "demo" / "mnist.npz"
BATCH = 32


def mnist(path, train=19_200, validation=3_200):
    with np.load(path) as file:
        parts = []
        for name, count in (("train", train), ("test", validation)):
            rows = np.arange(count) % len(file[f"x_{name}"])
            parts.append(file[f"x_{name}"][rows].reshape(count, -1).astype(np.float32) / 255)
            parts.append(file[f"y_{name}"][rows].astype(np.int32))
    return parts


# ---- by hand -------------------------------------------------------------------------------------


def parameters():
    first, last = jax.random.split(jax.random.key(0))
    glorot = jax.nn.initializers.glorot_uniform()
    return {
        "w1": glorot(first, (784, 128)),
        "b1": jnp.zeros(128),
        "w2": glorot(last, (128, 10)),
        "b2": jnp.zeros(10),
    }


def logits_of(params, x, key=None):
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
    if key is not None:
        hidden = jnp.where(jax.random.bernoulli(key, 0.8, hidden.shape), hidden / 0.8, 0.0)
    return hidden @ params["w2"] + params["b2"]


def loss_of(params, x, y, key=None):
    logits = logits_of(params, x, key)
    loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, (logits.argmax(1) == y).sum()


OPTIMIZER = optax.adam(1e-3)


def updated(state, x, y):
    """Return the state after a step, with loss and correct answers added up in it."""
    params, opt_state, key, total, correct = state
    key, used = jax.random.split(key)
    (loss, right), grads = jax.value_and_grad(loss_of, has_aux=True)(params, x, y, used)
    updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    return params, opt_state, key, total + loss * len(x), correct + right


step = functools.partial(jax.jit, donate_argnums=0)(updated)


@functools.partial(jax.jit, donate_argnums=0)
def steps(state, xs, ys):
    return jax.lax.scan(lambda s, batch: (updated(s, *batch), None), state, (xs, ys))[0]


@jax.jit
def validated(params, sums, x, y):
    loss, right = loss_of(params, x, y)
    return sums[0] + loss * len(x), sums[1] + right


def by_hand(x, y, x_val, y_val, epochs, per_call=1):
    """Return a function that trains some epochs as it is written on JAX."""
    params = parameters()
    trained = params, OPTIMIZER.init(params), jax.random.key(1)
    rng = np.random.default_rng(0)

    def epoch():
        nonlocal trained
        order = rng.permutation(len(x))
        xs, ys = x[order], y[order]
        state = (*trained, jnp.zeros(()), jnp.zeros((), jnp.int32))
        rows = BATCH * per_call
        for i in range(0, len(x), rows):
            batch, target = xs[i : i + rows], ys[i : i + rows]
            if per_call == 1:
                state = step(state, batch, target)
            else:
                shape = (per_call, BATCH)
                state = steps(state, batch.reshape(*shape, -1), target.reshape(shape))
        *trained, total, correct = state
        sums = (jnp.zeros(()), jnp.zeros((), jnp.int32))
        for i in range(0, len(x_val), BATCH):
            sums = validated(trained[0], sums, x_val[i : i + BATCH], y_val[i : i + BATCH])
        return [float(value) for value in (total, correct, *sums)]

    return lambda: [epoch() for _ in range(epochs)]


# ---- by fit --------------------------------------------------------------------------------------


class Network(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(784, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.first(x))))


def by_fit(x, y, x_val, y_val, epochs, eight=None, **options):
    """Return a function that trains some more epochs by ``Model.fit``."""
    model = Model(Network(nnx.Rngs(0)))
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], **options)
    return more_epochs(model, x, y, x_val, y_val, epochs, eight)


def by_keras(x, y, x_val, y_val, epochs, eight):
    """Return the same for Keras with its own callbacks, on its JAX backend."""
    import keras  # noqa: PLC0415 - only if it is asked for

    layers = [keras.layers.Dense(128, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((784,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return more_epochs(model, x, y, x_val, y_val, epochs, eight)


def more_epochs(model, x, y, x_val, y_val, epochs, eight):
    done = 0

    def run():
        nonlocal done
        used = eight() if eight else []
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(
                x,
                y,
                batch_size=BATCH,
                validation_data=(x_val, y_val),
                initial_epoch=done,
                epochs=done + epochs,
                callbacks=used,
                verbose=2 if eight else 0,
            )
        done += epochs

    return run


def eight_callbacks(folder, library, **of_saver):
    return [
        library.ModelCheckpoint(str(folder / "best.h5"), save_best_only=True, **of_saver),
        library.EarlyStopping(patience=5, restore_best_weights=True),
        library.ReduceLROnPlateau(factor=0.5, patience=3, min_lr=1e-7, verbose=1),
        library.LearningRateScheduler(lambda _epoch, lr: lr),
        library.TensorBoard(str(folder / "logs"), histogram_freq=1),
        library.CSVLogger(str(folder / "log.csv"), append=True),
        library.TerminateOnNaN(),
        library.ProgbarLogger(),
    ]


AIMS = [
    ("`Model.fit`, eight callbacks", "`Model.fit`"),
    ("`Model.fit`, `steps_per_execution=50`", "loop by hand, scan of 50"),
    ("the same, eight callbacks", "`Model.fit`, `steps_per_execution=50`"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEMO_DATA)
    parser.add_argument("--epochs", type=int, default=3, help="in one call of fit")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--keras", action="store_true", help="Keras on JAX too, if installed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    data = (*mnist(options.data), options.epochs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        eight = functools.partial(eight_callbacks, folder, callbacks)
        contenders = {
            "loop by hand": by_hand(*data),
            "`Model.fit`": by_fit(*data),
            "`Model.fit`, eight callbacks": by_fit(*data, eight=eight),
            "loop by hand, scan of 50": by_hand(*data, per_call=50),
            "`Model.fit`, `steps_per_execution=50`": by_fit(*data, steps_per_execution=50),
            "the same, eight callbacks": by_fit(*data, eight=eight, steps_per_execution=50),
        }
        if options.keras:
            import keras  # noqa: PLC0415 - as above

            (folder / "keras").mkdir()
            of_keras = functools.partial(eight_callbacks, folder / "keras", keras.callbacks)
            contenders["Keras on JAX, its eight callbacks"] = by_keras(*data, of_keras)
        seconds = interleaved(contenders, options.repetitions)
    seconds = {name: [s / options.epochs for s in times] for name, times in seconds.items()}
    print(f"{options.epochs} epochs of fit on JAX; {machine()}, load {os.getloadavg()[0]:.1f}")
    print_table(seconds)


def print_table(seconds):
    """Print the table of docs/performance.md, and what is aimed at."""
    first = seconds["loop by hand"]
    print("\n| | fastest | speed by it | median ratio |\n|---|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {min(times):.2f} s | {ratios(first, times)} |")
    for name, other in AIMS:
        print(f"| {name}, against {other} | | {ratios(seconds[other], seconds[name])} |")


def ratios(reference, times):
    by_round = [a / b for a, b in zip(reference, times, strict=True)]
    return f"{min(reference) / min(times):.2f}x | {statistics.median(by_round):.2f}x"


if __name__ == "__main__":
    main()
