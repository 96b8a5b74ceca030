"""The script of the tutorial on tf.keras.callbacks, on JAX.

    python examples/tutorial_jax.py [mnist.npz] [--epochs 20]

The callbacks, their arguments and ``fit`` are those of the tutorial; the network is a module of
flax nnx. Without a file it trains on the 7,000 images that come with callboard; Keras's
``mnist.npz`` has all 70,000.
"""

import argparse
import time

from flax import nnx

from callboard import callbacks as cb
from callboard.demo import load_digits
from callboard.jax import Model

arguments = argparse.ArgumentParser(description="The tutorial's training, on JAX.")
arguments.add_argument("data", nargs="?", help="MNIST in Keras's layout")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x_train, y_train, x_test, y_test = load_digits(options.data)


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(28 * 28, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.output = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        x = x.reshape(len(x), -1)
        return nnx.softmax(self.output(self.dropout(nnx.relu(self.hidden(x)))))


# Optimizer, loss and metrics, by the names they have in Keras.
model = Model(Network(nnx.Rngs(0)))
model.compile(
    optimizer="adam",
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)

# Folder of this run's log files.
log_dir = "logs/fit/" + time.strftime("%Y%m%d-%H%M%S")


# A callback of one's own: print the learning rate after every epoch.
class PrintLearningRateCallback(cb.Callback):
    def on_epoch_end(self, epoch, logs=None):
        lr = self.model.optimizer.lr.numpy()
        print(f"\nEpoch {epoch + 1}: Learning rate is {lr:.6f}")


model.fit(
    x_train,
    y_train,
    validation_data=(x_test, y_test),
    epochs=options.epochs,
    callbacks=[
        cb.ModelCheckpoint("models/best_model.h5", save_best_only=True, verbose=1),
        cb.EarlyStopping(patience=5, restore_best_weights=True),
        cb.ReduceLROnPlateau(factor=0.5, patience=3, min_lr=1e-7, verbose=1),
        cb.TensorBoard(log_dir=log_dir, histogram_freq=1),
        PrintLearningRateCallback(),
        cb.CSVLogger("logs/training_log.csv"),
        cb.TerminateOnNaN(),
    ],
)
