"""Keras's ``compile``, ``fit``, ``evaluate`` and ``predict`` for a torch module."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from callboard._core.batches import Batch
from callboard._core.errors import ConfigurationError, RunStateError
from callboard._core.history import History
from callboard._core.model_files import ModelFiles
from callboard.torch import fitting
from callboard.torch.compiled import CompiledStep
from callboard.torch.modes import in_mode
from callboard.torch.objectives import Objectives
from callboard.torch.optimizers import Optimizer, resolve_optimizer
from callboard.torch.placement import Placement
from callboard.torch.settings import Settings
from callboard.torch.steps import TrainStep
from callboard.torch.summary import summary_of
from callboard.torch.trainable import TorchTrainable

__all__ = ["Model"]


_COMPUTED_IN = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Model(ModelFiles):
    """A torch module with Keras's training methods.

    The module is used as it is: it may be trained, saved and changed by other code too. Everything
    this class does not have itself (layers, ``parameters()``) is the module's.

    Args:
        module: The module. Batches are moved to the device its parameters are on; arrays of floats
            and bytes become the type of its first floating parameter, ints stay. Tensors that a
            ``Dataset`` or ``DataLoader`` of yours yields stay of their type.

    Attributes:
        module: The module.
        optimizer: The optimizer, with ``learning_rate``, after ``compile``.
        history: The :class:`callbacks.History` of the latest ``fit``.
        stop_training: Set it to True, from a callback, to end ``fit`` after the current batch.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(64, 2)
        >>> model = Model(torch.nn.Linear(2, 1))
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> history = model.fit(x, x.sum(1, keepdim=True), epochs=20, verbose=0)
        >>> history.history["loss"][-1] < history.history["loss"][0]
        True

    Source: Keras 3.15 ``keras.Model``.
    """

    trainable: TorchTrainable

    def __init__(self, module: nn.Module) -> None:
        if isinstance(module, type) or not isinstance(module, nn.Module):
            raise ConfigurationError(
                f"Model takes a torch.nn.Module object; got {module!r}"
                + ("; call the class to make one" if isinstance(module, type) else "")
            )
        self.module = module
        self.optimizer: Optimizer | None = None
        self.history: History | None = None
        self.stop_training = False
        self.is_fitting = False
        self.settings = Settings()
        self.objectives: Objectives | None = None
        self.compiled_step: CompiledStep | None = None
        self.eager_step: TrainStep | None = None
        self.trainable = TorchTrainable(self)

    def __getattr__(self, name: str) -> Any:
        if name == "module" or name.startswith("__"):  # not set yet: while copied or unpickled
            raise AttributeError(name)
        try:
            return getattr(self.module, name)
        except AttributeError:
            raise AttributeError(
                f"neither Model nor {type(self.module).__name__} has {name!r}"
            ) from None

    def __call__(self, x: Any, *, training: bool = False) -> Any:
        """Return the module's outputs for inputs; in training mode only if asked.

        The mode that the module was in comes back, so that a callback may look at outputs.
        """
        with in_mode(self.module, training=training):
            return self.forward(x)

    def __repr__(self) -> str:
        return f"Model({self.module!r})"

    @property
    def device(self) -> torch.device:
        """Where the module's first parameter or buffer lies; the CPU if it has none."""
        tensors = itertools.chain(self.module.parameters(), self.module.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the module's first floating parameter or buffer, which its inputs get.

        Of several types it is the first one's; types that layers cannot compute in, such as
        float8, do not count. Torch's default type if there is none.
        """
        tensors = itertools.chain(self.module.parameters(), self.module.buffers())
        found = (tensor.dtype for tensor in tensors if tensor.dtype in _COMPUTED_IN)
        return next(found, torch.get_default_dtype())

    @property
    def placement(self) -> Placement:
        """Where the module takes its inputs, and of which floating type."""
        return Placement(self.device, self.dtype)

    def forward(self, x: Any) -> Any:
        """Call the module, in the mode it is in: a tuple or list of inputs is several arguments."""
        if isinstance(x, tuple | list):
            return self.module(*x)
        return self.module(x)

    def known_metrics(self) -> dict[str, Any] | None:
        """Return the names that ``fit`` will log, each with its better direction, if known."""
        if self.has_own_train_step or self.objectives is None:
            return None
        return self.objectives.directions

    @property
    def steps_by_itself(self) -> bool:
        """Whether ``fit`` trains it by the step that ``compile`` described.

        A loop that the user wrote does not, and may be around a model that is compiled. Only that
        step asks the guard of ``TerminateOnNaN`` about every loss.
        """
        return self.is_fitting and not self.has_own_train_step

    @property
    def has_own_train_step(self) -> bool:
        """Whether a subclass overrides ``train_step``."""
        return type(self).train_step is not Model.train_step

    @property
    def has_own_forward(self) -> bool:
        """Whether a subclass overrides ``forward``."""
        return type(self).forward is not Model.forward

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        *,
        gradient_accumulation_steps: int = 1,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        mixed_precision: str | None = None,
        flush_denormals: bool = True,
    ) -> None:
        """Say how to train.

        Args:
            optimizer: A name ("adam", with Keras's defaults), a torch optimizer of this module's
                parameters, an optimizer class, or a function of the parameters.
            loss: A name ("sparse_categorical_crossentropy"), a loss of ``callboard.torch.losses``,
                a torch loss module, or a function ``(y_true, y_pred)``; a list or dict of them for
                several outputs. Names mean what they mean in Keras: outputs are probabilities;
                where the module ends in a softmax or sigmoid, the loss is computed from what comes
                before it. None if ``train_step`` is your own.
            loss_weights: Factors of the losses of several outputs.
            metrics: Names ("accuracy"), metrics, torchmetrics objects or functions, in a list; for
                several outputs a list or dict of lists.
            weighted_metrics: Metrics that ``sample_weight`` and ``class_weight`` apply to.
            run_eagerly: Never compile, whatever ``jit_compile`` says.
            steps_per_execution: Batches trained between two calls of the batch hooks.
            jit_compile: Compile the training step with ``torch.compile``; "auto" does not.
            gradient_accumulation_steps: Batches whose gradients are averaged for one update.
            clipnorm: Largest norm of each parameter's gradient.
            clipvalue: Largest magnitude of a gradient's elements.
            global_clipnorm: Largest norm of all gradients together.
            mixed_precision: "bf16" computes in bfloat16 where it is safe (autocast).
            flush_denormals: Treat denormal numbers as zero while fitting on the CPU, which is
                faster; as before afterwards.

        Raises:
            UnknownNameError: For a name that is not known, with the nearest one.
            ConfigurationError: For arguments that cannot work.
        """
        self.settings = Settings(
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            gradient_accumulation_steps=gradient_accumulation_steps,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            mixed_precision=mixed_precision,
            flush_denormals=flush_denormals,
        )
        self.compiled_step = self.eager_step = None
        self.objectives = Objectives(loss, loss_weights, metrics, weighted_metrics)
        self.optimizer = Optimizer(resolve_optimizer(optimizer, self.module.parameters()))

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Iterable[Any] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        *,
        max_time: float | str | None = None,
    ) -> History:
        """Train for a number of epochs.

        Args:
            x: Inputs: an array or tensor, first axis the samples; dicts, lists and tuples of them;
                a torch ``Dataset`` or ``DataLoader``; a generator or any iterable of batches
                ``(x, y)`` or ``(x, y, sample_weight)``.
            y: Targets, for arrays.
            batch_size: Samples in a batch, for arrays and a ``Dataset``; 32 by default.
            epochs: Epochs in all, ``initial_epoch`` included.
            verbose: 0 silent, 1 live progress, 2 one line per epoch, "auto" as 1.
            callbacks: Callbacks, in any order.
            validation_split: Fraction of the samples, the last ones, to validate on.
            validation_data: ``(x, y)``, ``(x, y, sample_weight)``, or a ``Dataset``, loader or
                generator.
            shuffle: Give every epoch an order of its own; for arrays and a ``Dataset``.
            class_weight: Weight of each class, by its number.
            sample_weight: Weight of each sample, for arrays.
            initial_epoch: Epoch to begin with, from 0.
            steps_per_epoch: Batches in an epoch; the data goes on where the last one ended.
            validation_steps: Batches in a validation.
            validation_batch_size: Samples in a batch of the validation; as ``batch_size``.
            validation_freq: Validate every so many epochs, or after the epochs in a list (from 1).
            max_time: Seconds, or a text such as "11.5 h", after which training saves and ends; with
                a ``BackupAndRestore`` the same call goes on from there later.

        Returns:
            The history: ``history.history["loss"]`` has one value for each epoch.

        Raises:
            RunStateError: If the model is not compiled.
            DataError: For data that is empty, does not fit together or ends early.
            ConfigurationError: For arguments or callbacks that cannot work, before the first batch.
        """
        return fitting.fit(
            self,
            Batch(x, y, sample_weight),
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=[] if callbacks is None else callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
            max_time=max_time,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Iterable[Any] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return loss and metrics on data, without training; arguments as in ``fit``.

        Returns:
            The loss; or with metrics a list, loss first; or with ``return_dict`` a dict by name.
        """
        logs = fitting.evaluate(
            self,
            Batch(x, y, sample_weight),
            batch_size=batch_size,
            verbose=verbose,
            steps=steps,
            callbacks=[] if callbacks is None else callbacks,
        )
        return logs if return_dict else self._flat(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Iterable[Any] | None = None,
    ) -> Any:
        """Return the module's outputs for data as NumPy arrays, nested as the outputs are."""
        return fitting.predict(
            self,
            x,
            batch_size=batch_size,
            verbose=verbose,
            steps=steps,
            callbacks=[] if callbacks is None else callbacks,
        )

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Train on one batch; return its loss and metrics as ``evaluate`` does."""
        logs = fitting.train_on_batch(self, Batch(x, y, sample_weight), class_weight)
        return logs if return_dict else self._flat(logs)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Return loss and metrics of one batch, without training, as ``evaluate`` does."""
        logs = fitting.test_on_batch(self, Batch(x, y, sample_weight))
        return logs if return_dict else self._flat(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """Return the module's outputs for one batch as NumPy arrays."""
        return fitting.predict_on_batch(self, x)

    def train_step(self, batch: Batch) -> Mapping[str, Any]:
        """Train on a batch ``(x, y, sample_weight)``; return what is to be logged.

        Override it for a training step of your own: the values returned are averaged over the
        epoch, weighted by the batches' sizes.

        Example:
            >>> class Plain(Model):
            ...     def train_step(self, batch):
            ...         self.optimizer.zero_grad()
            ...         loss = ((self.forward(batch.x) - batch.y) ** 2).mean()
            ...         loss.backward()
            ...         self.optimizer.step()
            ...         return {"loss": loss}
            >>> model = Plain(torch.nn.Linear(2, 1))
            >>> model.compile("sgd")
            >>> data = torch.ones(8, 2), torch.ones(8, 1)
            >>> list(model.fit(*data, verbose=0).history)
            ['loss']
        """
        return fitting.default_train_step(self, batch)

    def summary(
        self,
        print_fn: Callable[[str], object] = print,
        *,
        inputs: Any = None,
    ) -> None:
        """Print the layers with their types and numbers of parameters.

        Args:
            print_fn: Receives the text.
            inputs: A batch of inputs; then the layers' output shapes are shown too.
        """
        print_fn(summary_of(self, inputs))

    def _flat(self, logs: Mapping[str, float]) -> float | list[float]:
        values = [logs[name] for name in self.require_compiled().names if name in logs]
        return values[0] if len(values) == 1 else values

    def require_optimizer(self) -> Optimizer:
        """Return the optimizer.

        Raises:
            RunStateError: If the model is not compiled.
        """
        if self.optimizer is None:
            raise RunStateError("the model has no optimizer; call model.compile(...) first")
        return self.optimizer

    def require_compiled(self) -> Objectives:
        """Return what ``compile`` was given.

        Raises:
            RunStateError: If the model is not compiled.
        """
        if self.objectives is None:
            raise RunStateError(
                "the model is not compiled; call model.compile(optimizer=..., loss=...) first"
            )
        return self.objectives
