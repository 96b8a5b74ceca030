"""``Run`` around a loop under Accelerate, started once for each process."""

import torch
from accelerate import Accelerator
from told import LOSSES, tell, used

from callboard import Run

accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
torch.manual_seed(0)
module = torch.nn.Linear(1, 1)
data = torch.utils.data.DataLoader(torch.arange(8.0).reshape(8, 1), batch_size=2)
net, optimizer, loader = accelerator.prepare(
    module, torch.optim.SGD(module.parameters(), lr=0.01), data
)
with Run(net, optimizer, epochs=5, callbacks=used(), verbose=2) as run:
    for epoch in run.epochs():
        for x in run.train(loader):
            loss = net(x).square().mean()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            run.log(loss=loss)
        for _ in run.validate([0]):
            run.log(loss=LOSSES[accelerator.process_index][epoch])
tell(accelerator.process_index, run, module.parameters())
accelerator.end_training()
