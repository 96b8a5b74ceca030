"""The script of the tutorial on tf.keras.callbacks, on Keras 3, with the callbacks of callboard.

    KERAS_BACKEND=jax python examples/tutorial_keras.py [mnist.npz] [--epochs 20]

One line differs from the tutorial's: where the callbacks come from. It runs on all of Keras's
backends (tensorflow, jax, torch), without TensorFlow on the last two. Without a file it trains on
the 7,000 images that come with callboard; Keras's ``mnist.npz`` has all 70,000.
"""

import argparse
import datetime as dt

import keras

from callboard import callbacks  # in the tutorial: from tensorflow.keras import callbacks
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="The tutorial's training, in Keras.")
arguments.add_argument("data", nargs="?", help="MNIST in Keras's layout")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x_train, y_train, x_test, y_test = load_digits(options.data)

# The model.
model = keras.Sequential(
    [
        keras.Input((28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10, activation="softmax"),
    ]
)

# Optimizer, loss and metrics.
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])

# Folder of this run's log files.
log_dir = "logs/fit/" + dt.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


# A callback of one's own: print the learning rate after every epoch.
class PrintLearningRateCallback(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        # The tutorial has optimizer.lr, which Keras 3 no longer knows.
        lr = self.model.optimizer.learning_rate.numpy()
        print(f"\nEpoch {epoch + 1}: Learning rate is {lr:.6f}")


# Train.
model.fit(
    x_train,
    y_train,
    validation_data=(x_test, y_test),
    epochs=options.epochs,
    callbacks=[
        # 1. Save the model that does best on the validation data.
        callbacks.ModelCheckpoint(
            filepath="models/best_model.h5",
            monitor="val_loss",
            save_best_only=True,
            mode="min",
            verbose=1,
        ),
        # 2. Stop when the validation loss has not improved for 5 epochs.
        callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True),
        # 3. Halve the learning rate when the validation loss has not improved for 3 epochs.
        callbacks.ReduceLROnPlateau(
            monitor="val_loss", factor=0.5, patience=3, min_lr=1e-7, verbose=1
        ),
        # 4. Write logs for TensorBoard, with histograms of activations and weights.
        callbacks.TensorBoard(log_dir=log_dir, histogram_freq=1),
        # 5. Print the learning rate.
        PrintLearningRateCallback(),
        # 6. Stream loss and metrics of every epoch to a CSV file.
        callbacks.CSVLogger("logs/training_log.csv"),
    ],
)
