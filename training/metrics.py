"""Metrics by Keras' names: means of formulas, accuracies, and what `compile` means by a name.

    metric = METRICS.get("top_k_categorical_accuracy")      # see `metric` for what it does

Most metrics are a mean of a formula (b, y_true, y_pred, its options) -> values over all samples: `mean_metric` makes
their classes, as `losses.loss` does.  All classes can be imported from here.  Formulas: keras/src/metrics/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import UnsupportedError
from ..ir import Builder, Tensor, Var
from ..ir.types import i64
from ..layers.base import snake_case
from ..passes.autodiff.emit import count, gate, shape_of
from . import counts, losses, scores  # noqa: F401 - they enter their metrics
from .losses import (
    EPSILON,
    F,
    Formula,
    Loss,
    apply_mask,
    as_dtype,
    made_class,
    marked,
    matched,
    normalized,
    options_of,
    same_rank,
    total,
)
from .losses import crossentropy_kind as crossentropy_kind
from .metric import METRICS as METRICS
from .metric import Array, Result, State, no_nan
from .metric import Metric as Metric


def resolve(identifier: Any, y_true: Tensor, y_pred: Tensor, loss: Any = None) -> Metric:
    """The metric that `compile` means by an identifier, for targets and predictions of these types.

    "accuracy", "acc", "crossentropy" and "ce" are the one which fits the types, a crossentropy with the `from_logits`
    of the loss.  A name that is given becomes the metric's name (get_metric of keras/src/trainers/compile_utils.py).
    """
    kind, name = crossentropy_kind(y_true, y_pred), str(identifier)
    if name.lower() in ("accuracy", "acc"):
        return METRICS.names[f"{kind}_accuracy"](name=name)  # type: ignore[call-arg]
    if name.lower() in ("crossentropy", "ce"):
        logits = bool(getattr(loss, "from_logits", False))
        return METRICS.names[f"{kind}_crossentropy"](name=name, from_logits=logits)  # type: ignore[call-arg]
    metric = METRICS.get(identifier)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


# ---- means --------------------------------------------------------------------------------------------------------


class Average(Metric):
    """The weighted mean of values: of their sum over all batches and the sum of the weights."""

    reduce: ClassVar[str] = "reduce_mean"

    def variables(self, y_true: Tensor, y_pred: Tensor | None = None) -> dict[str, tuple[int, ...]]:
        return {"total": (), "count": ()}

    def moved(
        self, b: Builder, state: State, values: Var, weight: Var | None, own: Var | None = None
    ) -> dict[str, Var]:
        """The accumulators after the values of a batch, which may have a mask of their own."""
        values, weight = self._by_sample(b, as_dtype(b, values, self.dtype), weight, own)
        number = b.reduce_sum(weight) if weight is not None else count(b, values, (0,) if values.shape else ())
        more = {"total": b.reduce_sum(values), "count": number}
        return {k: b.add(old, b.cast_like(more[k], old)) for k, old in state.items()}

    def _by_sample(self, b: Builder, values: Var, weight: Var | None, own: Var | None) -> tuple[Var, Var | None]:
        """Weighted values and weights of rank 1 at most (reduce_to_samplewise_values).

        As in Keras the values' own mask counts only beside weights.
        """
        reduce = getattr(b, self.reduce)
        if weight is not None:
            weight = apply_mask(b, b.cast_like(weight, values), own, "sum", values)
            assert weight is not None
            values, weight = same_rank(b, values, weight)
            rank = len(weight.shape)
            values = _over(reduce, values, rank)
            weight = b.expand(weight, shape=shape_of(b, values))
            values = b.mul(values, weight)
            weight = _over(reduce, weight, 1) if rank > 1 else weight
        return _over(reduce, values, 1), weight

    def result(self, state: Mapping[str, Array]) -> Result:
        return float(no_nan(state["total"], state["count"]))


def _over(reduce: Callable[..., Any], x: Var, rank: int) -> Var:
    """x reduced over its axes from number `rank` on."""
    return reduce(x, axes=tuple(range(rank, len(x.shape)))) if len(x.shape) > rank else x


class _OfValues(Average):
    """A metric of values, which are given in the place of the targets."""

    def update(
        self, b: Builder, state: State, y_true: Var, y_pred: Var | None = None, sample_weight: Var | None = None,
        mask: Var | None = None,
    ) -> dict[str, Var]:  # fmt: skip
        if y_pred is not None:
            raise UnsupportedError(f"metric {type(self).__name__} takes values alone, no targets and predictions")
        return self.moved(b, state, y_true, apply_mask(b, sample_weight, mask, "sum"))


@METRICS.entry()
class Mean(_OfValues):
    """The weighted mean of values, which are given in the place of the targets."""

    name: str = "mean"
    dtype: Any = None


@METRICS.entry()
class Sum(_OfValues):
    """The weighted sum of values, which are given in the place of the targets."""

    name: str = "sum"
    dtype: Any = None

    reduce: ClassVar[str] = "reduce_sum"

    def variables(self, y_true: Tensor, y_pred: Tensor | None = None) -> dict[str, tuple[int, ...]]:
        return {"total": ()}

    def result(self, state: Mapping[str, Array]) -> Result:
        return float(state["total"])


class MeanOfFormula(Average):
    """The mean of what the class' formula, with the options that are its fields, makes of targets and predictions."""

    formula: Formula
    options: ClassVar[tuple[str, ...]] = ()

    def update(
        self, b: Builder, state: State, y_true: Var, y_pred: Var, sample_weight: Var | None = None,
        mask: Var | None = None,
    ) -> dict[str, Var]:  # fmt: skip
        found = self.formula(b, y_true, y_pred, **{k: getattr(self, k) for k in self.options})
        values, own = found if isinstance(found, tuple) else (found, None)
        return self.moved(b, state, values, apply_mask(b, sample_weight, mask, "sum"), own)


@METRICS.entry()
class MeanMetricWrapper(MeanOfFormula):
    """The mean of a function f(b, y_true, y_pred) -> values, of a loss, or of a formula given by name."""

    fn: Any
    name: Any = None
    dtype: Any = None

    def __post_init__(self) -> None:
        named = FORMULAS.get(str(self.fn.get("config") if isinstance(self.fn, Mapping) else self.fn))
        self.fn = self.formula = named or losses.function_of(self.fn)
        default = self.fn.name if isinstance(self.fn, Loss) else getattr(self.fn, "__name__", type(self.fn).__name__)
        self.name = self.name or snake_case(str(default))


FORMULAS: dict[str, Formula] = {}  # of metrics alone, by their names


def mean_metric(
    class_name: str, *aliases: str, default_name: str | None = None, first: Sequence[str] = (),
    without: Sequence[str] = (), base: type[MeanOfFormula] = MeanOfFormula,
) -> Callable[[F], F]:  # fmt: skip
    """Make the class `class_name` of the mean of the decorated formula and enter it into METRICS.

    first: options that stand before `name` and `dtype` (the others come after them); without: those that are no fields.
    """

    def register(formula: F) -> F:
        options = {k: v for k, v in options_of(formula).items() if k not in without}
        name = ("str | None", default_name or formula.__name__)
        fields = {**{k: options[k] for k in first}, "name": name, "dtype": ("Any", None), **options}
        members = {"formula": staticmethod(formula), "options": tuple(options), "__doc__": formula.__doc__}
        if formula.__module__ == __name__:
            FORMULAS[formula.__name__] = formula
        METRICS.entry(*aliases)(made_class(class_name, base, fields, members))
        return formula

    return register


mean_metric("MeanSquaredError", "mse", "MSE")(losses.mean_squared_error)
mean_metric("MeanAbsoluteError", "mae", "MAE")(losses.mean_absolute_error)
mean_metric("MeanAbsolutePercentageError", "mape", "MAPE")(losses.mean_absolute_percentage_error)
mean_metric("MeanSquaredLogarithmicError", "msle", "MSLE")(losses.mean_squared_logarithmic_error)
mean_metric("LogCoshError", default_name="logcosh")(losses.log_cosh)
mean_metric("Hinge")(losses.hinge)
mean_metric("SquaredHinge")(losses.squared_hinge)
mean_metric("CategoricalHinge")(losses.categorical_hinge)
mean_metric("KLDivergence")(losses.kl_divergence)
mean_metric("Poisson")(losses.poisson)
mean_metric("BinaryCrossentropy", "bce", "BCE", without=("axis",))(losses.binary_crossentropy)
mean_metric("CategoricalCrossentropy")(losses.categorical_crossentropy)
mean_metric("SparseCategoricalCrossentropy")(losses.sparse_categorical_crossentropy)


@mean_metric("CosineSimilarity")
def cosine_similarity(b: Builder, y_true: Var, y_pred: Var, *, axis: int = -1) -> Var:
    """The cosine of the angle between y_true and y_pred along an axis."""
    return total(b, b.mul(*(normalized(b, y, axis) for y in matched(b, y_true, y_pred))), axis)


def _centred(b: Builder, x: Var, axis: int) -> Var:
    return b.sub(x, b.reduce_mean(x, axes=(axis,), keepdims=True))


@mean_metric("PearsonCorrelation")
def pearson_correlation(b: Builder, y_true: Var, y_pred: Var, *, axis: int = -1) -> Var:
    """The covariance of y_true and y_pred along an axis over the product of their standard deviations."""

    def standard(x: Var) -> Var:
        x = _centred(b, x, axis)
        return b.div(x, b.sqrt(b.reduce_variance(x, axes=(axis,), keepdims=True)))

    return losses.mean(b, b.mul(*map(standard, matched(b, y_true, y_pred))), axis)


@mean_metric("ConcordanceCorrelation")
def concordance_correlation(b: Builder, y_true: Var, y_pred: Var, *, axis: int = -1) -> Var:
    """The mean of 2 (y - mean p) (p - mean p) / (var y + var p + (mean y - mean p)²) along an axis, y the targets.

    The covariance is as Keras computes it, which comes to the same.
    """
    y, p = matched(b, y_true, y_pred)
    means = [b.reduce_mean(v, axes=(axis,), keepdims=True) for v in (y, p)]
    variances = [b.reduce_variance(v, axes=(axis,), keepdims=True) for v in (y, p)]
    norm = b.add(b.add(*variances), b.square(b.sub(*means)))
    covariance = b.mul(b.sub(y, means[1]), b.sub(p, means[1]))
    return losses.mean(b, b.div(b.mul(covariance, 2), b.add(norm, EPSILON)), axis)


class _Root(MeanOfFormula):
    """The square root of a mean."""

    def result(self, state: Mapping[str, Array]) -> Result:
        return float(np.sqrt(no_nan(state["total"], state["count"])))


@mean_metric("RootMeanSquaredError", default_name="root_mean_squared_error", base=_Root)
def squared_error(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """(y_true - y_pred)²; the metric is the square root of the mean."""
    return b.square(b.sub(*matched(b, y_true, y_pred)))


# ---- accuracies ---------------------------------------------------------------------------------------------------


def _matches(b: Builder, x: Var, y: Var) -> Var:
    return b.cast(b.equal(x, y), to="f32")


@mean_metric("Accuracy")
def accuracy(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """1 where y_true equals y_pred."""
    return _matches(b, *matched(b, y_true, y_pred))


@mean_metric("BinaryAccuracy")
def binary_accuracy(b: Builder, y_true: Var, y_pred: Var, *, threshold: float = 0.5) -> Var:
    """1 where y_true is 1 and y_pred above the threshold, or 0 and not above it."""
    y_true, y_pred = same_rank(b, y_true, y_pred)
    return _matches(b, y_true, b.cast_like(b.greater(y_pred, threshold), y_true))


@mean_metric("CategoricalAccuracy")
def categorical_accuracy(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """1 where the largest element of the last axis is at the same place."""
    return _matches(b, b.argmax(y_true, axis=-1), b.argmax(y_pred, axis=-1))


@mean_metric("SparseCategoricalAccuracy")
def sparse_categorical_accuracy(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """1 where y_true, a number (perhaps with a last axis of size 1), is the class with the largest prediction."""
    alone = len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1
    labels = b.squeeze(y_true, axes=(-1,)) if alone else y_true
    found = _matches(b, labels, b.cast_like(b.argmax(y_pred, axis=-1), labels))
    single = not alone and len(found.shape) > 1 and found.shape[-1] == 1
    return b.squeeze(found, axes=(-1,)) if single else found


@mean_metric("TopKCategoricalAccuracy", first=("k",))
def top_k_categorical_accuracy(b: Builder, y_true: Var, y_pred: Var, *, k: int = 5) -> Var:
    """1 where fewer than k classes have a larger prediction than that with the largest target."""
    return _in_top(b, b.argmax(y_true, axis=-1), y_pred, k)


@mean_metric("SparseTopKCategoricalAccuracy", first=("k",))
def sparse_top_k_categorical_accuracy(
    b: Builder, y_true: Var, y_pred: Var, *, k: int = 5, from_sorted_ids: bool = False
) -> Var:
    """1 where fewer than k classes have a larger prediction than the class y_true.

    from_sorted_ids: y_pred holds numbers of classes instead, the best one first; 1 where y_true is among the first k.
    """
    alone = len(y_true.shape) == len(y_pred.shape)
    labels = b.squeeze(y_true, axes=(-1,)) if alone else y_true
    if from_sorted_ids:
        first = b.slice(y_pred, starts=(0,), ends=(k,), axes=(-1,))
        same = b.equal(b.unsqueeze(b.cast_like(labels, y_pred), axes=(-1,)), first)
        found = b.cast(b.reduce_any(same, axes=(-1,)), to="f32")
    else:
        found = _in_top(b, labels, y_pred, k)
    return b.unsqueeze(found, axes=(-1,)) if alone else found


def _in_top(b: Builder, labels: Var, y_pred: Var, k: int) -> Var:
    """Ties count for the label; labels that are no class, and rows with NaN, never do (tf.math.in_top_k)."""
    own = marked(b, labels, y_pred)
    score = b.reduce_sum(gate(b, own, y_pred), axes=(-1,), keepdims=True)
    ahead = b.reduce_sum(b.cast(b.logical_not(b.less_equal(y_pred, score)), to=i64), axes=(-1,))
    known = b.logical_and(b.reduce_any(own, axes=(-1,)), b.logical_not(_broken(b, y_pred)))
    return b.cast(b.logical_and(b.less(ahead, k), known), to="f32")


def _broken(b: Builder, x: Var) -> Var:
    """Whether any element of the last axis is infinite or NaN."""
    return b.reduce_any(b.logical_or(b.is_nan(x), b.is_inf(x)), axes=(-1,))


def __getattr__(name: str) -> type[Metric]:
    """The metric class called `name`."""
    if name not in METRICS.classes:
        raise AttributeError(f"there is no metric {name!r}")
    return METRICS.classes[name]
