"""Histograms and pictures of a model's layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from callboard._core.errors import UnsupportedError
from callboard._core.inspection import inspection_of
from callboard.callbacks.histograms import floats
from callboard.callbacks.layer_selection import LayerSelection
from callboard.callbacks.weight_image import weight_image

if TYPE_CHECKING:
    from callboard._core.run import Run
    from callboard.events import EventWriter

__all__ = ["LayerRecords"]


@dataclass(frozen=True)
class LayerRecords:
    """Writes what the layers of a model have and give out.

    Attributes:
        chosen: Which layers.
        images: Whether weights are written as pictures too.
        activations: Whether what layers give out is written.
        gradients: Whether the latest gradients are written.
        skip: Called with what cannot be written, and why.
    """

    chosen: LayerSelection
    images: bool
    activations: bool
    gradients: bool
    skip: Callable[[str, str], None]

    def check(self, run: Run) -> None:
        """Check that there are such layers; a run without a model has none, and says so."""
        weights = run.trainable.weights()
        self.chosen.check((*inspection_of(run.trainable).layers(), *weights))

    def write(self, writer: EventWriter, run: Run, epoch: int) -> None:
        """Write all of it for an epoch."""
        trainable = run.trainable
        outputs_first = inspection_of(trainable).outputs_first
        for name, array in self._floats(trainable.weights()):
            writer.add_histogram(f"{name}/histogram", array, epoch)
            image = weight_image(array, outputs_first=outputs_first) if self.images else None
            if image is not None:
                writer.add_image(f"{name}/image", image.content, epoch)
        if self.activations:
            for name, array in self._floats(self._activations(run)):
                writer.add_histogram(f"{name}/activations/histogram", array, epoch)
        if self.gradients:
            for name, array in self._floats(self._gradients(run)):
                writer.add_histogram(f"{name}/gradients/histogram", array, epoch)

    def _floats(self, arrays: Mapping[str, Any]) -> Any:
        return floats({name: array for name, array in arrays.items() if name in self.chosen})

    def _activations(self, run: Run) -> Mapping[str, Any]:
        """Return what each layer gives out, or nothing if the model cannot be run on a batch."""
        samples = run.samples
        batch = samples.get("test", samples.get("train"))
        try:
            return run.trainable.activations(batch)
        except UnsupportedError as error:
            self.skip("activations", str(error))
        except Exception as error:  # noqa: BLE001 - histograms are not worth the training
            cause = (
                f"the model cannot be run on the first part of a batch ({error!r}); let the loader "
                "give (inputs, ...), or pass activations=False"
            )
            self.skip("activations", cause)
        return {}

    def _gradients(self, run: Run) -> Mapping[str, Any]:
        try:
            gradients = run.trainable.gradients()
        except UnsupportedError as error:
            self.skip("gradients", str(error))
            return {}
        if not gradients:
            cause = (
                "no weight has one when the epoch ends; a loop of your own keeps them if it calls "
                "zero_grad() before backward(), not after the optimizer's step"
            )
            self.skip("gradients", cause)
        return gradients
