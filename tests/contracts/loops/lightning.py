"""Lightning's ``Trainer``."""

import logging

import torch
from lightning import pytorch as pl
from safetensors.torch import load_file

from callboard.bridges.lightning import Callbacks

SUFFIX = ".safetensors"
LACKS = {"logs of validation batches"}
SETS_THE_RATE = HEARS_OF_CTRL_C = True
RESUMES = False
RESTORES = KNOWS_NAN = True
ALSO_LOGS = ""

given = Callbacks


class Module(pl.LightningModule):
    def __init__(self, script):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.script = script

    def training_step(self, _batch, _index):
        loss = self.weight - self.weight.detach() + self.script.train()
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def validation_step(self, _batch, _index):
        self.log("val_loss", self.script.validate(), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def trainer(**options):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(
        **{**quiet, "enable_model_summary": False, "accelerator": "cpu", **options},
        num_sanity_val_steps=0,
    )


def train(callbacks, script):
    module = Module(script)
    loaders = [
        torch.utils.data.DataLoader([torch.zeros(1)] * batches) for batches in (script.batches, 1)
    ]
    try:
        trainer(max_epochs=script.epochs, callbacks=[callbacks]).fit(module, *loaders)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise error.__context__ from None
    callbacks.run.rate_in_host = module.optimizers().param_groups[0]["lr"]
    return callbacks.run


def trained_for(run):
    return float(run.trainable.weights()["weight"])


def loaded(path):
    module = Module(None)
    module.load_state_dict(load_file(path))
    return module.weight.item()
