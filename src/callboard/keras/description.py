"""What is trained and how, in names and numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from callboard._core.errors import UnsupportedError

if TYPE_CHECKING:
    from callboard.keras.trainable import KerasTrainable

__all__ = ["description_of"]

_PLAIN = (bool, int, float, str)
_NOT_SETTINGS = ("name", "learning_rate")  # the rate changes


def description_of(trainable: KerasTrainable) -> dict[str, Any]:
    """Return type and size of a model, the optimizer with its settings, loss and metrics.

    Args:
        trainable: The model, as callbacks see it.
    """
    model = trainable.model
    found: dict[str, Any] = {"model": type(model).__name__}
    if model.built:
        found["parameters"] = model.count_params()
    with contextlib.suppress(UnsupportedError):  # there is none
        optimizer = trainable.optimizer
        name = type(optimizer).__name__
        found |= {"optimizer": name, name: _settings(optimizer.get_config())}
    config = (model.get_compile_config() or {}) if model.compiled else {}
    for part in ("loss", "metrics"):
        names = ", ".join(_names(config.get(part)))
        if names:
            found[part] = names
    return found


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimizer's options that do something."""
    averages = config.get("use_ema", False)
    return {
        name: value
        for name, value in config.items()
        if isinstance(value, _PLAIN)
        and value
        and name not in _NOT_SETTINGS
        and (averages or not name.startswith("ema_"))
    }


def _names(given: Any) -> Iterator[str]:
    """Yield the names in what ``compile`` was given, as Keras writes it down."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping) and "class_name" in given:
        named = given.get("config")
        yield named if isinstance(named, str) else given["class_name"]
    elif isinstance(given, Mapping | list | tuple):
        for each in given.values() if isinstance(given, Mapping) else given:
            yield from _names(each)
