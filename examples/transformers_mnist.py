"""Keras's callbacks in the Trainer of Hugging Face.

    python examples/transformers_mnist.py [--epochs 20]

Saves the best weights as ``best.safetensors`` in the current folder.
"""

import argparse

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

from callboard.bridges.transformers import Callbacks
from callboard.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="Keras's callbacks in a Hugging Face Trainer.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()


class Classifier(PreTrainedModel):
    config_class = PretrainedConfig

    def __init__(self, config):
        super().__init__(config)
        layers = nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10)
        self.net = nn.Sequential(*layers)

    def forward(self, pixels, labels):
        logits = self.net(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


torch.manual_seed(0)
x_train, y_train, x_test, y_test = map(torch.from_numpy, load_digits())


def rows(x, y):
    return [{"pixels": image, "labels": digit} for image, digit in zip(x, y, strict=True)]


settings = TrainingArguments(
    "trainer",
    num_train_epochs=options.epochs,
    per_device_train_batch_size=64,
    per_device_eval_batch_size=500,
    learning_rate=1e-3,
    lr_scheduler_type="constant",  # the rate is ReduceLROnPlateau's
    eval_strategy="epoch",
    save_strategy="no",
    report_to=[],
    use_cpu=True,
    disable_tqdm=True,
)

with Callbacks(
    [
        EarlyStopping(patience=5, restore_best_weights=True),  # val_loss is the Trainer's eval_loss
        ReduceLROnPlateau(patience=2, factor=0.5),
        ModelCheckpoint("best.safetensors", save_best_only=True),
    ]
) as callbacks:
    Trainer(
        Classifier(PretrainedConfig()),
        settings,
        train_dataset=rows(x_train, y_train),
        eval_dataset=rows(x_test, y_test),
        callbacks=[callbacks],
    ).train()

print("\nWhat the callbacks decided, and why:")
print(callbacks.run.journal)
