"""Training callbacks for every Python training loop.

``from callboard import callbacks`` has Keras's callbacks under Keras's names; ``callboard.Run``
puts them around a loop that you write yourself; ``callboard.torch.Model`` has Keras's
``compile`` and ``fit`` for a PyTorch module, ``callboard.jax.Model`` for one on JAX. Importing this
package imports no framework, and of itself what every run needs; the rest when it is first used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from callboard import callbacks as callbacks
from callboard._core.callback import Callback as Callback
from callboard._core.checks import ConfigurationWarning as ConfigurationWarning
from callboard._core.errors import CallboardError as CallboardError
from callboard._core.errors import ConfigurationError as ConfigurationError
from callboard._core.errors import DamagedCheckpointError as DamagedCheckpointError
from callboard._core.errors import DataError as DataError
from callboard._core.errors import FileFormatError as FileFormatError
from callboard._core.errors import HookError as HookError
from callboard._core.errors import MetricNotFoundError as MetricNotFoundError
from callboard._core.errors import NoCheckpointError as NoCheckpointError
from callboard._core.errors import NonFiniteError as NonFiniteError
from callboard._core.errors import RunStateError as RunStateError
from callboard._core.errors import UnknownArgumentError as UnknownArgumentError
from callboard._core.errors import UnknownNameError as UnknownNameError
from callboard._core.errors import UnsupportedError as UnsupportedError
from callboard._core.every import Every as Every
from callboard._core.history import History as _History
from callboard._core.journal import Decision as Decision
from callboard._core.journal import Journal as Journal
from callboard._core.lazy import imported_on_use
from callboard._core.logs import Logs as Logs
from callboard._core.monitor import Best as Best
from callboard._core.monitor import Patience as Patience
from callboard._core.run import Run as Run
from callboard._core.trainable import Trainable as Trainable

if TYPE_CHECKING:
    from callboard.replaying import replay as replay
    from callboard.reporting.report import report as report

__version__ = "0.1.0"

__all__ = [
    "Best",
    "Callback",
    "CallboardError",
    "ConfigurationError",
    "ConfigurationWarning",
    "DamagedCheckpointError",
    "DataError",
    "Decision",
    "Every",
    "FileFormatError",
    "HookError",
    "Journal",
    "Logs",
    "MetricNotFoundError",
    "NoCheckpointError",
    "NonFiniteError",
    "Patience",
    "Run",
    "RunStateError",
    "Trainable",
    "UnknownArgumentError",
    "UnknownNameError",
    "UnsupportedError",
    "__version__",
    "callbacks",
    "replay",
    "report",
]

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__, __dir__ = imported_on_use(
        __name__, {"replay": "callboard.replaying", "report": "callboard.reporting.report"}
    )


# The core knows nothing of the layers above it by name: here, at the front door, it learns how to
# show progress, to keep a run and to draw it.


def _progress_display() -> type[Callback]:
    return callbacks.ProgbarLogger


def _backup(folder: Path) -> Callback:
    return callbacks.BackupAndRestore(folder)


def _figure(*arguments: Any) -> Any:
    from callboard.curves import figure_of  # noqa: PLC0415 - for those who draw

    return figure_of(*arguments)


Run.progress_display = staticmethod(_progress_display)
Run.backup = staticmethod(_backup)
_History.figure_of = staticmethod(_figure)
