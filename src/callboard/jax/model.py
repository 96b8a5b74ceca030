"""Keras's ``compile``, ``fit``, ``evaluate`` and ``predict`` for a model on JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from callboard._core.batches import Batch
from callboard._core.errors import RunStateError, UnsupportedError
from callboard._core.history import History
from callboard._core.model_files import ModelFiles
from callboard._core.nested import mapped
from callboard._core.objectives import Objectives
from callboard.jax import fitting
from callboard.jax.arrays import to_array
from callboard.jax.averages import WeightAverages
from callboard.jax.data import arrays_of, as_arrays
from callboard.jax.executions import Execution
from callboard.jax.leaves import leaves_of
from callboard.jax.losses import resolve_loss
from callboard.jax.metrics import resolve_metric
from callboard.jax.networks import Network, network_of
from callboard.jax.optimizers import Optimizer, resolve_optimizer
from callboard.jax.optimizers.resolve import clipping, require_optax
from callboard.jax.placement import Placement
from callboard.jax.settings import Settings
from callboard.jax.steps import EvaluationStep, TrainState, TrainStep
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
        optimizer: The optimizer, with ``learning_rate``, after ``compile``.
        history: The :class:`callbacks.History` of the latest ``fit``.
        stop_training: Set it to True, from a callback, to end ``fit`` after the current batch.
        trainable: What callbacks may do to it.

    Raises:
        ConfigurationError: If that cannot be trained.
        UnsupportedError: For devices of other processes.

    Example:
        >>> import jax.numpy as jnp
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
        self.placement = Placement(data_sharding)
        self.network: Network = network_of(module, params)
        self.optimizer: Optimizer | None = None
        self.history: History | None = None
        self.stop_training = False
        self.is_fitting = False
        self.settings = Settings()
        self.objectives: Objectives | None = None
        self._key = jax.random.key(seed)
        self._train_state: TrainState | None = None
        self._train_step: TrainStep | None = None
        self._evaluation_step: EvaluationStep | None = None
        self._jitted: dict[str, Callable[..., Any]] = {}
        self.trainable = JaxTrainable(self)
        if self.network.is_built:
            self._take_arrays()

    def __call__(self, x: Any) -> Any:
        """Return the outputs for inputs, in evaluation mode."""
        return self.forward(as_arrays(Batch(x, None, None)).x)

    def __repr__(self) -> str:
        return f"Model({self.network.source!r})"

    @property
    def module(self) -> Any:
        """The module with the arrays as they are now; of linen or a function, the arrays."""
        state = self.train_state
        return self.network.put_back(state.params, state.rest)

    @property
    def state(self) -> TrainState:
        """All that training changes."""
        return self.train_state

    @state.setter
    def state(self, state: TrainState) -> None:
        self.train_state = state
        if not self.is_fitting:
            self.put_back()

    @property
    def train_state(self) -> TrainState:
        """All that training changes.

        Raises:
            RunStateError: If there are no parameters yet.
        """
        if self._train_state is None:
            self._take_arrays()
        if self._train_state is None:
            raise RunStateError("the model has no parameters; call model.build(x) first")
        return self._train_state

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._train_state = state

    @property
    def steps_by_itself(self) -> bool:
        """Whether ``fit`` trains it by the step that ``compile`` described."""
        return self.is_fitting

    @property
    def train_step(self) -> TrainStep:
        """The compiled step, the same from one ``fit`` to the next."""
        if self._train_step is None:
            self._train_step = TrainStep(self)
        return self._train_step

    @property
    def evaluation_step(self) -> EvaluationStep:
        """The compiled step of an evaluation."""
        if self._evaluation_step is None:
            self._evaluation_step = EvaluationStep(self)
        return self._evaluation_step

    def build(self, x: Any) -> None:
        """Make the parameters of a module of linen for such inputs; others have theirs.

        Args:
            x: A batch of inputs.

        Raises:
            RunStateError: If there are none yet and x is None.
        """
        if not self.network.is_built and x is not None:
            self._key, used = jax.random.split(self._key)
            self.network.build(arrays_of(x), used)
        if self._train_state is None:
            self._take_arrays()

    def put_back(self) -> None:
        """Have a module of nnx hold the arrays as they are now."""
        if self._train_state is not None:
            self.network.put_back(self._train_state.params, self._train_state.rest)

    def forward(self, x: Any) -> Any:
        """Return the outputs for a batch of inputs that are arrays, in evaluation mode."""
        state = self.train_state
        return self._function("forward", self._forward)(state.params, state.rest, state.key, x)

    def activations(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Return what each layer gives out for a batch, in evaluation mode.

        Raises:
            UnsupportedError: If it is a function, which has no layers.
        """
        state = self.train_state
        if isinstance(inputs, Execution):
            inputs = inputs.first()
        x = inputs[0] if isinstance(inputs, list | tuple) else inputs
        recorded = self._function("recorded", self.network.recorded)
        found: Mapping[str, jax.Array] = recorded(state.params, state.rest, arrays_of(x))
        return found

    def gradients(self) -> Mapping[str, jax.Array]:
        """Return the gradients for the latest batch that it was trained on, by weight.

        Raises:
            UnsupportedError: If there was none.
        """
        step = self.train_step
        if step.latest is None:
            raise UnsupportedError("there are no gradients before the first batch")
        found = step.gradients(self.train_state, step.latest)
        return {leaf.name: leaf.value for leaf in leaves_of(found)}

    def averages(self, momentum: float) -> WeightAverages:
        """Return moving averages of the parameters, which follow the updates from now on.

        Raises:
            RunStateError: If the model is not compiled.
            UnsupportedError: If its optimizer does not count.
        """
        self.require_compiled()
        return WeightAverages(self, momentum)

    def known_metrics(self) -> dict[str, Any] | None:
        """Return the names that ``fit`` will log, each with its better direction, if known."""
        return None if self.objectives is None else self.objectives.directions

    def draw_seed(self) -> int:
        """Return a number from the model's random key, which becomes another one."""
        if self._train_state is None:
            self._key, used = jax.random.split(self._key)
        else:
            data = to_array(self._train_state.key)  # on one device, whatever the state lies on
            key, used = jax.random.split(jax.random.wrap_key_data(jnp.asarray(data)))
            data = self.placement.state(jax.random.key_data(key))
            self._train_state = self._train_state._replace(key=data)
        return int(jax.random.randint(used, (), 0, np.iinfo(np.int32).max))

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
                functions, and what ``optax.inject_hyperparams`` made.
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
        self.optimizer = Optimizer(self.trainable, _wrapped(resolve_optimizer(optimizer), settings))
        self.settings, self.objectives = settings, objectives
        self._train_step = self._evaluation_step = None
        if self._train_state is not None:
            opt_state = self.optimizer.wrapped.init(self._train_state.params)
            placed = self.placement.state(opt_state)
            self._train_state = self._train_state._replace(opt_state=placed)

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
        batch = self.placement.placing()(as_arrays(Batch(x, None, None)))
        self.build(batch.x)
        return mapped(fitting.result_of, self.forward(batch.x))

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print the weights with their shapes and numbers of elements.

        Args:
            print_fn: Receives the text.
        """
        print_fn(summary_of(self))

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

    def _take_arrays(self) -> None:
        params, rest = self.placement.state(self.network.arrays())
        opt_state = None if self.optimizer is None else self.optimizer.wrapped.init(params)
        key = jax.random.key_data(self._key)
        self._train_state = self.placement.state(TrainState(params, rest, opt_state, key))

    def _forward(self, params: Any, rest: Any, key: jax.Array, x: Any) -> Any:
        used = jax.random.wrap_key_data(key)
        return self.network.apply(params, rest, x, used, training=False)[0]

    def _function(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self.settings.compiled:
            return function
        if name not in self._jitted:
            self._jitted[name] = jax.jit(function)
        return self._jitted[name]


def _wrapped(optimizer: Any, settings: Settings) -> Any:
    """Return an optimizer that clips and gathers gradients as ``compile`` was told."""
    optax = require_optax()
    clip = clipping(
        clipnorm=settings.clipnorm,
        clipvalue=settings.clipvalue,
        global_clipnorm=settings.global_clipnorm,
    )
    if clip is not None:
        optimizer = optax.chain(clip, optimizer)
    if settings.gradient_accumulation_steps > 1:
        optimizer = optax.MultiSteps(
            optimizer, settings.gradient_accumulation_steps
        ).gradient_transformation()
    return optimizer
