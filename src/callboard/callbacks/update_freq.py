"""How often the metrics of batches are written, beside those of epochs."""

from __future__ import annotations

from numbers import Integral

from callboard._core.errors import ConfigurationError

__all__ = ["batches_between"]


def batches_between(update_freq: object) -> int:
    """Return the batches from one that is written to the next, 0 for none.

    Raises:
        ConfigurationError: If it is neither "epoch", "batch" nor a number of batches.

    Example:
        >>> batches_between("epoch"), batches_between("batch"), batches_between(50)
        (0, 1, 50)
    """
    if update_freq in ("epoch", "batch"):
        return 0 if update_freq == "epoch" else 1
    if (
        not isinstance(update_freq, Integral)
        or isinstance(update_freq, bool)
        or int(update_freq) < 1
    ):
        raise ConfigurationError(
            "update_freq must be 'epoch', 'batch' or a number of batches, 1 or more; "
            f"got {update_freq!r}"
        )
    return int(update_freq)
