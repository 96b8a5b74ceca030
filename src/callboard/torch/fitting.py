"""What ``fit``, ``evaluate`` and ``predict`` do, each read from top to bottom."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from callboard._core import loop
from callboard._core.batches import Batch, Batches, positive
from callboard._core.errors import ConfigurationError
from callboard._core.fit_arguments import (
    check_limit,
    chunks,
    fewer,
    limited,
    validation_parts,
    validation_schedule,
)
from callboard._core.history import History
from callboard._core.logs import Logs
from callboard._core.nested import leaves, mapped
from callboard._core.run import Run
from callboard._core.samples import sample_count
from callboard.torch.arrays import to_array, widened
from callboard.torch.class_weights import ClassWeights
from callboard.torch.compiled import CompiledStep, can_be_compiled
from callboard.torch.data import batches_of, split_off
from callboard.torch.denormals import denormals_flushed
from callboard.torch.forward import ForwardPass
from callboard.torch.modes import evaluating
from callboard.torch.scores import Scores
from callboard.torch.steps import OwnStep, Step, TrainStep

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = [
    "evaluate",
    "fit",
    "predict",
    "predict_on_batch",
    "test_on_batch",
    "train_on_batch",
]


def fit(
    model: Model,
    data: Batch,
    *,
    batch_size: int | None,
    epochs: int,
    verbose: int | str,
    callbacks: Iterable[Any],
    validation_split: float,
    validation_data: Any,
    shuffle: bool,
    class_weight: Mapping[int, float] | None,
    initial_epoch: int,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: int | Sequence[int],
    max_time: float | str | None,
) -> History:
    """Train; the arguments are those of ``Model.fit``."""
    if validation_split:
        data, validation_data = _with_split(data, validation_split, validation_data)
    weights = ClassWeights.of(class_weight)
    batches = batches_of(
        *data,
        batch_size=batch_size,
        shuffle=shuffle,
        steps=steps_per_epoch,
        placement=model.placement,
        # Drawn from torch's own generator, so that torch.manual_seed makes the order repeatable.
        seed=int(torch.randint(2**31, ())) if shuffle else 0,
    )
    validation = None
    if validation_data is not None:
        if validation_batch_size is not None:
            batch_size = positive(validation_batch_size, "validation_batch_size")
        validation = _validation_batches(model, validation_data, batch_size)
    is_due = validation_schedule(validation_freq)
    check_limit(validation_steps, "validation_steps")
    model.eager_step = None
    step = step_of(model)
    run = Run(
        trainable=model.trainable,
        epochs=epochs,
        callbacks=callbacks,
        initial_epoch=initial_epoch,
        steps_per_epoch=batches.steps,
        verbose=verbose,
        stateful={"data": batches, "step": step},
        max_time=max_time,
        metrics=model.known_metrics(),
        validation=validation is not None,
    )
    if validation is not None:
        run.stateful["validation_data"] = validation
        run.validation_steps = fewer(validation.steps, validation_steps)
    size = model.settings.steps_per_execution

    def epoch_data(epoch: int, done: int) -> Iterable[list[Batch]]:
        stream = batches.epoch(epoch, done, run.data_is_ready)
        return chunks(stream if weights is None else map(weights.apply, stream), size)

    def train_on(chunk: list[Batch]) -> None:
        samples = step(chunk)
        run.report(step.logs, steps=len(chunk), samples=samples)

    def validate(epoch: int) -> None:
        if validation is not None and is_due(epoch):
            _score(
                model, run, limited(validation.epoch(epoch), validation_steps, "validation_steps")
            )

    model.history = run.history
    with _fitting(model):
        loop.train(
            run,
            epoch_data=epoch_data,
            begin_epoch=step.begin_epoch,
            logs=step.logs,
            train_on=train_on,
            validate=validate,
        )
    return run.history


def step_of(model: Model) -> Step:
    """Return the training step of a model: its own, compiled, or eager."""
    if model.has_own_train_step:
        return OwnStep(model)
    if model.settings.compiled and can_be_compiled(model):
        # Kept from one fit to the next, as compiling takes long; not if layers were exchanged.
        if model.compiled_step is None or not model.compiled_step.is_of(model.module):
            model.compiled_step = CompiledStep(model)
        return model.compiled_step
    return _eager_step(model)


def _eager_step(model: Model) -> TrainStep:
    """Return the eager step, the same from batch to batch: it accumulates gradients."""
    if model.eager_step is None or not model.eager_step.is_of(model.module):
        model.eager_step = TrainStep(model, compiled=model.settings.compiled)
    return model.eager_step


def evaluate(
    model: Model,
    data: Batch,
    *,
    batch_size: int | None,
    verbose: int | str,
    steps: int | None,
    callbacks: Iterable[Any],
) -> dict[str, float]:
    """Return the metrics on data; the arguments are those of ``Model.evaluate``."""
    check_limit(steps, "steps")
    batches = batches_of(
        *data, batch_size=batch_size, shuffle=False, steps=None, placement=model.placement
    )
    run = Run(
        trainable=model.trainable,
        callbacks=callbacks,
        verbose=verbose,
        steps_per_epoch=fewer(batches.steps, steps),
        metrics=model.known_metrics(),
        purpose="test",
    )
    with run:
        _score(model, run, limited(batches.epoch(0), steps, "steps"))
    return dict(run.logs)


def predict(
    model: Model,
    x: Any,
    *,
    batch_size: int | None,
    verbose: int | str,
    steps: int | None,
    callbacks: Iterable[Any],
) -> Any:
    """Return the outputs for data; the arguments are those of ``Model.predict``."""
    check_limit(steps, "steps")
    placement = model.placement
    batches = batches_of(x, batch_size=batch_size, shuffle=False, steps=None, placement=placement)
    run = Run(
        trainable=model.trainable,
        callbacks=callbacks,
        verbose=verbose,
        steps_per_epoch=fewer(batches.steps, steps),
        purpose="predict",
    )
    outputs = []
    with run, _evaluating(model):
        for batch in run.predict(limited(batches.epoch(0), steps, "steps")):
            with placement.explaining(batch.x):
                output = mapped(_result, model.forward(batch.x))
            logs = functools.partial(Logs, {"outputs": output})
            run.report(logs, steps=1, samples=sample_count(output))
            outputs.append(output)
    return _concatenated(outputs)


def train_on_batch(
    model: Model, data: Batch, class_weight: Mapping[int, float] | None
) -> dict[str, float]:
    """Train on one batch and return its metrics."""
    weights = ClassWeights.of(class_weight)
    batch = model.placement.of(data)
    step = step_of(model)
    step.begin_epoch()
    with _fitting(model):
        step([batch if weights is None else weights.apply(batch)])
    return dict(step.logs())


def test_on_batch(model: Model, data: Batch) -> dict[str, float]:
    """Return the metrics of one batch."""
    objectives = model.require_compiled()
    forward, scores = ForwardPass(model, objectives), Scores(objectives)
    batch = model.placement.of(data)
    with _evaluating(model):
        scores.add(batch, forward(batch))
    return dict(scores.logs())


def predict_on_batch(model: Model, x: Any) -> Any:
    """Return the outputs for one batch."""
    batch = model.placement.of(Batch(x, None, None))
    with _evaluating(model):
        return mapped(_result, model.forward(batch.x))


def default_train_step(model: Model, batch: Batch) -> Mapping[str, Any]:
    """Train on one batch as ``compile`` said, and return its metrics."""
    step = _eager_step(model)
    step.scores.reset()
    step([batch])
    return step.logs()


def _score(model: Model, run: Run, batches: Iterator[Batch]) -> None:
    """Go through data in evaluation mode and report loss and metrics."""
    objectives = model.require_compiled()
    forward, scores = ForwardPass(model, objectives), Scores(objectives)
    with _evaluating(model):
        for batch in run.validate(batches):
            samples = scores.add(batch, forward(batch))
            run.report(scores.logs, steps=1, samples=samples)


@contextlib.contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Compute as an evaluation does: evaluation mode, no gradients, the model's precision."""
    with (
        evaluating(model.module),
        torch.inference_mode(),
        model.settings.autocast(model.device),
    ):
        yield


@contextlib.contextmanager
def _fitting(model: Model) -> Iterator[None]:
    """Have the process as training wants it, and afterwards as it was."""
    flush = model.settings.flush_denormals and model.device.type == "cpu"
    before, model.is_fitting = model.is_fitting, True
    try:
        with denormals_flushed() if flush else contextlib.nullcontext():
            yield
    finally:
        model.is_fitting = before


def _with_split(data: Batch, fraction: float, validation_data: object) -> tuple[Batch, Any]:
    if validation_data is not None:
        raise ConfigurationError("pass validation_split or validation_data, not both")
    return split_off(data, fraction)


def _validation_batches(model: Model, data: Any, batch_size: int | None) -> Batches:
    return batches_of(
        *validation_parts(data),
        batch_size=batch_size,
        shuffle=False,
        steps=None,
        placement=model.placement,
    )


def _result(output: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return an output as an array; half precision as float32, which NumPy can compute with."""
    return to_array(widened(output))


def _concatenated(outputs: list[Any]) -> Any:
    columns = [list(leaves(output)) for output in outputs]
    joined = iter([np.concatenate(column) for column in zip(*columns, strict=True)])
    return mapped(lambda _: next(joined), outputs[0])
