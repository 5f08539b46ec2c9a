"""Reductions over axes, places of extremes, running sums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import dims
from ..attributes import Ints
from ..op import axes_of, axis_of, declare_op, op
from ..types import DType, Tensor, i64

# name: formula, over the elements x along `axes` (none: all)
REDUCTIONS: dict[str, str] = {
    "reduce_sum": "sum x",
    "reduce_mean": "sum x / count",
    "reduce_max": "the largest x; NaN if any is",
    "reduce_min": "the smallest x; NaN if any is",
    "reduce_prod": "product x",
    "reduce_variance": "sum (x - mean)^2 / count",
    "reduce_l1": "sum |x|",
    "reduce_l2": "sqrt(sum x^2)",
    "reduce_sum_square": "sum x^2",
    "reduce_log_sum": "log(sum x)",
    "reduce_log_sum_exp": "log(sum exp(x)), computed without overflow",
    "reduce_any": "whether any x holds (booleans)",
    "reduce_all": "whether all x hold (booleans)",
}

# What shape arithmetic needs of the table: a reduction of all elements where these are known, perhaps in symbols.
_VALUE_RULES: dict[str, Any] = {"reduce_prod": dims.product}


def reduced(x: Tensor, axes: Ints | None, keepdims: bool, dtype: DType | None = None) -> Tensor:
    """The type of a reduction."""
    gone = axes_of(axes, x.rank)
    shape = tuple(1 if i in gone else d for i, d in enumerate(x.dims) if keepdims or i not in gone)
    return Tensor(dtype or x.dtype, shape)


def _mixes(rank: int, *, axes: Ints | None, keepdims: bool) -> Iterable[int]:
    return axes_of(axes, rank)


def _values(x: Tensor, axes: Ints | None, rule: Any) -> tuple[Any, ...] | None:
    """The known result of a reduction of all elements."""
    if (
        rule is None
        or x.value is None
        or not all(map(dims.known, x.value))
        or (axes is not None and len(axes) < x.rank)
    ):
        return None
    return (rule(x.value),)


def _declare(name: str, formula: str) -> None:
    values = _VALUE_RULES.get(name)

    def rule(x: Tensor, *, axes: Ints | None = None, keepdims: bool = False) -> Tensor:
        t = reduced(x, axes, keepdims)
        return Tensor(t.dtype, t.shape, _values(x, axes, values))

    declare_op(
        rule, name, frozenset({"permutes"}), _mixes,
        doc=f"{name}: {formula}, over `axes` (none: all of them); keepdims leaves them with size 1.",
    )  # fmt: skip


for _name, _formula in REDUCTIONS.items():
    _declare(_name, _formula)


def _arg_mixes(rank: int, *, axis: int, **_: Any) -> Iterable[int]:
    return (axis % rank,)


@op()
def sum_like(x: Tensor, like: Tensor) -> Tensor:
    """x summed to the shape of `like`, which broadcasts to that of x: what undoes a broadcast."""
    return Tensor(x.dtype, like.shape)


@op("permutes", mixes=_arg_mixes)
def argmax(x: Tensor, *, axis: int, keepdims: bool = False, last: bool = False) -> Tensor:
    """The place of the largest element along an axis: the first, or the last, where several are."""
    return reduced(x, (axis,), keepdims, i64)


@op("permutes", mixes=_arg_mixes)
def argmin(x: Tensor, *, axis: int, keepdims: bool = False, last: bool = False) -> Tensor:
    """The place of the smallest element along an axis: the first, or the last, where several are."""
    return reduced(x, (axis,), keepdims, i64)


@op("permutes", mixes=_arg_mixes)
def cumsum(x: Tensor, *, axis: int, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sums along an axis; exclusive: without the element itself; reverse: from the end."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


@op("permutes", mixes=_arg_mixes)
def cumprod(x: Tensor, *, axis: int, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running products along an axis; exclusive: without the element itself; reverse: from the end."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)
