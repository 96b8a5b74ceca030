"""Several processes that train one model, as torchrun starts them."""

from __future__ import annotations

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from callboard._core.logs import Logs, Mean, plain

__all__ = ["is_distributed", "rank", "reduced", "unwrapped", "world_size"]


def is_distributed() -> bool:
    """Say whether this process trains together with others."""
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def rank() -> int:
    """Return the number of this process among those, 0 if it is alone."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if is_distributed() else 1


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module in DistributedDataParallel or torch.compile, whose names weights have."""
    while True:
        inner: nn.Module | None = (
            module.module
            if isinstance(module, DistributedDataParallel)
            else module._modules.get("_orig_mod")  # noqa: SLF001 - what torch.compile calls it
        )
        if inner is None:
            return module
        module = inner


def reduced(logs: Logs, device: torch.device) -> Logs:
    """Return metrics over the samples of all processes; all of them have to call this.

    Means are taken over all samples; other values are averaged over the processes.
    """
    if not is_distributed():
        return logs
    names = sorted(name for name, value in logs.unread.items() if _is_number(value))
    pairs = []
    for name in names:
        value = logs.unread[name]
        pairs += (
            [float(value.total), float(value.weight)]
            if isinstance(value, Mean)
            else [float(plain(value)), 1.0]
        )
    sums = torch.tensor(pairs, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    totals, weights = sums[::2].tolist(), sums[1::2].tolist()
    means = {
        n: t / w if w else float("nan") for n, t, w in zip(names, totals, weights, strict=True)
    }
    return Logs({**logs.unread, **means})


def _is_number(value: object) -> bool:
    return isinstance(value, Mean) or isinstance(plain(value), float)
