"""Losses: one formula each, as graph ops; weights, masks and reductions are shared.

    LOSSES.get("mse")(b, y_true, y_pred, sample_weight)     # a scalar
    LOSSES.get("mse").values(b, y_true, y_pred)             # one number a sample (or place)

A formula is a function (b, y_true, y_pred, its options) -> values; `loss` makes the class that Keras has for it, a
dataclass whose fields are the formula's options, then `reduction`, `name` and `dtype`.  The classes can be imported
from here by Keras' names.  Formulas: keras/src/losses/losses.py and keras/src/backend/tensorflow/nn.py; weighting and
reduction: keras/src/losses/loss.py.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar, Union

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir import Builder, Tensor, Var, dims, dtype
from ..ir.attributes import LINEAR, Activation
from ..ir.ctc import ctc_loss
from ..ir.types import boolean, f32, i32, i64
from ..layers.base import snake_case
from ..passes.autodiff.emit import count, dim, gate, numbered, zero
from .objects import Table

EPSILON = 1e-7  # keras.config.epsilon()
MEANS = ("sum_over_batch_size", "mean")
REDUCTIONS = (*MEANS, "sum", "mean_with_sample_weight", "none", None)

Axes = Union[int, Sequence[int], None]
Formula = Callable[..., Any]  # (b, y_true, y_pred, *, options) -> values, or (values, mask)
F = TypeVar("F", bound=Formula)


# ---- what losses and metrics share ------------------------------------------------------------------------------


def compute_dtype(policy: Any) -> Any:
    """The dtype in which an object with the field `dtype` computes: that of a policy's name; float32 where none is."""
    name = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16", "int": "int64"}.get(str(policy), policy)
    return dtype(name or "float32")


def as_dtype(b: Builder, x: Var, policy: Any) -> Var:
    """x in the dtype in which an object with that `dtype` computes."""
    wanted = compute_dtype(policy)
    return x if x.tensor.dtype is wanted else b.cast(x, to=wanted)


def same_rank(b: Builder, x: Var, y: Var, expand: bool = True) -> tuple[Var, Var]:
    """x and y, of which one has a last axis of size 1 more: that axis goes, or the other one, if of rank 1, gets it.

    Others are left as they are (squeeze_or_expand_to_same_rank of keras/src/losses/loss.py).
    """
    if len(x.shape) == len(y.shape) + 1 and x.shape[-1] == 1:
        one = len(y.shape) == 1 and expand
        return (x, b.unsqueeze(y, axes=(-1,))) if one else (b.squeeze(x, axes=(-1,)), y)
    if len(y.shape) == len(x.shape) + 1 and y.shape[-1] == 1:
        one = len(x.shape) == 1 and expand
        return (b.unsqueeze(x, axes=(-1,)), y) if one else (x, b.squeeze(y, axes=(-1,)))
    return x, y


def divide_no_nan(b: Builder, x: Var, y: Var) -> Var:
    """x / y, 0 where y is 0."""
    none = b.equal(y, 0)
    one = b.constant(1, dtype=y.tensor.dtype.numpy)
    return gate(b, b.logical_not(none), b.div(x, b.where(none, one, y)))


def apply_mask(
    b: Builder, weight: Var | None, mask: Var | None, reduction: str | None, like: Var | None = None
) -> Var | None:
    """The sample weights times the mask, in the dtype of `like` (by default float32); None where there is neither.

    For a mean over all places the mask counts (places / unmasked places), so that it becomes one over the unmasked.
    """
    if mask is None:
        return weight
    number = f32 if like is None else like.tensor.dtype
    factor = b.cast(mask, to=number)
    if reduction in MEANS:
        share = divide_no_nan(b, b.cast(b.size(mask), to=number), b.reduce_sum(factor))
        factor = gate(b, b.cast(mask, to=boolean), share)
    return factor if weight is None else b.mul(*same_rank(b, factor, b.cast_like(weight, factor)))


def marked(b: Builder, labels: Var, like: Var) -> Var:
    """Where a class of the last axis of `like` is the label: bool (..., classes); nowhere if none is."""
    return b.equal(b.unsqueeze(b.cast(labels, to=i64), axes=(-1,)), numbered(b, dim(b, like, -1)))


def crossentropy_kind(y_true: Tensor, y_pred: Tensor) -> str:
    """`binary`, `sparse_categorical` or `categorical`: what fits the types of targets and predictions.

    Keras' rule, for accuracies too (is_binary_or_sparse_categorical of keras/src/trainers/compile_utils.py).
    """
    if y_pred.dims and y_pred.dims[-1] == 1:
        return "binary"
    one = bool(y_true.dims) and y_true.dims[-1] == 1
    return "sparse_categorical" if y_true.rank < y_pred.rank or one else "categorical"


def _reduced(b: Builder, values: Var, weight: Var | None, reduction: str | None) -> Var:
    """Weighted values as one number, or as they are (reduction none, or a scalar)."""
    if reduction in (None, "none") or values.shape in ((), (0,)):
        return values
    whole: Var = b.reduce_sum(values)
    if reduction == "sum":
        return whole
    if reduction == "mean_with_sample_weight" and weight is not None:
        return divide_no_nan(b, whole, b.reduce_sum(weight))
    return divide_no_nan(b, whole, b.cast(b.size(values), to=values.tensor.dtype))


# ---- classes ----------------------------------------------------------------------------------------------------


class Loss:
    """A loss: the formula of its class, with the options that are its fields."""

    reduction: str | None
    name: str
    dtype: Any
    formula: Formula
    options: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.reduction not in REDUCTIONS:
            raise UnsupportedError(
                f"loss {type(self).__name__}: reduction {self.reduction!r} is not known",
                hint=f"one of {', '.join(map(repr, REDUCTIONS))}",
            )

    def values(self, b: Builder, y_true: Var, y_pred: Var) -> Var:
        """The loss of each sample in the loss' dtype, as a rule of shape y_pred.shape[:-1]."""
        return self._values(b, y_true, y_pred)[0]

    def _values(self, b: Builder, y_true: Var, y_pred: Var) -> tuple[Var, Var | None]:
        """The values, and where they count, if the formula tells."""
        y_true, y_pred = same_rank(b, as_dtype(b, y_true, self.dtype), as_dtype(b, y_pred, self.dtype))
        found = self.formula(b, y_true, y_pred, **{k: getattr(self, k) for k in self.options})
        values, mask = found if isinstance(found, tuple) else (found, None)
        return as_dtype(b, values, self.dtype), mask

    def __call__(
        self, b: Builder, y_true: Var, y_pred: Var, sample_weight: Var | None = None, mask: Var | None = None
    ) -> Var:
        """The values, weighted and masked, reduced to a scalar (as they are for the reduction "none")."""
        values, own = self._values(b, y_true, y_pred)
        both = own if mask is None else mask if own is None else b.logical_and(mask, own)
        weight = apply_mask(b, sample_weight, both, self.reduction, values)
        if weight is not None:
            values, weight = same_rank(b, values, b.cast_like(weight, values))
            values = b.mul(values, weight)
        return _reduced(b, values, weight, self.reduction)


class _Losses(Table[Loss]):
    def get(self, identifier: Any) -> Loss:
        """As Table.get; a function f(b, y_true, y_pred) -> values is wrapped."""
        if isinstance(identifier, Loss):
            return identifier
        if callable(identifier) and not isinstance(identifier, type):
            return self.names["LossFunctionWrapper"](identifier)  # type: ignore[call-arg]
        return super().get(identifier)

    def serialize(self, obj: Loss) -> dict[str, Any]:
        """As Table.serialize; a wrapped function is written as itself, by name."""
        return serialized_function(obj.fn) if hasattr(obj, "fn") else super().serialize(obj)


def serialized_function(function: Any) -> dict[str, Any]:
    """A function of the user as Keras writes it."""
    name = getattr(function, "__name__", type(function).__name__)
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": name}


LOSSES: Table[Loss] = _Losses("loss", "keras.losses")

# Fields of all losses, after their own: name -> (annotation, default).
COMMON: dict[str, tuple[str, Any]] = {
    "reduction": ("str | None", "sum_over_batch_size"),
    "name": ("str | None", None),
    "dtype": ("Any", None),
}


def options_of(formula: Formula) -> dict[str, tuple[str, Any]]:
    """The keyword-only parameters of a formula: name -> (annotation, default)."""
    found = inspect.signature(formula).parameters.values()
    return {p.name: (p.annotation, p.default) for p in found if p.kind is p.KEYWORD_ONLY}


def made_class(class_name: str, base: type[Any], fields: dict[str, tuple[str, Any]], members: dict[str, Any]) -> Any:
    """A class to be made a dataclass with these fields; `inspect.Parameter.empty` is no default."""
    defaults = {k: default for k, (_, default) in fields.items() if default is not inspect.Parameter.empty}
    hints = {k: annotation for k, (annotation, _) in fields.items()}
    return type(class_name, (base,), {**defaults, **members, "__annotations__": hints, "__module__": base.__module__})


def loss(
    class_name: str, *aliases: str, default_name: str | None = None, order: Sequence[str] = ()
) -> Callable[[F], F]:
    """Make the class `class_name` of the decorated formula and enter it into LOSSES.

    `order`: Keras' order of the fields, where it is not the options first.
    """

    def register(formula: F) -> F:
        options = options_of(formula)
        fields = {**options, **COMMON, "name": ("str | None", default_name or formula.__name__)}
        members = {"formula": staticmethod(formula), "options": tuple(options), "__doc__": formula.__doc__}
        LOSSES.entry(formula.__name__, *aliases)(
            made_class(class_name, Loss, {k: fields[k] for k in order or fields}, members)
        )
        return formula

    return register


def __getattr__(name: str) -> type[Loss]:
    """The loss class called `name`."""
    if name not in LOSSES.classes:
        raise AttributeError(f"there is no loss {name!r}")
    return LOSSES.classes[name]


@LOSSES.entry()
class LossFunctionWrapper(Loss):
    """A function f(b, y_true, y_pred) -> values as a loss, or a formula of this module by its name."""

    fn: Any
    reduction: str | None = "sum_over_batch_size"
    name: Any = None
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fn = function_of(self.fn)
        self.formula = self.fn
        self.name = self.name or snake_case(getattr(self.fn, "__name__", type(self.fn).__name__))


def function_of(identifier: Any) -> Formula:
    """A function, or the formula that a name or Keras' serialised function stands for."""
    if callable(identifier):
        return identifier
    name = identifier.get("config") if isinstance(identifier, dict) else identifier
    cls = LOSSES.names.get(str(name))
    if cls is None or not cls.__dict__.get("formula"):
        raise LOSSES.unknown(name)
    return cls.formula


# ---- small parts of formulas ------------------------------------------------------------------------------------


def mean(b: Builder, x: Var, axis: Axes = -1) -> Var:
    """The mean over an axis or several; None: over all."""
    return b.reduce_mean(x, axes=axes_of(axis))


def total(b: Builder, x: Var, axis: Axes = -1) -> Var:
    """The sum over an axis or several; None: over all."""
    return b.reduce_sum(x, axes=axes_of(axis))


def axes_of(axis: Axes) -> tuple[int, ...] | None:
    """An axis or a list of them, as an attribute."""
    return axis if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


def matched(b: Builder, y_true: Var, y_pred: Var) -> tuple[Var, Var]:
    """y_true in the dtype of y_pred, both of one rank where a last axis of size 1 is the difference."""
    return same_rank(b, b.cast_like(y_true, y_pred), y_pred)


def normalized(b: Builder, x: Var, axis: int) -> Var:
    """x / |x| along an axis; the factor is at most 1 / EPSILON."""
    scale = b.rsqrt(b.reduce_sum(b.square(x), axes=(axis,), keepdims=True))
    return b.mul(x, b.minimum(scale, 1 / EPSILON))


def _one_minus(b: Builder, x: Var) -> Var:
    return b.sub(1, x)


def _clipped(b: Builder, x: Var) -> Var:
    """Probabilities away from 0 and 1."""
    return b.clip(x, low=EPSILON, high=1 - EPSILON)


def _logits(b: Builder, y_pred: Var, from_logits: bool) -> Var | None:
    """The logits that y_pred is, or that a softmax or sigmoid made it from; None if it holds probabilities.

    So training goes on where probabilities have become 0.  As in Keras the operand of either activation counts as
    logits for every crossentropy, whatever axis was looked at and whatever `from_logits` says (_get_logits).
    """
    node = y_pred.producer
    if node is not None and node.op.name in ("softmax", "sigmoid"):
        return node.inputs[0]
    if node is not None and node.attrs.get("activation") == Activation("sigmoid"):
        dynamic = dict(zip(node.dynamic, node.inputs[len(node.operands) :]))
        return b.node(node.op, node.operands, {**node.attrs, **dynamic, "activation": LINEAR}).output
    return y_pred if from_logits else None


def check_same_shape(y_true: Var, y_pred: Var, what: str) -> None:
    """Raise ShapeError unless both may have one shape: broadcasting would hide a mistake."""
    same = len(y_true.shape) == len(y_pred.shape) and all(map(dims.compatible, y_true.shape, y_pred.shape))
    if not same:
        raise ShapeError(f"{what}: y_true is {y_true.type} and y_pred {y_pred.type}, their shapes have to be equal")


# ---- regression -------------------------------------------------------------------------------------------------


@loss("MeanSquaredError", "mse", "MSE")
def mean_squared_error(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean of (y_true - y_pred)² over the last axis."""
    y_true, y_pred = matched(b, y_true, y_pred)
    return mean(b, b.square(b.sub(y_true, y_pred)))


@loss("MeanAbsoluteError", "mae", "MAE")
def mean_absolute_error(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean of |y_true - y_pred| over the last axis."""
    y_true, y_pred = matched(b, y_true, y_pred)
    return mean(b, b.abs(b.sub(y_true, y_pred)))


@loss("MeanAbsolutePercentageError", "mape", "MAPE")
def mean_absolute_percentage_error(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean of 100 |y_true - y_pred| / |y_true| over the last axis; the divisor is at least EPSILON."""
    y_true, y_pred = matched(b, y_true, y_pred)
    return b.mul(mean(b, b.abs(b.div(b.sub(y_true, y_pred), b.maximum(b.abs(y_true), EPSILON)))), 100)


@loss("MeanSquaredLogarithmicError", "msle", "MSLE")
def mean_squared_logarithmic_error(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean of (log(y_pred + 1) - log(y_true + 1))² over the last axis, nothing less than EPSILON."""
    logs = (b.log(b.add(b.maximum(y, EPSILON), 1)) for y in matched(b, y_true, y_pred))
    return mean(b, b.square(b.sub(*logs)))


@loss("CosineSimilarity")
def cosine_similarity(b: Builder, y_true: Var, y_pred: Var, *, axis: int = -1) -> Var:
    """Minus the cosine of the angle between y_true and y_pred along an axis."""
    return b.neg(total(b, b.mul(*(normalized(b, y, axis) for y in matched(b, y_true, y_pred))), axis))


@loss("Huber", default_name="huber_loss")
def huber(b: Builder, y_true: Var, y_pred: Var, *, delta: float = 1.0) -> Var:
    """The mean over the last axis of e²/2 where |e| <= delta, else delta (|e| - delta/2); e = y_pred - y_true."""
    y_true, y_pred = matched(b, y_true, y_pred)
    error = b.sub(y_pred, y_true)
    size = b.abs(error)
    line = b.affine(size, alpha=delta, beta=-delta * delta / 2)
    return mean(b, b.where(b.less_equal(size, delta), b.mul(b.square(error), 0.5), line))


@loss("LogCosh", "logcosh")
def log_cosh(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean over the last axis of log cosh e = e + softplus(-2 e) - log 2; e = y_pred - y_true."""
    y_true, y_pred = matched(b, y_true, y_pred)
    error = b.sub(y_pred, y_true)
    return mean(b, b.sub(b.add(error, b.softplus(b.mul(error, -2))), math.log(2)))


# ---- hinge ------------------------------------------------------------------------------------------------------


def _signs(b: Builder, y_true: Var) -> Var:
    """Labels -1 and 1; if all of the batch are 0 or 1 they are taken for such."""
    binary = b.reduce_all(b.logical_or(b.equal(y_true, 0), b.equal(y_true, 1)))
    return b.where(binary, b.affine(y_true, alpha=2.0, beta=-1.0), y_true)


def _hinge(b: Builder, y_true: Var, y_pred: Var) -> Var:
    return b.maximum(_one_minus(b, b.mul(_signs(b, b.cast_like(y_true, y_pred)), y_pred)), 0)


@loss("Hinge")
def hinge(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean of max(1 - y_true y_pred, 0) over the last axis; labels are -1 and 1, or 0 and 1."""
    return mean(b, _hinge(b, y_true, y_pred))


@loss("SquaredHinge")
def squared_hinge(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean of max(1 - y_true y_pred, 0)² over the last axis; labels are -1 and 1, or 0 and 1."""
    return mean(b, b.square(_hinge(b, y_true, y_pred)))


@loss("CategoricalHinge")
def categorical_hinge(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """max(1 + max((1 - y_true) y_pred) - sum y_true y_pred, 0) over the last axis."""
    y_true = b.cast_like(y_true, y_pred)
    own, others = total(b, b.mul(y_true, y_pred)), b.reduce_max(b.mul(_one_minus(b, y_true), y_pred), axes=(-1,))
    return b.maximum(b.add(b.sub(others, own), 1), 0)


# ---- probabilities ----------------------------------------------------------------------------------------------


@loss("KLDivergence", "kld", "KLD", "kullback_leibler_divergence")
def kl_divergence(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The sum of y_true log(y_true / y_pred) over the last axis, both clipped to [EPSILON, 1]."""
    p, q = (b.clip(y, low=EPSILON, high=1.0) for y in (b.cast_like(y_true, y_pred), y_pred))
    return total(b, b.mul(p, b.log(b.div(p, q))))


@loss("Poisson")
def poisson(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """The mean of y_pred - y_true log y_pred over the last axis."""
    return mean(b, b.sub(y_pred, b.mul(b.cast_like(y_true, y_pred), b.log(b.add(y_pred, EPSILON)))))


def _smoothed(b: Builder, y_true: Var, smoothing: float, level: Var | float) -> Var:
    """(1 - smoothing) y_true + smoothing level; level is a number or a scalar."""
    if not smoothing:
        return y_true
    return b.add(b.mul(y_true, 1 - smoothing), b.mul(b.as_var(level, y_true.type), smoothing))


def _even(b: Builder, y_true: Var) -> Var:
    """1 / the number of classes of y_true."""
    return b.reciprocal(count(b, y_true, (-1,)))


def _binary(b: Builder, target: Var, y_pred: Var, from_logits: bool) -> Var:
    """-t log p - (1 - t) log(1 - p); with p = sigmoid(x) that is t softplus(-x) + (1 - t) softplus(x)."""
    check_same_shape(target, y_pred, "binary crossentropy")
    x = _logits(b, y_pred, from_logits)
    if x is not None:
        return b.add(b.mul(target, b.softplus(b.neg(x))), b.mul(_one_minus(b, target), b.softplus(x)))
    p = _clipped(b, y_pred)
    return b.neg(b.add(b.mul(target, b.log(p)), b.mul(_one_minus(b, target), b.log(_one_minus(b, p)))))


@loss("BinaryCrossentropy", "bce", "BCE")
def binary_crossentropy(
    b: Builder, y_true: Var, y_pred: Var, *, from_logits: bool = False, label_smoothing: float = 0.0, axis: Axes = -1
) -> Var:
    """The mean of -t log p - (1 - t) log(1 - p) over an axis."""
    target = _smoothed(b, b.cast_like(y_true, y_pred), label_smoothing, 0.5)
    return mean(b, _binary(b, target, y_pred, from_logits), axis)


@loss("BinaryFocalCrossentropy")
def binary_focal_crossentropy(
    b: Builder, y_true: Var, y_pred: Var, *, apply_class_balancing: bool = False, alpha: float = 0.25,
    gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0, axis: Axes = -1,
) -> Var:  # fmt: skip
    """The mean of (1 - q)^gamma times the binary crossentropy over an axis; q is the probability of the true class.

    With class balancing, positives count alpha, negatives 1 - alpha (Lin et al. 2017).
    """
    target = _smoothed(b, b.cast_like(y_true, y_pred), label_smoothing, 0.5)
    p = b.sigmoid(y_pred) if from_logits else y_pred
    crossentropy = _binary(b, target, p, False)
    true = b.add(b.mul(target, p), b.mul(_one_minus(b, target), _one_minus(b, p)))
    focal = b.mul(b.pow(_one_minus(b, true), gamma), crossentropy)
    if apply_class_balancing:
        focal = b.mul(b.affine(target, alpha=2 * alpha - 1, beta=1 - alpha), focal)
    return mean(b, focal, axis)


def _softmax_crossentropy(b: Builder, target: Var, logits: Var, axis: int) -> Var:
    """sum t (log sum exp x - x), with the gradient softmax(x) - t that TensorFlow gives also where sum t is not 1."""
    x = b.sub(logits, b.stop_gradient(b.reduce_max(logits, axes=(axis,), keepdims=True)))
    log_sum = b.reduce_log_sum_exp(x, axes=(axis,))
    surplus = b.sub(total(b, target, axis), 1)
    return b.add(b.sub(log_sum, total(b, b.mul(target, x), axis)), b.mul(surplus, b.stop_gradient(log_sum)))


def _shares(b: Builder, y_pred: Var, axis: int) -> Var:
    """y_pred scaled to the sum 1 along an axis, clipped."""
    return _clipped(b, b.div(y_pred, b.reduce_sum(y_pred, axes=(axis,), keepdims=True)))


@loss("CategoricalCrossentropy")
def categorical_crossentropy(
    b: Builder, y_true: Var, y_pred: Var, *, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Var:
    """The sum of -t log p over the classes; y_true has a probability for each class."""
    target = b.cast_like(y_true, y_pred)
    target = _smoothed(b, target, label_smoothing, _even(b, target))
    check_same_shape(target, y_pred, "categorical crossentropy")
    logits = _logits(b, y_pred, from_logits)
    if logits is not None:
        return _softmax_crossentropy(b, target, logits, axis)
    return b.neg(total(b, b.mul(target, b.log(_shares(b, y_pred, axis))), axis))


@loss("CategoricalFocalCrossentropy")
def categorical_focal_crossentropy(
    b: Builder, y_true: Var, y_pred: Var, *, alpha: Any = 0.25, gamma: float = 2.0, from_logits: bool = False,
    label_smoothing: float = 0.0, axis: int = -1,
) -> Var:  # fmt: skip
    """The sum of -alpha (1 - p)^gamma t log p over the classes (Lin et al. 2017); alpha: one number, or one a class."""
    target = b.cast_like(y_true, y_pred)
    target = _smoothed(b, target, label_smoothing, _even(b, target))
    p = _shares(b, b.softmax(y_pred, axis=axis) if from_logits else y_pred, axis)
    factor = b.mul(b.pow(_one_minus(b, p), gamma), b.constant(alpha, dtype=p.tensor.dtype.numpy))
    return b.neg(total(b, b.mul(factor, b.mul(target, b.log(p))), axis))


@loss(
    "SparseCategoricalCrossentropy", order=("from_logits", "ignore_class", "reduction", "axis", "name", "dtype")
)  # fmt: skip
def sparse_categorical_crossentropy(
    b: Builder, y_true: Var, y_pred: Var, *, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """-log p of the class that y_true (integers, y_pred.shape[:-1] or with a last 1) names; NaN if it is no class.

    Where the label is `ignore_class` the loss is 0 and masked.
    """
    if axis not in (-1, len(y_pred.shape) - 1):
        raise UnsupportedError(
            f"sparse_categorical_crossentropy: axis={axis} is not supported", hint="use the last axis"
        )
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = b.squeeze(y_true, axes=(-1,))
    if len(y_true.shape) != len(y_pred.shape) - 1:
        what = f"y_true is {y_true.type} and y_pred {y_pred.type}"
        raise ShapeError(f"sparse_categorical_crossentropy: {what}; y_true has to have one axis less")
    labels = b.cast(y_true, to=i64)
    if ignore_class is None:
        return _sparse(b, labels, y_pred, from_logits)
    valid = b.not_equal(labels, ignore_class)
    values = _sparse(b, gate(b, valid, labels), gate(b, b.unsqueeze(valid, axes=(-1,)), y_pred), from_logits)
    return gate(b, valid, values), valid


def _sparse(b: Builder, labels: Var, y_pred: Var, from_logits: bool) -> Var:
    logits = _logits(b, y_pred, from_logits)
    logs = b.log_softmax(b.log(_clipped(b, y_pred)) if logits is None else logits, axis=-1)
    known = b.logical_and(b.greater_equal(labels, 0), b.less(b.cast_like(labels, logs), count(b, logs, (-1,))))
    places = b.unsqueeze(gate(b, known, labels), axes=(-1,))
    values = b.neg(b.squeeze(b.gather_elements(logs, places, axis=-1), axes=(-1,)))
    return b.where(known, values, b.constant(np.nan, dtype=values.tensor.dtype.numpy))


@loss("CategoricalGeneralizedCrossEntropy")
def categorical_generalized_cross_entropy(b: Builder, y_true: Var, y_pred: Var, *, q: float = 0.5) -> Var:
    """(1 - p^q) / q, p the probability of the class that y_true names, 0 < q < 1 (Zhang & Sabuncu 2018)."""
    if not 0 < q < 1:
        raise UnsupportedError(f"categorical_generalized_cross_entropy: q={q} is not between 0 and 1")
    p = total(b, gate(b, marked(b, y_true, y_pred), y_pred))
    return b.mul(_one_minus(b, b.pow(p, q)), 1 / q)


# ---- segmentation, similarity, sequences ------------------------------------------------------------------------


@loss("Dice", order=("reduction", "name", "axis", "dtype"))
def dice(b: Builder, y_true: Var, y_pred: Var, *, axis: Axes = None) -> Var:
    """1 - 2 sum y_true y_pred / (sum y_true + sum y_pred) over axes (Milletari et al. 2016)."""
    y_true = b.cast_like(y_true, y_pred)
    both = b.add(total(b, y_true, axis), total(b, y_pred, axis))
    return _one_minus(b, b.div(b.mul(total(b, b.mul(y_true, y_pred), axis), 2), b.add(both, EPSILON)))


@loss("Tversky", order=("alpha", "beta", "reduction", "name", "axis", "dtype"))
def tversky(b: Builder, y_true: Var, y_pred: Var, *, alpha: float = 0.5, beta: float = 0.5, axis: Axes = None) -> Var:
    """1 - tp / (tp + alpha fp + beta fn) over axes, where as in Keras "fp" is what is missing of y_true.

    Salehi et al. 2017.
    """
    y_true = b.cast_like(y_true, y_pred)
    hits = total(b, b.mul(y_true, y_pred), axis)
    missed = total(b, b.mul(_one_minus(b, y_pred), y_true), axis)
    wrong = total(b, b.mul(y_pred, _one_minus(b, y_true)), axis)
    errors = b.add(b.mul(missed, alpha), b.mul(wrong, beta))
    return _one_minus(b, b.div(hits, b.add(b.add(hits, errors), EPSILON)))


@loss("Circle")
def circle(
    b: Builder, y_true: Var, y_pred: Var, *, gamma: float = 80.0, margin: float = 0.4, remove_diagonal: bool = True
) -> Any:
    """Circle loss (Sun et al. 2020) of each embedding y_pred (N, D), of norm 1, against all others of the batch.

    y_true (N) are integer labels.  Distances are d = 1 - cosine; samples with loss 0 are masked.  Where there is no
    pair of one kind the loss is 0.
    """
    y_true = b.cast(y_true, to=i32)
    labels = b.unsqueeze(y_true, axes=(-1,)) if len(y_true.shape) == 1 else y_true
    distance = b.maximum(_one_minus(b, b.matmul(y_pred, b.swap(y_pred))), 0)
    same = b.equal(labels, b.swap(labels))
    places = numbered(b, dim(b, labels, 0))
    diagonal = b.equal(b.unsqueeze(places, axes=(1,)), b.unsqueeze(places, axes=(0,)))
    positive = b.logical_and(same, b.logical_not(diagonal)) if remove_diagonal else same
    close = _circle_side(b, positive, b.add(distance, margin), b.sub(distance, margin), gamma)
    far = _circle_side(
        b, b.logical_not(same), b.sub(1 + margin, distance), b.sub(1 - margin, distance), gamma
    )  # fmt: skip
    values = b.softplus(b.add(close, far))
    return values, b.greater(values, 0)


def _circle_side(b: Builder, pairs: Var, weight: Var, gap: Var, gamma: float) -> Var:
    """log sum exp of gamma max(weight, 0) gap over the pairs of each row."""
    scores = b.mul(b.mul(b.maximum(weight, 0), gap), gamma)
    none = b.constant(-np.inf, dtype=scores.tensor.dtype.numpy)
    return b.reduce_log_sum_exp(b.where(pairs, scores, none), axes=(1,))


@loss("CTC")
def ctc(b: Builder, y_true: Var, y_pred: Var) -> Var:
    """-log of the probability that the logits y_pred (N, T, C) spell y_true (N, L); class 0 is blank and padding."""
    if len(y_true.shape) != 2 or len(y_pred.shape) != 3:
        raise ShapeError(
            f"ctc: y_true is {y_true.type} and y_pred {y_pred.type}, shapes (N, L) and (N, T, C) are needed"
        )
    lengths = b.reduce_sum(b.cast(b.not_equal(y_true, zero(b, y_true)), to=i64), axes=(1,), keepdims=False)
    return ctc_loss(b, y_true, y_pred, lengths)
