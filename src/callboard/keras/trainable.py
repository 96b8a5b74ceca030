"""A Keras model and its optimizer, as callbacks see them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from callboard._core import fs
from callboard._core.errors import (
    ConfigurationError,
    DataError,
    UnknownNameError,
    UnsupportedError,
)
from callboard._core.logs import Logs
from callboard.checkpoint.safetensors import write_safetensors
from callboard.keras.activations import layers_of, recorded_activations
from callboard.keras.averages import OptimizerAverages
from callboard.keras.rate import Rate
from callboard.keras.variables import Arrays, assign, by_path, host_array, matched, read

__all__ = ["SUFFIXES", "KerasTrainable"]

SUFFIXES = (".weights.h5", ".keras", ".h5", ".safetensors")
"""The longest come first, as one is the end of another."""


class KerasTrainable:
    """What callbacks may do to a Keras model, on each of its backends.

    On JAX, Keras takes a model's state out of the model while it trains. It is put back before
    anything here reads or writes it, and only then; that has to be in the main thread.

    Args:
        model: The model.
        optimizer: Its optimizer, for a loop of the user's; by default the one it was compiled with.
    """

    rejected = ""
    synchronous = True  # Keras gives hooks numbers that have been waited for

    def __init__(self, model: keras.Model, optimizer: Any = None) -> None:
        self.raw = model
        self._optimizer = optimizer

    @property
    def model(self) -> Any:
        """The model, with its state in it."""
        sync = getattr(self.raw, "jax_state_sync", None) or getattr(self.raw, "state_sync", None)
        if sync is not None:
            sync()
        return self.raw

    @property
    def optimizer(self) -> Any:
        """The optimizer.

        Raises:
            UnsupportedError: If there is none.
        """
        optimizer = self._known_optimizer()
        if optimizer is None:
            raise UnsupportedError(
                "this needs the optimizer (learning rate), and there is none; compile the model "
                "first, or pass Run(model=..., optimizer=...)"
            )
        return optimizer

    @property
    def rank(self) -> int:
        """Number of this process among those that train together."""
        return _rank()

    def reduced(self, logs: Logs) -> Logs:
        """Return the metrics as they are: Keras reduces them itself."""
        return logs

    @property
    def learning_rate(self) -> float:
        """Learning rate of the optimizer; of several, the first one's."""
        _ = self.model
        return Rate(self.optimizer).value

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        _ = self.model
        Rate(self.optimizer).value = value

    @property
    def rate_controller(self) -> str:
        """Name of the optimizer's own schedule, or an empty string."""
        optimizer = self._known_optimizer()
        return "" if optimizer is None else Rate(optimizer).schedule

    def weights(self, into: Arrays | None = None) -> Arrays:
        """Copy all weights to the host, into arrays from an earlier call if given."""
        return read(by_path(self.model.weights), into)

    def set_weights(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write weights back.

        Raises:
            DataError: If number or shapes differ; then nothing is changed.
        """
        variables = by_path(self.model.weights)
        assign(variables, matched(variables, weights, "weights"))

    def nonfinite(self) -> str:
        """Return the name of a weight that holds NaN or an infinity, or an empty string."""
        for name, variable in by_path(self.model.weights).items():
            if not bool(keras.ops.all(keras.ops.isfinite(variable))):
                return name
        return ""

    def gradients(self) -> Arrays:
        """Return nothing: Keras keeps no gradients."""
        return {}

    def activations(self, inputs: Any) -> Arrays:
        """Return what each innermost layer gives out for a batch's inputs.

        Raises:
            UnsupportedError: If no batch is known.
        """
        if inputs is None:
            raise UnsupportedError(
                "Keras shows its callbacks no data; train by callboard.keras.fit(model, ...), or "
                "pass callboard.keras.Callbacks([...], sample=x[:32])"
            )
        x = inputs[0] if isinstance(inputs, tuple) else inputs
        return {name: host_array(v) for name, v in recorded_activations(self.model, x).items()}

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Raise if ``save`` cannot write such a file.

        Raises:
            UnknownNameError: For a suffix that is not Keras's.
            ConfigurationError: For a suffix that contradicts ``weights_only``, as in Keras.
        """
        suffix = next((each for each in SUFFIXES if path.name.endswith(each)), None)
        if suffix is None:
            raise UnknownNameError("file suffix", path.suffix or path.name, SUFFIXES)
        only_weights = suffix in (".weights.h5", ".safetensors")
        if weights_only and not only_weights:
            raise ConfigurationError(
                f"save_weights_only=True needs a path that ends in '.weights.h5' or '.safetensors' "
                f"here, as in Keras; got {str(path)!r}"
            )

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the file durably and whole, in the format of its suffix, or leave the old one."""
        model = self.model
        if path.name.endswith(".safetensors"):
            write_safetensors(path, self.weights(), {"format": "keras"})
            return
        with fs.replacing_by_path(path) as temporary:
            if weights_only or path.name.endswith(".weights.h5"):
                model.save_weights(temporary)
            else:
                model.save(temporary)

    def averages(self, source: object = None) -> OptimizerAverages:
        """Return the averages of the weights that the optimizer keeps.

        Raises:
            UnsupportedError: If it keeps none, or others are asked for.
        """
        if source is not None:
            raise UnsupportedError(
                "Keras's optimizers keep averages themselves: make yours with use_ema=True and "
                "ema_momentum=, and leave out momentum= and averages= of SwapEMAWeights"
            )
        return OptimizerAverages(self)

    def state_dict(self) -> dict[str, Any]:
        """Return variables, those of random generators included, and the optimizer's."""
        state = {name: _owned(part) for name, part in self._parts().items()}
        optimizer = self._known_optimizer()
        if optimizer is not None:
            state["optimizer"] = _owned(by_path(optimizer.variables))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If it is the state of another model or optimizer; then nothing is changed.
        """
        optimizer = self._known_optimizer()
        if ("optimizer" in state) != (optimizer is not None):
            has = "has" if "optimizer" in state else "has not"
            raise DataError(
                f"the saved run {has} an optimizer, other than this one; compile the model as "
                "before, or begin anew in another folder"
            )
        assigned = self._matched(state)
        if optimizer is not None:
            if not optimizer.built:
                optimizer.build(self.raw.trainable_variables)
            moments = by_path(optimizer.variables)
            found = matched(moments, state["optimizer"], "optimizer's variables")
            assigned.append((moments, found))
        for variables, arrays in assigned:
            assign(variables, arrays)

    def guard(self, *, gradients: bool) -> bool:
        """Say that updates cannot be rejected: Keras's step is one compiled function.

        Raises:
            UnsupportedError: If gradients are to be looked at.
        """
        if gradients:
            raise UnsupportedError("gradients cannot be looked at in Keras's compiled step")
        return False

    def unguard(self) -> None:
        """There was no guard."""

    def _known_optimizer(self) -> Any:
        return self._optimizer or getattr(self.raw, "optimizer", None)

    def _parts(self) -> dict[str, dict[str, Any]]:
        """Return the variables by name, those of frozen layers apart."""
        model = self.model
        metrics = {id(variable) for variable in model.metrics_variables}
        frozen = {
            id(variable)
            for layer in layers_of(model)
            if not layer.trainable
            for variable in layer.variables
        }
        named = by_path(v for v in model.variables if id(v) not in metrics)
        return {
            "weights": {name: v for name, v in named.items() if id(v) not in frozen},
            "frozen": {name: v for name, v in named.items() if id(v) in frozen},
        }

    def _matched(self, state: Mapping[str, Any]) -> list[tuple[dict[str, Any], list[Any]]]:
        parts = self._parts()
        variables = {**parts["weights"], **parts["frozen"]}
        saved = {**state["weights"], **state["frozen"]}
        if variables.keys() == saved.keys():  # what is frozen may be other than it was
            return [(variables, matched(variables, saved, "weights"))]
        return [(part, matched(part, state[name], "weights")) for name, part in parts.items()]


def _owned(variables: Mapping[str, Any]) -> Arrays:
    """Return copies that nobody will change, so that a snapshot need not copy them again."""
    arrays = read(variables)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _rank() -> int:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax  # noqa: PLC0415 - it is Keras's backend, so it is loaded

        return int(jax.process_index())
    if backend == "torch":
        import torch.distributed  # noqa: PLC0415 - as above

        available = torch.distributed.is_available() and torch.distributed.is_initialized()
        return int(torch.distributed.get_rank()) if available else 0
    import tensorflow as tf  # noqa: PLC0415 - as above

    resolver = tf.distribute.get_strategy().cluster_resolver
    return 0 if resolver is None else int(resolver.task_id or 0)
