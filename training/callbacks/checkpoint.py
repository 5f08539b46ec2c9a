"""Callbacks that save the model while it is trained."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from ...errors import RunError, UnsupportedError
from .base import Callback, Logs, say
from .monitor import MonitorCallback


class Saver(Callback):
    """Counts batches for what saves every `save_freq` of them, or every epoch."""

    save_freq: Any
    _batches_seen_since_last_saving: int = 0
    _last_batch_seen: int | None = None

    def _check_save_freq(self) -> None:
        freq = self.save_freq
        if freq != "epoch" and (isinstance(freq, bool) or not isinstance(freq, int) or freq < 1):
            raise RunError(
                f"{type(self).__name__}: save_freq={freq!r} is unknown", hint="it is 'epoch' or a number of batches"
            )

    def _should_save_on_batch(self, batch: int) -> bool:
        if self.save_freq == "epoch":
            return False
        new = self._last_batch_seen is None or batch <= self._last_batch_seen  # a new epoch
        self._batches_seen_since_last_saving += batch + 1 if new else batch - (self._last_batch_seen or 0)
        self._last_batch_seen = batch
        if self._batches_seen_since_last_saving < self.save_freq:
            return False
        self._batches_seen_since_last_saving = 0
        return True


class ModelCheckpoint(MonitorCallback, Saver):
    """Save the model, or its weights, every epoch or every `save_freq` batches.

    filepath: where, `.keras` or `.h5`, or `.weights.h5` for weights; `{epoch:02d}`, `{batch}` and names of figures in
    it are filled in, epochs and batches counted from 1.  save_best_only: only if `monitor` has become better, at first
    better than initial_value_threshold.
    """

    kept = ("best", "_batches_seen_since_last_saving", "_last_batch_seen")

    def __init__(
        self, filepath: str | os.PathLike[str], monitor: str = "val_loss", verbose: int = 0,
        save_best_only: bool = False, save_weights_only: bool = False, mode: str = "auto", save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        self._current_epoch = 0
        self._check_save_freq()
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            raise RunError(
                f"ModelCheckpoint: the filepath must end in {' or '.join(endings)}. Received: filepath={self.filepath}",
                hint="weights go into .weights.h5 files" if save_weights_only else None,
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._should_save_on_batch(batch):
            self._save_model(self._current_epoch, batch, logs or {})

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._current_epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.save_best_only:
            self._set_monitor_op()
        if self.save_freq == "epoch":
            self._save_model(epoch, None, logs or {})

    def _save_model(self, epoch: int, batch: int | None, logs: Logs) -> None:
        path = self._get_file_path(epoch, batch, logs)
        if not self._should_save_model(epoch, logs, path):
            return
        if os.path.isdir(path):
            raise RunError("ModelCheckpoint: the filepath is an existing directory", file=path, hint="name a file")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path, overwrite=True)
        self._tell(epoch, f"finished saving model to {path}")

    def _tell(self, epoch: int, message: str) -> None:
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: {message}")

    def _should_save_model(self, epoch: int, logs: Logs, path: str) -> bool:
        if not self.save_best_only:
            self._tell(epoch, f"saving model to {path}")
            return True
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(f"Can save best model only with {self.monitor} available.", stacklevel=2)
            return True
        if np.ndim(current) > 0:
            warnings.warn(
                f"Can save best model only when `monitor` is a scalar value. Received: {current}. "
                "Falling back to `save_best_only=False`.",
                stacklevel=2,
            )
            return True
        before = "None" if self.best is None else f"{self.best:.5f}"
        if not self._is_improvement(current, self.best):
            self._tell(epoch, f"{self.monitor} did not improve from {before}")
            return False
        self._tell(epoch, f"{self.monitor} improved from {before} to {current:.5f}, saving model to {path}")
        self.best = current
        return True

    def _get_file_path(self, epoch: int, batch: int | None, logs: Logs) -> str:
        known = dict(logs)
        if batch is not None:
            known.setdefault("batch", batch + 1)
        try:
            return self.filepath.format(epoch=epoch + 1, **known)
        except KeyError as error:
            raise RunError(
                f'Failed to format this callback filepath: "{self.filepath}". Reason: {error}',
                hint=f"known are epoch, {', '.join(known)}",
            ) from None


class OrbaxCheckpoint(Callback):
    """Not supported: checkpoints of Orbax are written by JAX."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError(
            "OrbaxCheckpoint is not supported: its checkpoints need JAX",
            hint="ModelCheckpoint saves models, BackupAndRestore whole training states",
        )
