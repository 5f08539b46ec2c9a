"""Reductions, places of extremes, running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.types import Tensor, boolean, i32, i64
from ..emitter import Emitter, Item
from . import export_all, refuse

Axes = Any  # a tuple, None for all, or an item known at run time


def reduced(w: Emitter, op_type: str, x: Item, axes: Axes, keepdims: bool) -> Item:
    """Axes are an attribute of all but ReduceSum before opset 18."""
    if axes == ():  # no axis at all: one is added to be reduced
        return reduced(w, op_type, w.Unsqueeze(x, w.ints([0])), (0,), False)
    if op_type == "ReduceSum" or w.opset >= 18:
        listed = axes if isinstance(axes, Item) or axes is None else w.ints(axes)
        return w.emit(op_type, x, listed, keepdims=int(keepdims))  # type: ignore[no-any-return]
    if isinstance(axes, Item):
        raise w.refuse("axes known at run time need opset 18", "write opset 18")
    return w.emit(op_type, x, axes=axes, keepdims=int(keepdims))  # type: ignore[no-any-return]


def _reduction(op_type: str) -> Callable[..., Item]:
    return lambda w, x, *, axes, keepdims: reduced(w, op_type, x, axes, keepdims)


def _any(w: Emitter, x: Item, *, axes: Axes, keepdims: bool) -> Item:
    """Whether the sum of as many ones is more than 0: right for no elements too."""
    return w.cast(reduced(w, "ReduceSum", w.cast(x, i32), axes, keepdims), boolean)


def _all(w: Emitter, x: Item, *, axes: Axes, keepdims: bool) -> Item:
    """Whether there is none that does not hold."""
    return w.Not(_any(w, w.typed(w.Not(x), x.type), axes=axes, keepdims=keepdims))  # type: ignore[no-any-return]


def _variance(w: Emitter, x: Item, *, axes: Axes, keepdims: bool) -> Item:
    centred = w.Sub(x, reduced(w, "ReduceMean", x, axes, True))
    return reduced(w, "ReduceMean", w.Mul(centred, centred), axes, keepdims)


ONNX_NAMES = {
    "reduce_sum": "ReduceSum", "reduce_mean": "ReduceMean", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd", "reduce_l1": "ReduceL1", "reduce_l2": "ReduceL2", "reduce_log_sum": "ReduceLogSum",
    "reduce_sum_square": "ReduceSumSquare", "reduce_log_sum_exp": "ReduceLogSumExp",
}  # fmt: skip
export_all({name: _reduction(op_type) for name, op_type in ONNX_NAMES.items()}, dynamic=("axes",))
export_all(
    {"reduce_any": _any, "reduce_all": _all, "reduce_variance": _variance},
    dynamic=("axes",),
)


def _place(op_type: str) -> Callable[..., Item]:
    def write(w: Emitter, x: Item, *, axis: int, keepdims: bool, last: bool) -> Item:
        x = w.cast(x, i32) if x.dtype is boolean else x
        return w.emit(op_type, x, axis=axis, keepdims=int(keepdims), select_last_index=int(last), result=i64)  # type: ignore[no-any-return]

    return write


export_all({"argmax": _place("ArgMax"), "argmin": _place("ArgMin")})


def _place_of(w: Emitter, axis: Any) -> Item:
    return w.scalar(w.cast(axis, i64)) if isinstance(axis, Item) else w.constant(axis, "axis", dtype="int64")


def _cumsum(w: Emitter, x: Item, *, axis: Any, exclusive: bool, reverse: bool) -> Item:
    return w.CumSum(x, _place_of(w, axis), exclusive=int(exclusive), reverse=int(reverse))  # type: ignore[no-any-return]


def _cumprod(w: Emitter, x: Item, *, axis: Any, exclusive: bool, reverse: bool) -> Item:
    """A Scan before opset 26: what is carried is the product."""
    if w.opset >= 26:
        return w.CumProd(x, _place_of(w, axis), exclusive=int(exclusive), reverse=int(reverse))  # type: ignore[no-any-return]
    if isinstance(axis, Item):
        w.need(26, "a running product along an axis known at run time")
    kept = (*x.shape[:axis], *x.shape[axis % x.rank + 1 :])
    ones = w.typed(w.Expand(w.number(1, x), w.vector(kept)), Tensor(x.dtype, kept))
    with w.inside("cumprod") as scope:
        scope.inputs = [Item(Tensor(x.dtype, kept)), Item(Tensor(x.dtype, kept))]
        scope.present.update(scope.inputs)
        before, factor = scope.inputs
        product = w.typed(w.Mul(before, factor), before.type)
        scope.outputs.append(w.result(product))
        scope.outputs.append(w.result(before if exclusive else product))
    where = {"scan_input_axes": [axis % x.rank], "scan_output_axes": [axis % x.rank]}
    ways = {"scan_input_directions": [int(reverse)], "scan_output_directions": [int(reverse)]}
    return w.Scan(ones, x, outputs=2, body=scope, num_scan_inputs=1, **where, **ways)[1]  # type: ignore[no-any-return]


export_all({"cumsum": _cumsum, "cumprod": _cumprod}, dynamic=("axis",))

refuse("it belongs to a gradient", "sum_like")
