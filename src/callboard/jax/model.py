"""Keras's ``compile``, ``fit``, ``evaluate`` and ``predict`` for a model on JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from callboard._core.batches import Batch
from callboard._core.history import History
from callboard._core.model_files import ModelFiles
from callboard._core.objectives import Objectives
from callboard.jax import fitting
from callboard.jax.data import as_arrays
from callboard.jax.learner import Learner
from callboard.jax.losses import resolve_loss
from callboard.jax.metrics import resolve_metric
from callboard.jax.networks import network_of
from callboard.jax.optimizers import Optimizer
from callboard.jax.placement import Placement
from callboard.jax.settings import Settings
from callboard.jax.steps import TrainState
from callboard.jax.summary import summary_of
from callboard.jax.trainable import JaxTrainable

__all__ = ["Model"]


class Model(ModelFiles):
    """A model on JAX with Keras's training methods.

    The arrays are copied when it is made. While it trains they are values that go from step to
    step; a module of nnx has them in it again when ``fit`` is over, and ``model.module`` gives one
    of equinox, or the variables of linen, as they are then.

    Args:
        module: A module of flax nnx, flax linen or equinox (which is called sample by sample), or
            a function ``apply_fn(params, x)``, which may also take ``key`` and ``training``.
        params: The parameters of a function; for linen the variables, or None to make them from
            the first data.
        seed: Chooses the random numbers: of the order of the data, of dropout in linen, equinox
            and functions, and of linen's first parameters.
        data_sharding: How to train on several devices at once: a ``jax.sharding.NamedSharding``
            that shards the first axis of each batch, its samples, such as
            ``NamedSharding(mesh, PartitionSpec("data"))`` with ``mesh = jax.make_mesh((8,),
            ("data",))``. Parameters that are sharded over the same devices stay so; all others
            are on each of them.

    Attributes:
        learner: The network with its arrays, and the compiled steps that change them.
        history: The :class:`callbacks.History` of the latest ``fit``.
        stop_training: Set it to True, from a callback, to end ``fit`` after the current batch.
        trainable: What callbacks may do to it.

    Raises:
        ConfigurationError: If that cannot be trained.
        UnsupportedError: For devices of other processes.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
        >>> model = Model(lambda params, x: x @ params["w"], {"w": jnp.zeros((2, 1))})
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> history = model.fit(x, x.sum(1, keepdims=True), epochs=20, verbose=0)
        >>> history.history["loss"][-1] < history.history["loss"][0]
        True

    Source: Keras 3.15 ``keras.Model``.
    """

    trainable: JaxTrainable

    def __init__(
        self,
        module: Any,
        params: Any = None,
        *,
        seed: int = 0,
        data_sharding: jax.sharding.NamedSharding | None = None,
    ) -> None:
        placement = Placement(data_sharding)
        self.learner = Learner(network_of(module, params), placement, seed=seed, model=self)
        self.trainable = self.learner.trainable
        self.history: History | None = None
        self.stop_training = False

    def __call__(self, x: Any) -> Any:
        """Return the outputs for inputs, in evaluation mode."""
        return self.learner.forward(as_arrays(Batch(x, None, None)).x)

    def __repr__(self) -> str:
        return f"Model({self.learner.network.source!r})"

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer, with ``learning_rate``; None before ``compile``."""
        return self.learner.optimizer

    @property
    def module(self) -> Any:
        """The module with the arrays as they are now; of linen or a function, the arrays."""
        return self.learner.module

    @property
    def state(self) -> TrainState:
        """All that training changes.

        Raises:
            RunStateError: If there are no parameters yet.
        """
        return self.learner.state

    @state.setter
    def state(self, state: TrainState) -> None:
        self.learner.state = state

    def build(self, x: Any) -> None:
        """Make the parameters of a module of linen for such inputs; others have theirs.

        Args:
            x: A batch of inputs.

        Raises:
            RunStateError: If there are none yet and x is None.
        """
        self.learner.build(x)

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
    ) -> None:
        """Say how to train.

        Args:
            optimizer: A name ("adam", with Keras's defaults), an optimizer of optax, or a function
                of optax such as ``optax.lamb``. Callbacks can set the learning rate of names,
                functions, and what ``optax.inject_hyperparams`` made. That needs
                ``hyperparam_dtype=jnp.float32`` beside parameters in bfloat16, in which 0.999 is 1.
            loss: A name ("sparse_categorical_crossentropy"), a loss of ``callboard.jax.losses``, a
                loss of optax, or a function ``(y_true, y_pred)``; a list or dict of them for
                several outputs. Names mean what they mean in Keras: outputs are probabilities.
            loss_weights: Factors of the losses of several outputs.
            metrics: Names ("accuracy"), metrics or functions, in a list; for several outputs a list
                or dict of lists.
            weighted_metrics: Metrics that ``sample_weight`` and ``class_weight`` apply to.
            run_eagerly: Compile nothing, to look into a step by print or debugger.
            steps_per_execution: Batches trained in one call of compiled code (``jax.lax.scan``),
                between two calls of the batch hooks.
            jit_compile: Compile the steps by ``jax.jit``; "auto" does.
            gradient_accumulation_steps: Batches whose gradients are averaged for one update.
            clipnorm: Largest norm of each parameter's gradient.
            clipvalue: Largest magnitude of a gradient's elements.
            global_clipnorm: Largest norm of all gradients together.

        Raises:
            UnknownNameError: For a name that is not known, with the nearest one.
            ConfigurationError: For arguments that cannot work.
            UnsupportedError: If optax is not installed.
        """
        settings = Settings(
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            gradient_accumulation_steps=gradient_accumulation_steps,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
        )
        objectives = Objectives(
            loss,
            loss_weights,
            metrics,
            weighted_metrics,
            resolve_loss=resolve_loss,
            resolve_metric=resolve_metric,
        )
        self.learner.compile(optimizer, objectives, settings)

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
            x: Inputs: an array, first axis the samples; dicts, lists and tuples of them; a
                generator, a loader or any iterable of batches ``(x, y)`` or
                ``(x, y, sample_weight)``.
            y: Targets, for arrays.
            batch_size: Samples in a batch, for arrays; 32 by default.
            epochs: Epochs in all, ``initial_epoch`` included.
            verbose: 0 silent, 1 live progress, 2 one line per epoch, "auto" as 1.
            callbacks: Callbacks, in any order.
            validation_split: Fraction of the samples, the last ones, to validate on.
            validation_data: ``(x, y)``, ``(x, y, sample_weight)``, or a loader or generator.
            shuffle: Give every epoch an order of its own; for arrays.
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
        """Return the model's outputs for data as NumPy arrays, nested as the outputs are."""
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
        """Return the model's outputs for one batch as NumPy arrays."""
        return fitting.predict_on_batch(self, x)

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print the weights with their shapes and numbers of elements.

        Args:
            print_fn: Receives the text.
        """
        print_fn(summary_of(self))

    def _flat(self, logs: Mapping[str, float]) -> float | list[float]:
        values = [logs[name] for name in self.learner.require_compiled().names if name in logs]
        return values[0] if len(values) == 1 else values
