"""Keras's callbacks, under Keras's names, for every training loop.

Each is imported when it is first used.
"""

from typing import TYPE_CHECKING

from callboard._core.callback import Callback as Callback
from callboard._core.history import History as History
from callboard._core.lazy import imported_on_use

if TYPE_CHECKING:
    from callboard.callbacks.aim_logger import AimLogger as AimLogger
    from callboard.callbacks.backup_and_restore import BackupAndRestore as BackupAndRestore
    from callboard.callbacks.callback_list import CallbackList as CallbackList
    from callboard.callbacks.comet_logger import CometLogger as CometLogger
    from callboard.callbacks.csv_logger import CSVLogger as CSVLogger
    from callboard.callbacks.early_stopping import EarlyStopping as EarlyStopping
    from callboard.callbacks.jsonl_logger import JSONLLogger as JSONLLogger
    from callboard.callbacks.lambda_callback import LambdaCallback as LambdaCallback
    from callboard.callbacks.learning_rate_scheduler import (
        LearningRateScheduler as LearningRateScheduler,
    )
    from callboard.callbacks.mlflow_logger import MLflowLogger as MLflowLogger
    from callboard.callbacks.model_checkpoint import ModelCheckpoint as ModelCheckpoint
    from callboard.callbacks.monitor_callback import MonitorCallback as MonitorCallback
    from callboard.callbacks.orbax_checkpoint import OrbaxCheckpoint as OrbaxCheckpoint
    from callboard.callbacks.progbar_logger import ProgbarLogger as ProgbarLogger
    from callboard.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau as ReduceLROnPlateau
    from callboard.callbacks.remote_monitor import RemoteMonitor as RemoteMonitor
    from callboard.callbacks.swap_ema_weights import SwapEMAWeights as SwapEMAWeights
    from callboard.callbacks.tensorboard import TensorBoard as TensorBoard
    from callboard.callbacks.terminate_on_nan import TerminateOnNaN as TerminateOnNaN
    from callboard.callbacks.tracker import Tracker as Tracker
    from callboard.callbacks.wandb_logger import WandbLogger as WandbLogger

__all__ = [
    "AimLogger",
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "CometLogger",
    "EarlyStopping",
    "History",
    "JSONLLogger",
    "LambdaCallback",
    "LearningRateScheduler",
    "MLflowLogger",
    "ModelCheckpoint",
    "MonitorCallback",
    "OrbaxCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "Tracker",
    "WandbLogger",
]

_MODULES = {
    "AimLogger": "aim_logger",
    "BackupAndRestore": "backup_and_restore",
    "CSVLogger": "csv_logger",
    "CallbackList": "callback_list",
    "CometLogger": "comet_logger",
    "EarlyStopping": "early_stopping",
    "JSONLLogger": "jsonl_logger",
    "LambdaCallback": "lambda_callback",
    "LearningRateScheduler": "learning_rate_scheduler",
    "MLflowLogger": "mlflow_logger",
    "ModelCheckpoint": "model_checkpoint",
    "MonitorCallback": "monitor_callback",
    "OrbaxCheckpoint": "orbax_checkpoint",
    "ProgbarLogger": "progbar_logger",
    "ReduceLROnPlateau": "reduce_lr_on_plateau",
    "RemoteMonitor": "remote_monitor",
    "SwapEMAWeights": "swap_ema_weights",
    "TensorBoard": "tensorboard",
    "TerminateOnNaN": "terminate_on_nan",
    "Tracker": "tracker",
    "WandbLogger": "wandb_logger",
}

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__, __dir__ = imported_on_use(
        __name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()}
    )
