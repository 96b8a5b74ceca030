"""What ``fit``, ``evaluate`` and ``predict`` do, each read from top to bottom."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from callboard._core import loop
from callboard._core.batches import Batch, Batches, positive
from callboard._core.errors import ConfigurationError
from callboard._core.fit_arguments import (
    check_limit,
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
from callboard.jax.arrays import to_array
from callboard.jax.class_weights import ClassWeights
from callboard.jax.data import as_arrays, batches_of, split_off
from callboard.jax.executions import Execution, executions_of

if TYPE_CHECKING:
    from callboard.jax.evaluation import EvaluationStep
    from callboard.jax.learner import Learner
    from callboard.jax.model import Model

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
    learner = model.learner
    learner.require_compiled()
    if validation_split:
        data, validation_data = _with_split(data, validation_split, validation_data)
    weights = ClassWeights.of(class_weight)
    seed = learner.draw_seed() if shuffle else 0
    batches = batches_of(
        *data,
        batch_size=batch_size,
        shuffle=shuffle,
        steps=steps_per_epoch,
        seed=seed,
        check_size=learner.placement.check_size,
    )
    validation = None
    if validation_data is not None:
        if validation_batch_size is not None:
            batch_size = positive(validation_batch_size, "validation_batch_size")
        validation = _unshuffled(learner, validation_parts(validation_data), batch_size)
    is_due = validation_schedule(validation_freq)
    check_limit(validation_steps, "validation_steps")
    _build(learner, batches)
    step, size = learner.train_step, learner.settings.steps_per_execution
    run = Run(
        trainable=learner.trainable,
        epochs=epochs,
        callbacks=callbacks,
        initial_epoch=initial_epoch,
        steps_per_epoch=batches.steps,
        verbose=verbose,
        stateful={"data": batches, "step": step},
        max_time=max_time,
        metrics=learner.known_metrics(),
        validation=validation is not None,
    )
    if validation is not None:
        run.stateful["validation_data"] = validation
        run.validation_steps = fewer(validation.steps, validation_steps)
    weighed = batches if weights is None else _Weighed(batches, weights)

    def epoch_data(epoch: int, done: int) -> Iterable[Execution]:
        return executions_of(weighed, epoch, done, size, run.data_is_ready, learner.placement)

    def train_on(execution: Execution) -> None:
        samples = step(execution)
        run.report(step.logs, steps=execution.steps, samples=samples)

    def validate(epoch: int) -> None:
        if validation is not None and is_due(epoch):
            _score(
                learner, run, limited(validation.epoch(epoch), validation_steps, "validation_steps")
            )

    model.history = run.history
    with learner.fitted():
        loop.train(
            run,
            epoch_data=epoch_data,
            begin_epoch=step.begin_epoch,
            logs=step.logs,
            train_on=train_on,
            validate=validate,
        )
    return run.history


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
    learner = model.learner
    learner.require_compiled()
    check_limit(steps, "steps")
    batches = _unshuffled(learner, data, batch_size)
    _build(learner, batches)
    run = Run(
        trainable=learner.trainable,
        callbacks=callbacks,
        verbose=verbose,
        steps_per_epoch=fewer(batches.steps, steps),
        metrics=learner.known_metrics(),
        purpose="test",
    )
    with run:
        _score(learner, run, limited(batches.epoch(0), steps, "steps"))
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
    learner = model.learner
    check_limit(steps, "steps")
    batches = _unshuffled(learner, (x,), batch_size)
    _build(learner, batches)
    run = Run(
        trainable=learner.trainable,
        callbacks=callbacks,
        verbose=verbose,
        steps_per_epoch=fewer(batches.steps, steps),
        purpose="predict",
    )
    outputs = []
    with run:
        placed = map(learner.placement.placing(), limited(batches.epoch(0), steps, "steps"))
        for batch in run.predict(placed):
            output = mapped(_result_of, learner.forward(batch.x))
            logs = functools.partial(Logs, {"outputs": output})
            run.report(logs, steps=1, samples=sample_count(output))
            outputs.append(output)
    return _concatenated(outputs)


def train_on_batch(
    model: Model, data: Batch, class_weight: Mapping[int, float] | None
) -> dict[str, float]:
    """Train on one batch and return its metrics."""
    learner = model.learner
    weights = ClassWeights.of(class_weight)
    batch = as_arrays(data)
    learner.build(batch.x)
    step = learner.train_step
    step.begin_epoch()
    with learner.fitted():
        batch = batch if weights is None else weights.apply(batch)
        batch = learner.placement.placing()(batch)
        step(Execution((batch,), 1, sample_count(batch.x), stacked=False))
    return dict(step.logs())


def test_on_batch(model: Model, data: Batch) -> dict[str, float]:
    """Return the metrics of one batch."""
    learner = model.learner
    batch = as_arrays(data)
    learner.build(batch.x)
    step = learner.evaluation_step
    step.begin()
    step(learner.placement.placing()(batch))
    return dict(step.logs())


def predict_on_batch(model: Model, x: Any) -> Any:
    """Return the outputs for one batch."""
    learner = model.learner
    batch = learner.placement.placing()(as_arrays(Batch(x, None, None)))
    learner.build(batch.x)
    return mapped(_result_of, learner.forward(batch.x))


def _result_of(output: jax.Array) -> np.ndarray[Any, Any]:
    """Return an output as an array; half precision as float32, which NumPy can compute with."""
    half = output.dtype in (jnp.bfloat16, jnp.float16)
    return to_array(output.astype(jnp.float32) if half else output)


class _Weighed:
    """Batches with the weights of their classes.

    Args:
        batches: The batches.
        weights: The weights.
    """

    def __init__(self, batches: Batches, weights: ClassWeights) -> None:
        self._batches = batches
        self._weights = weights
        self.steps = batches.steps

    def epoch(self, *arguments: Any) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        return map(self._weights.apply, self._batches.epoch(*arguments))

    def state_dict(self) -> dict[str, Any]:
        """Return where the data stands."""
        return self._batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self._batches.load_state_dict(state)


def _score(learner: Learner, run: Run, batches: Iterator[Batch]) -> None:
    """Go through data in evaluation mode and report loss and metrics."""
    step: EvaluationStep = learner.evaluation_step
    step.begin()
    for batch in run.validate(map(learner.placement.placing(), batches)):
        samples = step(batch)
        run.report(step.logs, steps=1, samples=samples)


def _build(learner: Learner, batches: Batches) -> None:
    """Have the parameters ready, before callbacks ask for them."""
    if learner.network.is_built:
        learner.build(None)
        return
    first = getattr(batches, "data", None)
    if first is None:
        learner.build(None)  # raises: what it would take cannot be taken back
        return
    learner.build(jax.tree.map(lambda a: a[:1], first.x))


def _with_split(data: Batch, fraction: float, validation_data: object) -> tuple[Batch, Any]:
    if validation_data is not None:
        raise ConfigurationError("pass validation_split or validation_data, not both")
    return split_off(data, fraction)


def _unshuffled(learner: Learner, parts: Iterable[Any], batch_size: int | None) -> Batches:
    check = learner.placement.check_size
    return batches_of(*parts, batch_size=batch_size, shuffle=False, steps=None, check_size=check)


def _concatenated(outputs: list[Any]) -> Any:
    columns = [list(leaves(output)) for output in outputs]
    joined = iter([np.concatenate(column) for column in zip(*columns, strict=True)])
    return mapped(lambda _: next(joined), outputs[0])
