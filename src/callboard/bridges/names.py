"""The names of metrics: those of the host, and ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["renamed", "translated"]

_TRAINING = ("train_", "train/", "training_", "training/")
_VALIDATION = ("val_", "val/", "valid_", "valid/", "validation_", "validation/", "eval_", "eval/")


def translated(name: str) -> str:
    """Return our name for a metric that is named after where it comes from.

    Example:
        >>> [translated(n) for n in ("train_loss", "eval_loss", "val/accuracy", "f1")]
        ['loss', 'val_loss', 'val_accuracy', 'f1']
    """
    for prefix in _TRAINING:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    for prefix in _VALIDATION:
        if name.startswith(prefix):
            return f"val_{name.removeprefix(prefix)}"
    return name


def renamed(
    metrics: Mapping[str, Any], names: Iterable[tuple[str, str]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return metrics by our names, and the host's names that differ, each with ours.

    Args:
        metrics: Metrics by the host's names.
        names: The host's names, each with ours; the first of several with one of ours has it, and
            the others keep their own.

    Example:
        >>> renamed({"loss": 1, "train_loss": 2}, [("loss", "loss"), ("train_loss", "loss")])
        ({'loss': 1, 'train_loss': 2}, {})
    """
    ours: dict[str, Any] = {}
    others: dict[str, str] = {}
    for host, own in names:
        if own in ours or (own != host and own in metrics):
            ours[host] = metrics[host]
            continue
        ours[own] = metrics[host]
        if own != host:
            others[host] = own
    return ours, others
