"""Saving 1 GB of state: how long training waits, and how long until it is durable.

Side by side in one run, interleaved: callboard, the ways people save with today, and the limits of
the machine: a copy in memory, and writing the bytes with nothing else.
"""

from __future__ import annotations

import argparse
import mmap
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import machine
from torch import nn

from callboard import Run
from callboard.checkpoint import Checkpoint, CheckpointStore, best, every, last
from callboard.checkpoint.keep import surplus
from callboard.checkpoint.manifest import FileEntry, Manifest
from callboard.checkpoint.saver import Saver

CHUNK = 32 * 2**20
Times = tuple[float, float]  # seconds that training waits, and until the bytes are durable


def network(megabytes: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a network and its Adam optimizer that has a state; together so many megabytes."""
    side = 1024
    layers = max(1, round(megabytes * 1e6 / (3 * 4 * side * side)))
    net = nn.Sequential(*(nn.Linear(side, side, bias=False) for _ in range(layers)))
    optimizer = torch.optim.Adam(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return net, optimizer


def tensors_of(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return all tensors by name."""
    found = {f"weights.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    return found


class Systems:
    """The ways to save, each with what it needs to be kept between two saves."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self.net, self.optimizer = network(megabytes)
        self.tensors = tensors_of(self.net, self.optimizer)
        self.size = sum(t.numel() * t.element_size() for t in self.tensors.values())
        memory = mmap.mmap(-1, self.size)
        memory.madvise(mmap.MADV_HUGEPAGE)  # as callboard's: a raw write from small pages is slower
        self.image = np.frombuffer(memory, np.uint8)
        self.image[:] = 1
        self.run = Run(self.net, self.optimizer, verbose=0)
        self.run.__enter__()
        self.store = CheckpointStore(folder / "callboard", keep=[last(1)])
        self.saver = Saver.of(self.run)
        self.saver.prepare()
        self.saver.wait()
        self.count = 0

    def all(self) -> dict[str, Callable[[], Times]]:
        """Return those that are installed, by name."""
        systems = {
            "memory copy, warm": self.memory_copy,
            "write + fsync": self.buffered,
            "O_DIRECT write": self.direct,
            "callboard": self.callboard,
            "torch.save + fsync": self.torch_save,
            "safetensors + fsync": self.safetensors,
            "dcp.async_save": self.dcp_async,
        }
        os.environ.setdefault("KERAS_BACKEND", "torch")
        for name, package, method in (
            ("Orbax async", "orbax", self.orbax),
            ("Keras save_weights", "keras", self.keras),
        ):
            try:
                __import__(package)
            except ImportError:
                continue
            systems[name] = method
        return systems

    def memory_copy(self) -> Times:
        begin, offset = time.perf_counter(), 0
        for tensor in self.tensors.values():
            size = tensor.numel() * tensor.element_size()
            array = tensor.detach().numpy().reshape(-1).view(np.uint8)
            np.copyto(self.image[offset : offset + size], array)
            offset += size
        return time.perf_counter() - begin, float("nan")

    def buffered(self) -> Times:
        return self._written(os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def direct(self) -> Times:
        return self._written(os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT)

    def _written(self, flags: int) -> Times:
        path = self.folder / "bytes"
        path.unlink(missing_ok=True)
        begin = time.perf_counter()
        file = os.open(path, flags)
        view = self.image.data[: self.size - self.size % 4096]
        for start in range(0, len(view), CHUNK):
            os.write(file, view[start : start + CHUNK])
        os.fsync(file)
        os.close(file)
        took = time.perf_counter() - begin
        path.unlink()
        return took, took

    def callboard(self) -> Times:
        self.run.progress.step += 1
        self.run.boundary.count += 1
        for tensor in self.tensors.values():  # else unchanged files would be linked, not written
            tensor.add_(1)
        begin = time.perf_counter()
        self.saver.save(self.store)
        stalled = time.perf_counter() - begin
        self.saver.wait()
        durable = time.perf_counter() - begin
        self.saver.wait_for_all()
        return stalled, durable

    def torch_save(self) -> Times:
        path = self.folder / "model.pt"
        begin = time.perf_counter()
        torch.save(self.tensors, path)
        return self._synced(path, begin)

    def safetensors(self) -> Times:
        from safetensors.torch import save_file  # noqa: PLC0415 - as the others

        path = self.folder / "model.safetensors"
        begin = time.perf_counter()
        save_file(self.tensors, path)
        return self._synced(path, begin)

    def _synced(self, path: Path, begin: float) -> Times:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)
        took = time.perf_counter() - begin
        path.unlink()
        return took, took

    def dcp_async(self) -> Times:
        import torch.distributed.checkpoint as dcp  # noqa: PLC0415 - takes long to load

        path = self.folder / "dcp"
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            future = dcp.async_save(self.tensors, checkpoint_id=path)
        stalled = time.perf_counter() - begin
        future.result()
        took = time.perf_counter() - begin
        shutil.rmtree(path)
        return stalled, took

    def orbax(self) -> Times:
        import jax.numpy as jnp  # noqa: PLC0415 - only measured where it is
        import orbax.checkpoint as ocp  # noqa: PLC0415 - the same

        if not hasattr(self, "_jax"):
            self._jax = {n: jnp.asarray(t.detach().numpy()) for n, t in self.tensors.items()}
            self._orbax = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        path = self.folder / "orbax"
        begin = time.perf_counter()
        self._orbax.save(path.absolute(), args=ocp.args.StandardSave(self._jax))
        stalled = time.perf_counter() - begin
        self._orbax.wait_until_finished()
        took = time.perf_counter() - begin
        shutil.rmtree(path)
        return stalled, took

    def keras(self) -> Times:
        import keras  # noqa: PLC0415 - only measured where it is

        if not hasattr(self, "_keras"):
            side = 1024
            count = max(1, round(self.size / (4 * side * side)))
            layers = [keras.layers.Dense(side, use_bias=False) for _ in range(count)]
            self._keras = keras.Sequential([keras.Input((side,)), *layers])
        path = self.folder / "keras.weights.h5"
        begin = time.perf_counter()
        self._keras.save_weights(path)
        return self._synced(path, begin)


def choosing(folder: Path, count: int, rounds: int) -> list[Times]:
    """List a store of so many checkpoints and choose among them: seconds, and processor time."""
    for number in range(count):
        name = f"step-{number:08d}"
        (folder / name).mkdir(parents=True)
        checkpoint = Checkpoint(
            name, number + 1, number, number // 10, {"val_loss": 1 / (number + 1)}
        )
        manifest = Manifest(checkpoint, {"state.json": FileEntry(2, "0" * 32)})
        (folder / name / "manifest.json").write_bytes(manifest.encoded())
    times = []
    for _ in range(rounds):
        store = CheckpointStore(folder)  # one that knows nothing yet
        begin, processor = time.perf_counter(), time.process_time()
        surplus(store.checkpoints(), [last(3), best(3, "val_loss"), every(steps=100)])
        times.append((time.perf_counter() - begin, time.process_time() - processor))
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder")
    options = parser.parse_args()
    rounds, megabytes = options.repetitions, options.megabytes
    with tempfile.TemporaryDirectory(dir=options.folder) as top:
        systems = Systems(Path(top), megabytes)
        found: dict[str, list[Times]] = {name: [] for name in systems.all()}
        for _ in range(rounds):
            for name, save in systems.all().items():
                found[name].append(save())
        memory = statistics.median(stall for stall, _ in found["memory copy, warm"])
        limit = min(
            statistics.median(took for _, took in found[name])
            for name in ("write + fsync", "O_DIRECT write")
        )
        print(f"checkpoints, {systems.size / 1e6:.0f} MB of state; {machine()}")
        print(f"seconds, medians of {rounds}, and all (waits/durable)")
        print(f"{'':22}{'training waits':>16}{'durable after':>16}")
        for name, times in found.items():
            stall, took = (statistics.median(column) for column in zip(*times, strict=True))
            single = "  ".join(f"{waits:.2f}/{durable:.2f}" for waits, durable in times)
            print(f"{name:22}{stall:>16.3f}{took:>16.3f}   {single}")
        stall, took = (
            statistics.median(column) for column in zip(*found["callboard"], strict=True)
        )
        print(f"callboard: waits {stall / memory:.2f} x a memory copy (aim 1.2), ", end="")
        print(f"durable after {took / limit:.2f} x the faster raw write (aim 1.15)")
        systems.saver.close()
        systems.run.__exit__(None, None, None)
        chosen = choosing(Path(top, "many"), 10_000, rounds)
        took, processor = (statistics.median(column) for column in zip(*chosen, strict=True))
        single = "  ".join(f"{each:.2f}" for each, _ in chosen)
        print(
            f"choosing among 10,000 checkpoints: {took:.2f} s (aim 1), of which {processor:.2f} s"
        )
        print(f"are processor time; all: {single}")


if __name__ == "__main__":
    main()
