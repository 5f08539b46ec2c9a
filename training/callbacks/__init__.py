"""Callbacks: what looks in on training, and may steer it; names, arguments, defaults and behaviour are Keras'.

    model.fit(x, y, callbacks=[EarlyStopping(patience=3), ModelCheckpoint("best.keras", save_best_only=True)])

Sources of the rules: keras/src/callbacks, keras/src/utils/progbar.py.  Of a model they need `stop_training`, `history`,
`optimizer.learning_rate`, get_weights and set_weights, save and save_weights, training_state and set_training_state.
"""

from __future__ import annotations

from .averages import SwapEMAWeights
from .backup import BackupAndRestore, packed, unpacked
from .base import HOOKS, Callback, History, LambdaCallback
from .callback_list import CallbackList
from .checkpoint import ModelCheckpoint, OrbaxCheckpoint
from .distributions import Distributions
from .logs import CSVLogger, RemoteMonitor
from .monitor import HIGHER, LOWER, MonitorCallback, greater, less
from .plot import LossCurve, sparkline
from .progress import Progbar, ProgbarLogger
from .rates import LearningRateScheduler, ReduceLROnPlateau
from .stopping import EarlyStopping, TerminateOnNaN
from .tensorboard import EVENT_WRITERS, TensorBoard

__all__ = [
    "EVENT_WRITERS",
    "HIGHER",
    "HOOKS",
    "LOWER",
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "Distributions",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "LossCurve",
    "ModelCheckpoint",
    "MonitorCallback",
    "OrbaxCheckpoint",
    "Progbar",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "greater",
    "less",
    "packed",
    "sparkline",
    "unpacked",
]
