"""What a metric is: accumulators that the graph moves batch by batch, and the number that NumPy makes of them.

    state = metric.variables(y_true_type, y_pred_type)                  # name -> shape, all float32, zeros at first
    new = metric.update(b, state_vars, y_true, y_pred, sample_weight)   # in the graph
    metric.result(arrays)

The metrics themselves: `metrics` (means, accuracies), `counts` (above thresholds), `scores` (of classes).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Union

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir import Builder, Tensor, Var
from ..layers.base import snake_case
from .losses import as_dtype, serialized_function
from .objects import Table

Array = np.ndarray[Any, Any]
State = Mapping[str, Var]
Result = Union[float, Array]

REQUIRED = inspect.Parameter.empty  # of a field: no default
# Fields for classes made by a table: name -> (annotation, default).
NAMED: dict[str, tuple[str, Any]] = {"name": ("str | None", None), "dtype": ("Any", None)}


class Metric:
    """A metric; a class has its fields, the names and shapes of its accumulators, their update, and the result."""

    name: str
    dtype: Any

    def __post_init__(self) -> None:
        self.name = self.name or snake_case(type(self).__name__)
        self.check()

    def check(self) -> None:
        """Refuse values that are not supported."""

    def refuse(self, key: str, why: str) -> UnsupportedError:
        """An error that names the metric, the key and its value, to be raised."""
        name = type(self).__name__
        return UnsupportedError(f"metric {name}: {key}={getattr(self, key)!r} is not supported, {why}", op=name)

    def variables(self, y_true: Tensor, y_pred: Tensor) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the accumulators, for targets and predictions of these types."""
        raise NotImplementedError

    def update(
        self, b: Builder, state: State, y_true: Var, y_pred: Var, sample_weight: Var | None = None,
        mask: Var | None = None,
    ) -> dict[str, Var]:  # fmt: skip
        """The accumulators after a batch.  Of all metrics only means heed the predictions' mask, as in Keras."""
        more = self.counted(b, *self._both(b, y_true, y_pred), sample_weight)
        return {k: b.add(state[k], b.cast_like(v, state[k])) for k, v in more.items()}

    def counted(self, b: Builder, y_true: Var, y_pred: Var, weight: Var | None) -> dict[str, Var]:
        """What a batch adds to the accumulators."""
        raise NotImplementedError

    def result(self, state: Mapping[str, Array]) -> Result:
        """The value of the metric."""
        raise NotImplementedError

    def _both(self, b: Builder, y_true: Var, y_pred: Var) -> tuple[Var, Var]:
        return as_dtype(b, y_true, self.dtype), as_dtype(b, y_pred, self.dtype)


class _Metrics(Table[Metric]):
    def get(self, identifier: Any) -> Metric:
        """As Table.get; a function f(b, y_true, y_pred) -> values, or a loss, is wrapped."""
        if isinstance(identifier, Metric):
            return identifier
        if callable(identifier) and not isinstance(identifier, type):
            return self.names["MeanMetricWrapper"](identifier)  # type: ignore[call-arg]
        return super().get(identifier)

    def serialize(self, obj: Metric) -> dict[str, Any]:
        """As Table.serialize; a wrapped function is written as itself, by name."""
        return serialized_function(obj.fn) if hasattr(obj, "fn") else super().serialize(obj)


METRICS: Table[Metric] = _Metrics("metric", "keras.metrics")


def no_nan(x: Any, y: Any) -> Array:
    """x / y, 0 where y is 0; float32."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float32), np.asarray(y, np.float32))
    return np.divide(x, y, out=np.zeros_like(y), where=y != 0)


def features(metric: Metric, y_true: Tensor, y_pred: Tensor) -> tuple[int, ...]:
    """The size of the last axis of predictions (N, features), which it has to be known of."""
    if y_pred.rank != 2 or y_true.rank != 2 or not isinstance(y_pred.dims[1], int):
        what = f"y_true is {y_true} and y_pred {y_pred}"
        raise ShapeError(f"metric {metric.name}: {what}, the shape (N, features) is needed, with known features")
    return (y_pred.dims[1],)
