"""`Callback`, hooks that do nothing; `History`, what `fit` returns; `LambdaCallback`, functions as hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ...errors import RunError

Array = np.ndarray[Any, Any]
Logs = dict[str, Any]

HOOKS = tuple(
    f"on_{what}_{when}"
    for what in ("train", "test", "predict", "epoch", "batch", "train_batch", "test_batch", "predict_batch")
    for when in ("begin", "end")
)


def say(message: str) -> None:
    """Print a message at once."""
    print(message, flush=True)


def plain_logs(logs: Mapping[str, Any] | None) -> Logs:
    """The figures in alphabetical order, nested dicts laid flat, as floats where they are single numbers."""
    found: Logs = {}
    for name, value in sorted((logs or {}).items()):
        if isinstance(value, Mapping):
            found.update(plain_logs(value))
            continue
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            found[name] = value
    return found


class Callback:
    """Base of all callbacks: hooks that do nothing.

    `params`: verbose, epochs and steps of the run; `model`: the model; `logs`: figures by name so far, which callbacks
    may add to.  Epochs and batches count from 0.
    """

    params: dict[str, Any] | None = None
    peers: Sequence[Callback] = ()  # all callbacks of the run
    rank: ClassVar[int] = 0  # those of a higher rank are called after those of a lower one
    kept: ClassVar[tuple[str, ...]] = ()  # the attributes that a backup holds: numbers, lists, dicts, lists of arrays
    _model: Any = None

    @property
    def model(self) -> Any:
        """The model that is trained, evaluated or predicts."""
        return self._model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before a run with its verbose, epochs and steps."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before a run with the model."""
        self._model = model

    def on_train_begin(self, logs: Any = None) -> None:
        """Called when `fit` begins."""

    def on_train_end(self, logs: Any = None) -> None:
        """Called when `fit` ends, with the figures of the last epoch."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Called when `evaluate` begins, and before validation."""

    def on_test_end(self, logs: Any = None) -> None:
        """Called when `evaluate` ends, and after validation, with its figures."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Called when `predict` begins."""

    def on_predict_end(self, logs: Any = None) -> None:
        """Called when `predict` ends."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called before an epoch of training."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called after an epoch and its validation, with the figures of both, those of validation with `val_`."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a step of training."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a step of training, with the figures of the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Another name of on_train_batch_begin."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Another name of on_train_batch_end."""

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a batch is evaluated."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a batch is evaluated, with the figures so far."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called before a batch is predicted."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called after a batch is predicted, with `outputs`."""


class History(Callback):
    """What `fit` returns: `epoch`, the numbers of the epochs, and `history`, the figures of each by name."""

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self


class LambdaCallback(Callback):
    """Functions as hooks; those of `kwargs` may be any of the hooks, or other attributes.

    RunError where a name looks like a hook and is none.
    """

    def __init__(
        self, on_epoch_begin: Any = None, on_epoch_end: Any = None, on_train_begin: Any = None,
        on_train_end: Any = None, on_train_batch_begin: Any = None, on_train_batch_end: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        wrong = [k for k in kwargs if k.startswith("on_") and k not in HOOKS]
        if wrong:
            raise RunError(f"LambdaCallback: there is no hook {wrong[0]}", hint=f"hooks: {', '.join(HOOKS)}")
        given = {
            "on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end, "on_train_begin": on_train_begin,
            "on_train_end": on_train_end, "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end, **kwargs,
        }  # fmt: skip
        self.__dict__.update({k: v for k, v in given.items() if v is not None})
