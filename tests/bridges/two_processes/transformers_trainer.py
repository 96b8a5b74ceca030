"""The ``Trainer`` of Hugging Face, started once for each process."""

import os

import torch
from told import FOLDER, LOSSES, tell, used
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

from callboard.bridges.transformers import Callbacks

RANK = int(os.environ["RANK"])


class Tiny(PreTrainedModel):
    config_class = PretrainedConfig

    def __init__(self):
        super().__init__(PretrainedConfig())
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.evaluations = 0

    def forward(self, labels=None):
        loss = self.layer(labels).square().mean()
        if not self.training:
            loss = torch.tensor(LOSSES[RANK][self.evaluations])
            self.evaluations += 1
        return {"loss": loss, "logits": labels}


arguments = TrainingArguments(
    str(FOLDER / "hf"),
    num_train_epochs=5,
    per_device_train_batch_size=2,
    per_device_eval_batch_size=1,
    learning_rate=0.01,
    lr_scheduler_type="constant",
    optim="sgd",
    eval_strategy="epoch",
    save_strategy="no",
    report_to=[],
    use_cpu=True,
    ddp_backend="gloo",
    disable_tqdm=True,
)
rows = [{"labels": torch.tensor([float(i)])} for i in range(8)]
model = Tiny()
with Callbacks(used(), verbose=2) as callbacks:
    Trainer(
        model, arguments, train_dataset=rows, eval_dataset=rows[:2], callbacks=[callbacks]
    ).train()
assert arguments.world_size == 2
tell(RANK, callbacks.run, model.parameters())
