"""What TensorBoard shows of a run besides its numbers: graph, charts, texts, journal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from callboard._core.errors import UnsupportedError
from callboard._core.inspection import inspection_of
from callboard.callbacks.run_texts import (
    configuration_text,
    journal_text,
    model_text,
    program_text,
)
from callboard.events import EventWriter
from callboard.events.layouts import Layout, layout_value

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["RunRecords"]


class RunRecords:
    """Writes each of them once in a run, and the journal whenever there is something new.

    Args:
        graph: Whether the model's operations are written.
        text: Whether configuration, model and journal are.
        layout: Which curves share a chart; True for training and validation of each metric.
        skip: Told why there is no graph.
    """

    def __init__(
        self, *, graph: bool, text: bool, layout: bool | Layout, skip: Callable[[str], None]
    ) -> None:
        if not isinstance(layout, bool):
            layout_value(layout)  # reports what is none now
        self._graph = graph
        self._text = text
        self._layout = layout
        self._skip = skip
        self.reset()

    def reset(self) -> None:
        """Begin a run of its own."""
        self._written: set[str] = set()
        self._journaled = 0

    def write(self, writer: EventWriter, run: Run, epoch: int, names: Iterable[str]) -> None:
        """Write what is not written yet, after an epoch with these metrics."""
        if self._graph and self._is_first("graph"):
            self._write_graph(writer, run)
        if self._layout and self._is_first("custom_scalars"):
            self._write_layout(writer, names)
        if self._text and self._is_first("text"):
            writer.add_text("configuration", configuration_text(run))
            with contextlib.suppress(UnsupportedError):  # a run without a model
                writer.add_text("model", model_text(run))
        self.write_journal(writer, run, epoch)

    def write_journal(self, writer: EventWriter, run: Run, epoch: int) -> None:
        """Write the journal if it has grown."""
        if self._text and len(run.journal) > self._journaled:
            self._journaled = len(run.journal)
            writer.add_text("journal", journal_text(run), epoch)

    def _write_graph(self, writer: EventWriter, run: Run) -> None:
        batch = run.samples.get("train", run.samples.get("test"))
        try:
            graph = inspection_of(run.trainable).graph(batch)
        except UnsupportedError as error:
            self._skip(f"the graph is not written: {error}")
            return
        except Exception as error:  # noqa: BLE001 - a graph is not worth the training
            # No warning: the graph is written by default, and not every loop gives (inputs, ...).
            self._skip(f"the graph is not written: the model cannot be run on a batch ({error!r})")
            return
        if graph.nodes:
            writer.add_graph(graph.nodes)
        if graph.program:
            writer.add_text("program", program_text(graph.program))
        if graph.architecture:
            writer.add_keras_model(graph.architecture)

    def _write_layout(self, writer: EventWriter, names: Iterable[str]) -> None:
        layout = self._layout
        if isinstance(layout, bool):
            metrics = dict.fromkeys(name.removeprefix("val_") for name in names)
            layout = {"training and validation": {m: [f"epoch_{m}$"] for m in metrics}}
        writer.add_custom_scalars(layout)

    def _is_first(self, name: str) -> bool:
        is_first = name not in self._written
        self._written.add(name)
        return is_first

    def state_dict(self) -> dict[str, Any]:
        """Return what is written."""
        return {"journaled": self._journaled, "once": sorted(self._written)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._journaled = state.get("journaled", 0)
        self._written = set(state.get("once", ()))
