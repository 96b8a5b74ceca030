"""What callbacks may do to a model that shows no gradients and no layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from callboard._core.errors import UnknownNameError, UnsupportedError
from callboard._core.logs import Logs

__all__ = ["LayerlessModel", "LayerlessTrainable"]

Array = np.ndarray[Any, Any]


class LayerlessModel:
    """What callbacks receive as their model; everything but ``stop_training`` is the host's.

    Args:
        host: The host's own model, as far as it exists yet.
    """

    trainable_variables = ()  # of layers; asked for the size of a model

    def __init__(self, host: Any) -> None:
        self.host = host
        self.stop_training = False

    def __getattr__(self, name: str) -> Any:
        if name == "host" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.host, name)


class LayerlessTrainable(ABC):
    """What callbacks may do to such a model: its weights and its files are the library's matter.

    Args:
        host: The host's model.
        kind: What it is, for errors ("a model of XGBoost").

    Attributes:
        suffixes: Of the files in which the model can be saved.
    """

    rank = 0
    synchronous = True
    rate_controller = ""
    rejected = ""
    suffixes: tuple[str, ...] = ()

    def __init__(self, host: Any, kind: str) -> None:
        self.model = LayerlessModel(host)
        self.kind = kind

    @abstractmethod
    def weights(self, into: dict[str, Array] | None = None) -> dict[str, Array]:
        """Return what the model goes back to by ``set_weights``."""

    @abstractmethod
    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Go back to what ``weights`` returned."""

    @abstractmethod
    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the model durably and whole, in the library's own format."""

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Raise if the model cannot be saved under this name."""
        if path.suffix not in self.suffixes:
            raise UnknownNameError("file suffix", path.suffix or path.name, self.suffixes)

    def reduced(self, logs: Logs) -> Logs:
        """Return metrics as they are: the library takes care of several processes."""
        return logs

    def nonfinite(self) -> str:
        """Return nothing: where weights may not be finite, this is overridden."""
        return ""

    def gradients(self) -> dict[str, Array]:
        """Raise, as none are shown."""
        self._lacks("gradients")

    def activations(self, inputs: Any) -> dict[str, Array]:
        """Raise, as no layers are shown."""
        self._lacks("layers")

    def averages(self, source: Any = None) -> Any:
        """Raise, as there is no update of weights to follow."""
        self._lacks("updates of weights, so there are no averages of them")

    def guard(self, *, gradients: bool) -> bool:
        """Say that the logs are to be looked at; an update cannot be rejected."""
        if gradients:
            self.gradients()
        return False

    def unguard(self) -> None:  # noqa: B027 - nothing is guarded anywhere below
        """Do nothing, as nothing was guarded."""

    def _lacks(self, what: str) -> NoReturn:
        raise UnsupportedError(f"{self.kind} shows no {what}")
