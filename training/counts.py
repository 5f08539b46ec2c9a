"""Metrics of counts of true and false, positive and negative predictions at thresholds, and curves over them.

Formulas: keras/src/metrics/confusion_metrics.py and metrics_utils.py, where no other source is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..ir import Builder, Tensor, Var
from ..ir.types import i64
from ..passes.autodiff.emit import gate, shape_of
from .losses import (
    EPSILON,
    check_same_shape,
    made_class,
    marked,
    same_rank,
)
from .metric import METRICS, NAMED, REQUIRED, Array, Metric, Result, no_nan

NEVER = -1e10  # below every prediction: what is not among the top k
TP, FP, TN, FN = "true_positives", "false_positives", "true_negatives", "false_negatives"
# What is divided by the sum of both.
RATIOS = {
    "precision": (TP, FP),
    "recall": (TP, FN),
    "sensitivity": (TP, FN),
    "specificity": (TN, FP),
    "fallout": (FP, TN),
}


def ratio(state: Mapping[str, Array], name: str) -> Array:
    """A row of RATIOS, 0 where there is nothing to divide by."""
    part, other = (state[k] for k in RATIOS[name])
    return no_nan(part, part + other)


class Thresholds(Metric):
    """Counts of true and false, positive and negative predictions at thresholds: a prediction above one is positive.

    All from one histogram: how many thresholds lie below a prediction is its bin.
    """

    kept: ClassVar[tuple[str, ...]] = (TP, FP, TN, FN)
    top_k: int | None = None
    class_id: int | None = None
    multi_label: bool = False
    label_weights: Any = None
    from_logits: bool = False

    def levels(self) -> list[float]:
        """The thresholds, in the order of the accumulators."""
        given = getattr(self, "thresholds", None)
        if given is None:
            return [0.5 if self.top_k is None else NEVER]
        found = list(given) if isinstance(given, (list, tuple, np.ndarray)) else [given]
        if not all(isinstance(t, (int, float, np.floating)) and 0 <= t <= 1 for t in found):
            raise self.refuse("thresholds", "thresholds are numbers from 0 to 1")
        return [float(t) for t in found]

    def even(self) -> bool:
        """Whether the thresholds are 0, 1/n, ... 1: then Keras computes bins from the predictions."""
        return _is_even(self.levels())

    def check(self) -> None:
        self.levels()

    def variables(self, y_true: Tensor, y_pred: Tensor) -> dict[str, tuple[int, ...]]:
        columns = self._columns(y_pred) if self.multi_label else ()
        return dict.fromkeys(self.kept, (len(self.levels()), *columns))

    def _columns(self, y_pred: Tensor) -> tuple[int, ...]:
        if y_pred.rank != 2 or not isinstance(y_pred.dims[1], int):
            raise ShapeError(
                f"metric {self.name}: y_pred is {y_pred}, with multi_label the shape (N, labels) is needed"
            )
        return (y_pred.dims[1],)

    def counted(self, b: Builder, y_true: Var, y_pred: Var, weight: Var | None) -> dict[str, Var]:
        y_true, y_pred, weights = self._weighed(b, y_true, y_pred, weight)
        columns = self._columns(y_pred.tensor)[0] if self.multi_label else 1
        labels, scores, weights = (b.reshape(v, shape=(-1, columns)) for v in (y_true, y_pred, weights))
        positive = gate(b, b.not_equal(labels, 0), weights)
        amounts = b.concat(*(b.unsqueeze(v, axes=(2,)) for v in (positive, b.sub(weights, positive))), axis=2)
        above, below = self._sums(b, self._bins(b, scores), amounts, columns)
        found = {TP: (above, 0), FP: (above, 1), FN: (below, 0), TN: (below, 1)}
        shape = (-1, columns) if self.multi_label else (-1,)
        return {k: b.reshape(b.gather(found[k][0], np.array(found[k][1]), axis=2), shape=shape) for k in self.kept}

    def _weighed(self, b: Builder, y_true: Var, y_pred: Var, weight: Var | None) -> tuple[Var, Var, Var]:
        """Targets, predictions and weights of one shape, of which only the asked-for classes are left."""
        y_pred = b.sigmoid(y_pred) if self.from_logits else y_pred
        y_pred, y_true = same_rank(b, y_pred, y_true)
        if weight is not None:
            wide = b.unsqueeze(b.cast_like(weight, y_pred), axes=(-1,))
            weight = same_rank(b, y_true, wide, expand=False)[1]
        if self.top_k is not None:
            places = b.top_k(y_pred, k=self.top_k)[1]
            best = b.reduce_any(marked(b, places, y_pred), axes=(-2,))
            y_pred = b.where(best, y_pred, b.constant(NEVER, dtype=y_pred.tensor.dtype.numpy))
        if self.class_id is not None:
            if len(y_pred.shape) == 1:
                raise ShapeError(f"metric {self.name}: class_id={self.class_id} needs predictions (N, classes)")
            y_true, y_pred = (b.gather(v, np.array([self.class_id]), axis=-1) for v in (y_true, y_pred))
        check_same_shape(y_true, y_pred, f"metric {self.name}")
        one = b.constant(1, dtype=y_pred.tensor.dtype.numpy)
        weights = b.expand(one if weight is None else weight, shape=shape_of(b, y_pred))
        if self.label_weights is not None and not self.multi_label:
            weights = b.mul(weights, b.constant(self.label_weights, dtype=y_pred.tensor.dtype.numpy))
        return y_true, y_pred, weights

    def _bins(self, b: Builder, scores: Var) -> Var:
        """How many of the sorted thresholds lie below each score: i64; as few as may be for NaN."""
        levels = sorted(self.levels())
        if not self.even():
            below = b.greater(b.unsqueeze(scores, axes=(-1,)), b.constant(levels, dtype=scores.tensor.dtype.numpy))
            return b.reduce_sum(b.cast(below, to=i64), axes=(-1,))
        least = b.constant(1 if levels[0] < 0 else 0, dtype=scores.tensor.dtype.numpy)
        found = b.ceil(b.mul(b.clip(scores, low=0.0, high=1.0), len(levels) - 1))
        return b.cast(b.where(b.greater(found, least), found, least), to=i64)

    def _sums(self, b: Builder, bins: Var, amounts: Var, columns: int) -> tuple[Var, Var]:
        """The sums of amounts (M, columns, 2) with scores above each threshold, and not: (thresholds, columns, 2)."""
        size = len(self.levels()) + 1
        places = b.reshape(b.add(b.mul(bins, columns), np.arange(columns)), shape=(-1,))
        histogram = b.scatter_rows(b.reshape(amounts, shape=(-1, 2)), places, size=size * columns)
        sums = b.cumsum(b.reshape(histogram, shape=(size, columns, 2)), axis=0, reverse=True)
        rank = np.argsort(np.argsort(self.levels(), kind="stable"))
        above = b.gather(sums, rank + 1, axis=0)
        return above, b.sub(b.slice(sums, starts=(0,), ends=(1,), axes=(0,)), above)


def _is_even(levels: Sequence[float]) -> bool:
    n = len(levels)
    return n >= 3 and np.allclose(levels, np.arange(n, dtype=np.float32) / (n - 1), atol=EPSILON)


def _one_or_all(x: Array) -> Result:
    """The number of a single threshold, else all of them."""
    return float(x[0]) if len(x) == 1 else x


THRESHOLDS: dict[str, tuple[str, Any]] = {"thresholds": ("Any", None)}


class Count(Thresholds):
    """One of the counts."""

    def result(self, state: Mapping[str, Array]) -> Result:
        return _one_or_all(state[self.kept[0]])


class Share(Thresholds):
    """Two counts of which one is divided by both."""

    share: ClassVar[str]

    def result(self, state: Mapping[str, Array]) -> Result:
        return _one_or_all(ratio(state, self.share))


for _name, _kept in {"TruePositives": TP, "FalsePositives": FP, "TrueNegatives": TN, "FalseNegatives": FN}.items():
    _members = {"kept": (_kept,), "__doc__": f"The (weighted) number of {_kept.replace('_', ' ')}."}
    METRICS.entry()(made_class(_name, Count, {**THRESHOLDS, **NAMED}, _members))

for _name, _other in {"Precision": "false positives", "Recall": "false negatives"}.items():
    _members = {
        "share": _name.lower(),
        "kept": RATIOS[_name.lower()],
        "__doc__": f"True positives / (true positives + {_other}), of one class or of the top k if asked for.",
    }
    _fields = {**THRESHOLDS, "top_k": ("int | None", None), "class_id": ("int | None", None), **NAMED}
    METRICS.entry()(made_class(_name, Share, _fields, _members))


class BestAt(Thresholds):
    """The largest of one ratio over all thresholds at which another one is at least a given value."""

    bound: ClassVar[str]
    best: ClassVar[str]
    num_thresholds: int

    def check(self) -> None:
        if not 0 <= getattr(self, self.bound) <= 1:
            raise self.refuse(self.bound, "it has to be in [0, 1]")
        if self.num_thresholds <= 0:
            raise self.refuse("num_thresholds", "it has to be above 0")

    def levels(self) -> list[float]:
        return [0.5] if self.num_thresholds == 1 else _steps(self.num_thresholds)

    def even(self) -> bool:
        return self.num_thresholds > 1

    def result(self, state: Mapping[str, Array]) -> Result:
        possible = ratio(state, self.bound) >= np.float32(getattr(self, self.bound))
        return float(np.max(np.where(possible, ratio(state, self.best), 0), initial=0))


def _steps(n: int) -> list[float]:
    """0, 1 / (n - 1), ... 1."""
    return [0.0, *(i / (n - 1) for i in range(1, n - 1)), 1.0]


for _name, _bound, _best in (
    ("SensitivityAtSpecificity", "specificity", "sensitivity"),
    ("SpecificityAtSensitivity", "sensitivity", "specificity"),
    ("PrecisionAtRecall", "recall", "precision"),
    ("RecallAtPrecision", "precision", "recall"),
):
    _fields = {
        _bound: ("float", REQUIRED),
        "num_thresholds": ("int", 200),
        "class_id": ("int | None", None),
        **NAMED,
    }
    _doc = f"The best {_best} at a threshold where the {_bound} is at least the one given."
    METRICS.entry()(made_class(_name, BestAt, _fields, {"bound": _bound, "best": _best, "__doc__": _doc}))


@METRICS.entry()
class AUC(Thresholds):
    """The area under a curve: ROC (recall over fallout), PR (precision over recall), or PRGAIN (Flach & Kull 2015).

    interpolation: trapezoids, for PR the interpolation of Davis & Goadrich 2006; minoring and majoring: rectangles.
    With multi_label the (weighted) mean over the labels.
    """

    num_thresholds: int = 200
    curve: str = "ROC"
    summation_method: str = "interpolation"
    name: Any = None
    dtype: Any = None
    thresholds: Any = None
    multi_label: bool = False
    num_labels: int | None = None
    label_weights: Any = None
    from_logits: bool = False

    def check(self) -> None:
        self.curve, self.summation_method = str(self.curve).upper(), str(self.summation_method).lower()
        if isinstance(self.label_weights, Mapping):  # as Keras writes a tensor
            self.label_weights = self.label_weights["config"]["value"]
        if self.curve not in ("ROC", "PR", "PRGAIN"):
            raise self.refuse("curve", "use ROC, PR or PRGAIN")
        if self.summation_method not in HEIGHTS:
            raise self.refuse("summation_method", f"use {', '.join(HEIGHTS)}")
        if self.thresholds is None and self.num_thresholds <= 1:
            raise self.refuse("num_thresholds", "it has to be above 1")
        if self.num_labels and not self.multi_label:
            raise self.refuse("num_labels", "it needs multi_label")
        if self.thresholds is not None:
            self.num_thresholds = len(self.thresholds) + 2

    def _inner(self) -> list[float]:
        """The thresholds but for the first and the last one."""
        return sorted(self.thresholds) if self.thresholds is not None else _steps(self.num_thresholds)[1:-1]

    def levels(self) -> list[float]:
        """With a first and last threshold below 0 and above 1, so that all and no predictions lie above them."""
        return [-EPSILON, *map(float, self._inner()), 1 + EPSILON]

    def even(self) -> bool:
        return self.thresholds is None or _is_even([0.0, *self._inner(), 1.0])

    def _columns(self, y_pred: Tensor) -> tuple[int, ...]:
        columns = super()._columns(y_pred)
        if self.num_labels and columns != (self.num_labels,):
            raise self.refuse("num_labels", f"y_pred is {y_pred}")
        return columns

    def result(self, state: Mapping[str, Array]) -> Result:
        interpolated = self.curve == "PR" and self.summation_method == "interpolation"
        areas = _interpolated_pr(state) if interpolated else self._rectangles(state)
        found = areas.sum(axis=0)
        if not self.multi_label:
            return float(found)
        weights = self.label_weights
        if weights is None:
            return float(found.mean())
        return float(no_nan((found * np.asarray(weights, np.float32)).sum(), np.sum(weights)))

    def _rectangles(self, state: Mapping[str, Array]) -> Array:
        """The areas between each two thresholds."""
        x, y = _gains(state) if self.curve == "PRGAIN" else (ratio(state, r) for r in CURVES[self.curve])
        return (x[:-1] - x[1:]) * HEIGHTS[self.summation_method](y[:-1], y[1:])


HEIGHTS: dict[str, Callable[[Array, Array], Array]] = {
    "interpolation": lambda left, right: (left + right) / np.float32(2),
    "majoring": np.maximum,
    "minoring": np.minimum,
}
CURVES = {"ROC": ("fallout", "recall"), "PR": ("recall", "precision")}  # what x and y are


def _gains(state: Mapping[str, Array]) -> tuple[Array, Array]:
    """Recall gain and precision gain; without true positives 0 and 1, negative recall gains are 0."""
    tp, fp, tn, fn = (state[k] for k in (TP, FP, TN, FN))
    odds = no_nan(tp + fn, tn + fp)
    recall, precision = (1 - odds * no_nan(wrong, tp) for wrong in (fn, fp))
    return np.maximum(np.where(tp == 0, 0, recall), 0), np.where(tp == 0, 1, precision)


def _interpolated_pr(state: Mapping[str, Array]) -> Array:
    """Areas under precision over recall between each two thresholds, true positives being linear in all positives."""
    tp, fp, fn = (state[k] for k in (TP, FP, FN))
    gained, positive = tp[:-1] - tp[1:], tp + fp
    slope = no_nan(gained, np.maximum(positive[:-1] - positive[1:], 0))
    intercept = tp[1:] - slope * positive[1:]
    some = (positive[:-1] > 0) & (positive[1:] > 0)
    growth = np.where(some, no_nan(positive[:-1], np.maximum(positive[1:], 0)), 1)
    return no_nan(slope * (gained + intercept * np.log(growth)), np.maximum(tp[1:] + fn[1:], 0))
