"""What a compiled Keras model will log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from callboard._core.monitor import Mode

__all__ = ["logged_metrics"]

Modes = dict[str, Mode | None]

_MODES: dict[str, Mode] = {"up": "max", "down": "min"}


def logged_metrics(model: Any) -> tuple[Modes | None, bool]:
    """Return the names in a model's logs, and which direction is better.

    Names of several outputs begin with the output's, as in "a_mae"; the metric's own name, behind
    it, tells the direction.

    Returns:
        The direction of each name, None where it is not known, or None altogether for a model that
        logs what it likes, having a training step of its own; and whether these are all names. On
        TensorFlow, Keras builds the metrics in the first step, so until then they are what
        ``compile`` was given.
    """
    if type(model).train_step is not keras.Model.train_step:
        return None, False
    try:
        names = list(model.get_metrics_result())
    except ValueError:  # they are not built
        return _declared(model), False
    metrics = [each for one in model.metrics for each in getattr(one, "metrics", [one])]
    modes = {each.name: _mode_of(each) for each in metrics}
    return {name: _of_output(name, modes) for name in names}, True


def _declared(model: Any) -> Modes:
    config = model.get_compile_config() or {}
    given = [config.get("metrics"), config.get("weighted_metrics")]
    modes: Modes = {metric.name: _mode_of(metric) for metric in _metrics(given)}
    outputs = getattr(model, "output_names", None) or []
    of_outputs = {f"{out}_{name}": mode for out in outputs for name, mode in modes.items()}
    losses: Modes = {f"{out}_loss": "min" for out in outputs}
    return {"loss": "min", **losses, **of_outputs, **modes}


def _metrics(given: Any) -> Iterator[Any]:
    """Yield the metrics in what ``compile`` was given, as Keras writes it down."""
    if isinstance(given, str) or (isinstance(given, dict) and "class_name" in given):
        metric = keras.metrics.get(given)
        if hasattr(metric, "name"):  # not a plain function
            yield metric
    elif isinstance(given, dict | list | tuple):
        for each in given.values() if isinstance(given, dict) else given:
            yield from _metrics(each)


def _mode_of(metric: Any) -> Mode | None:
    return _MODES.get(getattr(metric, "_direction", ""))


def _of_output(name: str, modes: Modes) -> Mode | None:
    if modes.get(name):
        return modes[name]
    if name == "loss" or name.endswith("_loss"):
        return "min"
    return next((mode for own, mode in modes.items() if name.endswith(f"_{own}")), None)
