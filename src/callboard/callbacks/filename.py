"""File names with placeholders."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callboard._core.errors import ConfigurationError, MetricNotFoundError

__all__ = ["Filename"]


class Filename:
    """A file name with placeholders for epoch, batch and metrics.

    A metric that the epoch did not produce (without a validation) becomes ``nan``. Placeholders are
    names only: no attribute and no item of a value can be reached.

    Args:
        template: The name in the style of ``str.format``.
        batch: Whether ``{batch}`` is known where the name is filled in.

    Raises:
        ConfigurationError: If the template cannot be read.

    Example:
        >>> Filename("{epoch:02d}-{val_loss:.2f}.h5").fill(epoch=3, logs={"val_loss": 0.251})
        '03-0.25.h5'
    """

    def __init__(self, template: str, *, batch: bool = False) -> None:
        self.template = template
        self._counters = {"epoch", "batch"} if batch else {"epoch"}
        try:
            fields = _fields(template)
            template.format(**{name: 1 if name in {"epoch", "batch"} else 0.5 for name in fields})
        except ValueError as error:
            raise ConfigurationError(f"cannot read the file name {template!r}: {error}") from None
        self._metrics = fields - self._counters

    def check(self, names: frozenset[str] | None) -> None:
        """Raise if a placeholder can never be filled; ``names`` are the metrics there will be.

        Raises:
            ConfigurationError: For ``{batch}`` in a name that is filled at the end of epochs.
            MetricNotFoundError: For a metric that is not one of ``names``.
        """
        if "batch" in self._metrics:
            raise ConfigurationError(
                f"the file name {self.template!r} has {{batch}}, which is known only with "
                "save_freq in batches or in time"
            )
        if names is not None:
            for name in self._metrics - names:
                raise MetricNotFoundError(
                    name, names, f"The file name {self.template!r} has it as a placeholder"
                )

    def certain(self) -> Path:
        """Return the path itself, or some path in the last folder before a placeholder."""
        path = Path(self.template)
        folders = [folder for folder in path.parents if "{" not in str(folder)]
        return path if "{" not in path.name and path.parent in folders else folders[0] / "file"

    def fill(self, *, epoch: int, batch: int | None = None, logs: Mapping[str, Any]) -> str:
        """Return the name for an epoch and batch, both from 1, and the metrics.

        Raises:
            MetricNotFoundError: For a metric, other than of a validation, that was not logged.
        """
        values: dict[str, Any] = {"epoch": epoch, "batch": batch}
        for name in self._metrics:
            if name not in logs and not name.startswith("val_"):
                raise MetricNotFoundError(
                    name, logs, f"The file name {self.template!r} has it as a placeholder"
                )
            values[name] = logs.get(name, math.nan)
        return self.template.format(**values)


def _fields(template: str) -> set[str]:
    """Return the names of the placeholders, or raise ValueError for one that is no name."""
    fields = set()
    for _, name, spec, _ in string.Formatter().parse(template):
        if name is None:
            continue
        # Braces in a format would be placeholders again, and could reach attributes.
        if not name.replace("/", "_").isidentifier() or "{" in (spec or ""):
            raise ValueError(
                f"it has the placeholder {{{name}}}; "
                "allowed are {epoch}, {batch} and names of metrics"
            )
        fields.add(name)
    return fields
