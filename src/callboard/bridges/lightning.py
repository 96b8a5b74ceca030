"""Lightning: ``Trainer(callbacks=[Callbacks([...])])``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning import pytorch as pl

from callboard._core.logs import plain
from callboard._core.samples import sample_count
from callboard.bridges.bridge import Bridge
from callboard.bridges.names import renamed, translated
from callboard.bridges.running_mean import RunningMean
from callboard.bridges.tensor_state import with_arrays, with_tensors
from callboard.torch import Model
from callboard.torch.guard import Guard
from callboard.torch.kept_buffers import KeptBuffers

__all__ = ["Callbacks"]


class Callbacks(Bridge, pl.Callback):
    """Callbacks for a Lightning ``Trainer``, as one of its own.

    Logs of an epoch hold what the module logged, up to its validation: ``train_loss`` and
    ``loss_epoch`` as ``loss``, ``valid_loss`` as ``val_loss``; the module's own names can be read
    too. A ``loss`` that the module does not log is the mean of what ``training_step`` returns.
    Logs of a batch hold the running ``loss``. The callbacks' states are in Lightning's checkpoints,
    and come back with ``fit(ckpt_path=...)``. A stop is ``trainer.should_stop``.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 shows progress besides Lightning's own, 2 prints a line an epoch.
        optimizer: Which of the module's optimizers has the learning rate that callbacks change.
        state_key: Name of the states in a checkpoint; one for each if a trainer has several.

    Attributes:
        run: The :class:`callboard.Run` of the latest ``fit``, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; before the first
            batch for what surely cannot work.
        UnsupportedError: In ``fit``, for ``BackupAndRestore``.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> callbacks = Callbacks([EarlyStopping(patience=3)])
        >>> trainer = pl.Trainer(callbacks=[callbacks], logger=False, enable_checkpointing=False)

    Source: Lightning 2.6 ``lightning.pytorch.callbacks.Callback``.
    """

    _wakes_for_bad_losses = True
    _resumes_by = "save Lightning's checkpoints and pass fit(ckpt_path=...), which bring this back"

    # Lightning does not call what is not callable, and saves itself the time to prepare for it.
    on_train_batch_start: Any = None
    on_train_batch_end: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None
    on_validation_batch_start: Any = None
    on_validation_batch_end: Any = None

    def __init__(
        self,
        callbacks: Iterable[Any] = (),
        *,
        verbose: int = 0,
        optimizer: int = 0,
        state_key: str = "callboard",
    ) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._optimizer = optimizer
        self._state_key = state_key
        self._loss = RunningMean("loss")
        self._before: dict[str, Any] = {}
        self._guard: Guard | None = None
        self._end_of_epoch: dict[str, Any] = {}  # what is known of it, after the validation
        self._saved_end: dict[str, Any] = {}  # the same, from a checkpoint

    @property
    def state_key(self) -> str:
        """Name of the states in a checkpoint."""
        return self._state_key

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the callbacks, for Lightning's checkpoint; arrays as tensors."""
        state = super().state_dict()
        return dict(with_tensors({**state, "end_of_epoch": self._end_of_epoch} if state else {}))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()`` when ``fit`` begins."""
        state = with_arrays(state_dict)
        self._saved_end = state.get("end_of_epoch", {})
        super().load_state_dict(state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the run."""
        batches = trainer.num_training_batches
        model = Model(pl_module)
        model.is_fitting = True  # the guard of TerminateOnNaN is asked about every loss
        run = self._begin(
            model,
            trainer.optimizers[self._optimizer] if trainer.optimizers else None,
            epochs=trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else 0,
            initial_epoch=trainer.current_epoch,
            steps_per_epoch=int(batches) if batches != float("inf") else None,
            validation=bool(trainer.enable_validation),
            rate_controller=self._scheduler_beside(trainer),
            metrics_by="val_dataloaders= to fit",
        )
        self._guard = model.trainable.active_guard
        if self._guard is not None:
            self._guard.buffers = KeptBuffers(pl_module, follows=True)
        self.on_before_optimizer_step = None
        self._listen(batches=True)
        trainer.should_stop = trainer.should_stop or run.stopping

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the beginning of an epoch."""
        self._make_up_for_the_end(trainer)
        self._loss = RunningMean("loss")
        self._before = dict(trainer.callback_metrics)
        self.run.begin_epoch(trainer.current_epoch)
        trainer.should_stop = trainer.should_stop or self.run.stopping

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the beginning of a validation inside of ``fit``."""
        if self._is_running and not trainer.sanity_checking:
            self._catch_up(trainer)
            self.run.begin_validation()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the end of a validation inside of ``fit``."""
        if self._is_running and not trainer.sanity_checking:
            logs, other_names = self._logs(trainer)
            if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
                numbers = {name: plain(value) for name, value in logs.items()}
                losses = {name: plain(value) for name, value in self._running().items()}
                self._end_of_epoch = {"logs": {**losses, **numbers}, "names": other_names}
            self.run.end_validation(
                {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the end of an epoch with its validation."""
        self._catch_up(trainer)
        if self.run.stopping and not self.run.progress.batch:
            return  # its beginning was when the end was asked for
        logs, other_names = self._logs(trainer)
        if self._saved_end:  # Lightning goes on behind a validation, with no metrics of it
            logs, other_names = self._saved_end["logs"], self._saved_end["names"]
        self._end_of_epoch, self._saved_end = {}, {}
        self._listen(batches=self._counts_batches(logs))
        if self.run.end_epoch({**self._running(), **logs}, other_names):
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the run."""
        self._make_up_for_the_end(trainer)
        self._end()

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        exception: BaseException,
    ) -> None:
        """Tell the callbacks of an error or Ctrl-C."""
        self._fail(exception)

    def _scheduler_beside(self, trainer: pl.Trainer) -> str:
        """Return what Lightning changes the optimizer's learning rate by, or nothing."""
        optimizer = trainer.optimizers[self._optimizer] if trainer.optimizers else None
        for config in trainer.lr_scheduler_configs:
            if config.scheduler.optimizer is optimizer:
                return f"the module's {type(config.scheduler).__name__}"
        return ""

    def _logs(self, trainer: pl.Trainer) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what was logged since the epoch began, and the module's own names for it."""
        metrics = {
            name: value
            for name, value in trainer.callback_metrics.items()
            if value is not self._before.get(name)  # left over from an earlier epoch
        }
        steps = {n for n in metrics if n.endswith("_step") and n.removesuffix("_step") in metrics}
        again = {n for n in metrics if n.endswith("_epoch") and n.removesuffix("_epoch") in metrics}
        names = [(n, translated(n)) for n in metrics if n not in steps | again]
        logs, other_names = renamed(metrics, names)
        for name in again:  # logged by steps and by epochs, it is there as both and a third time
            base = name.removesuffix("_epoch")
            other_names[name] = other_names.get(base, base)
        return logs, other_names

    def _listen(self, *, batches: bool) -> None:
        """Have Lightning call the batch hooks that are needed, and no others.

        Each that it calls costs it about two microseconds, whatever is done there.
        """
        listeners = self.run.callbacks
        wanted = {
            "on_train_batch_start": not listeners.idle("on_train_batch_begin"),
            "on_train_batch_end": batches,
            "on_before_backward": self._guard is not None,
            "on_after_backward": self._settles_after_backward,
            "on_validation_batch_start": not listeners.idle("on_test_batch_begin"),
            "on_validation_batch_end": not listeners.idle("on_test_batch_end"),
        }
        for hook, is_wanted in wanted.items():
            setattr(self, hook, getattr(self, f"_{hook}") if is_wanted else None)

    def _wake(self) -> None:
        super()._wake()
        self.on_train_batch_end = self._on_train_batch_end

    def _on_train_batch_start(self, *_: object) -> None:
        self.run.begin_batch()

    def _on_before_backward(self, _trainer: object, _module: object, loss: torch.Tensor) -> None:
        if self._guard is not None and not self._guard.admits(loss):
            self.on_before_optimizer_step = self._drop_gradients

    @property
    def _settles_after_backward(self) -> bool:
        """Whether all is known of an update then; what looks at its gradients settles it itself."""
        guard = self._guard
        if guard is None or guard.gradients or not guard.sees_losses:
            return False
        return guard.buffers.are_followed

    def _on_after_backward(self, *_: object) -> None:
        if self._guard is not None:
            self._guard.settle_buffers()

    def _drop_gradients(
        self, _trainer: object, _module: object, optimizer: torch.optim.Optimizer
    ) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:  # an optimizer leaves those without one alone
                parameter.grad = None

    def _on_train_batch_end(
        self, trainer: pl.Trainer, _module: object, outputs: Any, batch: Any, _index: int
    ) -> None:
        if self._is_awake:  # and batches before this one may not have been reported
            self._catch_up(trainer, but=1)
        # Without a loss that is returned, as in manual optimization, there is an empty dict.
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        samples = sample_count(batch)
        run = self.run
        if not run.progress.batch:
            run.samples["train"] = batch
        if isinstance(loss, torch.Tensor):
            self._loss.add(loss, samples)
        if run.end_batch(self._running, samples=samples):
            trainer.should_stop = True

    def _on_validation_batch_start(
        self, trainer: pl.Trainer, _module: object, _batch: object, index: int, _loader: int = 0
    ) -> None:
        if self._is_running and not trainer.sanity_checking:
            self.run.begin_validation_batch(index)

    def _on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        _module: object,
        _outputs: object,
        _batch: object,
        index: int,
        _loader: int = 0,
    ) -> None:
        if self._is_running and not trainer.sanity_checking:
            self.run.end_validation_batch(index)

    def _make_up_for_the_end(self, trainer: pl.Trainer) -> None:
        """End an epoch whose end Lightning did not report when it went on after a validation."""
        end, self._saved_end = self._saved_end, {}
        if end and self.run.in_epoch and self.run.end_epoch(end["logs"], end["names"]):
            trainer.should_stop = True

    def _catch_up(self, trainer: pl.Trainer, but: int = 0) -> None:
        """Count the batches of the epoch that were not looked at one by one, but the latest."""
        uncounted = trainer.fit_loop.batch_idx + 1 - self.run.progress.batch - but
        if uncounted > 0:
            self.run.count(uncounted)

    def _counts_batches(self, logs: Mapping[str, Any]) -> bool:
        """Say whether batches have to be looked at one by one, by what an epoch has logged."""
        return self._follows_batches or "loss" not in logs

    def _running(self) -> dict[str, Any]:
        mean = self._loss.so_far()
        return {"loss": mean} if mean.weight else {}
