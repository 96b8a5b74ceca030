"""Lightning's ``ddp_spawn``, which pickles the callbacks for the processes that it starts."""

import json

import torch
from lightning import pytorch as pl
from told import FOLDER, LOSSES, tell, used

from callboard import RunStateError
from callboard.bridges.lightning import Callbacks


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, _index):
        loss = self.layer(batch).square().mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, _batch, _index):
        self.log("val_loss", LOSSES[self.global_rank][self.current_epoch])

    def on_fit_end(self):
        tell(self.global_rank, self.trainer.callbacks[-1].run, self.parameters())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


if __name__ == "__main__":
    callbacks = Callbacks(used(), verbose=2)
    trainer = pl.Trainer(
        max_epochs=5,
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        callbacks=[callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    module = Module()
    loader = torch.utils.data.DataLoader(torch.arange(8.0).reshape(8, 1), batch_size=2)
    trainer.fit(module, loader, torch.utils.data.DataLoader(torch.zeros(2, 1)))
    try:
        known = callbacks.run.history.epoch
    except RunStateError as error:
        known = str(error)
    parent = {"weights": [p.flatten().tolist() for p in module.parameters()], "run": known}
    (FOLDER / "parent.json").write_text(json.dumps(parent))
