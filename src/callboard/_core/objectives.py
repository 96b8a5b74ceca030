"""The losses and metrics that ``compile`` was given, for one output or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from callboard._core.errors import ConfigurationError, DataError
from callboard._core.monitor import Mode

__all__ = ["Head", "Objective", "Objectives"]


class Objective(Protocol):
    """What frameworks' metrics have."""

    def directions(self) -> Mapping[str, Mode | None]:
        """Return for each name in the logs whether lower or higher is better."""


@dataclass(frozen=True, slots=True)
class Head:
    """One output of the module: where it is found, and what is asked of it.

    Attributes:
        key: None if it is the only output, else its index or key among the outputs.
        prefix: What its names begin with in the logs.
        loss: Its loss, or None.
        weight: Factor of its loss in the sum.
        metrics: Its metrics, without sample weights.
        weighted_metrics: Its metrics that sample weights apply to.
    """

    key: int | str | None
    prefix: str
    loss: Any
    weight: float
    metrics: tuple[Any, ...]
    weighted_metrics: tuple[Any, ...]

    def of(self, outputs: Any) -> Any:
        """Return this head's part of the outputs, the targets or the sample weights.

        Raises:
            DataError: If there is no such part.
        """
        if self.key is None:
            return outputs
        if hasattr(outputs, "shape"):  # an array: indexing it would give one sample
            raise self._absence(outputs)
        try:
            return outputs[self.key]
        except (LookupError, TypeError):
            raise self._absence(outputs) from None

    def _absence(self, outputs: object) -> DataError:
        have = sorted(outputs) if isinstance(outputs, Mapping) else f"one {type(outputs).__name__}"
        return DataError(
            f"there is a loss or metric for output {self.key!r}; the module or the targets "
            f"have {have}"
        )

    def directions(self) -> Iterator[tuple[str, Mode | None]]:
        """Yield this head's names in the logs, and whether lower or higher is better."""
        if self.prefix and self.loss is not None:
            yield f"{self.prefix}loss", "min"
        yield from self.metric_directions()

    def metric_directions(self) -> Iterator[tuple[str, Mode | None]]:
        """Yield the same of the metrics alone."""
        for metric in (*self.metrics, *self.weighted_metrics):
            for name, mode in metric.directions().items():
                yield self.prefix + name, mode

    def weight_of(self, sample_weight: Any) -> Any:
        """Return this head's sample weights; one weight for each sample serves all heads."""
        if sample_weight is None or not isinstance(sample_weight, Mapping | list | tuple):
            return sample_weight
        return self.of(sample_weight)


class Objectives:
    """Losses and metrics by output, and their names in the logs.

    Args:
        loss: A loss, or a list or dict of losses for several outputs.
        loss_weights: Factors, nested as the losses.
        metrics: Metrics, or for several outputs a list or dict of lists of metrics.
        weighted_metrics: As metrics; sample weights apply to them.
        resolve_loss: Returns the framework's loss that is meant by a name or an object.
        resolve_metric: Returns the framework's metric that is meant.

    Attributes:
        heads: What is asked of each output.
        directions: The names in the logs, and whether lower or higher is better.
        names: The names in the logs in the order of Keras's lists of results: the losses first, of
            several outputs then the metrics sorted.

    Raises:
        UnknownNameError: For a loss or metric that is not known.
        ConfigurationError: For nesting or weights that do not fit together.
    """

    def __init__(
        self,
        loss: Any,
        loss_weights: Any = None,
        metrics: Any = (),
        weighted_metrics: Any = (),
        *,
        resolve_loss: Callable[[Any], Any],
        resolve_metric: Callable[[Any], Objective],
    ) -> None:
        self._resolve_loss = resolve_loss
        self._resolve_metric = resolve_metric
        keys: list[int | str | None] = [None]
        if isinstance(loss, Mapping):
            keys = list(loss)
        elif isinstance(loss, list | tuple) and len(loss) == 1:  # in a list for no reason
            loss = loss[0]
        elif isinstance(loss, list | tuple):
            keys = list(range(len(loss)))
        self.heads = tuple(
            self._head(key, len(keys) > 1, loss, loss_weights, metrics, weighted_metrics)
            for key in keys
        )
        if keys != [None]:
            _check_keys(loss_weights, keys, "loss_weights")
            _check_keys(metrics, keys, "metrics")
            _check_keys(weighted_metrics, keys, "weighted_metrics")
        self.directions: dict[str, Mode | None] = {"loss": "min"}
        for head in self.heads:
            for name, mode in head.directions():
                if name in self.directions:
                    raise ConfigurationError(
                        f"two metrics are named {name!r}; give one another name"
                    )
                self.directions[name] = mode
        losses = ["loss", *(f"{h.prefix}loss" for h in self.heads if h.prefix and h.loss)]
        others = [name for name in self.directions if name not in losses]
        self.names = losses + (sorted(others) if len(self.heads) > 1 else others)

    def description(self) -> dict[str, str]:
        """Return losses and metrics by their names, for people to read."""
        losses = {head.prefix: head.loss.name for head in self.heads if head.loss is not None}
        metrics = [name for head in self.heads for name, _ in head.metric_directions()]
        told = {
            "loss": ", ".join(f"{prefix}{name}" for prefix, name in losses.items()),
            "metrics": ", ".join(metrics),
        }
        return {name: text for name, text in told.items() if text}

    def _head(
        self,
        key: int | str | None,
        several: bool,  # noqa: FBT001 - one call, above
        loss: Any,
        loss_weights: Any,
        metrics: Any,
        weighted_metrics: Any,
    ) -> Head:
        own = loss if key is None else loss[key]
        weight = _part(loss_weights, key, 1.0)
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not math.isfinite(weight)
        ):
            raise ConfigurationError(f"loss_weights must be finite numbers; got {weight!r}")
        name = key if isinstance(key, str) else f"output_{(key or 0) + 1}"
        return Head(
            key=key,
            prefix=f"{name}_" if several else "",
            loss=None if own is None else self._resolve_loss(own),
            weight=float(weight),
            metrics=self._metrics(_part(metrics, key, ())),
            weighted_metrics=self._metrics(_part(weighted_metrics, key, ())),
        )

    def _metrics(self, given: Any) -> tuple[Any, ...]:
        if given is None:
            return ()
        if isinstance(given, str) or not isinstance(given, list | tuple):
            given = [given]
        return tuple(self._resolve_metric(metric) for metric in given)


def _part(given: Any, key: int | str | None, default: Any) -> Any:
    """Return what belongs to one output; for a single output that is all."""
    if given is None:
        return default
    if key is None:
        return given
    if isinstance(given, Mapping):
        return given.get(key, default)
    if isinstance(given, Sequence) and isinstance(key, int) and not isinstance(given, str):
        return given[key] if key < len(given) else default
    if not given:
        return default
    wanted = "dict" if isinstance(key, str) else "list"
    raise ConfigurationError(
        f"with several outputs, loss_weights and metrics must be a {wanted} as the losses are; "
        f"got {given!r}"
    )


def _check_keys(given: Any, keys: list[int | str | None], name: str) -> None:
    unknown = sorted(set(given) - set(keys)) if isinstance(given, Mapping) else []
    if unknown:
        raise ConfigurationError(
            f"{name} has {unknown}, for which there is no loss; {keys} have one"
        )
