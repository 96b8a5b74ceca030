"""The script of the tutorial on tf.keras.callbacks, on PyTorch.

    python examples/tutorial_torch.py [mnist.npz] [--epochs 20]

The callbacks, their arguments and ``fit`` are those of the tutorial. Without a file it trains on
the 7,000 images that come with callboard; Keras's ``mnist.npz`` has all 70,000.
"""

import argparse
import time

from torch import nn

from callboard import callbacks as cb
from callboard.demo import load_digits
from callboard.torch import Model

arguments = argparse.ArgumentParser(description="The tutorial's training, on PyTorch.")
arguments.add_argument("data", nargs="?", help="MNIST in Keras's layout")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x_train, y_train, x_test, y_test = load_digits(options.data)

# The model: a module of PyTorch.
model = Model(
    nn.Sequential(
        nn.Flatten(),
        nn.Linear(28 * 28, 128),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
        nn.Softmax(dim=1),
    )
)

# Optimizer, loss and metrics, by the names they have in Keras.
model.compile(
    optimizer="adam",
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)

# Folder of this run's log files.
log_dir = "logs/fit/" + time.strftime("%Y%m%d-%H%M%S")


# Sets the learning rate at the beginning of every epoch.
def lr_schedule(epoch, lr):
    # Halve it every 10 epochs.
    if epoch % 10 == 0 and epoch != 0:
        return lr * 0.5
    return lr


# A callback of one's own: print the learning rate after every epoch.
class PrintLearningRateCallback(cb.Callback):
    def on_epoch_end(self, epoch, logs=None):
        lr = self.model.optimizer.lr.numpy()
        print(f"\nEpoch {epoch + 1}: Learning rate is {lr:.6f}")


callbacks = [
    # 1. Save the model that does best on the validation data.
    cb.ModelCheckpoint(
        filepath="models/best_model.h5",
        monitor="val_loss",
        save_best_only=True,
        mode="min",  # "max" for val_accuracy
        verbose=1,
    ),
    # 2. Stop when the validation loss has not improved for 5 epochs.
    cb.EarlyStopping(
        monitor="val_loss",
        patience=5,
        restore_best_weights=True,  # end with the weights of the best epoch
    ),
    # 3. Change the learning rate by A or by B; both together warn that it may fall too fast.
    # A: halve it when the validation loss has not improved for 3 epochs.
    cb.ReduceLROnPlateau(
        monitor="val_loss",
        factor=0.5,
        patience=3,
        min_lr=1e-7,
        verbose=1,
    ),
    # B: a fixed schedule.
    # cb.LearningRateScheduler(lr_schedule, verbose=1),
    #
    # 4. Logs for TensorBoard, with histograms of weights and activations after every epoch.
    cb.TensorBoard(log_dir=log_dir, histogram_freq=1),
    # 5. Print the learning rate after every epoch.
    PrintLearningRateCallback(),
    # 6. Write the metrics of every epoch to a CSV file.
    cb.CSVLogger("logs/training_log.csv"),
    # 7. Stop at once if the loss becomes NaN.
    cb.TerminateOnNaN(),
]

model.fit(
    x_train,
    y_train,
    validation_data=(x_test, y_test),
    epochs=options.epochs,
    callbacks=callbacks,
)
