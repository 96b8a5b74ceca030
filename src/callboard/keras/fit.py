"""Keras's ``fit`` that can be interrupted and gone on with anywhere."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from callboard._core.errors import ConfigurationError
from callboard._core.history import History
from callboard.keras.data import resumable
from callboard.keras.group import Callbacks

__all__ = ["fit"]


def fit(
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: int | str = "auto",
    callbacks: Iterable[Any] | None = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int = 1,
    *,
    directory: str | os.PathLike[str] | None = None,
    max_time: float | str | None = None,
    stateful: Mapping[str, Any] | None = None,
) -> History:
    """Train a Keras model by its own ``fit``, so that it can be interrupted and gone on with.

    The same program started again goes on where it was, in the middle of an epoch too, if there is
    a ``directory`` or a :class:`callboard.callbacks.BackupAndRestore`. Callbacks hear of errors and
    of Ctrl-C. The order of arrays comes from a seed drawn from NumPy's generator (which
    ``keras.utils.set_random_seed`` sets) and not from the backend, so it can be had again; it is
    another one than that of ``model.fit``. Loaders with a length that know their place, such as
    torchdata's ``StatefulDataLoader``, go on by it.

    Args:
        model: The compiled model.
        x: As in ``keras.Model.fit``, as are all up to ``validation_freq``.
        y: See there.
        batch_size: See there.
        epochs: See there.
        verbose: See there.
        callbacks: Callbacks of ours and of Keras; see :class:`Callbacks`.
        validation_split: See there; the last samples, before shuffling.
        validation_data: See there.
        shuffle: See there.
        class_weight: See there.
        sample_weight: See there.
        initial_epoch: See there.
        steps_per_epoch: See there; the order of arrays is Keras's then, so a run is gone on with
            between epochs only.
        validation_steps: See there.
        validation_batch_size: See there.
        validation_freq: See there.
        directory: Folder in which the run is kept, as in :class:`callboard.Run`.
        max_time: Seconds, or a text such as "11.5 h", after which the run saves and ends.
        stateful: What else belongs to the run's state, by names of your choice.

    Returns:
        The history of the whole run, also of what was before an interruption.

    Raises:
        ConfigurationError: Before the first epoch, for what surely cannot work.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> from callboard.keras import fit
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.zeros((8, 2), "float32"), np.zeros((8, 1), "float32")
        >>> fit(model, x, y, epochs=2, verbose=0, directory=tempfile.mkdtemp()).history["loss"]
        [0.0, 0.0]
    """
    if validation_split:
        if validation_data is not None:
            raise ConfigurationError(
                "validation_split and validation_data are both given; give one of them"
            )
        (x, y, sample_weight), validation_data = _split(x, y, sample_weight, validation_split)
    data = None
    if steps_per_epoch is None:
        data = resumable(x, y, sample_weight, batch_size=batch_size, shuffle=shuffle)
    if data is not None:
        x, y, sample_weight, batch_size, shuffle = data, None, None, None, False
    group = Callbacks(
        callbacks or (),
        directory=directory,
        max_time=max_time,
        stateful=stateful,
        validation=validation_data is not None,
        data=data,
        initial_epoch=initial_epoch,
    )
    with group:
        model.fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=[group],
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        )
    return group.history


def _split(x: Any, y: Any, sample_weight: Any, share: float) -> tuple[tuple[Any, Any, Any], Any]:
    """Take the last samples for validation, as many as Keras takes."""
    if not 0 < share < 1:
        raise ConfigurationError(f"validation_split must be between 0 and 1; got {share!r}")
    leaves = keras.tree.flatten(x)
    if not leaves or not all(hasattr(leaf, "shape") for leaf in leaves):
        raise ConfigurationError(
            f"validation_split needs arrays; got {type(x).__name__}: pass validation_data"
        )
    kept = math.floor(len(leaves[0]) * (1 - share))
    if not 0 < kept < len(leaves[0]):
        raise ConfigurationError(
            f"validation_split={share!r} of {len(leaves[0])} samples leaves none to train or to "
            "validate on"
        )

    def part(tree: Any, chosen: slice) -> Any:
        return None if tree is None else keras.tree.map_structure(lambda a: a[chosen], tree)

    train, test = slice(None, kept), slice(kept, None)
    held_out = tuple(part(tree, test) for tree in (x, y, sample_weight))
    validation = held_out if sample_weight is not None else held_out[:2]
    return (part(x, train), part(y, train), part(sample_weight, train)), validation
