"""Reductions, places of extremes, running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.graph import Var
from ....ir.types import boolean
from ..lowering import Lowering
from ..registry import onnx

REDUCTIONS = {
    "ReduceL1": "reduce_l1", "ReduceL2": "reduce_l2", "ReduceLogSum": "reduce_log_sum",
    "ReduceLogSumExp": "reduce_log_sum_exp", "ReduceMax": "reduce_max", "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min", "ReduceProd": "reduce_prod", "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}  # fmt: skip
LOGICAL = {"reduce_max": "reduce_any", "reduce_min": "reduce_all"}  # on booleans


def _reduce(b: Lowering, name: str, data: Var, axes: Any, keepdims: int) -> Any:
    logical = LOGICAL.get(name, name) if data.tensor.dtype is boolean else name
    return getattr(b, logical)(data, axes=axes, keepdims=keepdims)


def _axes_input(name: str) -> Callable[..., Any]:
    def lower(
        b: Lowering, data: Var, axes: Var | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        """Without axes: all of them, or (noop_with_empty_axes) none."""
        if axes is None or axes.tensor.shape == (0,):
            return _reduce(b, name, data, () if noop_with_empty_axes else None, keepdims)
        sure = axes.tensor.shape is not None and isinstance(axes.shape[0], int)
        return _reduce(b, name, data, axes if sure or noop_with_empty_axes else _all_if_none(b, data, axes), keepdims)

    return lower


def _all_if_none(b: Lowering, data: Var, axes: Var) -> Var:
    """The axes, or where the run gives none all there are."""
    rank = b.reshape(b.shape(b.shape(data)), shape=())
    end = b.where(b.equal(b.size(axes), np.int64(0)), rank, np.int64(0))
    return b.concat(axes, b.range(np.int64(0), end, np.int64(1)), axis=0)  # type: ignore[no-any-return]


for _name, _core in REDUCTIONS.items():
    onnx(_name)(_axes_input(_core))


@onnx("ArgMax")
def argmax(b: Lowering, data: Var, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Var:
    return b.argmax(data, axis=axis, keepdims=keepdims, last=select_last_index)


@onnx("ArgMin")
def argmin(b: Lowering, data: Var, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Var:
    return b.argmin(data, axis=axis, keepdims=keepdims, last=select_last_index)


@onnx("CumSum")
def cumsum(b: Lowering, x: Var, axis: Var, *, exclusive: int = 0, reverse: int = 0) -> Var:
    return b.cumsum(x, axis=axis, exclusive=exclusive, reverse=reverse)


@onnx("CumProd")
def cumprod(b: Lowering, x: Var, axis: Var, *, exclusive: int = 0, reverse: int = 0) -> Var:
    return b.cumprod(x, axis=axis, exclusive=exclusive, reverse=reverse)
