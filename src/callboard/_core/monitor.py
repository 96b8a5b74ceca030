"""Deciding whether a metric got better, and for how long it has not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from callboard._core.errors import ConfigurationError, UnknownNameError, nearest

__all__ = [
    "Best",
    "Mode",
    "Patience",
    "check_mode",
    "check_patience",
    "check_threshold",
    "direction",
    "short",
    "stalled",
]

Mode = Literal["min", "max"]

# Matched against the last words of a name, so that "val_head_accuracy" is known too.
_LOWER_IS_BETTER = (
    "loss|error|mse|mae|mape|msle|rmse|nll|perplexity|ppl|hinge|crossentropy|cross_entropy|"
    "logcosh|log_cosh|poisson|kl_divergence|kld|divergence|wer|cer|logloss|mean_squared_error|"
    "mean_absolute_error|mean_absolute_percentage_error|mean_squared_logarithmic_error|"
    "root_mean_squared_error|hamming_distance|brier_score|false_positives|false_negatives|"
    "rmsle|mphe|merror|mlogloss|nloglik|deviance"
)
_HIGHER_IS_BETTER = (
    "acc|accuracy|auc|auroc|aucpr|prc|precision|recall|sensitivity|specificity|f1|f1_score|"
    "fbeta|fbeta_score|iou|mean_iou|miou|dice|jaccard|map|ndcg|mrr|r2|r2_score|bleu|rouge|"
    "ssim|psnr|kappa|mcc|true_positives|true_negatives|explained_variance|pearson|spearman"
)
# Losses of libraries for boosting whose names may stand for much else as the end of a longer one.
_LOWER_ALONE = "l1|l2|fair|gamma|huber|quantile|tweedie|cross_entropy_lambda|kullback_leibler"
# Patterns as text: they are compiled at the first use, not at import.
_DIRECTIONS: tuple[tuple[Mode, str], ...] = (
    ("min", rf"(^|[_/.\-])({_LOWER_IS_BETTER})$"),
    ("max", rf"(^|[_/.\-])({_HIGHER_IS_BETTER})$"),
    ("min", rf"(^|-)({_LOWER_ALONE})$"),
    ("max", r"(^|-)(pre|auc_mu)$"),
)


def direction(name: str, known: Mapping[str, Mode | None] | None = None) -> Mode:
    """Say whether lower ("min") or higher ("max") values of a metric are better.

    Args:
        name: The metric's name; a leading ``val_`` makes no difference.
        known: What the metrics say themselves. Asked first.

    Raises:
        ConfigurationError: If the direction cannot be known; pass ``mode="min"`` or ``"max"``.

    Example:
        >>> direction("val_loss"), direction("head_accuracy"), direction("v", {"v": "max"})
        ('min', 'max', 'max')
    """
    base = name.removeprefix("val_")
    # Some libraries put the data set before a name and its parameters behind: "test-AUC:type=Mu".
    bare = re.sub(r":.*", "", base.rpartition("-")[2])
    for candidate in (name, base, bare):
        declared = (known or {}).get(candidate)
        if declared is not None:
            return declared
    # Top-k accuracies end in a number: "top_5", "accuracy_5", "ndcg@5-", "error@0.4".
    spelled = re.sub(r"(@[\d.]+-?|[_@]?\d+|-)$", "", base.lower())
    for mode, pattern in _DIRECTIONS:
        if re.search(pattern, base.lower()) or re.search(pattern, spelled):
            return mode
    close = nearest(base, (_LOWER_IS_BETTER + "|" + _HIGHER_IS_BETTER).split("|"))
    if name != base:
        close = close.replace("mean '", "mean 'val_")
    raise ConfigurationError(
        f"cannot tell whether a lower or a higher {name!r} is better; "
        f"pass mode='min' or mode='max' to the callback that monitors it.{close}"
    )


def short(value: float | None) -> str:
    """Return a metric's value for a sentence, to six digits.

    Example:
        >>> short(0.19698748779296876), short(None)
        ('0.196987', 'None')
    """
    return "None" if value is None else f"{value:.6g}"


def stalled(monitor: str, best: float | None, epochs: int) -> str:
    """Return a sentence on a metric that was waited for in vain.

    Example:
        >>> stalled("val_loss", 0.25, 3), stalled("val_loss", None, 3)
        ('val_loss did not improve on 0.25 for 3 epochs', 'val_loss was not finite for 3 epochs')
    """
    if best is None:
        return f"{monitor} was not finite for {epochs} epochs"
    return f"{monitor} did not improve on {short(best)} for {epochs} epochs"


def check_mode(mode: str) -> None:
    """Raise UnknownNameError unless ``mode`` is "auto", "min" or "max"."""
    if mode not in ("auto", "min", "max"):
        raise UnknownNameError("mode", mode, ["auto", "min", "max"])


def check_patience(patience: object) -> int:
    """Return ``patience``, or raise ConfigurationError unless it is a whole number, 0 or more."""
    if isinstance(patience, bool) or not isinstance(patience, Integral) or patience < 0:
        raise ConfigurationError(
            f"patience must be a whole number of epochs, 0 or more; got {patience!r}"
        )
    return int(patience)


def check_threshold(value: object, name: str) -> None:
    """Raise ConfigurationError if ``value`` can never be beaten: NaN, or not a number."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise ConfigurationError(f"{name} must be a number or None; got {value!r}")


@dataclass(slots=True)
class Best:
    """The best value of one metric so far. NaN and infinities are never better.

    Args:
        mode: "min" if lower values are better, "max" if higher ones are.
        min_delta: A value improves if it beats the best by more than this, in the metric's unit;
            the sign is ignored, as in Keras.
        value: The best so far, or None.

    Raises:
        UnknownNameError: If ``mode`` is neither "min" nor "max".
        ConfigurationError: If ``min_delta`` is NaN, infinite or not a number, or if ``value`` is
            NaN or not a number.

    Example:
        >>> best = Best("min", min_delta=0.1)
        >>> [best.update(loss) for loss in (1.0, 0.95, 0.8, float("nan"))]
        [True, False, True, False]
        >>> best.value
        0.8

    Source: Keras 3.15 ``MonitorCallback``, compared in float64 instead of float32, and without
        NaN as a possible best.
    """

    mode: Mode
    min_delta: float = 0.0
    value: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise UnknownNameError("mode", self.mode, ["min", "max"])
        self.min_delta = abs(_finite(self.min_delta, "min_delta"))
        check_threshold(self.value, "the best value to begin with")

    def improves(self, value: float, on: float | None) -> bool:
        """Say whether ``value`` is better than ``on`` by more than ``min_delta``."""
        if not math.isfinite(value):
            return False
        if on is None:
            return True
        # Keras's order of operations, so that ties within rounding fall to the same side.
        return value - self.min_delta > on if self.mode == "max" else value + self.min_delta < on

    def update(self, value: float) -> bool:
        """Record ``value`` if it improves on the best; say if it did."""
        improved = self.improves(value, self.value)
        if improved:
            self.value = value
        return improved

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.value = state["value"]


@dataclass(slots=True)
class Patience:
    """Counts steps without improvement; a limit of 0 acts as 1.

    Args:
        limit: How many steps without improvement exhaust it.
        waited: Steps without improvement so far.

    Example:
        >>> patience = Patience(limit=2)
        >>> [patience.update(improved=i) for i in (True, False, True, False, False)]
        [False, False, False, False, True]
    """

    limit: int
    waited: int = 0

    def __post_init__(self) -> None:
        self.limit = check_patience(self.limit)

    def update(self, *, improved: bool) -> bool:
        """Count one more step; say whether the patience is exhausted."""
        self.waited = 0 if improved else self.waited + 1
        return self.waited >= max(self.limit, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return how long it has waited."""
        return {"waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.waited = state["waited"]


def _finite(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ConfigurationError(f"{name} must be a finite number; got {value!r}")
    return float(value)
