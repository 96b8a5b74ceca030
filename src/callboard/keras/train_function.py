"""Keras's compiled training step, in between for the batches that need it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras

__all__ = ["look_at_first_batch", "restore", "skip_batches"]


def skip_batches(
    model: Any, count: int, metrics_after: Callable[[Any], Any], ready: Callable[[], None]
) -> None:
    """Let the next batches pass by untrained: they were trained before the run was interrupted.

    Args:
        model: The model, in a ``fit`` that has made its training function.
        count: Batches to skip.
        metrics_after: Returns what the skipped steps return as metrics, given the first batch.
        ready: Called when they are fetched.
    """
    train: Callable[..., Any] = model.train_function
    left, logs = count, None

    def skip(*arguments: Any) -> Any:
        nonlocal left, logs
        first = _fetched(arguments[-1], min(model.steps_per_execution, left))
        if logs is None:
            logs = metrics_after(first)
        left -= model.steps_per_execution
        if left <= 0:
            model.train_function = train
            ready()
        return (dict(logs), *arguments[:-1]) if len(arguments) > 1 else dict(logs)

    vars(skip).update(stands_for=train)
    model.train_function = skip


def look_at_first_batch(model: Any, show: Callable[[Any], None]) -> None:
    """Show the inputs, targets and weights of the next batch, once.

    Args:
        model: The model, in a ``fit`` that has made its training function.
        show: Receives the batch.
    """
    train: Callable[..., Any] = model.train_function

    def look(*arguments: Any) -> Any:
        model.train_function = train
        *state, data = arguments
        batch, data = _peeked(data, model.steps_per_execution)
        if batch is not None:
            show(batch)
        return train(*state, data)

    vars(look).update(stands_for=train)
    model.train_function = look


def restore(model: Any) -> None:
    """Put the model's own training function back, if something stands for it."""
    while hasattr(model.train_function, "stands_for"):
        model.train_function = model.train_function.stands_for


def _fetched(data: Any, count: int) -> Any:
    """Take batches from what a step is given, and return the first one."""
    if isinstance(data, list):  # on torch, a step is given batches
        return data[0]
    first = next(data)
    for _ in range(count - 1):
        next(data)
    return first


def _peeked(data: Any, per_execution: int) -> tuple[Any, Any]:
    """Return the first batch of what a step is given, and what to give to the step instead."""
    if isinstance(data, list):
        return data[0], data
    if keras.backend.backend() != "tensorflow":
        first = next(data)
        return first, itertools.chain([first], data)
    import tensorflow as tf  # noqa: PLC0415 - it is Keras's backend, so it is loaded

    if not isinstance(getattr(data, "element_spec", None), tuple) or per_execution > 1:
        return None, data  # spread over several devices, or consumed by a compiled loop
    first = next(data)
    again = tf.data.Dataset.from_generator(
        lambda: iter([first]), output_signature=data.element_spec
    )
    return first, iter(again)
