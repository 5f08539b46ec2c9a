"""Callbacks: what looks in on training, and may steer it; names, arguments, defaults and behaviour are Keras'.

    model.fit(x, y, callbacks=[EarlyStopping(patience=3), ModelCheckpoint("best.keras", save_best_only=True)])

Sources of the rules: keras/src/callbacks, keras/src/utils/progbar.py.  Of a model they need `stop_training`, `history`,
`optimizer.learning_rate`, get_weights and set_weights, save and save_weights, training_state and set_training_state.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import LoadError, RunError, UnsupportedError
from ..files import write_atomically

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


class CallbackList(Callback):
    """All callbacks of a run as one.

    callbacks: one, or a list, perhaps nested.  add_history, add_progbar: add a History and a ProgbarLogger if there is
    none.  `history` is one to add; `params` may be given as a dict too, and then a ProgbarLogger is added unless its
    verbose is 0.
    """

    def __init__(
        self, callbacks: Any = None, add_history: bool = False, add_progbar: bool = False, model: Any = None, *,
        history: History | None = None, params: Mapping[str, Any] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        found = list(_flat(callbacks))
        wrong = [c for c in found if isinstance(c, type) or not hasattr(c, "set_model")]
        if wrong:
            raise RunError(f"{wrong[0]!r} is no callback", hint="give objects of classes derived from Callback")
        recorders = [c for c in found if isinstance(c, History)]
        if history is not None or (add_history and not recorders):
            recorders = [history or History()]
            found += recorders
        add_progbar = add_progbar or (params or {}).get("verbose", 0) not in (0, None)
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in found):
            found.append(ProgbarLogger())
        self.callbacks: list[Callback] = sorted(found, key=lambda c: getattr(c, "rank", 0))
        self._history = recorders[-1] if recorders else None
        for each in self.callbacks:
            each.peers = self.callbacks
        if model is not None:
            self.set_model(model)
        self.set_params({**(params or {}), **more})

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for each in self.callbacks if params else ():
            each.set_params(params)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if self._history is not None:
            model.history = self._history
        for each in self.callbacks:
            each.set_model(model)


def _flat(callbacks: Any) -> Iterable[Any]:
    if isinstance(callbacks, CallbackList):
        callbacks = callbacks.callbacks
    if isinstance(callbacks, (list, tuple)):
        return [c for each in callbacks for c in _flat(each)]
    return [] if callbacks is None else [callbacks]


def _to_all(hook: str) -> Callable[..., None]:
    """A hook that calls that of all callbacks; they share the logs."""

    def numbered(self: CallbackList, number: int, logs: Any = None) -> None:
        shared = plain_logs(logs)
        for each in self.callbacks:
            getattr(each, hook)(number, shared)

    def simple(self: CallbackList, logs: Any = None) -> None:
        shared = plain_logs(logs)
        for each in self.callbacks:
            getattr(each, hook)(shared)

    return numbered if "epoch" in hook or "batch" in hook else simple


for _hook in HOOKS:
    setattr(CallbackList, _hook, _to_all(_hook))


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


# ---- the progress bar


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules


def _is_terminal() -> bool:
    return hasattr(sys.stdout, "isatty") and sys.stdout.isatty()


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Progbar:
    """A line that says how far an epoch is, how long it takes, and its figures.

    On a terminal and in a notebook it is drawn over and over (verbose=1); elsewhere it is printed once, at the end.
    """

    width = 20
    interval = 0.05  # seconds between two drawings

    def __init__(self, target: int | None, verbose: int = 1) -> None:
        self.target, self.verbose = target, verbose
        self._start = self._first_step = time.perf_counter()
        self._drawn = 0.0
        self._steps = 0  # at which `_first_step` was taken: the first step is no measure of the others
        self._figures: Logs = {}
        self._live: Any = None
        self._printed = 0
        self._animated = verbose == 1 and (_is_terminal() or _is_notebook())

    def update(self, current: int, figures: Mapping[str, Any], finalize: bool = False) -> None:
        """Steps done so far, and the figures to show."""
        self._figures.update(figures)
        now = time.perf_counter()
        step = self._step_time(current, now)
        if finalize or (self._animated and now - self._drawn >= self.interval):
            self._drawn = now
            self._draw(self._parts(current, now - self._start, step, finalize), finalize)

    def _step_time(self, current: int, now: float) -> float:
        """Seconds a step takes, without the first one where there are others."""
        if not current:
            return 0.0
        taken = (
            (now - self._first_step) / (current - 1) if self._steps and current > 1 else (now - self._start) / current
        )
        if current == 1:
            self._first_step, self._steps = now, 1
        return taken

    def _parts(self, current: int, elapsed: float, step: float, finalize: bool) -> list[tuple[str, str]]:
        """The line in pieces, each with its style."""
        parts = []
        if self.target:
            parts.append((f"{current:>{len(str(self.target))}}/{self.target} ", "bold"))
            if self.verbose == 1:
                full, empty = ("━", "━" if self._animated else " ") if _can_print("━") else ("=", ".")
                done = int(self.width * min(current / self.target, 1))
                parts += [(full * done, "green"), (empty * (self.width - done), "bright_black")]
        else:
            parts.append((f"{current:>7}/Unknown", "bold"))
        waiting = self.target and not finalize
        clock = _remaining(step * (self.target - current)) if waiting and self.target else f"{elapsed:.0f}s"
        parts += [(" " if self.verbose == 1 else "- ", ""), (clock, "bold")]
        parts.append(((" " if self.verbose == 1 else " - ") + _per_step(step), ""))
        parts += [(f" - {name}: {_figure(value)}", "") for name, value in self._figures.items()]
        return parts

    def _draw(self, parts: list[tuple[str, str]], finalize: bool) -> None:
        line = "".join(text for text, _ in parts)
        if not self._animated:
            say(line)
        elif _is_notebook():
            print("\r" + line.ljust(self._printed), end="\n" if finalize else "", flush=True)
            self._printed = len(line)
        else:
            self._draw_on_terminal(parts, finalize)

    def _draw_on_terminal(self, parts: list[tuple[str, str]], finalize: bool) -> None:
        """Over the last drawing, which may have taken several lines; nothing to undo if training breaks off."""
        from rich.console import Console
        from rich.live_render import LiveRender
        from rich.text import Text

        if self._live is None:
            self._live = (Console(file=sys.stdout), LiveRender(""))
        console, live = self._live
        console.control(live.position_cursor())
        live.set_renderable(Text.assemble(*parts))
        console.print(live, end="")
        if finalize:
            console.print()


def _remaining(seconds: float) -> str:
    """As Keras writes it: 1:02:03, 2:03, 3s."""
    whole = int(seconds)
    if whole > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}" if whole > 60 else f"{whole}s"


def _per_step(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s/step"
    return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"


def _figure(value: Any) -> str:
    try:
        mean = float(np.mean(value))
    except (TypeError, ValueError):
        return str(value)
    return f"{mean:.4f}" if abs(mean) > 1e-3 else f"{mean:.4e}"


class ProgbarLogger(Callback):
    """Prints progress and figures.  verbose 0: nothing, 1: a bar, 2: a line an epoch; validation is silent in `fit`."""

    def __init__(self) -> None:
        self.seen = 0
        self.progbar: Progbar | None = None
        self.target: int | None = None
        self.verbose: int = 1
        self.epochs = 1
        self._called_in_fit = False

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs, self.target = params.get("epochs", 1), params.get("steps")

    def on_train_begin(self, logs: Any = None) -> None:
        self._called_in_fit = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin()
        if self.verbose and self.epochs > 1:
            say(f"Epoch {epoch + 1}/{self.epochs}")

    def on_test_begin(self, logs: Any = None) -> None:
        if not self._called_in_fit:
            self._begin()

    def on_predict_begin(self, logs: Any = None) -> None:
        self._begin()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._update(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._called_in_fit:
            self._update(batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self._update(batch, None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._finish(logs)

    def on_test_end(self, logs: Any = None) -> None:
        if not self._called_in_fit:
            self._finish(logs)

    def on_predict_end(self, logs: Any = None) -> None:
        self._finish(logs)

    def _begin(self) -> Progbar:
        self.seen = 0
        self.progbar = Progbar(self.target, self.verbose)
        return self.progbar

    def _update(self, batch: int, logs: Any) -> None:
        bar = self.progbar or self._begin()
        self.seen = batch + 1
        if self.verbose == 1:
            bar.update(self.seen, logs or {})

    def _finish(self, logs: Any) -> None:
        bar = self.progbar or self._begin()
        if self.target is None:
            self.target = bar.target = self.seen
        if self.verbose:
            bar.update(self.target, logs or {}, finalize=True)


# ---- better or worse

# Whether a metric is to become higher or lower (`_direction` in keras/src/metrics); of others nobody knows.
HIGHER = frozenset(
    """Accuracy BinaryAccuracy CategoricalAccuracy SparseCategoricalAccuracy TopKCategoricalAccuracy
    SparseTopKCategoricalAccuracy Precision Recall SensitivityAtSpecificity SpecificityAtSensitivity PrecisionAtRecall
    RecallAtPrecision AUC PearsonCorrelation ConcordanceCorrelation FBetaScore F1Score IoU BinaryIoU MeanIoU OneHotIoU
    OneHotMeanIoU CosineSimilarity R2Score""".split()  # noqa: SIM905
)
LOWER = frozenset(
    """Hinge SquaredHinge CategoricalHinge KLDivergence Poisson BinaryCrossentropy CategoricalCrossentropy
    SparseCategoricalCrossentropy MeanSquaredError MeanAbsoluteError MeanAbsolutePercentageError
    MeanSquaredLogarithmicError RootMeanSquaredError LogCoshError""".split()  # noqa: SIM905
)
CHOSEN_BY_SHAPE = {
    "accuracy": "Accuracy", "acc": "Accuracy", "crossentropy": "BinaryCrossentropy", "ce": "BinaryCrossentropy",
}  # fmt: skip


def less(a: Any, b: Any) -> bool:
    """a < b, compared in float32 as Keras does."""
    with np.errstate(over="ignore"):
        return bool(np.float32(a) < np.float32(b))


def greater(a: Any, b: Any) -> bool:
    """a > b, compared in float32 as Keras does."""
    return less(b, a)


def _class_of_metric(model: Any, name: str) -> str | None:
    """The class of the metric that is called name: one of the model's, else what `compile` takes by that name."""
    for metric in getattr(model, "metrics", None) or ():
        if metric.name == name:
            return type(metric).__name__
    if name in CHOSEN_BY_SHAPE:
        return CHOSEN_BY_SHAPE[name]
    from .metrics import METRICS

    return METRICS.names[name].__name__ if name in METRICS.names else None


class MonitorCallback(Callback):
    """Base of callbacks that follow one figure and know whether it has become better.

    mode: "min", "max", or "auto", which goes by the metric.  `best` starts as `baseline`; a change of less than
    `min_delta` does not count.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0
    ) -> None:
        if mode not in ("auto", "min", "max"):
            warnings.warn(f"{type(self).__name__} mode '{mode}' is unknown, fallback to auto mode.", stacklevel=3)
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self.monitor_op: Callable[[Any, Any], bool] | None = None

    def _set_monitor_op(self) -> None:
        """Decide on the direction: late, since the model's metrics are known only then."""
        if self.monitor_op is not None:
            return
        name = self.monitor.removeprefix("val_")
        if self.mode != "auto" or name == "loss":
            self.monitor_op = greater if self.mode == "max" else less
        else:
            kind = _class_of_metric(self.model, name)
            self.monitor_op = greater if kind in HIGHER else less if kind in LOWER else None
        if self.monitor_op is None:
            raise RunError(
                f"{type(self).__name__} received monitor={self.monitor}, of which it is not known whether it should be "
                "maximized or minimized",
                hint="pass mode='max' for the highest value, mode='min' for the lowest",
            )
        if self.monitor_op is less:
            self.min_delta *= -1

    def _is_improvement(self, value: Any, reference: Any) -> bool:
        if reference is None:
            return True
        self._set_monitor_op()
        assert self.monitor_op is not None
        return self.monitor_op(value - self.min_delta, reference)


class EarlyStopping(MonitorCallback):
    """Stop training when a figure has not become better for `patience` epochs.

    baseline: a value to be beaten for the patience to start anew; restore_best_weights: give the model the weights of
    its best epoch when training ends; start_from_epoch: epochs before it do not count.
    """

    kept = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._set_monitor_op()
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)  # nothing better is known, even if this is NaN
        self.wait += 1
        if self._is_improvement(current, self.best):
            self.best = current
            self._remember(epoch)
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)

    def get_monitor_value(self, logs: Any) -> Any:
        """The figure; None, with a warning, where there is none."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs or {})}",
                stacklevel=2,
            )
        return value


# ---- the learning rate


def _rate(optimizer: Any) -> float:
    """The learning rate as the optimiser holds it, which is in float32."""
    return float(np.float32(optimizer.learning_rate))


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by `factor` when a figure has not become better for `patience` epochs.

    After that, `cooldown` epochs do not count; the rate never falls below `min_lr`.
    """

    kept = ("wait", "best", "cooldown_counter")

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: str = "auto",
        min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta=min_delta)
        if kwargs:
            raise UnsupportedError(
                f"ReduceLROnPlateau: {', '.join(kwargs)} not supported", hint="min_delta was epsilon"
            )
        if factor >= 1.0:
            raise RunError(f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.cooldown_counter = self.wait = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.best = None
        self.cooldown_counter = self.wait = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._set_monitor_op()
        logs = {} if logs is None else logs
        logs["learning_rate"] = _rate(self.model.optimizer)
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}.",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        old = _rate(self.model.optimizer)
        if old <= np.float32(self.min_lr):
            return
        new = max(old * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = new
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.")
        self.cooldown_counter, self.wait = self.cooldown, 0

    def in_cooldown(self) -> bool:
        """Whether epochs do not count at present."""
        return self.cooldown_counter > 0


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to schedule(epoch, learning rate), or schedule(epoch), a float."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        try:
            rate: Any = self.schedule(epoch, _rate(self.model.optimizer))
        except TypeError:
            rate = self.schedule(epoch)
        if not isinstance(rate, (float, np.float32)):
            raise RunError(f"The output of the `schedule` function should be a float. Got: {rate}")
        self.model.optimizer.learning_rate = rate
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["learning_rate"] = _rate(self.model.optimizer)


class TerminateOnNaN(Callback):
    """Stop training when the loss is no finite number; with raise_error, by a RunError."""

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or np.isfinite(loss):
            return
        if self.raise_error:
            raise RunError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating training immediately.",
                hint="lower the learning rate, clip gradients, or compile with debug_nans=True to find the node",
            )
        say(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


# ---- files


class _Saver(Callback):
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


class ModelCheckpoint(MonitorCallback, _Saver):
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


class CSVLogger(Callback):
    """Write the figures of each epoch as a line of a CSV file; append: to a file that exists, instead of a new one."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename, self.sep, self.append = os.fspath(filename), separator, append
        self.append_header = True
        self.keys: list[str] | None = None
        self.csv_file: Any = None
        self.writer: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        if self.append and os.path.exists(self.filename):
            self.append_header = os.path.getsize(self.filename) == 0
        self._close()
        self.csv_file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115
        self.writer = self.keys = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        import csv

        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(k.startswith("val_") for k in self.keys):  # validation may come in a later epoch
                self.keys += [f"val_{k}" for k in self.keys]
        if self.writer is None:
            self.writer = csv.DictWriter(self.csv_file, ["epoch", *self.keys], delimiter=self.sep)
            if self.append_header:
                self.writer.writeheader()
        self.writer.writerow({"epoch": epoch, **{k: _cell(logs.get(k, "NA")) for k in self.keys}})
        self.csv_file.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self._close()
        self.writer = None

    def _close(self) -> None:
        if self.csv_file is not None:
            self.csv_file.close()


def _cell(value: Any) -> Any:
    if np.ndim(value) == 0:
        return value
    return f'"[{", ".join(map(str, value))}]"'


class BackupAndRestore(_Saver):
    """Take up training where it was broken off: back up all that it depends on, and restore it when `fit` begins.

    backup_dir: holds `latest.npz`, written whole or not at all: the model's training state, the numbers of epoch and
    batch, the history, and what other callbacks go by (`Callback.kept`).  save_freq: "epoch" or a number of batches;
    double_checkpoint: keep the backup before, and use it where the latest one cannot be read; delete_checkpoint: delete
    backups when training has ended.  `fit` goes on at `model.resume_at`, an epoch and a batch in it.  Raises LoadError
    where a backup cannot be read.
    """

    rank = 2  # others have to have seen the epoch that is backed up, and must not reset what is restored

    def __init__(
        self, backup_dir: str | os.PathLike[str], save_freq: Any = "epoch", double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:  # fmt: skip
        if not backup_dir:
            raise RunError("Empty `backup_dir` argument passed")
        self.backup_dir, self.save_freq = os.fspath(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._check_save_freq()
        self._current_epoch = 0
        self._path = Path(self.backup_dir) / "latest.npz"
        self._previous = Path(self.backup_dir) / "latest.npz.bkp"
        self._pending: tuple[dict[str, Array], Any] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._pending = None
        if self._path.exists() or self._previous.exists():
            found = self._read()
            self._restore(*found)
            self._pending = found if self.model.resume_at[1] else None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._current_epoch = epoch
        if self._pending is not None:  # in the middle of an epoch, whose begin others have seen twice now
            self._restore(*self._pending)
            self._pending = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._should_save_on_batch(batch):
            self._save(self._current_epoch, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._last_batch_seen = None
        if self.save_freq == "epoch":
            self._save(epoch + 1, 0)

    def on_train_end(self, logs: Any = None) -> None:
        if self.delete_checkpoint and os.path.isdir(self.backup_dir):
            self._path.unlink(missing_ok=True)
            self._previous.unlink(missing_ok=True)
            if not os.listdir(self.backup_dir):
                os.rmdir(self.backup_dir)

    def _save(self, epoch: int, batch: int) -> None:
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint and self._path.exists():
            os.replace(self._path, self._previous)
        history = self.model.history or History()
        facts: dict[str, Any] = {
            "epoch": epoch,
            "batch": batch,
            "history": history.history,
            "epochs": history.epoch,
            "callbacks": {},
        }
        named = {f"model/{k}": np.asarray(v) for k, v in self.model.training_state().items()}
        for label, each in self._resumable():
            values = {k: getattr(each, k) for k in each.kept}
            weights = [k for k, v in values.items() if isinstance(v, list) and v and isinstance(v[0], np.ndarray)]
            for name in weights:
                named |= {f"{label}/{name}/{i}": a for i, a in enumerate(values.pop(name))}
            facts["callbacks"][label] = values
        write_atomically(self._path, packed(named, facts))

    def _resumable(self) -> list[tuple[str, Callback]]:
        """Other callbacks with something to keep, under names that are the same in the next run."""
        found = [c for c in self.peers if getattr(c, "kept", ())]
        return [(f"{i}.{type(c).__name__}", c) for i, c in enumerate(found)]

    def _read(self) -> tuple[dict[str, Array], Any]:
        """The latest backup that can be read."""
        found = [p for p in (self._path, self._previous) if p.exists()]
        for path in found:
            try:
                return unpacked(path.read_bytes())
            except Exception as error:  # a broken file makes zip and NumPy raise all kinds of errors
                if path == found[-1]:
                    hint = "delete it to start from the beginning"
                    raise LoadError(f"the backup cannot be read: {error}", file=str(path), hint=hint) from None
        raise AssertionError

    def _restore(self, named: dict[str, Array], facts: Any) -> None:
        self.model.set_training_state({k[6:]: v for k, v in named.items() if k.startswith("model/")})
        self.model.resume_at = facts["epoch"], facts["batch"]
        self._last_batch_seen = facts["batch"] - 1 if facts["batch"] else None
        if self.model.history is not None:
            self.model.history.history.update(facts["history"])
            self.model.history.epoch[:] = facts["epochs"]
        for label, each in self._resumable():
            values = facts["callbacks"].get(label, {})
            for name in each.kept:
                weights = [v for k, v in named.items() if k.startswith(f"{label}/{name}/")]
                if weights or name in values:
                    setattr(each, name, weights or values[name])


def packed(named: Mapping[str, Array], facts: Mapping[str, Any]) -> bytes:
    """Arrays by name, and facts as JSON, in the .npz format; no pickles.

    Dtypes that NumPy does not know (bfloat16) are stored as bytes.  RunError for arrays of objects.
    """
    wrong = [k for k, v in named.items() if v.dtype.kind == "O"]
    if wrong:
        raise RunError(f"{wrong[0]} holds Python objects, which cannot be saved")
    types = {k: (v.dtype.name, v.shape) for k, v in named.items() if v.dtype.kind == "V"}
    text = json.dumps({**facts, "types": types, "names": list(named)}, default=lambda a: a.tolist())
    arrays = [np.frombuffer(v.tobytes(), np.uint8) if k in types else v for k, v in named.items()]
    buffer = io.BytesIO()
    np.savez(buffer, *arrays, facts=np.frombuffer(text.encode(), np.uint8))
    return buffer.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Array], Any]:
    """What `packed` has packed."""
    from ..ir.types import dtype

    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        facts = json.loads(file["facts"].tobytes())
        named = {name: file[f"arr_{i}"] for i, name in enumerate(facts.pop("names"))}
    for name, (kind, shape) in facts.pop("types").items():
        named[name] = np.frombuffer(named[name].tobytes(), dtype(kind).numpy).reshape(shape)
    return named, facts


# ---- averages of weights


class SwapEMAWeights(Callback):
    """Evaluate and predict with the moving averages of the weights, which an optimiser with use_ema=True keeps.

    swap_on_epoch: change weights and averages at the end of each epoch already, for callbacks which save the model.
    """

    kept = ("_ema_weights_in_model",)

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._ema_weights_in_model = False

    def _exchange(self, keep_weights: bool = False) -> None:
        """Weights and averages change places; keep_weights: the weights become the averages too."""
        model = self.model
        states = model.optimizer.averages(model.trainable_weights)
        missing = [s for s in states.values() if s not in model.states]
        if not states or missing:
            why = "the optimizer has not made a step yet" if states else "the optimizer has use_ema=False"
            raise RunError(f"SwapEMAWeights: there are no averages: {why}", hint="compile with use_ema=True, then fit")
        weights = {p.name: value for p, value in zip(model.weights, model.get_weights())}
        for name, state in states.items():
            average = model.states[state]
            before, weight = average.copy(), weights[name]
            weights[name] = weight if keep_weights else before
            average[...] = weight
        model.set_weights(list(weights.values()))

    def _put(self, averages: bool) -> None:
        if self._ema_weights_in_model != averages:
            self._exchange()
            self._ema_weights_in_model = averages

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch:
            self._put(averages=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch and not self._ema_weights_in_model:
            self._put(averages=True)
            if epoch == (self.params or {}).get("epochs", 0) - 1:
                self._exchange(keep_weights=True)  # `fit` ends with the averages in the model's weights

    def on_test_begin(self, logs: Any = None) -> None:
        self._put(averages=True)

    def on_test_end(self, logs: Any = None) -> None:
        self._put(averages=False)

    def on_predict_begin(self, logs: Any = None) -> None:
        self._put(averages=True)

    def on_predict_end(self, logs: Any = None) -> None:
        self._put(averages=False)


# ---- pictures of training

BLOCKS = "▁▂▃▄▅▆▇█"
PICTURES = (".svg", ".png", ".pdf")


class LossCurve(Callback):
    """Draw the loss while training goes on: in a notebook as a figure, on a terminal as lines of blocks.

    metrics: names of figures to draw, instead of the loss and the loss of validation; path: an .svg, .png or .pdf file
    that is written anew after each epoch; log_scale: a logarithmic axis.  Figures need matplotlib.
    """

    rank = 1  # below the finished bar
    kept = ("epochs", "curves")

    def __init__(
        self, metrics: Sequence[str] | None = None, path: str | os.PathLike[str] | None = None, log_scale: bool = False
    ) -> None:
        self.metrics = ("loss", "val_loss") if metrics is None else tuple(metrics)
        self.path = None if path is None else os.fspath(path)
        self.log_scale = log_scale
        self.epochs: list[int] = []
        self.curves: dict[str, list[float]] = {}
        if self.path is not None and not self.path.endswith(PICTURES):
            raise UnsupportedError(f"LossCurve cannot write {self.path}", hint=f"end the path in {', '.join(PICTURES)}")

    def on_train_begin(self, logs: Any = None) -> None:
        self.epochs, self.curves = [], {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(epoch + 1)
        for name in self.metrics:
            curve = self.curves.setdefault(name, [])
            curve += [math.nan] * (len(self.epochs) - 1 - len(curve))  # epochs without validation
            curve.append(float((logs or {}).get(name, math.nan)))
        if self.path is not None:
            write_atomically(self.path, self._picture(Path(self.path).suffix[1:]))
        if _is_notebook():
            display = importlib.import_module("IPython.display")
            display.clear_output(wait=True)
            display.display(self.figure())
        elif _is_terminal():
            self._print()

    def figure(self) -> Any:
        """The curves as a figure of matplotlib."""
        try:
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ImportError:
            raise UnsupportedError("LossCurve draws with matplotlib", hint="pip install matplotlib") from None
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for name, curve in self.curves.items():
            if np.isfinite(curve).any():
                style = "--" if name.startswith("val_") else "-"
                axes.plot(self.epochs, curve, style, label=name, marker="." if len(curve) < 30 else None)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_yscale("log" if self.log_scale else "linear")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
        return figure

    def _picture(self, form: str) -> bytes:
        buffer = io.BytesIO()
        figure, dates = self.figure(), {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        from matplotlib import rc_context

        with rc_context({"svg.hashsalt": "tenun"}):  # the same curves make the same file
            figure.savefig(buffer, format=form, metadata=dates.get(form))
        return buffer.getvalue()

    def _print(self) -> None:
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False)
        for line in self.lines(console.width):
            console.print(line, overflow="crop", no_wrap=True)

    def lines(self, width: int = 80) -> list[str]:
        """The curves as text, a line each, all on one scale: name, blocks, newest and best value."""
        curves = {k: np.array(v) for k, v in self.curves.items() if np.isfinite(v).any()}
        if not curves:
            return []
        label = max(map(len, curves))
        heights = {k: np.log(np.maximum(v, 1e-30)) if self.log_scale else v for k, v in curves.items()}
        finite = np.concatenate([h[np.isfinite(h)] for h in heights.values()])
        low, high = finite.min(), finite.max()
        found = []
        for name, curve in curves.items():
            end = f" {curve[-1]:.4g} (lowest {np.nanmin(curve):.4g}, highest {np.nanmax(curve):.4g})"
            room = max(width - label - len(end) - 2, 8)
            found.append(f"{name:>{label}} {sparkline(heights[name], low, high, room)}{end}")
        return found


def sparkline(values: Array, low: float, high: float, width: int) -> str:
    """Numbers as blocks of heights between low and high, at most `width` of them; blanks for what is not finite."""
    cells = np.array_split(values, min(len(values), width))
    places = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    text = ""
    for cell in cells:
        finite = cell[np.isfinite(cell)]
        text += BLOCKS[round((finite.mean() - low) * places)] if finite.size else " "
    return text


# ---- other programs


@dataclass(frozen=True)
class EventWriter:
    """A file of events in the making: add(name, value, step)."""

    add: Callable[[str, float, int], object]
    flush: Callable[[], object]
    close: Callable[[], object]


def _tensorboard(directory: str) -> EventWriter:
    writer = importlib.import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter(directory)
    event = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
    summary = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary

    def add(name: str, value: float, step: int) -> None:
        figure = summary.Value(tag=name, simple_value=value)
        writer.add_event(event(wall_time=time.time(), step=step, summary=summary(value=[figure])))

    return EventWriter(add, writer.flush, writer.close)


def _tensorboard_x(directory: str) -> EventWriter:
    writer = importlib.import_module("tensorboardX").SummaryWriter(logdir=directory)
    return EventWriter(writer.add_scalar, writer.flush, writer.close)


EVENT_WRITERS = {"tensorboard": _tensorboard, "tensorboardX": _tensorboard_x}


class TensorBoard(Callback):
    """Write the figures for TensorBoard: `train` and `validation` under log_dir, with Keras' names.

    update_freq: "epoch", or "batch" or a number of batches for figures of batches too; write_steps_per_second: speed as
    well.  The package tensorboard or tensorboardX has to be there, else UnsupportedError.  Graphs are not written,
    whatever write_graph says; what else goes beyond figures raises UnsupportedError.
    """

    kept = ("_global_train_batch",)

    def __init__(
        self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0, write_graph: bool = True,
        write_images: bool = False, write_steps_per_second: bool = False, update_freq: Any = "epoch",
        profile_batch: Any = 0, embeddings_freq: int = 0, embeddings_metadata: Any = None,
    ) -> None:  # fmt: skip
        more = {
            "histogram_freq": histogram_freq, "write_images": write_images, "profile_batch": profile_batch,
            "embeddings_freq": embeddings_freq, "embeddings_metadata": embeddings_metadata,
        }  # fmt: skip
        wrong = [f"{k}={v!r}" for k, v in more.items() if v]
        if wrong:
            raise UnsupportedError(f"TensorBoard: {', '.join(wrong)} not supported", hint="only figures are written")
        found = [make for package, make in EVENT_WRITERS.items() if importlib.util.find_spec(package)]
        if not found:
            raise UnsupportedError(
                "TensorBoard: neither tensorboard nor tensorboardX is installed", hint="pip install tensorboard"
            )
        if update_freq not in ("epoch", "batch") and (not isinstance(update_freq, int) or update_freq < 1):
            raise RunError(f"TensorBoard: update_freq={update_freq!r} is unknown", hint="'epoch', 'batch' or a number")
        self.log_dir, self.write_graph = os.fspath(log_dir), write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._make = found[0]
        self._writers: dict[str, EventWriter] = {}
        self._global_train_batch = 0
        self._batch_start = self._epoch_start = 0.0
        self._epoch_steps = 0

    def _writer(self, part: str) -> EventWriter:
        if part not in self._writers:
            self._writers[part] = self._make(os.path.join(self.log_dir, part))
        return self._writers[part]

    def _write(self, part: str, figures: Mapping[str, Any], step: int) -> None:
        for name, value in figures.items():
            if np.ndim(value) == 0:
                self._writer(part).add(name, float(value), step)

    def on_train_begin(self, logs: Any = None) -> None:
        self._global_train_batch = 0

    def on_train_end(self, logs: Any = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_test_end(self, logs: Any = None) -> None:
        step = getattr(self.model.optimizer, "iterations", None)
        if step is not None:
            figures = {f"evaluation_{k}_vs_iterations": v for k, v in (logs or {}).items()}
            self._write("validation", figures, int(step))
            self._writer("validation").flush()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._global_train_batch += 1
        self._batch_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = self._global_train_batch
        if self.update_freq == "epoch" or step % self.update_freq:
            return
        figures = {f"batch_{k}": v for k, v in (logs or {}).items()}
        if self.write_steps_per_second:
            figures["batch_steps_per_second"] = 1.0 / max(time.perf_counter() - self._batch_start, 1e-9)
        self._write("train", figures, step)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_start, self._epoch_steps = time.perf_counter(), self._global_train_batch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not logs:
            return
        train = {k: v for k, v in logs.items() if not k.startswith("val_")}
        train["learning_rate"] = _rate(self.model.optimizer)
        if self.write_steps_per_second:
            taken = max(time.perf_counter() - self._epoch_start, 1e-9)
            train["steps_per_second"] = (self._global_train_batch - self._epoch_steps) / taken
        held_out = {k[4:]: v for k, v in logs.items() if k.startswith("val_")}
        for part, figures in (("train", train), ("validation", held_out)):
            if figures:
                self._write(part, {f"epoch_{k}": v for k, v in figures.items()}, epoch)
                self._writer(part).flush()


class RemoteMonitor(Callback):
    """Send the figures of each epoch to a server by HTTP POST: in the field `field` of a form, or as JSON."""

    def __init__(
        self, root: str = "http://localhost:9000", path: str = "/publish/epoch/end/", field: str = "data",
        headers: Mapping[str, str] | None = None, send_as_json: bool = False,
    ) -> None:  # fmt: skip
        self.root, self.path, self.field, self.headers, self.send_as_json = root, path, field, headers, send_as_json

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        from urllib.parse import urlencode
        from urllib.request import Request, urlopen

        text = json.dumps({"epoch": epoch, **(logs or {})}, default=lambda v: v.item())
        form = "application/json" if self.send_as_json else "application/x-www-form-urlencoded"
        body = text if self.send_as_json else urlencode({self.field: text})
        headers = {"Content-Type": form, **(self.headers or {})}
        try:
            urlopen(Request(self.root + self.path, body.encode(), headers, method="POST"), timeout=10).close()
        except OSError:
            warnings.warn(f"Could not reach RemoteMonitor root server at {self.root}", stacklevel=2)


class OrbaxCheckpoint(Callback):
    """Not supported: checkpoints of Orbax are written by JAX."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError(
            "OrbaxCheckpoint is not supported: its checkpoints need JAX",
            hint="ModelCheckpoint saves models, BackupAndRestore whole training states",
        )
