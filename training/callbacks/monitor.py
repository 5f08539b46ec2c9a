"""Following one figure: which figures are to rise, which to fall, and whether one has become better."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import RunError
from .base import Callback, Logs

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
    from ..metrics import METRICS

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

    def _monitored(self, logs: Logs, what: str, end: str = "") -> Any:
        """The figure; None, with a warning, where there is none."""
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"{what} conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}{end}",
                stacklevel=3,
            )
        return value

    def _is_improvement(self, value: Any, reference: Any) -> bool:
        if reference is None:
            return True
        self._set_monitor_op()
        assert self.monitor_op is not None
        return self.monitor_op(value - self.min_delta, reference)
