"""Metrics of classes and columns: F-scores, intersection over union, the coefficient of determination.

Formulas: keras/src/metrics/f_score_metrics.py, iou_metrics.py and regression_metrics.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from ..ir.types import i64
from ..passes.autodiff.emit import gate, shape_of
from .counts import FN, FP, TP
from .losses import (
    EPSILON,
    check_same_shape,
    compute_dtype,
    made_class,
    same_rank,
)
from .metric import METRICS, NAMED, REQUIRED, Array, Metric, Result, features


class FScore(Metric):
    """(1 + beta²) precision recall / (beta² precision + recall) of each class, or of all.

    average: None (one for each class), micro (all places alike), macro (the mean over classes), weighted (by how often
    a class occurs).  Without a threshold the largest prediction is the positive one.
    """

    average: str | None
    threshold: float | None
    beta: float = 1.0
    names: ClassVar[tuple[str, ...]] = (TP, FP, FN, "intermediate_weights")

    def check(self) -> None:
        if self.average not in (None, "micro", "macro", "weighted"):
            raise self.refuse("average", "use None, micro, macro or weighted")
        if self.beta <= 0:
            raise self.refuse("beta", "it has to be above 0")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise self.refuse("threshold", "it has to be in (0, 1]")

    def variables(self, y_true: Tensor, y_pred: Tensor) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(self.names, () if self.average == "micro" else features(self, y_true, y_pred))

    def counted(self, b: Builder, y_true: Var, y_pred: Var, weight: Var | None) -> dict[str, Var]:
        features(self, y_true.tensor, y_pred.tensor)
        if self.threshold is None:
            largest = b.greater_equal(y_pred, b.reduce_max(y_pred, axes=(-1,), keepdims=True))
            chosen = b.logical_and(largest, b.greater(b.abs(y_pred), 1e-9))
        else:
            chosen = b.greater(y_pred, self.threshold)
        p = b.cast_like(chosen, y_pred)
        rest, missing = b.sub(1, y_true), b.sub(1, p)
        factor = None if weight is None else b.unsqueeze(b.cast_like(weight, p), axes=(1,))

        def summed(x: Var) -> Var:
            return b.reduce_sum(
                x if factor is None else b.mul(x, factor), axes=None if self.average == "micro" else (0,)
            )

        return dict(zip(self.names, map(summed, (b.mul(p, y_true), b.mul(p, rest), b.mul(missing, y_true), y_true))))

    def result(self, state: Mapping[str, Array]) -> Result:
        tp, fp, fn, occurrences = (np.asarray(state[k], np.float32) for k in self.names)
        small = np.float32(EPSILON)
        precision, recall = tp / (tp + fp + small), tp / (tp + fn + small)
        square = np.float32(self.beta**2)
        score = precision * recall / (square * precision + recall + small) * (1 + square)
        if self.average == "weighted":
            return float((score * (occurrences / (occurrences.sum() + small))).sum())
        return score if self.average is None else float(score.mean())


@METRICS.entry()
class FBetaScore(FScore):
    __doc__ = FScore.__doc__

    average: str | None = None
    beta: float = 1.0
    threshold: float | None = None
    name: str = "fbeta_score"
    dtype: Any = None


@METRICS.entry()
class F1Score(FScore):
    """The F-score with beta 1; see FBetaScore."""

    average: str | None = None
    threshold: float | None = None
    name: str = "f1_score"
    dtype: Any = None


class ConfusionMatrix(Metric):
    """Intersection over union of classes, averaged over `target_class_ids` (all classes where there is no such field).

    From the matrix of how often (by weight) a class is predicted where another one is true.  The default dtype is an
    integer, to which weights are cut.  Classes out of range do not count, nor places whose target is `ignore_class`.
    """

    num_classes: int
    target_class_ids: Any
    threshold: float | None = None
    ignore_class: int | None = None
    sparse_y_true: bool = True
    sparse_y_pred: bool = True
    axis: int = -1

    def check(self) -> None:
        if not all(0 <= i < self.num_classes for i in self._targets()):
            raise self.refuse("target_class_ids", f"there are {self.num_classes} classes")

    def _targets(self) -> list[int]:
        return list(getattr(self, "target_class_ids", range(self.num_classes)))

    def variables(self, y_true: Tensor, y_pred: Tensor) -> dict[str, tuple[int, ...]]:
        return {"total_confusion_matrix": (self.num_classes, self.num_classes)}

    def _both(self, b: Builder, y_true: Var, y_pred: Var) -> tuple[Var, Var]:
        """The numbers of the true and the predicted classes: i64, flat."""
        if self.threshold is not None:
            y_pred = b.greater_equal(b.cast(y_pred, to="f32"), self.threshold)
        y_true = y_true if self.sparse_y_true else b.argmax(y_true, axis=self.axis)
        y_pred = y_pred if self.sparse_y_pred else b.argmax(y_pred, axis=self.axis)
        return b.reshape(b.cast(y_true, to=i64), shape=(-1,)), b.reshape(b.cast(y_pred, to=i64), shape=(-1,))

    def counted(self, b: Builder, y_true: Var, y_pred: Var, weight: Var | None) -> dict[str, Var]:
        n = self.num_classes
        valid = [f(y, limit) for y in (y_true, y_pred) for f, limit in ((b.greater_equal, 0), (b.less, n))]
        if self.ignore_class is not None:
            valid.append(b.not_equal(y_true, self.ignore_class))
        known = valid[0]
        for condition in valid[1:]:
            known = b.logical_and(known, condition)
        amount = b.cast(known, to="f32")
        if weight is not None:
            whole = b.cast(weight, to=compute_dtype(self.dtype or "int"))
            amount = gate(
                b, known, b.expand(b.reshape(b.cast(whole, to="f32"), shape=(-1,)), shape=shape_of(b, y_true))
            )
        places = gate(b, known, b.add(b.mul(y_true, n), y_pred))
        return {"total_confusion_matrix": b.reshape(b.scatter_rows(amount, places, size=n * n), shape=(n, n))}

    def result(self, state: Mapping[str, Array]) -> Result:
        matrix = np.asarray(state["total_confusion_matrix"], np.float32)
        both = np.diag(matrix)
        either = matrix.sum(axis=0) + matrix.sum(axis=1) - both
        both, either = both[self._targets()], either[self._targets()]
        present, small = either > 1e-9, np.float32(EPSILON)
        scores = np.where(present, both / (either + small), 0)
        return float(scores.sum() / (present.sum(dtype=np.float32) + small))


_IOU_FIELDS: dict[str, tuple[str, Any]] = {
    "num_classes": ("int", REQUIRED),
    "target_class_ids": ("Any", REQUIRED),
    **NAMED,
    "ignore_class": ("int | None", None),
    "sparse_y_true": ("bool", True),
    "sparse_y_pred": ("bool", True),
    "axis": ("int", -1),
}


def _iou(class_name: str, doc: str, without: Sequence[str] = (), **changed: Any) -> None:
    """Enter a class whose fields are _IOU_FIELDS but for some, with other defaults for others."""
    fields = {k: (v[0], changed.get(k, v[1])) for k, v in _IOU_FIELDS.items() if k not in without}
    members = {k: v for k, v in changed.items() if k in without}
    METRICS.entry()(made_class(class_name, ConfusionMatrix, fields, {**members, "__doc__": doc}))


ONE_HOT = {"sparse_y_true": False, "sparse_y_pred": False}
_iou("IoU", "The mean over target_class_ids of intersection / union; both are class numbers, or one-hot as told.")
_iou("MeanIoU", "The mean over all classes of intersection / union.", ("target_class_ids",))
_iou("OneHotIoU", "IoU of one-hot targets and of predictions (..., classes).", ("sparse_y_true",), **ONE_HOT)
_iou("OneHotMeanIoU", "MeanIoU of one-hot targets.", ("target_class_ids", "sparse_y_true"), **ONE_HOT)


@METRICS.entry()
class BinaryIoU(ConfusionMatrix):
    """IoU of classes 0 and 1, of which predictions from the threshold on are the second."""

    num_classes = 2
    target_class_ids: Any = (0, 1)
    threshold: float | None = 0.5
    name: Any = None
    dtype: Any = None


@METRICS.entry()
class R2Score(Metric):
    """1 - sum (y_true - y_pred)² / sum (y_true - mean)² of each column, aggregated.

    class_aggregation: uniform_average, variance_weighted_average, or None (all columns).  With num_regressors p the
    adjusted score 1 - (1 - R²) (n - 1) / (n - p - 1), where n > p + 1.
    """

    class_aggregation: str | None = "uniform_average"
    num_regressors: int = 0
    name: str = "r2_score"
    dtype: Any = None
    columns: ClassVar[tuple[str, ...]] = ("squared_sum", "sum", "residual", "count")

    def check(self) -> None:
        if self.class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise self.refuse("class_aggregation", "use None, uniform_average or variance_weighted_average")
        if self.num_regressors < 0:
            raise self.refuse("num_regressors", "it has to be at least 0")

    def variables(self, y_true: Tensor, y_pred: Tensor) -> dict[str, tuple[int, ...]]:
        return {"num_samples": (), **dict.fromkeys(self.columns, features(self, y_pred, y_pred))}

    def counted(self, b: Builder, y_true: Var, y_pred: Var, weight: Var | None) -> dict[str, Var]:
        y_true, y_pred = same_rank(b, y_true, y_pred)
        features(self, y_true.tensor, y_pred.tensor)
        check_same_shape(y_true, y_pred, f"metric {self.name}")
        factor = b.constant(1, dtype=y_true.tensor.dtype.numpy) if weight is None else b.cast_like(weight, y_true)
        factor = b.unsqueeze(factor, axes=(1,)) if len(factor.shape) == 1 else factor
        factor = b.expand(factor, shape=shape_of(b, y_true))
        weighted = b.mul(y_true, factor)
        parts = (b.mul(y_true, weighted), weighted, b.mul(b.square(b.sub(y_true, y_pred)), factor), factor)
        sums = {k: b.reduce_sum(x, axes=(0,)) for k, x in zip(self.columns, parts)}
        return {"num_samples": b.cast_like(b.size(y_true), y_true), **sums}

    def result(self, state: Mapping[str, Array]) -> Result:
        squares, sums, residual, number = (np.asarray(state[k], np.float32) for k in self.columns)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = squares - sums * (sums / number)
            score = 1 - residual / spread
            score = np.where(np.isinf(score), np.float32(0), score)
            if self.class_aggregation == "uniform_average":
                score = score.mean()
            elif self.class_aggregation == "variance_weighted_average":
                score = (spread * score).sum() / spread.sum()
        n, p = float(state["num_samples"]), self.num_regressors
        if p and p < n - 1:
            score = 1 - (1 - score) * np.float32(n - 1) / np.float32(n - p - 1)
        return score if self.class_aggregation is None else float(score)
